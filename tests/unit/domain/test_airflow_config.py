from __future__ import annotations

import json
from dataclasses import replace

import pytest

from aerodrome.domain import airflow_config, classes, versions
from aerodrome.domain.airflow_config import Facts, blocked_options, broker_acl, build, is_reserved, variable
from aerodrome.domain.component import ComponentKind
from aerodrome.domain.environment import EnvironmentKey

FACTS = Facts(
    version=versions.get("3.3.1"),
    environment_class=classes.get("mw1.small"),
    key=EnvironmentKey("aws", "100000000001", "eu-west-1", "demo"),
    environment_id="0123456789ab",
    host="0123456789ab.eu-west-1.airflow.localhost:8443",
    database_url="postgresql://env_0123456789ab:DBPASS@127.0.0.1:4611/env_0123456789ab",
    broker_url="redis://env_0123456789ab:BROKERPASS@127.0.0.1:4612/0",
    broker_prefix="0123456789ab:",
    fernet_key="FERNET",
    secret_key="SECRETKEY",
    jwt_secret="JWTSECRET",
    identity_secret="IDENTITY",
    aws_endpoint_url="http://127.0.0.1:4610",
    aws_endpoint_urls={"s3": "https://s3.example"},
    credentials_url="http://127.0.0.1:4610/credentials/0123456789ab",
    credentials_token="CREDTOKEN",
    ca_bundle="/pki/bundle.pem",
)
SECRETS = ("DBPASS", "BROKERPASS", "FERNET", "SECRETKEY", "JWTSECRET", "IDENTITY", "CREDTOKEN")
# What mwaa-spec 5.3 and 6 list as essential, of both majors.
FORCED = [
    "api.base_url",
    "api.secret_key",
    "api_auth.jwt_algorithm",
    "api_auth.jwt_secret",
    "celery.broker_url",
    "celery.celery_config_options",
    "celery.result_backend",
    "celery.worker_enable_remote_control",
    "celery_broker_transport_options.visibility_timeout",
    "core.auth_manager",
    "core.database_access_isolation",
    "core.executor",
    "core.execution_api_server_url",
    "core.fernet_key",
    "core.load_examples",
    "core.multi_team",
    "core.sql_alchemy_conn",
    "database.sql_alchemy_conn",
    "execution_api.jwt_expiration_time",
    "fab.config_file",
    "logging.colored_console_log",
    "logging.logging_config_class",
    "metrics.statsd_host",
    "metrics.statsd_on",
    "metrics.statsd_port",
    "metrics.statsd_prefix",
    "operators.default_queue",
    "scheduler.standalone_dag_processor",
    "triggerer.queues_enabled",
    "webserver.base_url",
    "webserver.config_file",
    "webserver.cookie_secure",
    "webserver.secret_key",
]
WEB, WORKER, JOB = ComponentKind.WEB_SERVER, ComponentKind.WORKER, ComponentKind.JOB


def everything(kind: ComponentKind, options: dict[str, str] | None = None) -> dict[str, str]:
    made = build(FACTS, kind, options)
    return {**made.variables, **made.templates, **made.secrets}


class TestPrecedence:
    def test_a_user_overrides_what_is_opinionated(self) -> None:
        name = "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL"
        assert everything(WORKER)[name] == "1"
        assert everything(WORKER, {"workers.min_heartbeat_interval": "4"})[name] == "4"

    def test_nobody_overrides_what_is_essential(self) -> None:
        options = {"core.executor": "LocalExecutor", "Core.Fernet_Key": "mine", "core.load_examples": "True"}
        assert everything(WORKER, options) == everything(WORKER)

    def test_a_command_is_no_way_around(self) -> None:
        options = {"core.fernet_key_cmd": "cat /etc/passwd", "api_auth.jwt_secret_secret": "x"}
        assert everything(WORKER, options) == everything(WORKER)

    @pytest.mark.parametrize("kind", ComponentKind)
    @pytest.mark.parametrize("version", versions.VERSIONS)
    def test_an_older_name_is_stronger_than_what_we_would_set(self, version: str, kind: ComponentKind) -> None:
        """Airflow looks for it only when the newer one isn't there."""
        facts = replace(FACTS, version=versions.get(version))
        assert facts.version.old_names
        for new, old in facts.version.old_names.items():
            unset, made = build(facts, kind), build(facts, kind, {old: "mine"})
            assert variable(new) in {**unset.variables, **unset.unread}
            known = {**made.variables, **made.unread}
            assert (known.get(variable(new)), known[variable(old)]) == (None, "mine")
            both = build(facts, kind, {old: "mine", new: "newer"})
            assert {**both.variables, **both.unread}[variable(new)] == "newer"

    @pytest.mark.parametrize("kind", ComponentKind)
    def test_dots_within_a_name_make_no_second_option(self, kind: ComponentKind) -> None:
        made = build(FACTS, kind, {"celery.sync.parallelism": "3", "core.PARALLELISM": "9"})
        assert made.unread.keys().isdisjoint(made.variables)
        known = {**made.variables, **made.unread}
        assert (known["AIRFLOW__CELERY__SYNC_PARALLELISM"], known["AIRFLOW__CORE__PARALLELISM"]) == ("3", "9")

    def test_the_broker_in_celerys_own_settings_stays_ours(self) -> None:
        """MWAA's broker keys win over `celery.extra_celery_config` (mwaa-spec 6)."""
        name = "AIRFLOW__CELERY__EXTRA_CELERY_CONFIG"
        given = {"broker_url": "redis://elsewhere", "result_backend": "x", "worker_max_tasks_per_child": 10}
        assert everything(WORKER, {"celery.extra_celery_config": json.dumps(given)})[name] == (
            '{"worker_max_tasks_per_child": 10}'
        )
        for value in ('{"worker_max_tasks_per_child":10}', "no json", "[]"):
            assert everything(WORKER, {"celery.extra_celery_config": value})[name] == value

    def test_unknown_options_are_passed_on(self) -> None:
        assert everything(WORKER, {"my_section.my.key": "v"})["AIRFLOW__MY_SECTION__MY_KEY"] == "v"

    @pytest.mark.parametrize("kind", ComponentKind)
    def test_every_essential_option_is_blocked(self, kind: ComponentKind) -> None:
        """An option that build() always decides must not be accepted and then ignored."""
        ours = {"aerodrome": "mine"}
        for option in FACTS.version.essential:
            assert blocked_options([option]) == [option]
        made = build(FACTS, kind, dict.fromkeys(FACTS.version.essential, ours["aerodrome"]))
        assert "mine" not in made.variables.values()


class TestOptions:
    def test_only_the_first_dot_separates_the_section(self) -> None:
        assert variable("celery_broker_transport_options.visibility_timeout") == (
            "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT"
        )

    def test_blocked_ones_are_listed_in_order(self) -> None:
        options = ["core.parallelism", "webserver.base_url", "celery.broker_url", "core.sql_alchemy_conn_cmd"]
        assert blocked_options(options) == ["celery.broker_url", "core.sql_alchemy_conn_cmd", "webserver.base_url"]

    @pytest.mark.parametrize(
        "option",
        [
            "email.email_backend",
            "smtp.smtp_host",
            "core.default_task_retries",
            "core.parallelism",
            "scheduler.catchup_by_default",
            "celery.worker_autoscale",
            "mwaa.triggerer_enabled",
            "triggerer.capacity",
            "secrets.backend",
            "secrets.backend_kwargs",
            "core.lazy_load_plugins",
        ],
    )
    def test_what_mwaa_lists_may_be_set(self, option: str) -> None:
        assert blocked_options([option]) == []

    @pytest.mark.parametrize("option", FORCED)
    def test_what_mwaa_forces_is_refused(self, option: str) -> None:
        assert blocked_options([option]) == [option]

    @pytest.mark.parametrize("kind", ComponentKind)
    @pytest.mark.parametrize("version", versions.VERSIONS)
    def test_what_is_always_ours_is_refused(self, version: str, kind: ComponentKind) -> None:
        """Nothing that a user may set is without effect: what no option changes can't be set."""
        facts = replace(FACTS, version=versions.get(version))
        made = build(facts, kind)
        names = {**made.variables, **made.templates, **made.secrets, **made.unread}
        options = [name.removeprefix("AIRFLOW__").lower().replace("__", ".", 1) for name in names if "__" in name]
        free = [option for option in options if not blocked_options([option])]
        changed = build(facts, kind, dict.fromkeys(free, "7"))
        assert [option for option in free if {**changed.variables, **changed.unread}[variable(option)] != "7"] == []
        assert free

    def test_reserved_variables(self) -> None:
        assert is_reserved("AIRFLOW_HOME")
        assert is_reserved("MWAA__DB__POSTGRES_HOST")
        assert is_reserved("AERODROME_IDENTITY_SECRET")
        assert is_reserved("AIRFLOW__CORE__FERNET_KEY")
        assert is_reserved("AIRFLOW__CORE__FERNET_KEY_CMD")
        assert not is_reserved("AIRFLOW__CORE__DEFAULT_TASK_RETRIES")
        assert not is_reserved("MY_TOKEN")


class TestReaders:
    def test_a_component_gets_what_it_reads(self) -> None:
        options = {"scheduler.max_tis_per_query": "7", "api.instance_name": "mine", "smtp.smtp_host": "mail"}
        names = ["AIRFLOW__SCHEDULER__MAX_TIS_PER_QUERY", "AIRFLOW__API__INSTANCE_NAME", "AIRFLOW__SMTP__SMTP_HOST"]
        found = {kind: [name in everything(kind, options) for name in names] for kind in ComponentKind}
        assert found == {
            ComponentKind.SCHEDULER: [True, False, True],
            ComponentKind.WEB_SERVER: [False, True, True],
            ComponentKind.DAG_PROCESSOR: [False, False, True],
            ComponentKind.TRIGGERER: [False, False, True],
            ComponentKind.WORKER: [False, False, True],
            ComponentKind.JOB: [True, True, True],
        }

    @pytest.mark.parametrize("value", ["True", "non-sensitive-only", "False"])
    @pytest.mark.parametrize("option", ["api.expose_config", "webserver.expose_config"])
    def test_a_web_server_that_shows_the_configuration_has_all_of_it(self, option: str, value: str) -> None:
        found = everything(WEB, {option: value, "core.parallelism": "7"})
        assert ("AIRFLOW__CORE__PARALLELISM" in found) == (value != "False")

    @pytest.mark.parametrize("kind", ComponentKind)
    def test_what_it_does_not_read_it_is_told(self, kind: ComponentKind) -> None:
        """Every component knows every option that anybody set, and each from one place."""
        options = {"scheduler.max_tis_per_query": "7", "api.instance_name": "mine", "core.fernet_key": "not ours"}
        made = build(FACTS, kind, options)
        known = {**made.variables, **made.unread}
        assert known["AIRFLOW__SCHEDULER__MAX_TIS_PER_QUERY"] == "7"
        assert known["AIRFLOW__API__INSTANCE_NAME"] == "mine"
        assert known["AIRFLOW__CORE__PARALLELISM"] == "188", "ours too"
        assert "not ours" not in known.values()
        assert made.unread.keys().isdisjoint({*made.variables, *made.templates, *made.secrets})
        assert kind is not JOB or not made.unread

    @pytest.mark.parametrize("kind", ComponentKind)
    def test_what_is_essential_is_in_all(self, kind: ComponentKind) -> None:
        found = everything(kind)
        for name in (*FACTS.version.essential, "core.executor", "api.base_url", "celery.worker_enable_remote_control"):
            assert variable(name) in found


LEVELS = {
    "DagProcessingLogs": "DEBUG",
    "SchedulerLogs": "WARNING",
    "TaskLogs": "ERROR",
    "WebserverLogs": "CRITICAL",
    "WorkerLogs": "INFO",
}
LOGS_WITH = {  # logging_level, celery_logging_level
    ComponentKind.DAG_PROCESSOR: ("DEBUG", None),
    ComponentKind.SCHEDULER: ("WARNING", None),
    ComponentKind.TRIGGERER: ("WARNING", None),
    ComponentKind.WEB_SERVER: ("CRITICAL", None),
    ComponentKind.WORKER: ("ERROR", "INFO"),
    ComponentKind.JOB: ("INFO", None),
}


class TestLogLevels:
    @pytest.mark.parametrize("kind", ComponentKind)
    def test_each_component_logs_with_its_modules_level(self, kind: ComponentKind) -> None:
        found = build(replace(FACTS, log_levels=LEVELS), kind).variables
        names = ("AIRFLOW__LOGGING__LOGGING_LEVEL", "AIRFLOW__LOGGING__CELERY_LOGGING_LEVEL")
        assert tuple(map(found.get, names)) == LOGS_WITH[kind]

    def test_an_option_is_stronger(self) -> None:
        found = build(replace(FACTS, log_levels=LEVELS), WORKER, {"logging.logging_level": "DEBUG"}).variables
        assert found["AIRFLOW__LOGGING__LOGGING_LEVEL"] == "DEBUG"


class TestTasksPerWorker:
    def workers(self, **options: str) -> tuple[str, str | None]:
        found = everything(WORKER, {name.replace("__", "."): value for name, value in options.items()})
        return found["AIRFLOW__CELERY__WORKER_CONCURRENCY"], found.get("AIRFLOW__CELERY__WORKER_AUTOSCALE")

    def test_come_from_the_class(self) -> None:
        assert self.workers() == ("5", "5,5")

    def test_are_what_the_user_says_in_the_users_words(self) -> None:
        assert self.workers(celery__worker_autoscale="7,7") == ("7", "7,7")
        assert self.workers(celery__worker_autoscale=" 7 , 7 ") == ("7", " 7 , 7 ")

    def test_scale_when_the_user_says_so(self) -> None:
        assert self.workers(celery__worker_autoscale="9,2") == ("9", "9,2")

    def test_may_be_given_as_a_concurrency(self) -> None:
        assert self.workers(celery__worker_concurrency="3") == ("3", "3,3")


class TestSecrets:
    @pytest.mark.parametrize("kind", ComponentKind)
    def test_never_leave_their_field(self, kind: ComponentKind) -> None:
        made = build(FACTS, kind, {"core.parallelism": "9"})
        public = repr((made.variables, made.templates, made.unread)) + repr(made) + repr(FACTS)
        assert [secret for secret in SECRETS if secret in public] == []

    def test_where_dags_run_nothing_signs_users_in(self) -> None:
        held = "".join(build(FACTS, WORKER).secrets.values())
        assert not [secret for secret in ("SECRETKEY", "JWTSECRET", "IDENTITY") if secret in held]

    @pytest.mark.parametrize("kind", [kind for kind in ComponentKind if kind is not WEB])
    def test_the_identity_secret_is_the_web_servers_alone(self, kind: ComponentKind) -> None:
        assert "IDENTITY" in build(FACTS, WEB).secrets.values()
        assert "IDENTITY" not in build(FACTS, kind).secrets.values()

    @pytest.mark.parametrize("kind", ComponentKind)
    def test_a_variable_is_in_one_field_only(self, kind: ComponentKind) -> None:
        made = build(FACTS, kind, {"logging.base_log_folder": "/x"})
        keys = [*made.variables, *made.templates, *made.secrets]
        assert len(keys) == len(set(keys))


class TestEnvironment:
    def test_is_told_to_user_code_as_mwaa_does(self) -> None:
        found = everything(ComponentKind.TRIGGERER)
        expected = {
            "AIRFLOW_ENV_NAME": "demo",
            "AIRFLOW_VERSION": "3.3.1",
            "AWS_REGION": "eu-west-1",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "CUSTOMER_ACCOUNT_ID": "100000000001",
            "AWS_EXECUTION_ENV": "Amazon_MWAA_331",
            "AIRFLOW_CONN_AWS_DEFAULT": "aws://",
            "MWAA_AIRFLOW_COMPONENT": "scheduler",
            "AWS_ENDPOINT_URL": "http://127.0.0.1:4610",
            "AWS_DISABLE_HOST_PREFIX_INJECTION": "true",
            "AWS_ENDPOINT_URL_S3": "https://s3.example",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:4610/credentials/0123456789ab",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "CREDTOKEN",
            "AWS_CA_BUNDLE": "/pki/bundle.pem",
            "SSL_CERT_FILE": "/pki/bundle.pem",
        }
        assert {name: found.get(name) for name in expected} == expected

    def test_without_an_embedded_cloud_no_aws_variable_is_invented(self) -> None:
        plain = replace(
            FACTS,
            aws_endpoint_url=None,
            aws_endpoint_urls={},
            credentials_url=None,
            credentials_token=None,
            ca_bundle=None,
        )
        made = build(plain, WORKER)
        found = {*made.variables, *made.secrets}
        assert {name for name in found if name.startswith("AWS_")} == {
            "AWS_REGION",
            "AWS_DEFAULT_REGION",
            "AWS_EXECUTION_ENV",
        }

    def test_parts(self) -> None:
        names = {kind: everything(kind)["MWAA_AIRFLOW_COMPONENT"] for kind in ComponentKind}
        assert names[WEB] == "webserver"
        assert names[WORKER] == "worker"
        assert set(names.values()) == {"webserver", "worker", "scheduler"}

    def test_addresses_are_the_backends_business(self) -> None:
        made = build(FACTS, WORKER)
        assert made.templates["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://{shared[webserver-1]}/execution/"
        assert "AIRFLOW__CORE__EXECUTION_API_SERVER_URL" not in build(FACTS, JOB).templates
        assert everything(WEB)["AIRFLOW__API__BASE_URL"] == "https://0123456789ab.eu-west-1.airflow.localhost:8443"

    def test_the_driver_is_the_versions(self) -> None:
        found = build(FACTS, WORKER).secrets
        url = "postgresql+psycopg://env_0123456789ab:DBPASS@127.0.0.1:4611/env_0123456789ab"
        assert found["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == url
        assert found["AIRFLOW__CELERY__RESULT_BACKEND"] == f"db+{url}"


class TestSizes:
    def test_parallelism_fills_all_workers(self) -> None:
        large = replace(FACTS, environment_class=classes.get("mw1.large"), max_workers=25, schedulers=2)
        made = build(large, ComponentKind.SCHEDULER).variables
        assert int(made["AIRFLOW__CORE__PARALLELISM"]) * 2 >= 20 * 25
        micro = replace(FACTS, environment_class=classes.get("mw1.micro"))
        assert build(micro, ComponentKind.SCHEDULER).variables["AIRFLOW__CORE__PARALLELISM"] == "32"

    def test_the_connection_limit_grows_with_what_connects(self) -> None:
        small = airflow_config.connection_limit(FACTS)
        assert airflow_config.connection_limit(replace(FACTS, max_workers=10)) >= small + 9 * 5
        assert airflow_config.connection_limit(replace(FACTS, web_servers=2)) > small


class TestBrokerAcl:
    def test_starts_from_nothing_and_ends_at_the_prefix(self) -> None:
        rules = broker_acl("env_1", "p w", "1:")
        assert rules[:4] == ["env_1", "reset", "on", ">p w"]
        assert [rule for rule in rules if rule[0] in "~&"] == ["~1:*", "&1:*", "&1:/0.celery.pidbox"]
        assert rules.index("-@all") < min(rules.index(rule) for rule in rules if rule.startswith("+"))

    def test_grants_no_category_and_nothing_that_administers(self) -> None:
        granted = {rule[1:] for rule in broker_acl("u", "p", "x:") if rule.startswith("+")}
        assert not [rule for rule in granted if rule.startswith("@")]
        assert not granted & {"config", "acl", "flushall", "flushdb", "keys", "scan", "monitor", "client", "debug"}


class TestAirflowTwo:
    """What differs is data of the catalogue; nothing of Airflow 3 is left in an environment of Airflow 2."""

    FACTS = replace(FACTS, version=versions.get("2.11.2"))

    def everything(self, kind: ComponentKind, options: dict[str, str] | None = None) -> dict[str, str]:
        made = build(self.FACTS, kind, options)
        return {**made.variables, **made.templates, **made.secrets}

    def test_the_same_facts_under_its_own_names(self) -> None:
        found = self.everything(WEB)
        assert found["AIRFLOW__WEBSERVER__SECRET_KEY"] == "SECRETKEY"
        assert found["AIRFLOW__WEBSERVER__BASE_URL"] == f"https://{FACTS.host}"
        assert found["AIRFLOW__WEBSERVER__WEB_SERVER_HOST"] == "127.0.0.1"
        assert found["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].startswith("postgresql+psycopg2://env_0123456789ab:DBPASS@")
        assert found["AIRFLOW__SCHEDULER__STANDALONE_DAG_PROCESSOR"] == "True"
        assert found["AIRFLOW__SCHEDULER__CHILD_PROCESS_LOG_DIRECTORY"] == "{logs}/scheduler"

    @pytest.mark.parametrize("kind", ComponentKind)
    def test_tasks_talk_to_the_database_and_nothing_mentions_the_execution_api(self, kind: ComponentKind) -> None:
        found = self.everything(kind)
        assert not [
            name for name in found if "EXECUTION_API" in name or "JWT" in name or name.startswith("AIRFLOW__FAB")
        ]
        assert "JWTSECRET" not in found.values()

    def test_workers_get_no_secret_that_signs_users_in(self) -> None:
        assert not {"SECRETKEY", "IDENTITY"} & set(self.everything(WORKER).values())

    def test_every_essential_option_is_blocked(self) -> None:
        options = (*self.FACTS.version.essential, *self.FACTS.version.places)
        assert blocked_options(options) == sorted(options)

    def test_more_connections_since_tasks_have_their_own(self) -> None:
        assert airflow_config.connection_limit(self.FACTS) > airflow_config.connection_limit(FACTS)


@pytest.mark.parametrize("kind", ComponentKind)
def test_aws_credentials_come_from_our_endpoint_alone(kind: ComponentKind) -> None:
    """Neither a key, nor on EC2 the machine's own role."""
    found = everything(kind)
    assert found["AWS_CONTAINER_CREDENTIALS_FULL_URI"] == FACTS.credentials_url
    assert found["AWS_CONTAINER_AUTHORIZATION_TOKEN"] == "CREDTOKEN"
    assert found["AWS_EC2_METADATA_DISABLED"] == "true"
    others = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ROLE_ARN"}
    assert others.isdisjoint(found)

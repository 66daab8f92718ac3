"""plugins.zip, requirements.txt and a startup script, from the bucket into what really runs."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from aerodrome.runtimes.constraints import pins
from aerodrome.runtimes.key import lock_text, split_key
from aerodrome.supervision import sandbox
from support import asking, traces
from support.asking import fresh, settled, update
from support.site import Demo, wait_for

DAG = Path(__file__).parents[1] / "support" / "content_dag.py"
PROVIDER = "apache-airflow-providers-http"
NEWER = {2: "6.0.2", 3: "6.1.0"}  # than the one that this version of Airflow comes with
REQUIREMENTS = """\
# The user's own constraints replace those that come with Airflow, which pin an older provider.
--constraint /usr/local/airflow/plugins/constraints.txt
--find-links /usr/local/airflow/plugins
cowsay==6.1
rapidfuzz==3.13.0
astronomer-cosmos==1.14.2
{newer}
private-thing
"""
SECRET = "correct-horse-battery"
PATHS = ("PluginsS3Path", "RequirementsS3Path", "StartupScriptS3Path")
HOOK = """\
from airflow.{hooks} import BaseHook


class MyHook(BaseHook):
    def answer(self):
        return "from the hook"
"""
OPERATOR = """\
from pathlib import Path

from airflow.{models} import BaseOperator
from my_hooks import MyHook


class MyOperator(BaseOperator):
    def __init__(self, folder, **options):
        super().__init__(**options)
        self.folder = folder

    def execute(self, context):
        Path(self.folder).mkdir(exist_ok=True)
        Path(self.folder, context["run_id"] + ".mine").write_text(MyHook().answer())
"""
PAGE_TWO = """\
from airflow.plugins_manager import AirflowPlugin
from flask import Blueprint

page = Blueprint("mine", __name__, url_prefix="/mine")


@page.route("/hello")
def hello():
    return "hello from my plugin"


class MyPlugin(AirflowPlugin):
    name = "my_plugin"
    flask_blueprints = [page]
"""
PAGE_THREE = """\
from airflow.plugins_manager import AirflowPlugin
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

app = FastAPI()


@app.get("/hello", response_class=PlainTextResponse)
def hello():
    return "hello from my plugin"


class MyPlugin(AirflowPlugin):
    name = "my_plugin"
    fastapi_apps = [{"app": app, "url_prefix": "/mine", "name": "mine"}]
"""


def zipped(files: Mapping[str, str | bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # of no date: equal files make equal archives
    return data.getvalue()


def wheel(name: str, files: dict[str, str]) -> bytes:
    """A private wheel, as somebody would make one."""
    meta = f"{name}-1.0.dist-info"
    content = {
        **files,
        f"{meta}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{meta}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }

    def digest(text: str) -> str:
        return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()

    rows = [f"{file},sha256={digest(text)},{len(text.encode())}" for file, text in content.items()]
    return zipped({**content, f"{meta}/RECORD": "\n".join([*rows, f"{meta}/RECORD,,"]) + "\n"})


def put(demo: Demo, key: str, content: str | bytes) -> str:
    body = content.encode() if isinstance(content, str) else content
    demo.site.client("s3").put_object(Bucket=demo.bucket, Key=key, Body=body)
    return key


def again(demo: Demo, key: str) -> str:
    """Another version of the object, of the same content."""
    s3 = demo.site.client("s3")
    body = s3.get_object(Bucket=demo.bucket, Key=key)["Body"].read()
    return str(s3.put_object(Bucket=demo.bucket, Key=key, Body=body)["VersionId"])


def run_dag(demo: Demo, suffix: str = "", **asked: list[str]) -> str:
    """What a task of a run of its own writes down."""
    run = fresh("content")
    demo.trigger("content", run, asked)
    answer = demo.site.layout.airflow_home(traces.id_of(demo.site, demo.name)) / "effects" / f"{run}{suffix}"

    def told() -> str | None:
        assert demo.rest(f"/dags/content/dagRuns/{run}")["state"] != "failed"
        return answer.read_text() if answer.exists() else None

    found: str = wait_for(f"the answer of {run}", told)
    return found


def look(demo: Demo, **asked: list[str]) -> dict[str, Any]:
    """What a task finds."""
    found: dict[str, Any] = json.loads(run_dag(demo, **asked))
    return found


def components(demo: Demo) -> set[str]:
    id_ = traces.id_of(demo.site, demo.name)
    return {path.name.partition(".")[2] for path in (demo.site.layout.run / "pids").glob(f"{id_}.*")}


def at_rest(demo: Demo) -> set[str]:
    """The components once no old one finishes its work beside a new one."""

    def found() -> set[str] | None:
        names = components(demo)
        return names if len({name.rpartition("-")[0] for name in names}) == len(names) else None

    names: set[str] = wait_for("the end of old components", found)
    return names


def error_of(shown: dict[str, Any]) -> str:
    assert shown["Status"] == "UPDATE_FAILED"
    return str(shown["LastUpdate"]["Error"]["ErrorMessage"])


def available(demo: Demo, **members: Any) -> dict[str, Any]:
    shown = update(demo, **members)
    assert (shown["Status"], shown["LastUpdate"]["Status"]) == ("AVAILABLE", "SUCCESS"), shown["LastUpdate"]
    return shown


@pytest.fixture(autouse=True)
def cleared(demo: Demo) -> Iterator[None]:
    """The DAG is there; afterwards the environment is AVAILABLE and names nothing, which is how each is taken away."""
    put(demo, "dags/content.py", DAG.read_bytes())
    query = {"dag_id_pattern": "content", "limit": 100}
    wait_for("the DAG", lambda: demo.rest("/dags", QueryParameters=query)["dags"])
    yield
    shown = settled(demo)
    named: dict[str, Any] = {path: "" for path in PATHS if path in shown}
    if named or shown["Status"] != "AVAILABLE":
        shown = available(demo, **named or {"MaxWorkers": shown["MaxWorkers"]})
    if named:
        wait_for("the DAG without the operator", lambda: len(demo.rest("/dags/content/tasks")["tasks"]) == 1)
        assert look(demo, modules=["cowsay"])["cowsay"].startswith("ImportError"), "gone with its path"
    assert not set(PATHS) & shown.keys()


def upload(demo: Demo) -> dict[str, str]:
    """What a user may have of each kind: the members of an update that brings them."""
    two = demo.version.major == 2
    private = wheel("private_thing", {"private_thing.py": "__version__ = '1.0'\n"})
    plugins = {
        "my_plugin.py": PAGE_TWO if two else PAGE_THREE,
        "my_hooks.py": HOOK.format(hooks="hooks.base" if two else "sdk.bases.hook"),
        "my_operators.py": OPERATOR.format(models="models" if two else "sdk"),
        "private_thing-1.0-py3-none-any.whl": private,
        "constraints.txt": own_constraints(demo),
    }
    requirements = REQUIREMENTS.format(newer=f"{PROVIDER}=={NEWER[demo.version.major]}")
    script = (
        f"export MINE='{SECRET}' WHO=$MWAA_AIRFLOW_COMPONENT AIRFLOW_HOME=/elsewhere\n"
        "export AIRFLOW__CORE__DEFAULT_TASK_RETRIES=4\necho told by the script\n"
    )
    return {
        "PluginsS3Path": put(demo, "plugins.zip", zipped(plugins)),
        "RequirementsS3Path": put(demo, "requirements.txt", requirements),
        "StartupScriptS3Path": put(demo, "startup.sh", script),
    }


def own_constraints(demo: Demo) -> str:
    """Airflow's, as somebody edits them who needs a newer provider: without it."""
    key = next(path.name for path in demo.site.layout.runtimes.glob(f"{demo.version.version}-*"))
    shipped = pins(lock_text(*split_key(key)))
    return "\n".join(pin for name, pin in shipped.items() if name != PROVIDER)


def test_all_three_in_one_update_and_no_task_is_lost(demo: Demo) -> None:
    asking.upload(demo)
    steady, before, base = fresh("steady"), at_rest(demo), look(demo, modules=["cowsay"])
    assert base["cowsay"].startswith("ImportError")
    asking.begin(demo, steady)
    members = upload(demo)
    available(demo, **members)
    after = components(demo)
    assert len(after - before) == len(before), "every component is another one"

    wait_for("the operator in the DAG", lambda: len(demo.rest("/dags/content/tasks")["tasks"]) == 2)
    assert run_dag(demo, ".mine") == "from the hook"
    assert "my_plugin" in {plugin["name"] for plugin in demo.rest("/plugins")["plugins"]}
    assert signed_in(demo, "/mine/hello") == "hello from my plugin"

    names = ["MINE", "WHO", "AIRFLOW_HOME", "AIRFLOW__CORE__DEFAULT_TASK_RETRIES"]
    modules = ["cowsay", "rapidfuzz.fuzz_cpp", "cosmos", "airflow.providers.http", "private_thing"]
    found = look(demo, variables=names, modules=modules)
    confined = sandbox.obstacle() is None
    home = sandbox.AIRFLOW_HOME if confined else demo.site.layout.airflow_home(traces.id_of(demo.site, demo.name))
    assert found.pop("variables") == dict(zip(names, (SECRET, "worker", str(home), "4"), strict=True))
    assert not [told for told in found.values() if told.startswith("ImportError")]
    assert (found["airflow.providers.http"], found["private_thing"]) == (NEWER[demo.version.major], "1.0")

    events = demo.site.aerodrome("env", "events", demo.name).stdout
    assert "What it does to AIRFLOW_HOME is ignored" in events
    assert SECRET not in events
    log = demo.site.layout.component_logs(traces.id_of(demo.site, demo.name)) / "startup-script-worker.log"
    assert log.read_text() == "told by the script\n"

    asking.release(demo, steady)
    assert [each.word for each in asking.attempts(demo, steady)] == ["begin", "end"], "it went on in what it began in"
    same = at_rest(demo)
    put(demo, "requirements.txt", "tabulate\n")
    available(demo, PluginsS3Path=members["PluginsS3Path"], PluginsS3ObjectVersion=again(demo, "plugins.zip"))
    assert components(demo) == same, "the same content replaces nothing, and an upload alone changes nothing"


def test_what_cannot_be_made_touches_nothing(demo: Demo) -> None:
    before = at_rest(demo)
    message = error_of(update(demo, RequirementsS3Path=put(demo, "requirements.txt", "flask==1.0\n")))
    assert "can't be installed beside Airflow" in message
    assert "flask==1.0" in message
    script = f"TOKEN={SECRET}\necho no way with $TOKEN\nexit 1\n"
    message = error_of(update(demo, StartupScriptS3Path=put(demo, "startup.sh", script)))
    assert "The startup script failed" in message
    assert "no way with <TOKEN>" in message
    assert SECRET not in message + demo.site.aerodrome("env", "events", demo.name).stdout
    assert components(demo) == before


def signed_in(demo: Demo, path: str) -> str:
    """A page of the web server for somebody who signed in."""
    prefix = "/aws_mwaa" if demo.version.major == 2 else "/pluginsv2/aws_mwaa"
    token = demo.site.client("mwaa").create_web_login_token(Name=demo.name)["WebToken"]
    jar = demo.site.home / "content-cookies"
    curl = ["curl", "-sSf", "--cacert", str(demo.site.layout.ca_bundle), "-b", str(jar), "-c", str(jar)]
    site, posted = f"https://{demo.host}", ["--data-urlencode", f"token={token}"]
    try:
        demo.site.run(*curl, "-o", "/dev/null", *posted, f"{site}{prefix}/login")
        return demo.site.run(*curl, f"{site}{path}").stdout
    finally:
        jar.unlink(missing_ok=True)

"""A real environment from our configuration: signing in, running tasks, reading logs, asking workers."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import redis

from aerodrome.domain import versions
from aerodrome.errors import Temporary
from aerodrome.observe.workers import ping_workers
from support.postgres import free_port
from support.real_airflow import SLOTS, Environment, let_in, make_facts

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]


async def until(ask: Callable[[], Awaitable[bool]], environment: Environment, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not await ask():
        assert time.monotonic() < deadline, environment.output()
        await asyncio.sleep(0.3)


@pytest.fixture(scope="module")
def healthy(airflow: Environment) -> Environment:
    """The environment, once its health document says that everything is well."""

    async def wait() -> None:
        async def well() -> bool:
            try:
                answer = await client.get(airflow.facts.version.health_path)
            except httpx.TransportError:
                return False
            return not versions.unhealthy_parts(airflow.facts.version, answer.json(), SLOTS.values())

        async with httpx.AsyncClient(base_url=airflow.web, timeout=30, headers=airflow.proof) as client:
            await until(well, airflow)

    asyncio.run(wait())
    return airflow


async def trigger(client: httpx.AsyncClient, environment: Environment, dag: str) -> str:
    async def visible() -> bool:
        return (await client.get(f"/dags/{dag}")).status_code == 200

    await until(visible, environment)
    body = {"logical_date": None} if environment.facts.version.major >= 3 else {}
    answer = await client.post(f"/dags/{dag}/dagRuns", json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["dag_run_id"])


async def log_of(client: httpx.AsyncClient, run: str, task: str) -> str:
    """Airflow 3 answers with a list of events, Airflow 2 with text."""
    answer = await client.get(f"{run}/taskInstances/{task}/logs/1", headers={"Accept": "application/json"})
    assert answer.status_code == 200, answer.text
    content: Any = answer.json()["content"]
    return content if isinstance(content, str) else "\n".join(line["event"] for line in content)


def altered(header: dict[str, str]) -> list[dict[str, str]]:
    """The gateway's word about a Viewer, with something else in it: the role, the end, a character of either half."""
    body, _, signature = header[versions.IDENTITY_HEADER].partition(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    others = []
    for change in ({"roles": ["Admin"]}, {"user": "somebody"}, {"exp": claims["exp"] + 20}):
        text = base64.urlsafe_b64encode(json.dumps({**claims, **change}).encode()).rstrip(b"=").decode()
        others.append(f"{text}.{signature}")
    others += [f"{body}.{signature[:-1]}{'0' if signature[-1] != '0' else '1'}", f"{body}.", body, f"{body}.{body}"]
    return [{**header, versions.IDENTITY_HEADER: other} for other in others]


class TestSigningIn:
    async def login(self, environment: Environment, headers: dict[str, str]) -> httpx.Response:
        async with httpx.AsyncClient(base_url=environment.web, timeout=60, headers=environment.proof) as client:
            return await client.get(environment.facts.version.login_path, headers=headers)

    async def test_the_gateways_word_gives_airflows_own_cookies(self, healthy: Environment) -> None:
        answer = await self.login(healthy, healthy.header("Admin"))
        assert answer.status_code == 302
        assert answer.headers["location"].removeprefix(f"https://{healthy.facts.host}") in ("", "/")
        cookies = {line.partition("=")[0]: line for line in answer.headers.get_list("set-cookie")}
        assert set(cookies) == {healthy.facts.version.cookie, "session"}
        assert all("Secure" in line and "HttpOnly" in line for line in cookies.values())

    async def test_without_it_there_is_a_page_that_says_where_to_go(self, healthy: Environment) -> None:
        answer = await self.login(healthy, {})
        assert (answer.status_code, list(answer.cookies)) == (401, [])
        assert "from the console" in answer.text

    async def test_nobody_else_can_say_it(self, healthy: Environment) -> None:
        for headers in (
            healthy.header("Admin", secret="x" * 43),
            healthy.header("Admin", now=time.time() - 31),
            healthy.header("Admin", environment="fedcba987654"),
            healthy.header("Superuser"),
            *altered(healthy.header("Viewer")),
            {"REMOTE_USER": "admin", "Remote-User": "admin", "X-Remote-User": "admin"},
        ):
            answer = await self.login(healthy, headers)
            assert (answer.status_code, list(answer.cookies)) == (401, [])

    async def test_even_the_gateways_word_is_nothing_without_the_gateway(self, healthy: Environment) -> None:
        version, word = healthy.facts.version, healthy.header("Admin")
        del word[versions.PROOF_HEADER]
        async with await healthy.client("Admin") as signed_in, httpx.AsyncClient(base_url=healthy.web) as client:
            del signed_in.headers[versions.PROOF_HEADER]
            for headers in ({}, word, dict(signed_in.headers), dict(signed_in.headers) | word):
                for path in ("/", version.login_path, version.health_path, f"{version.api_prefix}/dags"):
                    answer = await client.get(path, headers=headers)
                    assert (answer.status_code, list(answer.cookies)) == (401, []), path

    async def test_a_session_alone_gets_no_new_token(self, healthy: Environment) -> None:
        async with httpx.AsyncClient(base_url=healthy.web, timeout=60, headers=healthy.proof) as client:
            path = healthy.facts.version.login_path
            session = (await client.get(path, headers=healthy.header("Admin"))).cookies["session"]
            answer = await client.get(path, headers={"Cookie": f"session={session}"})
        assert answer.status_code == 401
        assert "_token" not in answer.cookies

    async def test_there_are_no_passwords(self, healthy: Environment) -> None:
        await healthy.token("Admin")
        dags = f"{healthy.facts.version.api_prefix}/dags"
        async with httpx.AsyncClient(base_url=healthy.web, timeout=60, headers=healthy.proof) as client:
            for password in ("admin", "x"):
                assert (await client.get(dags, auth=("admin", password))).status_code in (401, 403)
                if healthy.facts.version.bearer:
                    answer = await client.post("/auth/token", json={"username": "admin", "password": password})
                    assert answer.status_code == 401

    @pytest.mark.parametrize(
        ("role", "dags", "variables", "write"),
        [("Admin", 200, 200, 201), ("Op", 200, 200, 201), ("Viewer", 200, 403, 403), ("Public", 403, 403, 403)],
    )
    async def test_roles_are_airflows(
        self, healthy: Environment, role: str, dags: int, variables: int, write: int
    ) -> None:
        async with await healthy.client(role, user=f"some-{role}") as client:
            assert (await client.get("/dags")).status_code == dags
            assert (await client.get("/variables")).status_code == variables
            answer = await client.post("/variables", json={"key": f"made-by-{role}", "value": "a value"})
            assert answer.status_code == (200 if write == 201 and healthy.facts.version.major == 2 else write)

    async def test_a_role_that_was_revoked_is_gone_at_once_and_a_custom_one_stays(self, healthy: Environment) -> None:
        async with await healthy.client("Admin", user="changing") as client:
            assert (await client.get("/variables")).status_code == 200
            roles = {"name": "auditors", "actions": [{"action": {"name": "can_read"}, "resource": {"name": "Pools"}}]}
            fab = healthy.web + ("/auth/fab/v1" if healthy.facts.version.major >= 3 else "/api/v1")
            made = await client.post(f"{fab}/roles", json=roles)
            assert made.status_code == 200, made.text
            who = (await client.get(f"{fab}/users/changing")).json()
            given = {name: who[name] for name in ("username", "email", "first_name", "last_name")}
            given |= {"roles": [{"name": "Admin"}, {"name": "auditors"}]}
            changed = await client.patch(f"{fab}/users/changing", params={"update_mask": "roles"}, json=given)
            assert changed.status_code == 200, changed.text
            await healthy.token("Public", user="changing")
            assert (await client.get("/variables")).status_code == 403
            assert (await client.get("/pools")).status_code == 200


class TestWork:
    async def test_mapped_tasks_run_on_the_worker(self, healthy: Environment) -> None:
        async with await healthy.client("Op") as client:
            run = f"/dags/mapped/dagRuns/{await trigger(client, healthy, 'mapped')}"

            async def ended() -> bool:
                return (await client.get(run)).json()["state"] in ("success", "failed")

            await until(ended, healthy)
            assert (await client.get(run)).json()["state"] == "success", healthy.output()
            tasks = (await client.get(f"{run}/taskInstances")).json()["task_instances"]
            assert [task["state"] for task in tasks] == ["success"] * 10
            assert "the sum is 140" in await log_of(client, run, "add")

    async def test_a_deferred_task_goes_on_and_its_trigger_logs_beside_it(self, healthy: Environment) -> None:
        async with await healthy.client("Op") as client:
            run = f"/dags/deferred/dagRuns/{await trigger(client, healthy, 'deferred')}"

            async def ended() -> bool:
                return (await client.get(run)).json()["state"] in ("success", "failed")

            await until(ended, healthy)
            assert (await client.get(run)).json()["state"] == "success", healthy.output()
            log = await log_of(client, run, "wait")
            assert "going on" in log
            assert "trigger starting" in log

    async def test_the_log_of_a_running_task_can_be_read(self, healthy: Environment) -> None:
        async with await healthy.client("Op") as client:
            run = f"/dags/talks/dagRuns/{await trigger(client, healthy, 'talks')}"
            task = f"{run}/taskInstances/talk"

            async def talking() -> bool:
                if (await client.get(task)).json()["state"] != "running":
                    return False
                return "still talking" in await log_of(client, run, "talk")

            await until(talking, healthy)
            assert "Could not read" not in await log_of(client, run, "talk")
            (healthy.folder / "home" / "enough").touch()

            async def ended() -> bool:
                return (await client.get(task)).json()["state"] == "success"

            await until(ended, healthy)
            assert "still talking" in await log_of(client, run, "talk")


class TestWorkers:
    async def test_answer_under_the_name_we_gave_them(self, healthy: Environment) -> None:
        async def answers() -> bool:
            nodes = [healthy.node, "celery@worker-9-0000"]
            return await ping_workers(healthy.facts.broker_url, healthy.facts.broker_prefix, nodes) == {healthy.node}

        await until(answers, healthy)

    async def test_no_nodes_is_no_question(self) -> None:
        assert await ping_workers("redis://127.0.0.1:1/0", "x:", []) == set()

    async def test_a_broker_that_is_away_is_a_temporary_trouble(self) -> None:
        with pytest.raises(Temporary, match="broker doesn't answer"):
            await ping_workers(f"redis://127.0.0.1:{free_port()}/0", "x:", ["celery@a"])

    async def test_another_environment_can_reach_neither_keys_nor_channels(
        self, healthy: Environment, valkey_url: str
    ) -> None:
        other = make_facts("postgresql://x:y@127.0.0.1:1", valkey_url, "ffffffffffff")
        let_in(other, valkey_url)
        prefix = healthy.facts.broker_prefix
        with redis.Redis.from_url(other.broker_url) as client:
            for command in (
                ("LPUSH", f"{prefix}default", "x"),
                ("BRPOP", f"{prefix}default", "1"),
                ("PUBLISH", f"{prefix}/0.celery.pidbox", "x"),
                ("EVAL", "return redis.call('GET', KEYS[1])", "1", f"{prefix}x"),
                ("EVAL", f"return redis.call('GET', '{prefix}x')", "0"),
                ("KEYS", "*"),
                ("SCAN", "0"),
                ("FLUSHALL",),
                ("CONFIG", "GET", "*"),
                ("CLIENT", "LIST"),
                ("MONITOR",),
                ("ACL", "LIST"),
                ("SHUTDOWN",),
            ):
                with pytest.raises(redis.exceptions.RedisError, match=r"(?i)permission"):
                    client.execute_command(*command)
            client.delete(f"{other.broker_prefix}default")
            assert client.lpush(f"{other.broker_prefix}default", "x") == 1

    async def test_the_broker_refused_them_nothing_that_they_need(self, healthy: Environment, valkey_url: str) -> None:
        with redis.Redis.from_url(valkey_url, decode_responses=True) as admin:
            user = healthy.facts.broker_url.removeprefix("redis://").partition(":")[0]
            refused = [entry for entry in admin.acl_log() if entry["username"] == user]
        assert refused == []

    async def test_nothing_of_the_environment_listens_beyond_loopback(self, healthy: Environment) -> None:
        """Airflow's own log servers would."""
        process = await asyncio.create_subprocess_exec("ss", "-Hltn", stdout=asyncio.subprocess.PIPE)
        listening = (await process.communicate())[0].decode()
        assert f"127.0.0.1:{healthy.web.rpartition(':')[2]} " in listening
        assert not [line for line in listening.splitlines() if ":8793 " in line or ":8794 " in line]

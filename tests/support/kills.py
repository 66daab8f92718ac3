"""An environment under fire: killing what it is made of, seeing it come back, counting what its tasks did.

Works with an environment of either major of Airflow.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import psycopg
import redis
from botocore.exceptions import BotoCoreError, ClientError

from aerodrome.domain.plan import broker_prefix
from aerodrome.domain.versions import get as airflow_version
from aerodrome.domain.versions import worker_node
from aerodrome.errors import Temporary
from aerodrome.machineroom.memory import tree
from aerodrome.observe.workers import ping_workers
from aerodrome.supervision import daemon, processes
from aerodrome.supervision.files import Files
from support.people import proof_of
from support.site import Site, wait_for

DAG = Path(__file__).with_name("kills_dag.py")
PROCESSES = Path("/proc")
TASKS = 20  # of the DAG


def numbers(pid: int) -> list[int]:
    """The pid in each namespace that the process is in, ours first; none when it has ended."""
    try:
        lines = (PROCESSES / str(pid) / "status").read_text().splitlines()
    except OSError:
        return []
    return [int(word) for line in lines if line.startswith("NSpid:") for word in line.split()[1:]]


@dataclass(frozen=True, slots=True)
class Effect:
    """One line that a task wrote."""

    word: str  # begin, end
    index: int
    attempt: int
    pid: int  # as the task itself sees it: in the sandbox a number of its own
    start: int  # clock ticks since boot: with the pid it names a process
    at: float  # seconds since the epoch


@dataclass
class Target:
    """One environment of a site."""

    site: Site
    name: str = "demo"
    times: dict[str, float] = field(default_factory=dict)  # what was killed -> seconds until it was well again

    def __post_init__(self) -> None:
        described = self.site.client("mwaa").get_environment(Name=self.name)["Environment"]
        self.version = airflow_version(described["AirflowVersion"])
        self.major = int(self.version.version.split(".")[0])
        self.bucket = described["SourceBucketArn"].split(":::")[1]
        region = self.site.installation.region
        with psycopg.connect(f"{self.site.installation.postgres_url}/aerodrome") as connection:
            query = "SELECT id FROM environments WHERE name = %s AND region = %s"
            (self.id,) = connection.execute(query, (self.name, region)).fetchone() or ("",)

    # Airflow's API, through the front door.

    def rest(self, method: str, path: str, **members: Any) -> dict[str, Any]:
        answer = self.site.client("mwaa").invoke_rest_api(Name=self.name, Method=method, Path=path, **members)
        return dict(answer["RestApiResponse"])

    def asked(self, path: str, **query: Any) -> dict[str, Any] | None:
        """The answer; None while somebody on the way is dead."""
        try:
            return self.rest("GET", path, **({"QueryParameters": query} if query else {}))
        except (ClientError, BotoCoreError):
            return None

    def upload(self) -> None:
        """Put the DAG into the environment's bucket and wait until Airflow has it. It stays."""
        self.site.client("s3").put_object(Bucket=self.bucket, Key="dags/kills.py", Body=DAG.read_bytes())

        def listed() -> bool:
            dag = self.asked("/dags/kills")
            return dag is not None and (dag["is_stale"] is False if self.major >= 3 else dag["is_active"] is True)

        wait_for("the DAG in Airflow", listed)

    def trigger(self, seconds: float) -> str:
        """Start a run of twenty tasks of that length; its id."""
        run = datetime.now(UTC).strftime("kills-%H%M%S")  # a path of InvokeRestApi has 64 characters at most
        body: dict[str, Any] = {"dag_run_id": run, "conf": {"seconds": seconds, "bucket": self.bucket}}
        if self.major >= 3:
            body["logical_date"] = None
        self.rest("POST", "/dags/kills/dagRuns", Body=body)
        return run

    def run_state(self, run: str) -> str | None:
        return (self.asked(f"/dags/kills/dagRuns/{run}") or {}).get("state")

    def attempts(self, run: str) -> dict[int, int]:
        """Map index -> number of the last try."""
        found = self.rest("GET", f"/dags/kills/dagRuns/{run}/taskInstances", QueryParameters={"limit": 100})
        return {int(ti["map_index"]): int(ti["try_number"]) for ti in found["task_instances"]}

    def states(self, run: str) -> Counter[str]:
        found = self.asked(f"/dags/kills/dagRuns/{run}/taskInstances", limit=100) or {"task_instances": []}
        return Counter(str(ti["state"]) for ti in found["task_instances"])

    # What the tasks did.

    def effects(self, run: str) -> list[Effect]:
        file = self.site.layout.airflow_home(self.id) / "effects" / run
        lines = file.read_text().splitlines() if file.exists() else []
        found = []
        for line in lines:
            word, index, attempt, pid, start, at = line.split()
            found.append(Effect(word, int(index), int(attempt), int(pid), int(start), float(at)))
        return found

    def is_alive(self, effect: Effect) -> bool:
        return self._look(effect) is not None

    def process(self, effect: Effect) -> int:
        """The pid of the task's process, as it is here."""
        found = self._look(effect)
        assert found is not None
        return found.pid

    def parent(self, effect: Effect) -> int:
        """The pid of the process that started the task's."""
        found = self._look(effect)
        assert found is not None
        return found.parent

    @staticmethod
    def _look(effect: Effect) -> processes.Process | None:
        same = (process for process in processes.everybody() if process.start == effect.start)
        return next((process for process in same if numbers(process.pid)[-1:] == [effect.pid]), None)

    def at_work(self, run: str) -> list[Effect]:
        """The beginnings of tasks that have not ended and whose process lives."""
        effects = self.effects(run)
        ended = {(effect.index, effect.attempt) for effect in effects if effect.word == "end"}
        begun = [effect for effect in effects if effect.word == "begin" and (effect.index, effect.attempt) not in ended]
        return [effect for effect in begun if self.is_alive(effect)]

    def counts(self, run: str, word: str) -> Counter[int]:
        return Counter(effect.index for effect in self.effects(run) if effect.word == word)

    def objects(self, run: str) -> int:
        found = self.site.client("s3").list_objects_v2(Bucket=self.bucket, Prefix=f"output/kills/{run}/")
        return int(found["KeyCount"])

    # Killing, and seeing who is well.

    def programs(self, kind: str) -> list[str]:
        """Supervised programs of the environment of that kind (`worker`, say)."""
        pids = self.site.layout.run / "pids"
        return sorted(entry.name for entry in pids.glob(f"{self.id}.{kind}-*") if "~" not in entry.name)

    def program(self, kind: str) -> str:
        """The newest one: another of its kind may still be draining."""
        pids = self.site.layout.run / "pids"
        return max(self.programs(kind), key=lambda name: (pids / name).stat().st_mtime)

    def full_name(self, part: str) -> str:
        """The program's name: of a component of the environment, or of the machine room."""
        return self.program(part) if self.programs(part) else part

    def supervisor_pid(self) -> int | None:
        return daemon.owner(Files.of(self.site.layout))

    def pid(self, program: str) -> int:
        return int((self.site.layout.run / "pids" / program).read_text().split()[0])

    def main_process(self, program: str) -> int:
        """The program's own: in the sandbox it is process 2, below those that build the sandbox."""
        root = self.pid(program)
        return next((pid for pid in tree(root) if numbers(pid)[1:] == [2]), root)

    @property
    def is_confined(self) -> bool:
        return self.main_process(self.program("worker")) != self.pid(self.program("worker"))

    def lives(self, program: str, but: int) -> bool:
        """Whether the program has a process that isn't the one of that pid."""
        try:
            pid = self.pid(program)
        except (FileNotFoundError, IndexError):
            return False
        return pid != but and (PROCESSES / str(pid)).exists()

    def kill(self, program: str, well: Callable[[], Any], patience: float) -> float:
        """`kill -9` of its main process; seconds until it lives again and `well` says so."""
        old = self.pid(program)
        began = time.monotonic()
        os.kill(self.main_process(program), signal.SIGKILL)
        wait_for(f"a new {program}", lambda: self.lives(program, but=old), patience)
        wait_for(f"{program} to be well", well, patience)
        self.times[program.rpartition(".")[2]] = taken = time.monotonic() - began
        return taken

    def beats(self, part: str) -> Callable[[], bool]:
        """Whether the health document says that `part` (scheduler, say) is well by a heartbeat after the first look."""
        since: list[datetime] = []

        def well() -> bool:
            since.append(datetime.now(UTC))
            report = (self.health() or {}).get(part) or {}
            last = report.get(f"latest_{part}_heartbeat")
            return report.get("status") == "healthy" and last is not None and datetime.fromisoformat(last) > since[0]

        return well

    def all_well(self) -> Callable[[], bool]:
        """Whether everything there is, machine room and environment, is well after the first look."""
        parts = [
            part for part in self.version.health_kinds if part != "dag_processor" or self.programs("dag-processor")
        ]
        beats = [self.beats(part) for part in parts]

        def well() -> bool:
            answers = [beat() for beat in beats]  # each of them looks, so that each knows since when
            return all(answers) and self.worker_answers() and self.status() == "AVAILABLE"

        return well

    def health(self) -> dict[str, Any] | None:
        """Airflow's own health document, from the web server itself; None while it doesn't answer."""
        address = self.address()
        if address is None:
            return None
        try:
            url = f"http://{address}{self.version.health_path}"
            answer = httpx.get(url, headers=self.proof, timeout=5, trust_env=False)
            return dict(answer.json()) if answer.status_code == httpx.codes.OK else None
        except (httpx.HTTPError, ValueError):
            return None

    @cached_property
    def proof(self) -> dict[str, str]:
        """What the gateway shows to the web server."""
        return proof_of(self.site, self.id)

    def pool(self) -> list[int]:
        """The processes of the worker that take tasks from its main process."""
        main = self.main_process(self.program("worker"))
        return [process.pid for process in processes.everybody() if process.parent == main]

    def held(self) -> int:
        """How many tasks the broker has handed to the worker and not heard of since."""
        with redis.from_url(self.site.installation.valkey_url) as client:
            return int(client.hlen(f"{broker_prefix(self.id)}unacked"))

    def kill_everything(self, run: str) -> list[Effect]:
        """`kill -9` of all processes of the installation at once; the tasks that were at work."""
        files = Files.of(self.site.layout)
        records = [record for path in files.records.iterdir() if (record := processes.read_record(path))]
        owner = self.supervisor_pid()
        daemon_itself = processes.look(owner) if owner else None
        assert daemon_itself is not None
        everything = [processes.Record(daemon_itself, processes.boot_id()), *records]
        at_work = self.at_work(run)
        processes.kill_tree(everything)
        return at_work

    def address(self) -> str | None:
        book = json.loads((self.site.layout.environments / "ports.json").read_text())
        port = book["slots"].get(self.id, {}).get("webserver-1", {}).get("web")
        return f"127.0.0.1:{port}" if port else None

    def worker_answers(self) -> bool:
        node = worker_node(self.program("worker").partition(".")[2])
        try:
            url = self.site.installation.valkey_url
            return bool(asyncio.run(ping_workers(url, broker_prefix(self.id), [node], timeout=2.0)))
        except Temporary:
            return False

    def status(self) -> str | None:
        try:
            return str(self.site.client("mwaa").get_environment(Name=self.name)["Environment"]["Status"])
        except (ClientError, BotoCoreError):
            return None

    def finish(self, run: str, patience: float) -> float:
        """Wait until the run has ended; seconds. Fails unless it succeeded."""
        began = time.monotonic()
        state = wait_for(
            f"the end of {run}: {self.states(run)}",
            lambda: found if (found := self.run_state(run)) in ("success", "failed") else None,
            patience,
        )
        assert state == "success", f"{run} {state}: {self.states(run)}"
        assert self.objects(run) == TASKS
        return time.monotonic() - began

    def tidy(self) -> None:
        s3 = self.site.client("s3")
        for item in s3.list_objects_v2(Bucket=self.bucket, Prefix="output/kills/").get("Contents", ()):
            s3.delete_object(Bucket=self.bucket, Key=item["Key"])


class Memory:
    """Acknowledged state: S3 objects, IAM users, the environment's record. All of it must be there after any kill."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._written: list[str] = []
        self._record = self._described()

    def _described(self) -> dict[str, Any]:
        return dict(self._target.site.client("mwaa").get_environment(Name=self._target.name)["Environment"])

    def write(self) -> None:
        """A new object and a new user; returns when both are acknowledged."""
        name = f"kept-{secrets.token_hex(4)}"
        site = self._target.site
        site.client("s3").put_object(Bucket=self._target.bucket, Key=f"output/{name}", Body=name.encode())
        site.client("iam").create_user(UserName=name, Tags=[{"Key": "kept", "Value": name}])
        self._written.append(name)

    def readable(self) -> bool:
        """Whether the last object can be read again."""
        try:
            self._read(self._written[-1])
        except (ClientError, BotoCoreError):
            return False
        return True

    def _read(self, name: str) -> None:
        site = self._target.site
        found = site.client("s3").get_object(Bucket=self._target.bucket, Key=f"output/{name}")["Body"].read()
        assert found == name.encode()
        tags = site.client("iam").get_user(UserName=name)["User"]["Tags"]
        assert tags == [{"Key": "kept", "Value": name}]

    def check(self) -> None:
        for name in self._written:
            self._read(name)
        assert self._described() == self._record

    def forget(self) -> None:
        for name in self._written:
            self._target.site.client("s3").delete_object(Bucket=self._target.bucket, Key=f"output/{name}")
            self._target.site.client("iam").delete_user(UserName=name)

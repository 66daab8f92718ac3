"""DAGs that attack, in real environments of both versions that are each other's neighbours, confined where it works."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aerodrome.domain import versions
from aerodrome.layout import Layout
from aerodrome.supervision import sandbox
from support.attacks import SUCCEEDED
from support.site import Demo, wait_for

SUPPORT = Path(__file__).parents[1] / "support"
FILES = ("attacks.py", "attacks_dag.py")
# What a refusal says: an attack that failed for another reason proves nothing.
REFUSALS = {
    "its neighbour's database": "permission denied for database",
    "the control plane's database": "permission denied for database",
    "its neighbour's role": "authentication failed",
    "its neighbour's queue": "NoPermissionError",
    "all keys of the broker": "NoPermissionError",
    "its neighbour's credentials": "HTTP Error 40",
    "code in the embedded cloud": "(400) when calling the CreateFunction",
}
# So that it isn't the role's policy that refuses a function.
MAY_RUN = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["lambda:*", "iam:PassRole"], "Resource": "*"}],
}


@pytest.fixture(scope="module")
def outcome(demo: Demo, demos: Callable[[str], Demo]) -> dict[str, Any]:
    """What came of the attacks of this version's environment on the other one's."""
    return attack(demo, demos(next(number for number in versions.VERSIONS if number != demo.version.version)))


def attack(demo: Demo, neighbour: Demo) -> dict[str, Any]:
    targets = _targets(demo.site.layout, _id(neighbour))
    s3, iam = demo.site.client("s3"), demo.site.client("iam")
    role = {"RoleName": _role(demo).rpartition("/")[2], "PolicyName": "attack"}
    iam.put_role_policy(**role, PolicyDocument=json.dumps(MAY_RUN))
    for name in FILES:
        s3.put_object(Bucket=demo.bucket, Key=f"dags/{name}", Body=(SUPPORT / name).read_bytes())
    try:
        wait_for("the DAG", lambda: _listed(demo))
        run = f"attacks-{int(time.time())}"
        given = {name: list(attack) for name, attack in targets.items()}
        demo.trigger("attacks", run, {"targets": given, "id": _id(neighbour), "role": _role(demo)})
        result = demo.site.layout.airflow_home(_id(demo)) / f"{run}.json"
        wait_for("the end of the attacks", result.exists, 120)
        found: dict[str, Any] = json.loads(result.read_text())
        print(json.dumps(found, indent=1))
        return found
    finally:
        iam.delete_role_policy(**role)
        for name in FILES:
            s3.delete_object(Bucket=demo.bucket, Key=f"dags/{name}")


def _id(demo: Demo) -> str:
    return next(
        entry["id"] for entry in json.loads(demo.site.aerodrome("status", "--json").stdout)["environments"]
        if entry["name"] == demo.name
    )  # fmt: skip


def _size(path: Path) -> int:
    return path.stat().st_size


def _role(demo: Demo) -> str:
    return str(demo.site.client("mwaa").get_environment(Name=demo.name)["Environment"]["ExecutionRoleArn"])


def _listed(demo: Demo) -> bool:
    try:
        return bool(demo.rest("/dags/attacks"))
    except Exception as error:
        if "404" in str(error) or "RestApiClientException" in str(error):
            return False
        raise


def _targets(layout: Layout, neighbour: str) -> dict[str, tuple[str, Any]]:
    record = next((layout.run / "pids").glob(f"{neighbour}.scheduler-*"))
    pid = int(record.read_text().split()[0])
    server = int((layout.run / "pids" / "server").read_text().split()[0])
    options = next(layout.options(neighbour).iterdir())
    paths = {
        "its neighbour's options": options,
        "its neighbour's DAGs": next(layout.dags(neighbour).glob("*.py")),
        "its neighbour's start": layout.run / "launch" / f"{record.name}.env",
        "the master key": layout.master_key,
        "the installation": layout.installation_file,
        "the authority's key": next(path for path in layout.pki.iterdir() if "key" in path.name),
        "the embedded cloud's state": max((path for path in layout.cloud.rglob("*") if path.is_file()), key=_size),
        "the control plane's log": layout.log / "server.log",
    }
    assert all(path.exists() for path in paths.values()), "a target that isn't there is no target"
    return {
        **{name: ("read", str(path)) for name, path in paths.items()},
        "its neighbour's home": ("write", str(layout.airflow_home(neighbour) / "planted")),
        "its neighbour's name": ("find", str(layout.environment(neighbour))),
        "its neighbour's variables": ("environment", pid),
        "its neighbour's life": ("kill", pid),
        "the control plane's life": ("kill", server),
        "the supervisor": ("talk", str(layout.supervisor_socket)),
        "the shim": ("talk", str(layout.cloud_socket)),
        "the control plane's arguments": ("spy", "aerodrome.server"),
    }


def test_no_attack_succeeds(outcome: dict[str, Any]) -> None:
    seen = {"the control plane's arguments"} if sandbox.obstacle() else set[str]()
    assert {name for name, said in outcome.items() if said == SUCCEEDED} == seen
    check_refusals(outcome)


def check_refusals(outcome: dict[str, Any]) -> None:
    for name, words in REFUSALS.items():
        assert any(word in outcome[name] for word in words.split("|")), f"{name}: {outcome[name]}"


@pytest.mark.skipif(sandbox.obstacle() is not None, reason=f"no sandbox here: {sandbox.obstacle()}")
def test_paths_as_mwaa_has_them(outcome: dict[str, Any]) -> None:
    """A DAG that has /usr/local/airflow/dags/… written into it runs as it is."""
    assert outcome["the path that MWAA has"] == "works"
    assert outcome["AIRFLOW_HOME"] == "/usr/local/airflow"

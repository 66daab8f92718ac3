"""Many environments and many clients at once: everybody is served, nobody waits for ever."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from aerodrome.backends.fake import slow
from aerodrome.domain.environment import Status
from aerodrome.reconcile.steps import RUN_STEPS

ASKERS = Path(__file__).parents[2] / "support" / "askers.py"
ENVIRONMENTS, CLIENTS = 20, 200
# There is nothing to do in these for an environment of DAGs alone, whose endpoints are the service's.
IDLE = {"unpack_plugins", "run_startup_script", "install_requirements", "await_endpoints", "remove_unused"}
NAMES = [f"env-{number:02}" for number in range(ENVIRONMENTS)]
REGION = "eu-west-1"
GIVEN: dict[str, Any] = {
    "ExecutionRoleArn": "arn:aws:iam::100000000001:role/mwaa",
    "SourceBucketArn": "arn:aws:s3:::good",
    "DagS3Path": "dags/",
    "NetworkConfiguration": {"SubnetIds": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]},
}


def client(url: str) -> Any:
    config = Config(inject_host_prefix=False, retries={"total_max_attempts": 1}, max_pool_connections=ENVIRONMENTS)
    return boto3.Session(aws_access_key_id="admin", aws_secret_access_key="secret").client(
        "mwaa", region_name=REGION, endpoint_url=url, config=config
    )


async def create_all(plane: Any) -> None:
    """Through one boto3 client, in as many threads: the requests come in one moment."""
    mwaa = client(plane.url)
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(ENVIRONMENTS) as threads:  # not the loop's own: the server needs those
        calls = [partial(mwaa.create_environment, Name=name, **GIVEN) for name in NAMES]
        made = await asyncio.gather(*(loop.run_in_executor(threads, call) for call in calls))
    assert [each["Arn"].rpartition("/")[2] for each in made] == NAMES


async def all_available(plane: Any, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while {row.status for row in await plane.store.all()} != {Status.AVAILABLE}:
            await asyncio.to_thread(time.sleep, 0.2)  # the loop's own tasks have no event for it


@asynccontextmanager
async def crowd(url: str, clients: int) -> AsyncIterator[list[Any]]:
    """That many clients in a process of their own, while the block runs; then what they have to say."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(ASKERS), url, str(clients), REGION, *NAMES, stdin=PIPE, stdout=PIPE
    )
    said: list[Any] = []
    try:
        yield said
        output, _ = await asyncio.wait_for(process.communicate(b""), 60)
        said.append(json.loads(output))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def history(plane: Any, name: str) -> list[Any]:
    request = AWSRequest("GET", f"{plane.url}/_aerodrome/environments/{name}/events")
    SigV4Auth(Credentials("admin", "secret"), "airflow", REGION).add_auth(request)
    async with httpx.AsyncClient(trust_env=False) as asking:
        answer = await asking.get(request.url, headers=dict(request.headers))
    assert answer.status_code == 200
    events: list[Any] = answer.json()["Events"]
    return events


def in_order(events: list[Any]) -> None:
    """The history of one create, as the reconciler lived through it."""
    kinds = [event["Type"] for event in events]
    assert kinds[0] == "create.requested"
    assert kinds.count("status.changed") == 1
    assert events[kinds.index("status.changed")]["Data"] == {"from": "CREATING", "to": "AVAILABLE"}
    ids, times = [event["Id"] for event in events], [event["At"] for event in events]
    assert ids == sorted(ids)
    assert times == sorted(times)
    finished = [event["Data"]["step"] for event in events if event["Type"] == "step.finished"]
    steps = {step.name: step.needs for step in RUN_STEPS if step.name not in IDLE}
    assert sorted(finished) == sorted(steps)
    for name, needs in steps.items():
        assert all(finished.index(need) < finished.index(name) for need in needs if need in steps)


def longest_wait(looks: list[str]) -> int:
    """The most looks at others between two looks at the same environment, while it was being made."""
    last: dict[str, int] = {}
    longest = 0
    for place, environment_id in enumerate(looks):
        longest = max(longest, place - last.get(environment_id, place))
        last[environment_id] = place
    return longest


@pytest.mark.parametrize("clients", [0, CLIENTS], ids=["alone", "among 200 clients"])
async def test_twenty_environments_at_once(plane: Any, clients: int) -> None:
    plane.world.backend.mode.update({"build": slow(4), "template": slow(2), "webserver": slow(5), "worker": slow(3)})
    await create_all(plane)
    async with crowd(plane.url, clients) as said:
        await all_available(plane, 120)
        looks, answers = list(plane.looks), plane.answers
    [result] = said
    assert result["wrong"] == []
    assert len([rounds for rounds in result["answered"] if rounds >= 3]) == clients
    for name in NAMES:
        in_order(await history(plane, name))
    each = Counter(looks)
    print(f"looks: {sorted(each.values())}, longest wait: {longest_wait(looks)}, answers meanwhile: {answers}")
    assert len(each) == ENVIRONMENTS
    assert max(each.values()) <= 40
    assert longest_wait(looks) <= 5 * ENVIRONMENTS
    # It gets its share: without turns for calls it is one look in 200 answers, with them one in 10 to 20.
    assert answers / len(looks) <= 60

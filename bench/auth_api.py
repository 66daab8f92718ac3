"""The API's part: how long it takes to verify a request's signature and to ask the caller's policies.

Both sides get the same requests, signed by botocore, and the same twenty statements with conditions, of which the last
one allows. Each runs in a process of its own, on its own interpreter, and they take turns. What is measured is what
runs for a request whose key is known; how long a key that isn't remembered takes is a figure of its own.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from aerodrome.aws.cloud import CloudSocket
from aerodrome.domain.policy import authorise, request_context
from aerodrome.domain.principal import AccessKey, Principal, PrincipalReference
from aerodrome.identity import Verifier
from bench.managed import installation
from bench.measure import Figure, Samples, Target
from support.site import Site

PEER = "ministack"
ACCOUNT, REGION, KEY, SECRET = "100000000001", "eu-west-1", "AKIABENCH00000000001", "bench/secret"
REQUESTS = 2000  # in a round, each signed for itself
MOST = Target("most", 2.0)  # ms at the median, of both together
_CENTILES = {"p50": 50, "p99": 99}
_NOTE = (
    "The same requests (GetEnvironment, signed by botocore), the same twenty statements with conditions, none of which"
    " can be decided ahead. Both sides verify the whole signature and evaluate every statement; ours also checks that"
    " what must be signed is signed. HTTP, routing and the store are not in it."
)


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of each request."""

    verified: Sequence[float]
    authorised: Sequence[float]

    def both(self) -> list[float]:
        return [sum(pair) for pair in zip(self.verified, self.authorised, strict=True)]


def statements() -> list[dict[str, Any]]:
    """Of teams that aren't the caller's, then its own."""
    return [
        {
            "Effect": "Allow",
            "Action": ["airflow:Get*", "airflow:Create*Token"],
            "Resource": f"arn:aws:airflow:*:{ACCOUNT}:environment/*",
            "Condition": {
                "StringEquals": {"aws:ResourceTag/team": f"team-{number}"},
                "IpAddress": {"aws:SourceIp": "127.0.0.0/8"},
                "DateGreaterThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"},
            },
        }
        for number in range(20)
    ]


def signed(number: int) -> dict[str, Any]:
    path = f"/environments/bench-{number:06}"
    request = AWSRequest("GET", f"http://localhost:4610{path}")
    SigV4Auth(Credentials(KEY, SECRET), "airflow", REGION).add_auth(request)
    headers = {name.lower(): str(value) for name, value in request.headers.items()}
    return {"path": path, "headers": {**headers, "host": "localhost:4610", "accept": "*/*"}}


def measure(rounds: int) -> tuple[list[Figure], list[str]]:
    with installation() as site:
        site.aerodrome("up", "--detach")
        python = max(site.layout.machine.glob("cloud-*/venv/bin/python"), key=lambda path: path.lstat().st_mtime)
        pairs, lookups = [], []
        for _ in range(rounds):
            requests = [signed(number) for number in range(REQUESTS)]
            pairs.append((asyncio.run(_ours(requests)), _theirs(python, requests)))
            lookups.append(asyncio.run(_lookups(site)))
    kinds: dict[str, Callable[[Times], Sequence[float]]] = {
        "signature": lambda times: times.verified,
        "policies": lambda times: times.authorised,
        "both": Times.both,
    }
    figures = []
    for kind, seconds in kinds.items():
        for name, centile in _CENTILES.items():
            mine, other = (Samples([_centile(seconds(pair[side]), centile) for pair in pairs]) for side in (0, 1))
            target = MOST if (kind, name) == ("both", "p50") else None
            figures.append(Figure(f"API, {kind}: {name}", "ms", mine, other, target))
    for name, centile in _CENTILES.items():
        found = Samples([_centile(times, centile) for times in lookups])
        figures.append(Figure(f"API, a key that isn't remembered: {name}", "ms", found, beside="once in 2 s and key"))
    return figures, [_NOTE]


async def _ours(requests: Sequence[dict[str, Any]]) -> Times:
    policy = {"Version": "2012-10-17", "Statement": statements()}
    user = f"arn:aws:iam::{ACCOUNT}:user/bench"
    reference = PrincipalReference(KEY, user, "AIDABENCH", user, "AIDABENCH")
    principal = Principal(user, ACCOUNT, "aws", "AIDABENCH", (policy,), reference=reference)
    verifier = Verifier(_Known(AccessKey(KEY, SECRET, principal=principal)), lambda: datetime.now(UTC))
    verified, authorised = [], []
    for request in requests:
        headers = [(name.encode(), value.encode()) for name, value in request["headers"].items()]
        path = request["path"].encode()
        arn = f"arn:aws:airflow:{REGION}:{ACCOUNT}:environment/{request['path'].rpartition('/')[2]}"
        started = time.perf_counter()
        caller = await verifier.verify("GET", path, b"", headers, b"")
        between = time.perf_counter()
        keys = request_context(now=datetime.now(UTC), region=caller.region, source_ip="127.0.0.1", secure=False)
        authorise(caller.principal, "airflow:GetEnvironment", arn, {**keys, "aws:ResourceTag/team": "team-19"})
        ended = time.perf_counter()
        verified.append(between - started)
        authorised.append(ended - between)
    return Times(verified, authorised)


class _Known:
    """A `PrincipalSource` that remembers."""

    def __init__(self, key: AccessKey) -> None:
        self._key = key

    async def resolve(self, key_id: str, session_token: str | None) -> AccessKey | None:
        return self._key if key_id == self._key.key_id else None

    async def principal_of(self, reference: PrincipalReference) -> Principal | None:
        return self._key.principal if reference.access_key_id == self._key.key_id else None


def _theirs(python: Path, requests: Sequence[dict[str, Any]]) -> Times:
    """ministack's own functions, as its request path calls them, in its own virtual environment."""
    given = {"account": ACCOUNT, "region": REGION, "secret": SECRET, "statements": statements(), "requests": requests}
    program = Path(__file__).with_name("auth_ministack.py")
    done = subprocess.run(
        [python, "-I", program], input=json.dumps(given), capture_output=True, text=True, check=True, timeout=300
    )
    return Times(**json.loads(done.stdout))


async def _lookups(site: Site, count: int = 200) -> list[float]:
    cloud = CloudSocket(site.layout.cloud_socket, cache_seconds=0)
    times = []
    for _ in range(count):
        started = time.perf_counter()
        if await cloud.resolve(site.installation.admin_access_key, None) is None:
            raise RuntimeError("the embedded cloud doesn't know its administrator: there is nothing to measure")
        times.append(time.perf_counter() - started)
    return times


def _centile(seconds: Sequence[float], number: int) -> float:
    return statistics.quantiles(seconds, n=100)[number - 1] * 1000

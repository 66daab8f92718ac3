"""What the gateway adds to a request: through it, beside the very same request at Airflow's own port.

A session asks Airflow for its version, its cheapest answer. Both ways take turns, fifty
requests at a time, each on one connection that is kept; through the gateway with TLS, as everybody comes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import ssl
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httptools
import httpx
import uvloop

from aerodrome.domain import versions
from aerodrome.machineroom import shell
from bench.managed import cold, installation
from bench.measure import Figure, Report, Samples, Target
from support import traces
from support.people import browser, port_of, proof_of, trust
from support.site import Demo, Site

MOST = 3.0  # ms that the gateway may add at the median
SLICE, SLICES = 50, 8
_WARM_UP = 20
_PATH = "/version"  # below the API's prefix


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round instead of the median of five")
    parser.add_argument("--home", type=Path, help="an installation that is up, with the environment `demo`")
    parser.add_argument("--out", type=Path, default=Path("bench-results"), help="folder for the JSON")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rounds = 1 if arguments.quick else 5
    report = Report("The gateway, per request", "Airflow's port", rounds)
    report.figures, report.notes = measure(rounds, home=arguments.home)
    report.print()
    (arguments.out / "auth_gateway.json").write_text(json.dumps(report.document(), indent=2) + "\n")


def measure(rounds: int, *, home: Path | None = None) -> tuple[list[Figure], list[str]]:
    """Figures and notes; of an installation made for it, unless `home` names one. The peer is Airflow's own port."""
    os.environ["AWS_DISABLE_HOST_PREFIX_INJECTION"] = "true"  # `env.127.0.0.1` is no name
    if home is not None:
        site = Site(home)
        site.variables = shell.variables(site.layout, site.installation)
        return _measure(site, rounds)
    with installation() as site:
        cold(site, versions.DEFAULT_VERSION)
        return _measure(site, rounds)


def _measure(site: Site, rounds: int) -> tuple[list[Figure], list[str]]:
    demo = Demo(site, "demo", versions.get(versions.DEFAULT_VERSION), "")
    token = site.client("mwaa").create_web_login_token(Name=demo.name)["WebToken"]
    with browser(demo) as client:
        answer = client.post(f"{demo.version.sso_prefix}/login", data={"token": token})
        session = answer.raise_for_status().cookies[demo.version.cookie]
    host, port = demo.host.partition(":")[0], port_of(demo)
    path = demo.version.api_prefix + _PATH
    shown = {"Authorization": f"Bearer {session}", "Host": demo.host}
    gateway = _Way(host, int(demo.host.partition(":")[2] or 443), trust(site), path, shown)
    direct = _Way("127.0.0.1", port, None, path, {**shown, **proof_of(site, traces.id_of(site, demo.name))})
    _alike(direct, path, port)
    pairs = [uvloop.run(_round(gateway, direct)) for _ in range(rounds)]
    figures = []
    for place, label in enumerate(("p50", "p99")):
        ours, theirs = (Samples([pair[way][place] for pair in pairs]) for way in (0, 1))
        figures.append(Figure(f"Gateway: {label}", "ms", ours, theirs))
    added = Samples([pair[0][0] - pair[1][0] for pair in pairs])
    figures.append(Figure("Gateway: added at the median", "ms", added, target=Target("most", MOST)))
    return figures, ["Gateway: with TLS and a session; the peer is the same request at Airflow's own port."]


def _alike(direct: _Way, path: str, port: int) -> None:
    """Raises:
    RuntimeError: Airflow's port answers without the proof, or not with it: there is nothing to compare.
    """
    url = f"http://127.0.0.1:{port}{path}"
    statuses = [httpx.get(url, headers=each, trust_env=False).status_code for each in (direct.headers, {})]
    if statuses != [200, 401]:
        raise RuntimeError(f"Airflow's own port answers {statuses} with and without the gateway's proof")


@dataclass(slots=True)
class _Way:
    """One way to the same answer."""

    address: str
    port: int
    tls: ssl.SSLContext | None
    path: str
    headers: Mapping[str, str]

    @property
    def request(self) -> bytes:
        lines = [f"GET {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in self.headers.items())]
        return "\r\n".join([*lines, "", ""]).encode()


async def _round(*ways: _Way) -> list[tuple[float, float]]:
    """(p50, p99) in ms of each way."""
    clients = [await _connect(way) for way in ways]
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(SLICES):
        for way, client, taken in zip(ways, clients, times, strict=True):
            taken += [await client.exchange(way.request) for _ in range(SLICE)]
    for client in clients:
        client.transport.close()
    await asyncio.sleep(0.1)
    return [(statistics.median(each) * 1000, statistics.quantiles(each, n=100)[98] * 1000) for each in times]


async def _connect(way: _Way) -> _Client:
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(_Client, way.address, way.port, ssl=way.tls)
    for _ in range(_WARM_UP):
        await client.exchange(way.request)
    return client


class _Client(asyncio.Protocol):
    """One connection, one request at a time; seconds from the write to the answer's last byte."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._waiting: asyncio.Future[float] | None = None
        self._started = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        taken = time.perf_counter() - self._started
        if self._waiting is None or self._waiting.done():
            return
        if self._parser.get_status_code() == 200:
            self._waiting.set_result(taken)
        else:
            self._waiting.set_exception(RuntimeError(f"answer {self._parser.get_status_code()}"))

    async def exchange(self, request: bytes) -> float:
        self._waiting = asyncio.get_running_loop().create_future()
        self._started = time.perf_counter()
        self.transport.write(request)
        return await self._waiting


if __name__ == "__main__":
    main()

"""How long a command of Airflow takes at `POST /aws_mwaa/cli`, beside `airflow` started for it in the same runtime.

Both run as the environment's user with its configuration, in turns; what they say and their exit codes are compared.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import shlex
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from aerodrome.domain.versions import VERSIONS
from aerodrome.gateway.hosts import split_host
from bench import managed
from bench.measure import Figure, Report, Samples, megabytes
from bench.plot import plot
from support.site import Site

AT_ONCE = 8
_NUMBERS = count()


def commands(version: str) -> Mapping[str, Callable[[], str]]:
    """What is measured, by name; each time with a run of its own."""
    # Airflow 2 dates runs to the second, and of each second it takes one.
    apart = " --no-replace-microseconds" if version.startswith("2.") else ""
    return {
        "version": lambda: "version",
        "dags list": lambda: "dags list --output json",
        "dags trigger": lambda: f"dags trigger hello --run-id bench-{next(_NUMBERS)} --output json{apart}",
        "variables get": lambda: "variables get bench",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="each command three times instead of ten")
    parser.add_argument("--versions", default=",".join(VERSIONS), help="versions of Airflow, with commas between")
    parser.add_argument("--out", type=Path, default=Path("bench-results"), help="folder for the JSON and the plot")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    os.environ["AWS_DISABLE_HOST_PREFIX_INJECTION"] = "true"
    for version in arguments.versions.split(","):
        report = _measure(version, 3 if arguments.quick else 10)
        report.print()
        (arguments.out / f"cli-{version}.json").write_text(json.dumps(report.document(), indent=2) + "\n")
        plot(report, arguments.out / f"cli-{version}.png")


@dataclass(frozen=True, slots=True)
class _Bridge:
    """`POST /aws_mwaa/cli`, a new connection for each command, as MWAA's clients do. Tokens aren't timed."""

    site: Site
    trust: ssl.SSLContext

    def token(self) -> Mapping[str, str]:
        """Good for sixty seconds."""
        made: Mapping[str, str] = self.site.client("mwaa").create_cli_token(Name="demo")
        return made

    def run(self, line: str, token: Mapping[str, str] | None = None) -> tuple[float, str]:
        """Seconds, and what it printed."""
        token = token or self.token()
        host = token["WebServerHostname"]
        way, extensions = host, {}
        if self.site.installation.web_host == "name" and (parts := split_host(host)) is not None:
            way, extensions = f"127.0.0.1:{parts[1]}", {"sni_hostname": parts[0]}
        headers = {"Host": host, "Authorization": f"Bearer {token['CliToken']}", "Content-Type": "text/plain"}
        url = f"https://{way}/aws_mwaa/cli"
        began = time.monotonic()
        with httpx.Client(verify=self.trust, trust_env=False, timeout=120) as http:
            answer = http.post(url, headers=headers, content=line, extensions=extensions)
        took = time.monotonic() - began
        if answer.status_code != 200:
            raise RuntimeError(f"{line}: {answer.status_code} {base64.b64decode(answer.json()['stderr']).decode()}")
        return took, base64.b64decode(answer.json()["stdout"]).decode()


@dataclass(frozen=True, slots=True)
class _Cold:
    """`airflow` of the environment's own runtime, with the variables and the user of its scheduler."""

    program: Path
    pid: int

    def run(self, line: str) -> tuple[float, str]:
        """Seconds, and what it printed."""
        proc = Path(f"/proc/{self.pid}")
        pairs = (pair.partition("=") for pair in (proc / "environ").read_text().split("\0") if pair)
        variables = {name: value for name, _, value in pairs}
        owner = proc.stat()
        began = time.monotonic()
        done = subprocess.run(
            [str(self.program), *shlex.split(line)],
            env={**variables, "AIRFLOW_CONFIG": os.devnull},  # as ours: no file, variables alone
            cwd=variables["AIRFLOW_HOME"],
            user=owner.st_uid,
            group=owner.st_gid,
            extra_groups=[],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
        return time.monotonic() - began, done.stdout


def _measure(version: str, rounds: int) -> Report:
    report = Report(f"Airflow {version}: a command of its CLI", "cold airflow", rounds)
    with managed.installation() as site:
        managed.cold(site, version)
        status = json.loads(site.aerodrome("status", "--json").stdout)
        scheduler = next(row["pid"] for row in status["programs"] if row["name"].startswith("scheduler-"))
        bridge = _Bridge(site, ssl.create_default_context(cafile=str(site.layout.ca_bundle)))
        cold = _Cold(managed.runtime(site, version).parent / "airflow", scheduler)
        first, _ = bridge.run("variables set bench 1")
        bridge.run("dags pause hello")  # its runs wait, and take no time from what is measured
        report.figures.append(Figure("the first command, which starts the warm process", "ms", _ms([first])))
        for name, line in commands(version).items():
            report.figures += _figures(name, line, bridge, cold, rounds)
        warm = next(_warm_processes())
        report.figures.append(Figure("memory of the warm process", "MB", Samples([megabytes([warm])])))
    return report


def _figures(name: str, line: Callable[[], str], bridge: _Bridge, cold: _Cold, rounds: int) -> Iterator[Figure]:
    mine, theirs = [], []
    for _ in range(rounds):
        mine.append(bridge.run(line()))
        theirs.append(cold.run(line()))
    if "trigger" not in name and _plain(mine[0][1]) != _plain(theirs[0][1]):
        raise RuntimeError(f"{name}: the bridge says {mine[0][1]!r}, airflow itself {theirs[0][1]!r}")
    yield Figure(name, "ms", _ms(took for took, _ in mine), _ms(took for took, _ in theirs))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        mine = list(pool.map(bridge.run, [line() for _ in range(AT_ONCE)], [bridge.token()] * AT_ONCE))
        theirs = list(pool.map(cold.run, [line() for _ in range(AT_ONCE)]))
    yield Figure(f"{name}, {AT_ONCE} at once", "ms", _ms(took for took, _ in mine), _ms(took for took, _ in theirs))


_WARNING = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+Z \[warning .*?\[py\.warnings\][^\n]*\n", re.DOTALL | re.MULTILINE)


def _plain(printed: str) -> str:
    """Without the warnings of Airflow's own imports: the warm process had them once, in the control plane's log."""
    return _WARNING.sub("", printed)


def _ms(seconds: Any) -> Samples:
    return Samples([each * 1000 for each in seconds])


def _warm_processes() -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and b"aerodrome_airflow.warm" in (entry / "cmdline").read_bytes():
            yield int(entry.name)


if __name__ == "__main__":
    main()

"""An update that adds one small package to a running environment: how long, and where the time goes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.managed import events
from bench.measure import until
from support.site import Site

_KEY = "requirements.txt"
# Small ones, pure Python. Each round takes another one: what an environment had before is kept for two minutes.
_PACKAGES = ("cowsay==6.1", "cowsay==6.0", "pyfiglet==1.0.2", "emoji==2.14.1", "boltons==25.0.0")


@dataclass(slots=True)
class Updates:
    """Seconds, once a round; `phases` are parts of `whole`, the rest of which is how components are replaced."""

    whole: list[float] = field(default_factory=list)
    phases: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


def measure(site: Site, name: str, rounds: int) -> Updates:
    """The runtime that they are added to is there; each package is a small download."""
    found = Updates()
    for line in _PACKAGES[:rounds]:
        site.client("s3").put_object(Bucket=site.bucket_of(name), Key=_KEY, Body=f"{line}\n".encode())
        seen = len(events(site, name))
        took = _update(site.client("mwaa"), name, _KEY)
        phases = _phases(events(site, name)[seen:])
        found.whole.append(took)
        for phase, seconds in phases.items():
            found.phases[phase].append(seconds)
        found.phases["replace components"].append(took - sum(phases.values()))
    _update(site.client("mwaa"), name, "")
    return found


def _update(mwaa: Any, name: str, path: str) -> float:
    started = time.monotonic()
    mwaa.update_environment(Name=name, RequirementsS3Path=path)
    until("AVAILABLE", lambda: mwaa.get_environment(Name=name)["Environment"]["Status"] == "AVAILABLE")
    return time.monotonic() - started


def _phases(told: Sequence[Mapping[str, Any]]) -> Mapping[str, float]:
    """As the environment's history tells them."""
    (made,) = (event for event in told if event["Type"] == "object.made")
    return {phase: float(seconds) for phase, seconds in made["Data"]["phases"].items()}

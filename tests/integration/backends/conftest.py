from __future__ import annotations

import asyncio
import pwd
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from aerodrome.backends.local import LocalBackend
from aerodrome.domain.component import Component, ComponentKind
from aerodrome.layout import Layout
from aerodrome.supervision import Supervisor
from support.backend_contract import Observed
from support.supervised import supervised_home

SCRIPTS = {
    "serves": "trap 'exit 0' TERM; echo serving; while :; do sleep 0.2 & wait $!; done",
    # Finishes two seconds after it was asked to stop, and says how often it was.
    "drains": (
        "n=0; end=; trap 'n=$((n+1)); [ -n \"$end\" ] || end=$(($(date +%s) + 2))' TERM; echo draining-ready\n"
        "while :; do sleep 0.1 & wait $!\n"
        '[ -z "$end" ] || [ "$(date +%s)" -lt "$end" ] || { echo "signals: $n"; exit 0; }; done'
    ),
    "lingers": "trap '' TERM; echo lingering; while :; do sleep 0.2; done",
    "dies": "echo no such table; exit 3",
    "succeeds": 'echo working; echo run >> "$HOME/runs"',
    "fails": "echo no such table >&2; exit 3",
    "hangs": "exec sleep 1000",
    "echoes": "exec cat",
    "shows": 'id -u; umask; pwd; env | sort; cat /proc/$$/cmdline; readlink "/proc/$$/exe"',
    # Leaves a grandchild in a session of its own, whose parent is dead and which ignores every polite signal.
    "forks": (
        'setsid sh -c \'trap "" TERM; echo $$ > "$HOME/grandchild"; while :; do sleep 1; done\' & '
        "(setsid sh -c 'echo $$ > \"$HOME/orphan\"; exec sleep 1000' &) ; while :; do sleep 0.2 & wait $!; done"
    ),
    "floods": "head -c 11000000 /dev/zero; echo end >&2",
    "reads": 'cat "$@"',
    "looks": 'while :; do cat "$1" > "$HOME/seen.new" && mv "$HOME/seen.new" "$HOME/seen"; sleep 0.1; done',
}


@dataclass
class LocalHarness:
    layout: Layout
    supervisor: Supervisor
    installation_id: str = field(default_factory=lambda: secrets.token_hex(3))
    one: str = field(default_factory=lambda: secrets.token_hex(6))
    two: str = field(default_factory=lambda: secrets.token_hex(6))

    def __post_init__(self) -> None:
        self.backend = LocalBackend(self.layout, self.supervisor, self.installation_id, shared={"SHARED": "by all"})
        programs = self.layout.runtime("r1") / "bin"
        programs.mkdir(parents=True)
        for name, text in SCRIPTS.items():
            script = programs / name
            script.write_text(f"#!/bin/sh\n{text}\n")
            script.chmod(0o755)
        for directory in (self.layout.runtimes, programs.parent, programs):
            directory.chmod(0o755)

    def component(
        self, behaviour: str, name: str, kind: ComponentKind = ComponentKind.SCHEDULER, **members: Any
    ) -> Component:
        """See `support.backend_contract.Harness`."""
        given: dict[str, object] = {
            "command": (behaviour,),
            "ports": ("web",) if kind is ComponentKind.WEB_SERVER else (),
            "grace": 30,
        }
        slot = name.rpartition("-")[0] or name
        given |= {"name": name, "slot": slot, "kind": kind, "runtime": "r1"}
        return Component(**(given | members))  # type: ignore[arg-type]

    async def until(self, environment_id: str, met: Callable[[Observed], bool], seconds: float = 40) -> Observed:
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            observed = await self.backend.observe(environment_id)
            if met(observed):
                return observed
            assert asyncio.get_running_loop().time() < deadline, f"not so after {seconds} s: {observed}"
            await asyncio.sleep(0.1)


@pytest.fixture
async def harness() -> AsyncIterator[LocalHarness]:
    async with supervised_home() as (layout, supervisor):
        made = LocalHarness(layout, supervisor)
        try:
            yield made
        finally:
            await made.backend.close()
            await supervisor.start_daemon()
            for environment in (made.one, made.two):
                for name in await made.backend.observe(environment):
                    await made.backend.remove(environment, name, force=True)
                await made.backend.forget(environment)
            left = [
                entry.pw_name for entry in pwd.getpwall() if entry.pw_name.startswith(f"aero{made.installation_id}")
            ]
            assert not left, "a test left system users behind"

"""Waiting until a program does its work, or until it is plain that it never will."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import httpx

from aerodrome.errors import AerodromeError, Permanent, Temporary
from aerodrome.machineroom.listening import listens
from aerodrome.machineroom.ports import problem
from aerodrome.supervision import Program, ProgramPhase, Supervisor

_LOOK = 0.1  # seconds
_STARTS = 2  # that failed while we watched, besides the first: the next one will too
_TAIL = 20  # lines of its log
_TAIL_BYTES = 16_384
_DOWN = (ProgramPhase.BACKOFF, ProgramPhase.EXITED, ProgramPhase.FATAL)

Check = Callable[[], Awaitable[None]]  # raises Temporary until the program answers


class PortLost(Permanent):
    """Another process got the port between our choice and our program's start; choosing again mends it."""

    def __init__(self, program: str, what: str, port: int) -> None:
        super().__init__(f"Another process took port {port} from {what}. Run `aerodrome up` again.")
        self.program = program


async def until_healthy(
    supervisor: Supervisor, program: Program, what: str, check: Check, *, port: int, patience: float
) -> None:
    """Return when `check` passes and it is our program that listens on `port`. `patience` is in seconds.

    Raises:
        PortLost: another process listens there.
        Permanent: the program ends again and again, or `check` doesn't pass within `patience` (with its last log
            lines); or another command stopped it.
    """
    began = time.monotonic()
    starts_before: int | None = None
    while True:
        failure = await _failure_of(check)
        state = (await supervisor.states()).get(program.name)
        if state is None or state.leaving or state.phase is ProgramPhase.STOPPED:
            raise Permanent(f"{what} was stopped by another command. Run `aerodrome up` again.")
        ours = state.pid is not None and await asyncio.to_thread(listens, state.pid, port)
        if ours and failure is None:
            return
        if ours and isinstance(failure, Permanent):
            raise failure
        starts_before = state.starts if starts_before is None else starts_before
        if state.phase in _DOWN and state.starts - starts_before >= _STARTS:
            if await asyncio.to_thread(problem, port, ["127.0.0.1"]):
                raise PortLost(program.name, what, port)
            raise _failure(program, f"{what} doesn't start")
        if time.monotonic() - began > patience:
            raise _failure(program, f"{what} isn't ready after {patience:.0f} s ({failure})")
        await asyncio.sleep(_LOOK)


async def _failure_of(check: Check) -> AerodromeError | None:
    """A `Permanent` may come from a stranger on our port: who listens decides what it means."""
    try:
        await check()
    except (Temporary, Permanent) as error:
        return error
    return None


async def once(check: Check, *, patience: float) -> None:
    """Return when `check` of a server that isn't ours passes.

    Raises:
        Temporary: it didn't within `patience` seconds.
    """
    began = time.monotonic()
    while True:
        try:
            return await check()
        except Temporary:
            if time.monotonic() - began > patience:
                raise
        await asyncio.sleep(_LOOK)


def http_check(url: str) -> Check:
    """Passes when the URL answers 200. Never through a proxy: it is on this machine."""

    async def check() -> None:
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
                status = (await client.get(url)).status_code
        except httpx.HTTPError as error:
            raise Temporary(f"{url} doesn't answer: {error}", 0.1) from None
        if status != httpx.codes.OK:
            raise Temporary(f"{url} answers {status}", 0.1)

    return check


def tail(program: Program) -> list[str]:
    """The last lines of the program's log that aren't empty."""
    try:
        with program.log_path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-_TAIL:]


def _failure(program: Program, what: str) -> Permanent:
    lines = tail(program)
    last = f": {lines[-1]}" if lines else "."
    return Permanent(f"{what}{last} Its log: {program.log_path}", "\n".join(lines))

"""Starting the machine room: everything an installation runs besides environments. Safe to run again after anything."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from aerodrome import pki
from aerodrome.errors import Temporary
from aerodrome.layout import Layout
from aerodrome.machineroom import (
    administrator,
    cloud,
    control,
    draining,
    guard,
    home,
    keys,
    postgres,
    prepare,
    programs,
    users,
    valkey,
)
from aerodrome.machineroom.installation import Installation, load
from aerodrome.machineroom.living import living_programs
from aerodrome.machineroom.lock import only_us
from aerodrome.machineroom.prepare import Wanted
from aerodrome.machineroom.progress import Progress, timed
from aerodrome.machineroom.waiting import Check, PortLost, http_check, once, until_healthy
from aerodrome.supervision import Program, ProgramPhase, Supervisor, end_leftovers, leftovers, read_on
from aerodrome.threads import to_its_end

_RECOVERY = 600.0  # seconds that a server may take to recover its data after a crash
_PORT_ATTEMPTS = 3  # when another installation starts in the same second
_PATIENCE = 90.0  # seconds for everything else
_LOOK = 0.1
# supervisord starts it again within seconds, or has just done so: whether it keeps its port is yet to be seen
_RESTLESS = {ProgramPhase.BACKOFF, ProgramPhase.EXITED, ProgramPhase.STARTING}
_PORT_OF = {
    postgres.NAME: ("postgres_port",),
    valkey.NAME: ("valkey_port",),
    cloud.NAME: ("cloud_port",),
    control.NAME: ("front_port", "gateway_port", "private_port"),
}


@dataclass(frozen=True, slots=True)
class Up:
    """What `up` found and made."""

    installation: Installation
    was_running: bool  # the control plane ran before: somebody else follows its log


@dataclass(frozen=True, slots=True)
class _Room:
    """What the steps of one `up` share."""

    layout: Layout
    installation: Installation
    supervisor: Supervisor
    owners: users.Owners
    daemon_ran: bool
    progress: Progress


async def up(
    layout: Layout,
    wanted: Wanted,
    surroundings: Mapping[str, str],
    progress: Progress,
    *,
    control_program: control.Control = control.program,
    comeback: tuple[str, ...] | None = None,
) -> Up:
    """Bring the installation to where everything of the machine room answers.

    `surroundings` is the part of the caller's environment that the control plane is handed. `comeback` is the command
    that does this again by itself when supervisord was killed. Cancelling leaves a state that the next `up` repairs or
    `down` ends.

    Raises:
        Permanent: it can't start; says what to do. Temporary: the machine was too slow.
        OSError: the disk is full.
    """
    await asyncio.to_thread(home.check_machine)
    await asyncio.to_thread(home.check_home, layout)
    await asyncio.to_thread(home.make_home, layout)
    guarding = guard.program(layout, surroundings, comeback or guard.comeback())
    async with only_us(layout, "up", progress.notice):
        for _ in range(_PORT_ATTEMPTS):
            try:
                return await _up(layout, wanted, surroundings, progress, control_program, guarding)
            except PortLost as error:
                progress.notice(f"{error.args[0].partition('. Run')[0]}; choosing again.")
                await _take_away(layout, error.program)
        return await _up(layout, wanted, surroundings, progress, control_program, guarding)


async def _up(
    layout: Layout,
    wanted: Wanted,
    surroundings: Mapping[str, str],
    progress: Progress,
    control_program: control.Control,
    guarding: Program,
) -> Up:
    living = await _settled(layout)
    if not living:
        await _clear_leftovers(layout, progress)
        await asyncio.to_thread(programs.sweep, layout)
    running = [field for name in living or () for field in _PORT_OF.get(name, ())]
    prepared = await prepare.prepare(layout, wanted, running)
    installation = prepared.installation
    for notice in prepared.notices:
        progress.notice(notice)
    owners = await to_its_end(users.ensure_owners, installation.id)
    await asyncio.to_thread(pki.ensure_authority, layout)
    draining.end(layout)
    supervisor = Supervisor(layout, installation.supervisor_password)
    room = _Room(layout, installation, supervisor, owners, living is not None, progress)
    await supervisor.start_daemon()
    if not await _when_stopped(supervisor, guarding):
        await supervisor.replace(guarding)
    await _together(_start_postgres(room), _start_valkey(room), _start_cloud(room))
    await keys.finish_exchange(layout, installation, progress)
    await administrator.finish_exchange(layout)
    await _start_control(room, control_program(layout, installation, surroundings))
    await supervisor.start_waiting()
    return Up(load(layout), control.NAME in (living or ()))


async def _settled(layout: Layout) -> frozenset[str] | None:
    """As `living_programs`, when none is about to be started on its port of last time while we choose another."""
    while (living := await living_programs(layout)) is not None:
        states = await Supervisor(layout, load(layout).supervisor_password).states()
        phases = {name: states[name].phase for name in _PORT_OF if name in states}
        if not _RESTLESS & set(phases.values()):
            return living
        for name, phase in phases.items():
            if phase is ProgramPhase.BACKOFF:
                await _take_away(layout, name)
        await asyncio.sleep(_LOOK)
    return living


async def _take_away(layout: Layout, program: str) -> None:
    """Stop a program that can't have its port, so that it counts as not running when ports are chosen."""
    supervisor = Supervisor(layout, load(layout).supervisor_password)
    await supervisor.stop(program)
    await supervisor.wait_stopped([program], timeout=_PATIENCE)
    await supervisor.discard(program)


async def _clear_leftovers(layout: Layout, progress: Progress) -> None:
    """What a crash of supervisord left running must be gone before it is started again."""
    if not await asyncio.to_thread(leftovers, layout):
        return
    progress.notice("Supervisor ended without its programs; ending those first.")
    await asyncio.to_thread(read_on, layout)
    still = await end_leftovers(layout)
    if still:
        names = ", ".join(leftover.name for leftover in still)
        progress.notice(f"These finish their tasks and then end by themselves: {names}.")


async def _together(*steps: Coroutine[None, None, None]) -> None:
    """All at once; the first failure cancels the others and is raised as itself."""
    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(step)
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None


async def _start_postgres(room: _Room) -> None:
    installation = room.installation
    check: Check = partial(postgres.check, installation)
    if installation.external_postgres_url:
        with timed(room.progress, "PostgreSQL (yours)"):
            await once(check, patience=10)
        return
    with timed(room.progress, "PostgreSQL"):
        owner = room.owners.postgres
        argv = await to_its_end(postgres.prepare, room.layout, installation, owner)
        # INT is a fast shutdown: TERM would wait for every client to leave.
        program = _program(
            room, postgres.NAME, argv, owner, priority=100, stop_signal="INT", death_signal="INT", umask=0o077
        )
        await _put(room, program, "PostgreSQL")
        await until_healthy(
            room.supervisor, program, "PostgreSQL", check, port=installation.postgres_port, patience=_RECOVERY
        )


async def _start_valkey(room: _Room) -> None:
    installation = room.installation
    check: Check = partial(valkey.check, installation)
    if installation.external_valkey_url:
        with timed(room.progress, "Valkey (yours)"):
            await once(check, patience=10)
        return
    with timed(room.progress, "Valkey"):
        owner = room.owners.valkey
        argv = await to_its_end(valkey.prepare, room.layout, installation, owner)
        program = _program(room, valkey.NAME, argv, owner, priority=110, umask=0o077)
        await _put(room, program, "Valkey")
        await until_healthy(
            room.supervisor, program, "Valkey", check, port=installation.valkey_port, patience=_RECOVERY
        )


async def _start_cloud(room: _Room) -> None:
    with timed(room.progress, "embedded cloud"):
        said = partial(room.progress.said, "embedded cloud")
        program, url = await to_its_end(cloud.prepare, room.layout, room.installation, room.owners.cloud, said)
        await _put(room, program, "The embedded cloud")
        await until_healthy(
            room.supervisor,
            program,
            "The embedded cloud",
            http_check(url),
            port=room.installation.cloud_port,
            patience=_PATIENCE,
        )
        await administrator.ensure(room.layout, room.installation)


async def _start_control(room: _Room, program: Program) -> None:
    with timed(room.progress, "control plane"):
        in_place = await _when_stopped(room.supervisor, program)
        if not in_place and not (room.daemon_ran and control.is_as_recorded(room.layout, program)):
            if room.daemon_ran:
                room.progress.notice("Restarting the control plane with its new settings; environments run on.")
            await room.supervisor.replace(program)
        await asyncio.to_thread(control.record, room.layout, program)
        check = http_check(control.health_url(room.installation))
        await until_healthy(
            room.supervisor, program, "The control plane", check, port=room.installation.front_port, patience=_PATIENCE
        )


def _program(room: _Room, name: str, argv: tuple[str, ...], owner: users.Owner, **options: Any) -> Program:
    """A server program that runs as its own user when we are root."""
    switch = owner.name is not None
    return Program(
        name=name,
        argv=argv,
        log_path=room.layout.log / f"{name}.log",
        uid=owner.uid if switch else None,
        gid=owner.gid if switch else None,
        **options,
    )


async def _put(room: _Room, program: Program, what: str) -> None:
    if await _when_stopped(room.supervisor, program):
        return
    if room.daemon_ran:
        room.progress.notice(f"{what} runs on as it was started; what is new applies after `aerodrome down` and `up`.")
    else:  # just started from its record of last time
        await room.supervisor.replace(program)


async def _when_stopped(supervisor: Supervisor, program: Program) -> bool:
    """A program that is stopping can't be put: wait for it, a while.

    Raises:
        Temporary: it couldn't be put all the while.
    """
    why = ""
    try:
        async with asyncio.timeout(_PATIENCE):
            while True:
                try:
                    return await supervisor.put(program)
                except Temporary as error:
                    why = f" {error}"
                    await asyncio.sleep(min(error.retry_after, 0.5))
    except TimeoutError:
        raise Temporary(
            f"{program.name} couldn't be started within {_PATIENCE:.0f} s.{why} Run `aerodrome up` again in a moment; "
            "if it says the same, end everything with `aerodrome down --now` first."
        ) from None

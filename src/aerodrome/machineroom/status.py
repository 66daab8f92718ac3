"""What runs now, for `aerodrome status`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import psycopg

from aerodrome.domain.web_server import MODE, host_on, sides
from aerodrome.layout import Layout
from aerodrome.machineroom import draining, memory, postgres
from aerodrome.machineroom.installation import Installation, load
from aerodrome.supervision import ProgramState, Supervisor, leftovers

_PATIENCE = 5  # seconds
_DATABASE = "aerodrome"
# As PostgreSQL calls the process of a connection: "postgres: ROLE DATABASE ADDRESS(PORT) STATE".
CONNECTION = re.compile(r"postgres: env_(\w+) ")


@dataclass(frozen=True, slots=True)
class ProgramStatus:
    name: str
    environment: str | None  # id; None: of the machine room
    phase: str
    pid: int | None
    since: datetime | None
    memory: int | None  # bytes (PSS), with everything it started; PostgreSQL without environments' connections
    detail: str


@dataclass(frozen=True, slots=True)
class ConnectionsStatus:
    """PostgreSQL has a process for each connection: those of an environment come and go with it."""

    environment: str  # id
    count: int
    memory: int  # bytes (PSS)


@dataclass(frozen=True, slots=True)
class EnvironmentStatus:
    id: str
    name: str
    region: str
    status: str
    host: str  # as the access mode has it, with ":port" unless that is 443
    hosts: tuple[str, ...] = ()  # all that it answers at


@dataclass(frozen=True, slots=True)
class Status:
    home: str
    running: bool  # supervisord answers
    draining: bool
    endpoint: str
    gateway_port: int
    web_host: str
    account: str
    region: str
    programs: tuple[ProgramStatus, ...]
    connections: tuple[ConnectionsStatus, ...]
    environments: tuple[EnvironmentStatus, ...] | None  # None: the database doesn't answer
    leftovers: tuple[str, ...]  # programs that outlived a crash of supervisord


async def status(layout: Layout) -> Status:
    """Everything `status` shows.

    Raises:
        Permanent: there is no installation, or it is another user's.
    """
    installation = await asyncio.to_thread(load, layout)
    supervisor = Supervisor(layout, installation.supervisor_password)
    running = await supervisor.alive()
    states = list((await supervisor.states()).values()) if running else []
    sizes = await asyncio.to_thread(memory.proportional, [state.pid for state in states if state.pid])
    connections = await asyncio.to_thread(_connections, states)
    left = () if running else tuple(item.name for item in await asyncio.to_thread(leftovers, layout))
    return Status(
        home=str(layout.home),
        running=running,
        draining=running and draining.is_draining(layout),
        endpoint=installation.endpoint,
        gateway_port=installation.gateway_port,
        web_host=installation.web_host,
        account=installation.account,
        region=installation.region,
        programs=tuple(sorted((_program(state, sizes, connections) for state in states), key=_order)),
        connections=connections,
        environments=await environments(installation) if running else None,
        leftovers=left,
    )


def _connections(states: Iterable[ProgramState]) -> tuple[ConnectionsStatus, ...]:
    root = next((state.pid for state in states if state.name == postgres.NAME), None)
    found = memory.of_children(root, CONNECTION) if root else {}
    return tuple(ConnectionsStatus(environment, *taken) for environment, taken in sorted(found.items()))


def _program(
    state: ProgramState, sizes: dict[int, int | None], connections: tuple[ConnectionsStatus, ...]
) -> ProgramStatus:
    environment, dot, name = state.name.partition(".")
    program = ProgramStatus(
        name=name if dot else state.name,
        environment=environment if dot else None,
        phase=state.phase.value,
        pid=state.pid,
        since=state.since,
        memory=sizes.get(state.pid) if state.pid else None,
        detail=state.description,
    )
    if program.memory is None or state.name != postgres.NAME:
        return program
    return replace(program, memory=program.memory - sum(taken.memory for taken in connections))


def _order(program: ProgramStatus) -> tuple[str, str]:
    return program.environment or "", program.name


async def environments(installation: Installation) -> tuple[EnvironmentStatus, ...] | None:
    """The environments' rows, oldest first; None when the database doesn't answer (or isn't made yet)."""
    try:
        async with (
            asyncio.timeout(_PATIENCE),
            await psycopg.AsyncConnection.connect(
                f"{installation.postgres_url}/{_DATABASE}",
                **installation.postgres_options,  # type: ignore[arg-type]
            ) as connection,
        ):
            rows = await connection.execute(
                "SELECT id, name, region, status, host, COALESCE(applied, desired)->>'WebserverAccessMode'"
                " FROM environments ORDER BY created_at"
            )
            return tuple(_environment(row, installation.private_port) for row in await rows.fetchall())
    except (psycopg.Error, TimeoutError):
        return None


def _environment(row: Sequence[str], private_port: int) -> EnvironmentStatus:
    id_, name, region, status, host, mode = row
    hosts = tuple(host_on(side, host, private_port) for side in sides({MODE: mode}))
    return EnvironmentStatus(id_, name, region, status, hosts[0], hosts)

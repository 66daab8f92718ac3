"""What `up` ends with and `status` prints."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.table import Table

from aerodrome.cli.output import out
from aerodrome.domain.web_server import DOMAIN, PUBLIC_NET, Side, host_on, with_port
from aerodrome.layout import Layout

if TYPE_CHECKING:  # what they import takes long
    from aerodrome.machineroom.room import Up
    from aerodrome.machineroom.status import ConnectionsStatus, EnvironmentStatus, ProgramStatus, Status

_MIB = 1024 * 1024
_COLOURS = {"running": "green", "starting": "yellow", "stopping": "yellow", "backoff": "red", "fatal": "red"}


def show_summary(layout: Layout, result: Up, seconds: float) -> None:
    installation = result.installation
    said = "Aerodrome was already up." if result.was_running else f"Aerodrome is up ({seconds:.1f} s)."
    name = f"ID.REGION.{DOMAIN}" if installation.web_host == "name" else f"{PUBLIC_NET}x.y"
    host = with_port(name, installation.gateway_port)
    private = host_on(Side.PRIVATE, name, installation.private_port)
    rows = (
        ("endpoint", installation.endpoint),
        ("web servers", f"https://{host}, private https://{private}, certificates signed by {layout.ca_certificate}"),
        ("home", str(layout.home)),
        ("in a shell", 'eval "$(aerodrome shell-env)"; aws mwaa list-environments'),
        ("stop it", "aerodrome down"),
    )
    out.print(f"\n{said}", style="bold")
    for name, value in rows:
        out.print(f"  {name:12} {value}", markup=False)


def show_status(found: Status) -> None:
    state = "draining" if found.draining else "up" if found.running else "down"
    out.print(f"{found.home} is {state}.", style="bold", markup=False)
    if found.leftovers:
        out.print(f"Outlived a crash of Supervisor: {', '.join(found.leftovers)}. `aerodrome up` puts that right.")
    if not found.running:
        return
    out.print(f"  endpoint {found.endpoint}   account {found.account}   region {found.region}\n", markup=False)
    out.print(_programs(found.programs, found.connections))
    if found.environments is None:
        out.print("The database doesn't answer, so the environments aren't shown.", style="yellow")
    elif found.environments:
        out.print(_environments(found.environments))


def _programs(programs: tuple[ProgramStatus, ...], connections: tuple[ConnectionsStatus, ...]) -> Table:
    table = Table("program", "environment", "phase", "pid", "since", "memory", box=None, pad_edge=False)
    for program in programs:
        colour = _COLOURS.get(program.phase, "")
        table.add_row(
            program.name,
            program.environment or "",
            f"[{colour}]{program.phase}[/]" if colour else program.phase,
            str(program.pid or ""),
            _age(program.since),
            "" if program.memory is None else f"{program.memory / _MIB:.0f} MiB",
        )
    for taken in connections:
        name = f"{taken.count} connections to postgres"
        table.add_row(name, taken.environment, "", "", "", f"{taken.memory / _MIB:.0f} MiB")
    total = sum(program.memory or 0 for program in programs) + sum(taken.memory for taken in connections)
    table.add_row("", "", "", "", "total", f"{total / _MIB:.0f} MiB", style="dim")
    return table


def _environments(environments: tuple[EnvironmentStatus, ...]) -> Table:
    table = Table("name", "region", "status", "id", "web server", box=None, pad_edge=False)
    for environment in environments:
        url = f"https://{environment.host}"
        table.add_row(environment.name, environment.region, environment.status, environment.id, url)
    return table


def _age(since: datetime | None) -> str:
    """The largest two units, as people say it."""
    if since is None:
        return ""
    seconds = max(0, int((datetime.now(UTC) - since).total_seconds()))
    days, hours, minutes = seconds // 86_400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"

"""`aerodrome up`, `down`, `status`, `shell-env`, `purge`: the machine room's commands."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict
from functools import partial
from typing import Annotated

import typer

from aerodrome.cli.follow import follow
from aerodrome.cli.interrupts import Interrupted, Interrupts
from aerodrome.cli.output import Steps, Still, err, out
from aerodrome.cli.overview import show_status, show_summary
from aerodrome.errors import AerodromeError
from aerodrome.layout import Layout
from aerodrome.machineroom import control, purge, shell, stop
from aerodrome.machineroom.installation import load
from aerodrome.machineroom.living import lasts, living_programs
from aerodrome.machineroom.progress import Silent
from aerodrome.settings import Settings

INTERRUPTED = 130

Detach = Annotated[bool, typer.Option("--detach", "-d", help="Return when everything answers; leave it running.")]
Now = Annotated[bool, typer.Option("--now", help="End everything at once, running tasks included.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]


def register(app: typer.Typer) -> None:
    """Mount the commands."""
    app.command("up")(up_command)
    app.command("down")(down_command)
    app.command("status")(status_command)
    app.command("shell-env")(shell_command)
    app.command("purge")(purge_command)


def up_command(detach: Detach = False) -> None:
    """Start this installation (and make it first, if need be), then follow its log until Ctrl-C.

    Ctrl-C stops it in order: workers finish their tasks first. A second Ctrl-C leaves them to it: they drain in the
    background and the servers stay; `aerodrome down` goes on waiting, `down --now` ends all, `up` brings all back.
    """
    raise typer.Exit(asyncio.run(_up(Settings(), detach)))


async def _up(settings: Settings, detach: bool) -> int:
    from aerodrome.cli.starting import bring_up  # here: it takes long, and the other commands don't need it

    layout = Layout(settings.home)
    began = time.monotonic()
    with Interrupts() as interrupts:
        ran_before = await living_programs(layout) is not None
        try:
            with Steps() as steps:
                result = await interrupts.during(bring_up(settings, steps))
        except Interrupted:
            if ran_before:
                err.print("Interrupted. It was running before and is left as it is; `aerodrome up` goes on.")
                return INTERRUPTED
            await _drain(layout, interrupts)
            return INTERRUPTED
        except (AerodromeError, OSError):
            if not ran_before:
                await _tidy(layout)
            raise
        show_summary(layout, result, time.monotonic() - began)
        if detach or result.was_running:
            return 0
        out.print("Ctrl-C stops it. The control plane's log follows.\n", style="dim")
        try:
            await interrupts.during(_follow(layout))
        except Interrupted:
            return await _drain(layout, interrupts)
        out.print("The installation was stopped by another command.")
        return 0


async def _tidy(layout: Layout) -> None:
    """Leave nothing running behind a start that failed, unless environments have come back with it."""
    living = await living_programs(layout)
    if living is not None and not any("." in name for name in living):
        await stop.down(layout, Silent(), Still())


async def _follow(layout: Layout) -> None:
    await follow(layout.log / f"{control.NAME}.log", _write, partial(lasts, layout))


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


async def _drain(layout: Layout, interrupts: Interrupts) -> int:
    out.print("\nStopping; workers finish their tasks first. Ctrl-C again leaves them to it.")
    if not layout.installation_file.exists():
        return 0
    try:
        await interrupts.during(stop.down(layout, Silent(), Still()))
    except Interrupted:
        err.print(
            "\nLeft draining in the background; the servers stay. `aerodrome down` goes on waiting, "
            "`aerodrome down --now` ends all, `aerodrome up` brings all back.",
            markup=False,
        )
        return INTERRUPTED
    out.print("Stopped.")
    return 0


def down_command(now: Now = False) -> None:
    """Stop this installation: environments first, workers to the end of their tasks. `up` brings all back."""
    raise typer.Exit(asyncio.run(_down(Layout(Settings().home), now)))


async def _down(layout: Layout, now: bool) -> int:
    with Interrupts() as interrupts:
        try:
            if not now:
                out.print("Stopping; workers finish their tasks first (`--now` doesn't wait).", markup=False)
            ran = await interrupts.during(stop.down(layout, Steps(), Still(), now=now))
        except Interrupted:
            err.print("\nInterrupted: what drains goes on draining. `aerodrome down` goes on waiting.", markup=False)
            return INTERRUPTED
    out.print("Stopped." if ran else "It wasn't running.")
    return 0


def status_command(as_json: Json = False) -> None:
    """Show what runs: programs, their memory, the endpoint, the environments."""
    from aerodrome.machineroom import status  # here: it brings the database's client

    found = asyncio.run(status.status(Layout(Settings().home)))
    if as_json:
        _write(json.dumps(asdict(found), indent=2, default=str) + "\n")
    else:
        show_status(found)


def shell_command(as_json: Json = False) -> None:
    """Print what `aws`, boto3 and other SDKs need in a shell: eval "$(aerodrome shell-env)"."""
    settings = Settings()
    layout = Layout(settings.home)
    asked = settings.region if "region" in settings.model_fields_set else None
    values = shell.variables(layout, load(layout), asked)
    _write(json.dumps(values, indent=2) + "\n" if as_json else shell.script(values))


def purge_command(yes: Yes = False) -> None:
    """Remove this installation for good: all environments, data, keys and system users. It must be down."""
    layout = Layout(Settings().home)
    load(layout)
    if not yes:
        typer.confirm(f"Remove the installation at {layout.home} with all its environments and data?", abort=True)
    asyncio.run(purge.purge(layout, Steps().notice))
    out.print(f"Removed the installation at {layout.home}.", markup=False)

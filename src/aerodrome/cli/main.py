"""The `aerodrome` command: its sub-commands, and every failure as one clear line."""

from __future__ import annotations

import errno
import logging
import os
import sys
import tempfile
import traceback
from pathlib import Path
from types import TracebackType

import typer
from pydantic import ValidationError

import aerodrome
from aerodrome.cli import room
from aerodrome.cli.demo import demo
from aerodrome.cli.doctor import doctor_command
from aerodrome.cli.env import env_app
from aerodrome.cli.iam import iam_app
from aerodrome.cli.keys import keys_app
from aerodrome.cli.output import err
from aerodrome.cli.requirements import requirements_app
from aerodrome.cli.runtimes import runtimes_app
from aerodrome.cli.sessions import sessions_app
from aerodrome.cli.startup import startup_app
from aerodrome.cli.tls import tls_app
from aerodrome.errors import AerodromeError, Permanent
from aerodrome.layout import Layout
from aerodrome.settings import Settings

FAILED = 1
USAGE = 2
INTERRUPTED = 130  # what a shell calls the exit status of a program ended by Ctrl-C
_FULL = (errno.ENOSPC, errno.EDQUOT)

app = typer.Typer(
    help="Aerodrome: managed Apache Airflow on your own machine, speaking the Amazon MWAA API.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
room.register(app)
app.add_typer(env_app)
app.add_typer(iam_app)
app.add_typer(keys_app)
app.add_typer(requirements_app)
app.add_typer(startup_app)
app.add_typer(runtimes_app)
app.add_typer(tls_app)
app.add_typer(sessions_app)
app.command("demo")(demo)
app.command("doctor")(doctor_command)


@app.command("version")
def version() -> None:
    """Print the version."""
    typer.echo(aerodrome.__version__)


def main() -> None:
    """Run the command; exit 0, 1 for a failure (told in one line on standard error), 2 for wrong usage or settings."""
    sys.excepthook = _unexpected
    logging.captureWarnings(capture=True)  # of libraries: nothing a person at a terminal can do about
    try:
        app()
    except ValidationError as error:
        _fail(_settings_lines(error), USAGE)
    except Permanent as error:
        if os.strerror(errno.ENOSPC) in f"{error} {error.detail}":  # told by a program that we ran
            _fail(_disk_full(), FAILED)
        if error.detail:
            err.print(error.detail, style="dim", markup=False)
        _fail(str(error), FAILED)
    except AerodromeError as error:
        _fail(str(error), FAILED)
    except OSError as error:
        _fail(_os_error(error), FAILED)
    except KeyboardInterrupt:
        _fail("Interrupted.", INTERRUPTED)


def _unexpected(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """The last resort: a defect of ours. Python exits with status 1 after it."""
    path = _keep(traceback.format_exception(kind, error, trace))
    err.print(f"Unexpected {kind.__name__}: {error}. What led to it is in {path}.", style="red", markup=False)


def _fail(text: str, code: int) -> None:
    err.print(text, style="red", markup=False)
    sys.exit(code)


def _settings_lines(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        name = "_".join(str(part) for part in problem["loc"]).upper()
        lines.append(f"AERODROME_{name}: {problem['msg'].removeprefix('Value error, ')}")
    return "\n".join(lines)


def _disk_full() -> str:
    return f"The disk is full. Free some space on the file system of {Settings().home} and run this command again."


def _os_error(error: OSError) -> str:
    # shutil gathers what went wrong with each file into one error without a number.
    if error.errno in _FULL or os.strerror(errno.ENOSPC) in str(error):
        return _disk_full()
    where = f" ({error.filename})" if error.filename else ""
    return f"{error.strerror or error}{where}. What led to it is in {_keep(traceback.format_exception(error))}."


def _keep(lines: list[str]) -> Path:
    """Write a traceback to the installation's log folder, or to a temporary file while there is none."""
    text = "".join(lines)
    log = Layout(Settings().home).log
    try:
        path = log / "aerodrome.log"
        with path.open("a") as file:
            file.write(text)
    except OSError:
        with tempfile.NamedTemporaryFile("w", prefix="aerodrome-", suffix=".log", delete=False) as temporary:
            temporary.write(text)
        return Path(temporary.name)
    return path

"""`python -P -m aerodrome_airflow.warm`: Airflow's command line, imported once and forked for every command.

Standard input is a socket without a name: only who started this process holds its other end. It is told `ready`, or why
this process is no good, and then sends commands (`forks.serve`) until it closes it.

Made ready is what doesn't change while the process lives: Airflow's own code and the environment's configuration (who
started it starts another one for another configuration). DAGs, plugins and the database are read by each command anew.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from contextlib import suppress
from typing import NoReturn

from aerodrome_airflow import __main__ as command_line
from aerodrome_airflow import forks, quick_start, quick_tasks
from aerodrome_airflow.launch import prepare

# What the commands import that the CLI bridge lets through, and the plainest DAG files. Some are of one major only.
# Nothing that warns when it is imported (a deprecated name): a command that imports it shall say so.
_USED = (
    *(
        f"airflow.cli.commands.{name}_command"
        for name in (
            "asset", "backfill", "cheat_sheet", "connection", "dag", "db", "provider", "task", "variable", "version",
        )
    ),
    "airflow.providers.fab.auth_manager.cli_commands.role_command",
    "airflow.api.client.local_client",
    # Airflow 3
    "airflow.dag_processing.bundles.local",
    "airflow.dag_processing.collection",
    "airflow.providers.standard.decorators.python",
    "airflow.providers.standard.operators.bash",
    "airflow.providers.standard.operators.empty",
    "airflow.sdk.definitions.decorators",
    # Airflow 2
    "airflow.decorators",
    "airflow.operators.bash",
    "airflow.operators.empty",
    "httpcore",
)  # fmt: skip
_REGISTRY = "airflow._shared.observability.metrics.stats"
_OWN = ("AIRFLOW_HOME", "AIRFLOW__CORE__DAGS_FOLDER", "AIRFLOW__CORE__PLUGINS_FOLDER")  # where a user's code lies


def main() -> None:
    control = forks.take_over_stdin()
    warm_up()
    if why := obstacle():
        control.sendall(f"{why}\n".encode())
        return
    start = forks.Start.here(run)
    gc.collect()
    gc.freeze()  # garbage collection in a child would write to every page, and so get a copy of each
    control.sendall(b"ready\n")
    forks.serve(control, start)


def run(arguments: list[str]) -> NoReturn:
    """A command, in its own process."""
    from airflow import settings

    for engine in (settings.engine, getattr(getattr(settings, "async_engine", None), "sync_engine", None)):
        if engine is not None:
            engine.dispose(close=False)
    command_line.main(arguments)


def warm_up() -> None:
    """Import what commands import, and work out what each of them would. Opens no connection, starts no thread."""
    prepare([])
    quick_start.prepare([])
    quick_start.import_airflow()
    importlib.import_module("airflow.__main__")
    from airflow.cli.cli_parser import get_parser
    from airflow.providers_manager import ProvidersManager

    get_parser()
    for name in _USED:
        with suppress(ImportError):
            importlib.import_module(name)
    ProvidersManager().initialize_providers_list()
    with suppress(ImportError, AttributeError):  # Airflow 3 reads a long description of its metrics at the first one
        importlib.import_module(_REGISTRY)._get_registry()
    quick_tasks.map_models()


def obstacle() -> str | None:
    """Why a fork of this process would be something else than a fresh start; None: it is as good."""
    if len(os.listdir("/proc/self/task")) > 1:
        return "something that Airflow imports has started a thread, which no child would have"
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError) as error:
        return f"the kernel has no pidfd, by which the end of a command is noticed ({error}): it must be 5.3 at least"
    if len(_sockets()) > 1:
        return "something that Airflow imports has opened a connection, which all children would share"
    if stray := _users_code():
        return f"Airflow imports the environment's own {stray} at its start, which may change meanwhile"
    return None


def _sockets() -> list[str]:
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the folder itself
            if int(descriptor) > 2 and os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:"):
                found.append(descriptor)
    return found


def _users_code() -> str | None:
    folders = tuple(f"{os.path.realpath(os.environ[name])}/" for name in _OWN if name in os.environ)
    for name, module in tuple(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if path and os.path.realpath(path).startswith(folders):
            return name
    return None


if __name__ == "__main__":
    main()
    os._exit(0)

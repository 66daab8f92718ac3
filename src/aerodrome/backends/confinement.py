"""What the programs of an environment see when they are confined (`supervision.sandbox`)."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from aerodrome.backends import directories
from aerodrome.layout import Layout
from aerodrome.supervision.sandbox import PLUGINS, Sandbox, interpreter


def sandbox(layout: Layout, environment_id: str, runtime: Path, plugins: Path | None) -> Sandbox:
    """Of the installation nothing but the environment's own, one runtime, and the certificates that it trusts.

    `plugins`: the component's folder of plugins. The component logs, which are ours, aren't among what it sees.
    """
    _link(layout, environment_id)
    return Sandbox(
        home=layout.airflow_home(environment_id),
        temporary=directories.temporary(layout, environment_id),
        write=(layout.logs(environment_id),),
        # The folder of DAGs is exchanged for the next one, so it is the folder above that is shown.
        read=(
            layout.content(environment_id),
            layout.options(environment_id),
            runtime,
            *interpreter(runtime),
            layout.ca_bundle,
        ),
        hidden=(layout.home,),
        plugins=plugins,
    )


def _link(layout: Layout, environment_id: str) -> None:
    """What code expects in AIRFLOW_HOME. It is the user's: what lies there already is left alone."""
    home = layout.airflow_home(environment_id)
    links = {"dags": layout.dags(environment_id), "logs": layout.logs(environment_id), "plugins": PLUGINS}
    for name, target in links.items():
        with suppress(FileExistsError):
            (home / name).symlink_to(target)

"""The embedded cloud, as `aws/` makes it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import aerodrome
from aerodrome.aws.install import CloudSpec, ensure_cloud
from aerodrome.errors import Permanent
from aerodrome.layout import Layout
from aerodrome.machineroom.control import LEAN
from aerodrome.machineroom.home import uv_program
from aerodrome.machineroom.installation import Installation
from aerodrome.machineroom.pythons import public_python
from aerodrome.machineroom.users import Owner
from aerodrome.supervision import Program

NAME = "cloud"
_PYTHONS = ("3.11", "3.12", "3.13")  # that the lock file is made for, the best tried one first


def prepare(
    layout: Layout, installation: Installation, owner: Owner, progress: Callable[[str], None]
) -> tuple[Program, str]:
    """Install it and say how to run it: (program, URL of its health). Blocking, idempotent.

    Raises:
        Permanent: no Python for it; the registry can't be reached and the cache is cold.
    """
    spec = CloudSpec(
        port=installation.cloud_port,
        account=installation.account,
        region=installation.region,
        allowed_uids=(os.getuid(),),
        user=owner.name,
    )
    cloud = ensure_cloud(
        layout, spec, python=public_python(_PYTHONS), uv=uv_program(), lock=_lock_file(), progress=progress
    )
    # It reads its 0600 configuration as we are, then becomes its own user: Supervisor doesn't switch.
    log_path = layout.log / f"{NAME}.log"
    variables = {**LEAN, **cloud.variables}
    program = Program(name=NAME, argv=cloud.argv, log_path=log_path, environment=variables, stop_wait=20, priority=120)
    return program, cloud.health_url


def _lock_file() -> Path:
    """Package data of an installed Aerodrome; in a source tree, the file itself."""
    package = Path(aerodrome.__file__).parent
    for path in (package / "aws" / "cloud.txt", package.parents[1] / "requirements" / "cloud.txt"):
        if path.exists():
            return path
    raise Permanent("The lock file of the embedded cloud is missing; install Aerodrome anew.")

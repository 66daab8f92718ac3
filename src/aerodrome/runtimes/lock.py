"""Makes the lock files that are shipped: `aerodrome runtimes lock VERSION`.

Resolved by the date of the official constraints, which gives the official pins; Airflow's own distributions are
released some days later and are exempt. The lock holds for Linux; hashes make every installation the same.
"""

from __future__ import annotations

import re
import tempfile
from datetime import date, timedelta
from pathlib import Path

from aerodrome.domain.versions import AirflowVersion
from aerodrome.errors import Permanent
from aerodrome.runtimes import uv

_GRACE = timedelta(days=2)  # after a release, for a registry in another time zone


def requirements(version: AirflowVersion) -> str:
    """What a runtime asks for. `celery[redis]`, never a bare `redis`: that would drag Celery back by years."""
    return f"apache-airflow[{','.join(version.extras)}]=={version.version}\ncelery[redis]\n"


def make_lock(version: AirflowVersion, python: str, cache: Path) -> str:
    """The text of the lock of Airflow `version` on Python `python` ("3.11"). Takes seconds to minutes.

    Raises:
        Permanent: the package registry can't be reached, or there is no solution.
    """
    cutoff = (date.fromisoformat(version.released) + _GRACE).isoformat()
    exempt = [word for name in version.distributions for word in ("--exclude-newer-package", f"{name}={cutoff}")]
    with tempfile.TemporaryDirectory(prefix="aerodrome-lock-") as folder:
        source, target = Path(folder, "in.txt"), Path(folder, "out.txt")
        source.write_text(requirements(version))
        options = ["--quiet", "--generate-hashes", "--no-header", "--no-emit-index-url", "--no-emit-find-links"]
        platform = ["--python-version", python, "--python-platform", "linux"]
        dates = ["--exclude-newer", version.constraints_date, *exempt]
        command = ["pip", "compile", str(source), "--output-file", str(target), *options, *platform, *dates]
        try:
            uv.run(command, cache=cache)
        except uv.UvError as error:
            why = "the package registry can't be reached" if error.network else "uv failed, as said above"
            raise Permanent(
                f"No lock for Airflow {version.version} on Python {python}: {why}.", error.output
            ) from error
        return re.sub(r"-r \S*in\.txt", "-r runtime.in", target.read_text())

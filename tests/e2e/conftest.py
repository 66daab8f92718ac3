"""One real installation with one real environment, made once by `aerodrome demo` and shared by every test here."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aerodrome.machineroom import shell
from support.site import Site


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """AERODROME_E2E_HOME names an installation that has run the demo, to try single tests in seconds; it is kept."""
    if kept := os.environ.get("AERODROME_E2E_HOME"):
        yield from _prepared(Site(Path(kept), demo_output="kept"))
        return
    home = Path(tempfile.mkdtemp(prefix="aero-e2e-", dir="/tmp"))
    home.chmod(0o711)
    site = Site(home)
    try:
        site.demo_output = site.aerodrome("demo").stdout
        yield from _prepared(site)
    finally:
        site.aerodrome("down", "--now", check=False)
        site.aerodrome("purge", "--yes", check=False)
        shutil.rmtree(home, ignore_errors=True)


def _prepared(site: Site) -> Iterator[Site]:
    site.variables = shell.variables(site.layout, site.installation)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DISABLE_HOST_PREFIX_INJECTION", "true")
        patch.delenv("AWS_CA_BUNDLE", raising=False)
        yield site

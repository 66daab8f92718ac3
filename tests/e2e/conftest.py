"""One real installation with one real environment, made once by `aerodrome demo` and shared by every test here."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aerodrome.machineroom import shell
from support.site import Site


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    home = Path(tempfile.mkdtemp(prefix="aero-e2e-", dir="/tmp"))
    home.chmod(0o711)
    site = Site(home)
    try:
        site.demo_output = site.aerodrome("demo").stdout
        site.variables = shell.variables(site.layout, site.installation)
        patch = pytest.MonkeyPatch()
        patch.setenv("AWS_DISABLE_HOST_PREFIX_INJECTION", "true")
        patch.delenv("AWS_CA_BUNDLE", raising=False)
        yield site
        patch.undo()
    finally:
        site.aerodrome("down", "--now", check=False)
        site.aerodrome("purge", "--yes", check=False)
        shutil.rmtree(home, ignore_errors=True)

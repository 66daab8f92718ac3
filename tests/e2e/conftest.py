"""One real installation with an environment of each version of Airflow, made once by `aerodrome demo` and shared."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from aerodrome.domain import versions
from aerodrome.machineroom import shell
from support.real_provider import Place
from support.site import Demo, Site


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """AERODROME_E2E_HOME names an installation that is kept, to try single tests in seconds."""
    if kept := os.environ.get("AERODROME_E2E_HOME"):
        site = Site(Path(kept), settings=Place(Path(f"{kept}.provider")).settings)
        site.demo_output = site.aerodrome("demo").stdout
        yield from _prepared(site)
        return
    home = Path(tempfile.mkdtemp(prefix="aero-e2e-", dir="/tmp"))
    home.chmod(0o711)
    site = Site(home, settings=Place(Path(f"{home}.provider")).settings)
    try:
        site.demo_output = site.aerodrome("demo").stdout
        yield from _prepared(site)
    finally:
        site.aerodrome("down", "--now", check=False)
        site.aerodrome("purge", "--yes", check=False)
        for folder in (home, f"{home}.provider"):
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def demos(site: Site) -> Callable[[str], Demo]:
    """Version of Airflow -> its environment: the newest is `demo` itself, others are made when first asked for."""

    @cache
    def made(number: str) -> Demo:
        version = versions.get(number)
        if number == versions.DEFAULT_VERSION:
            return Demo(site, "demo", version, site.demo_output)
        name = f"demo-{number.replace('.', '-')}"
        done = site.aerodrome("demo", "--name", name, "--airflow-version", number)
        return Demo(site, name, version, done.stdout)

    return made


@pytest.fixture(scope="session", params=versions.VERSIONS)
def demo(request: pytest.FixtureRequest, demos: Callable[[str], Demo]) -> Demo:
    """The environment of each version in turn."""
    return demos(request.param)


def _prepared(site: Site) -> Iterator[Site]:
    site.variables = shell.variables(site.layout, site.installation)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DISABLE_HOST_PREFIX_INJECTION", "true")
        patch.delenv("AWS_CA_BUNDLE", raising=False)
        yield site

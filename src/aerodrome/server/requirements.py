"""A requirements.txt of an environment: resolved beside its runtime, and made to a runtime of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from aerodrome.domain.products import Content, Product
from aerodrome.files import ensure_directory, write_file
from aerodrome.layout import Layout
from aerodrome.reconcile.ports import Made
from aerodrome.runtimes import extend
from aerodrome.runtimes.extend import Extension, Reader
from aerodrome.runtimes.key import split_key
from aerodrome.runtimes.requirements import DAGS, PLUGINS, Requirements, parse
from aerodrome.runtimes.resolve import Resolution, resolve
from aerodrome.runtimes.sources import opener
from aerodrome.server.errands import Progress
from aerodrome.threads import to_its_end

_SHOWN = 30  # packages


@dataclass(frozen=True, slots=True)
class Place:
    """The environment that packages are for. `base`: the runtime that they are added to."""

    layout: Layout
    environment_id: str
    reader: Reader
    base: str
    content: Content

    @property
    def folders(self) -> dict[str, Path]:
        """Where MWAA's folders are here."""
        found = {DAGS: self.layout.dags(self.environment_id)}
        if self.content.plugins is not None:
            found[PLUGINS] = self.layout.plugins(self.environment_id) / self.content.plugins
        return found


async def install(place: Place, path: Path, name: str, product: Product | None, progress: Progress) -> Made:
    """Make the runtime, or mend the one of that `product`: exactly the packages that it had.

    Raises:
        Permanent: the requirements conflict, or Airflow doesn't start with them; the message has the resolver's words.
        Temporary: an index is out of reach, or the disk is full.
    """
    data = await asyncio.to_thread(path.read_bytes)
    with progress.phase("resolve", f"Resolving {name}"):
        wanted = await to_its_end(_parse, place, data, name, again=product is not None)
        if product is None:
            resolution = await to_its_end(resolve, place.layout, place.base, wanted, place.folders)
        else:
            resolution = Resolution(product["packages"], product["replaced"], product["lock"])
    extension = Extension(place.base, wanted, resolution, place.folders, place.environment_id)
    if extension.key != place.base:
        many = len(resolution.packages)
        with progress.phase("install", f"Installing {many} {'package' if many == 1 else 'packages'} of {name}"):
            await to_its_end(_mark, place, extension.key)
            await extend.ensure(place.layout, extension, place.reader)
    made = {
        "runtime": extension.key,
        "lock": resolution.lock,
        "packages": dict(resolution.packages),
        "replaced": dict(resolution.replaced),
    }
    return Made(made, _told(name, wanted, resolution), progress.took)


def _parse(place: Place, data: bytes, name: str, *, again: bool) -> Requirements:
    """`again`: what it resolves to is known, so that constraints need not be fetched."""
    version, python = split_key(place.base)
    variables: Mapping[str, str] = place.content.exports.get("worker", {})
    open_file = opener(version, python, place.folders)
    return parse(data, variables, _without_urls(open_file) if again else open_file, name)


def _without_urls(open_file: Callable[[str], bytes]) -> Callable[[str], bytes]:
    return lambda location: b"" if "://" in location else open_file(location)


def _mark(place: Place, key: str) -> None:
    """Say whose runtime that is, before there is any of it."""
    folder = place.layout.own_runtimes(place.environment_id)
    ensure_directory(folder, 0o700)
    write_file(folder / key, "")


def _told(name: str, wanted: Requirements, resolution: Resolution) -> str:
    packages = [f"{package} {version}" for package, version in sorted(resolution.packages.items())]
    more = f" and {len(packages) - _SHOWN} more" if len(packages) > _SHOWN else ""
    said = f"{name}: {', '.join(packages[:_SHOWN]) or 'nothing that Airflow does not have'}{more}."
    return " ".join([said, *wanted.notes])

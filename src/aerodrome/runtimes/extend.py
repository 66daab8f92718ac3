"""A runtime with a user's requirements: a clone of its base, of hard links, in which packages are added or replaced.

It lies beside the base under a key of its own, which says the base, the requirements and every wheel by its hash; it is
made aside and put in place whole, after Airflow has been seen to start in it. Nothing that exists is ever written to:
uv removes and renames, so that the base keeps its files. No code of the packages runs with our rights: they come as
wheels, are installed by the base's Python, and are tried as the environment's user.
"""

from __future__ import annotations

import asyncio
import csv
import errno
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from aerodrome.errors import Permanent, Temporary
from aerodrome.files import put_in_place, write_file
from aerodrome.layout import Layout
from aerodrome.runtimes import inventory, uv
from aerodrome.runtimes.build import move_scripts
from aerodrome.runtimes.conflicts import explain
from aerodrome.runtimes.constraints import pins
from aerodrome.runtimes.key import MARKER, is_ready, lock_text, split_key
from aerodrome.runtimes.requirements import Requirements
from aerodrome.runtimes.resolve import Resolution, run, source_lines
from aerodrome.runtimes.scratch import scratch
from aerodrome.runtimes.sources import cache_of, translate
from aerodrome.supervision.once import Command, run_once
from aerodrome.supervision.sandbox import Sandbox, interpreter
from aerodrome.threads import to_its_end

_RECIPE = "1"  # grows when the way of making one changes what comes out
_START = 120.0  # seconds in which Airflow must say its version
_SHOWN = 20  # lines of a failure


@dataclass(frozen=True, slots=True)
class Extension:
    """A runtime that is wanted. `scope` is the environment's id: what one installs is not for others to read."""

    base: str
    wanted: Requirements
    resolution: Resolution
    folders: Mapping[str, Path] = field(default_factory=dict)
    scope: str = ""

    @property
    def key(self) -> str:
        """Of the same form as every runtime's; the base's own when that has everything already."""
        if self.resolution.is_empty:
            return self.base
        digest = hashlib.sha256()
        for part in (_RECIPE, self.base, self.scope, *self.wanted.wanted, self.resolution.lock):
            digest.update(f"{len(part)}:{part}".encode())
        return f"{self.base.rpartition('-')[0]}-{digest.hexdigest()[:12]}"


@dataclass(frozen=True, slots=True)
class Reader:
    """Whom Airflow is tried as, and whose group may read the runtime. None: ourselves, all."""

    uid: int | None = None
    gid: int | None = None
    confined: bool = False  # whether what is tried sees the runtime and nothing else of the installation


async def make(layout: Layout, extension: Extension, reader: Reader, *, after_damage: bool = False) -> Path:
    """Make the runtime aside, to be tried and then put in place; return where. The caller has the lock.

    `after_damage`: the cache shares its files, so it isn't trusted either.

    A call that was killed leaves rubbish, which the next one removes; one that is cancelled ends first.

    Raises:
        Permanent: a package can't be installed.
        Temporary: an index is out of reach, the disk is full, or damaged packages stay in the cache.
    """
    return await to_its_end(_make, layout, extension, reader, after_damage=after_damage)  # the lock must outlive it


def _make(layout: Layout, extension: Extension, reader: Reader, *, after_damage: bool) -> Path:
    base, fresh = layout.runtime(extension.base), aside(layout, extension.key)
    try:
        if fresh.exists():
            shutil.rmtree(fresh)
        _clone(base, fresh, reader)
        _install(layout, extension, fresh)
        if after_damage and _clean_cache(layout, extension, fresh):
            shutil.rmtree(fresh)
            _clone(base, fresh, reader)
            _install(layout, extension, fresh)
        target = layout.runtime(extension.key)
        move_scripts(fresh / "bin", base, target)
        _compile(layout, extension, fresh, target)
        inventory.complete(fresh, extension.key)
    except OSError as error:
        advice = " Free some space." if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise Temporary(f"The runtime {extension.key} can't be written: {error.strerror}.{advice}", 10) from error
    return fresh


async def ensure(layout: Layout, extension: Extension, reader: Reader) -> str:
    """The runtime's key; it is made, tried and put in place unless it is there and whole. The base must be there.

    Safe to cancel, to kill, to call again and to call twice at once.

    Raises:
        Permanent: a package can't be installed, or Airflow doesn't start with it; the message says what it said.
        Temporary: an index is out of reach, the disk is full, or somebody else is at it.
    """
    key = extension.key
    with only_maker(layout, key):
        if await asyncio.to_thread(_is_whole, layout, key):
            return key
        fresh = await make(layout, extension, reader, after_damage=is_ready(layout, key))
        try:
            await try_start(layout, fresh, split_key(key)[0], reader)
            await asyncio.to_thread(put_in_place, fresh, layout.runtime(key))
        finally:
            await asyncio.to_thread(shutil.rmtree, fresh, ignore_errors=True)
    return key


def _is_whole(layout: Layout, key: str) -> bool:
    return is_ready(layout, key) and inventory.damage(layout, key) is None


def aside(layout: Layout, key: str) -> Path:
    """Where it is made."""
    return layout.runtimes / f".{key}.new"


@contextmanager
def only_maker(layout: Layout, key: str) -> Iterator[None]:
    """A lock that the kernel gives back when its holder dies.

    Raises:
        Temporary: another process has it.
    """
    with (layout.runtimes / f".{key}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Temporary(f"The runtime {key} is being made by another process.") from None
        yield


def sweep(layout: Layout) -> None:
    """Remove what makers that were killed left; those at work have their locks. Blocking."""
    for path in layout.runtimes.glob(".*.new"):
        with suppress(Temporary), only_maker(layout, path.name[1 : -len(".new")]):
            shutil.rmtree(path)


def remove(layout: Layout, key: str) -> None:
    """Remove the runtime, in which nothing runs, and what a maker of it left. Absent is success. Blocking.

    Raises:
        Temporary: somebody is making it.
    """
    place, rubbish = layout.runtime(key), aside(layout, key)
    layout.runtimes.mkdir(parents=True, exist_ok=True)
    with only_maker(layout, key):
        if rubbish.exists():
            shutil.rmtree(rubbish)
        if place.exists():
            place.rename(rubbish)  # a half-removed one has no name of a runtime
            shutil.rmtree(rubbish)
        (layout.runtimes / f".{key}.lock").unlink(missing_ok=True)


def _clone(base: Path, fresh: Path, reader: Reader) -> None:
    """The base's folders, and links to its files."""
    shutil.copytree(base, fresh, symlinks=True, copy_function=_link)
    (fresh / MARKER).unlink(missing_ok=True)
    if reader.gid is not None:
        os.chown(fresh, 0, reader.gid)
    fresh.chmod(0o750 if reader.gid is not None else 0o755)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EMLINK, errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP):
            raise
        shutil.copy2(source, target, follow_symlinks=False)


def _install(layout: Layout, extension: Extension, fresh: Path) -> None:
    with scratch(layout) as folder:
        pinned = [translate(line, extension.folders) for line in extension.resolution.lock.splitlines()]
        lines = [*source_lines(extension.wanted, extension.folders), *pinned]
        write_file(folder / "lock.txt", "".join(f"{line}\n" for line in lines))
        words = ["pip", "install", "--requirements", str(folder / "lock.txt"), "--prefix", str(fresh)]
        words += ["--python", str(layout.runtime(extension.base) / "bin" / "python")]
        words += ["--no-deps", "--only-binary", ":all:", "--quiet"]
        words += ["--require-hashes"] if all("--hash=" in line for line in pinned) else []
        try:
            run(words, extension.wanted, layout)
        except uv.UvError as error:
            version, python = split_key(extension.base)
            raise explain(error, extension.wanted, version, pins(lock_text(version, python)).values()) from None
        finally:
            for root in (fresh, layout.runtime(extension.base)):
                (root / ".lock").unlink(missing_ok=True)  # uv's own, which anybody could write


def _clean_cache(layout: Layout, extension: Extension, fresh: Path) -> bool:
    """Whether packages were damaged in the cache too; then they are no longer in it, and are fetched anew.

    Raises:
        Temporary: uv can't remove them.
    """
    added = {_plain(name) for name in extension.resolution.packages}
    wrong = [name for name in inventory.wrong_packages(_site(fresh, extension.key)) if _plain(name) in added]
    if not wrong:
        return False
    try:
        uv.run(["cache", "clean", *wrong], cache=cache_of(layout, extension.wanted))
    except uv.UvError as error:
        raise Temporary(
            f"Packages are damaged in the cache too and can't be removed from it ({', '.join(wrong)}): {error.output}",
            10,
        ) from error
    return True


def _plain(name: str) -> str:
    """A package's name, or that of its folder of metadata, in one spelling."""
    return name.replace("-", "_").replace(".", "_").lower()


def _site(root: Path, key: str) -> Path:
    return root / "lib" / f"python{split_key(key)[1]}" / "site-packages"


def _compile(layout: Layout, extension: Extension, fresh: Path, target: Path) -> None:
    """Bytecode of what was added; what came with the base has its own. Without `site`: no code of a package runs."""
    site = _site(fresh, extension.key)
    files = [str(path) for name in extension.resolution.packages for path in _sources(site, name)]
    command = [str(layout.runtime(extension.base) / "bin" / "python"), "-ISB", "-m", "compileall", "-q", "-i", "-"]
    command += ["-s", str(fresh), "-p", str(target)]
    subprocess.run(command, input="\n".join(files), text=True, capture_output=True, check=False, timeout=600)


def _sources(site: Path, name: str) -> Iterator[Path]:
    """The package's Python files, as its record has them."""
    for record in site.glob("*.dist-info/RECORD"):
        if _plain(record.parent.name.partition("-")[0]) == _plain(name):
            with record.open(newline="") as rows:
                names = [row[0] for row in csv.reader(rows) if row and row[0].endswith(".py")]
            # Written by whoever made the wheel: a path that leads elsewhere would be written to.
            yield from (
                site / name for name in names if name[:1] != "/" and not {"..", "\n"} & {*name.split("/"), *name}
            )


async def try_start(layout: Layout, runtime: Path, version: str, reader: Reader) -> None:
    """See Airflow start in it, as the environment's user.

    Raises:
        Permanent: it doesn't, or is another version.
        Temporary: it takes too long.
    """
    with tempfile.TemporaryDirectory(prefix="aerodrome-try-") as home:
        if reader.uid is not None and reader.gid is not None:
            os.chown(home, reader.uid, reader.gid)
        place = Path(home)
        read = (runtime, *interpreter(runtime))
        sandbox = Sandbox(home=place, temporary=place, read=read, hidden=(layout.home,)) if reader.confined else None
        command = Command(
            argv=(str(runtime / "bin" / "python"), "-P", "-m", "aerodrome_airflow", "version"),
            uid=reader.uid,
            gid=reader.gid,
            directory=place,
            environment={"AIRFLOW_HOME": home, "HOME": home, "LANG": "C.UTF-8"},
            sandbox=sandbox,
        )
        code, out, err = await run_once(layout, command, timeout=_START)
    said = out.decode(errors="replace").strip().splitlines()
    if code == 0 and said[-1:] == [version]:
        return
    lines = [line for line in err.decode(errors="replace").splitlines() if line.strip()][-_SHOWN:]
    what = lines[-1] if lines else f"it says it is {said[-1:] or 'nothing'}"
    raise Permanent(f"Airflow {version} doesn't start with these requirements: {what}", "\n".join(lines))

"""Builds a runtime: `python -m aerodrome.runtimes.build --home HOME --version 3.3.1 --python /usr/bin/python3.11`.

Run as a job under Supervisor. It is made aside, under a name of its own, and put in place whole: what lies under a
runtime's name is one, or was. A runtime that was damaged is so replaced in one instant while components run in it: they
keep the files they opened, and what they import next is there. Two builders: the second waits, then sees that there is
nothing to do. It is put in place as soon as Airflow can start; the job goes on to compile what no start imports.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from aerodrome.domain import versions
from aerodrome.errors import AerodromeError, Permanent
from aerodrome.files import put_in_place, write_file
from aerodrome.layout import Layout
from aerodrome.runtimes import inventory, uv
from aerodrome.runtimes.key import is_ready, lock_text, package_files, runtime_key
from aerodrome.runtimes.progress import report

_COMPILED = ".compiled"
_WATCH = 10.0  # seconds between two looks at a runtime while its rest is compiled
# Nearly half of all source text, and no component imports it before a task asks for it.
_LATE = r"/site-packages/(kubernetes|kubernetes_asyncio|sagemaker_studio|libcst|pygments/lexers)/"


def argv(layout: Layout, version: str, python_path: str, key: str | None = None) -> list[str]:
    """The job's command line. `key`: the runtime that must come out."""
    options = ["--home", str(layout.home), "--version", version, "--python", python_path]
    return [sys.executable, "-m", "aerodrome.runtimes.build", *options, *(["--key", key] if key else [])]


def build(layout: Layout, version: str, python_path: str, wanted: str | None = None) -> str:
    """Make the runtime unless it is there and whole; return its key. `wanted`: what it must be.

    Raises:
        Permanent: it can't be made; the message says why and what to do.
    """
    python = _python_version(python_path)
    key = runtime_key(version, python)
    if wanted not in (None, key):
        raise Permanent(
            f"The runtime {wanted} can't be made: Aerodrome was upgraded on disk while its control plane runs on. "
            "Run `aerodrome up`; environments run on meanwhile."
        )
    os.umask(0o022)  # every user of the machine may read and run it, none but ours may change it
    layout.runtimes.mkdir(parents=True, exist_ok=True)
    with _only_builder(layout, key):
        try:
            if _aside(layout, key).exists():
                report("clean", 0, "Removing what a build that was killed left")
                shutil.rmtree(_aside(layout, key))
            while not _whole(layout, key, version, python, python_path):
                pass
        except OSError as error:
            advice = " Free 1 GB, then try again." if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
            where = error.filename or layout.runtime(key)
            raise Permanent(f"Runtime {key} can't be written to {where}: {error.strerror}.{advice}") from error
    return key


def _whole(layout: Layout, key: str, version: str, python: str, python_path: str) -> bool:
    """Make it if need be, and compile the rest; False when it was damaged in the meantime."""
    there = is_ready(layout, key)
    damage = inventory.damage(layout, key) if there else None
    if damage:
        report("damaged", 0, f"Runtime {key} was damaged: {damage}")
    if damage or not there:
        _install(layout, key, version, python, python_path, after_damage=damage is not None)
    report("ready", 100, f"Runtime {key} is ready")
    return _compile_late(layout, key)


def _aside(layout: Layout, key: str) -> Path:
    """Where it is made; after the exchange, what was in its place before."""
    return layout.runtimes / f".{key}.new"


@contextmanager
def _only_builder(layout: Layout, key: str) -> Iterator[None]:
    """A lock that the kernel gives back when its holder dies."""
    with (layout.runtimes / f".{key}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _install(
    layout: Layout, key: str, version: str, python: str, python_path: str, *, after_damage: bool = False
) -> None:
    """Make it aside and put it in place. `after_damage`: the cache shares its files, so it isn't trusted either."""
    target, fresh = layout.runtime(key), _aside(layout, key)
    cache = layout.cache / "uv"
    cache.mkdir(parents=True, exist_ok=True)
    site = fresh / "lib" / f"python{python}" / "site-packages"
    report("venv", 2, f"Making a virtual environment with Python {python}")
    try:
        uv.run(["venv", "--quiet", "--no-project", "--python", python_path, str(fresh)], cache=cache)
        _packages(fresh, cache, version, python)
        if after_damage:
            _replace_wrong(fresh, site, cache, version)
    except uv.UvError as error:
        raise _explain(error, version) from error
    report("package", 70, "Adding Aerodrome's part")
    for name, data in package_files().items():
        place = site / "aerodrome_airflow" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    report("compile", 72, "Compiling what Airflow imports when it starts")
    # Bytecode carries the path under which it will be found.
    moved = ("-s", str(fresh), "-p", str(target))
    _compile(fresh, "-x", _LATE, *moved, workers=min(4, os.cpu_count() or 1))
    (fresh / ".lock").unlink(missing_ok=True)  # uv's own, which anybody could write
    move_scripts(fresh / "bin", fresh, target)
    inventory.complete(fresh, key)
    if put_in_place(fresh, target):
        report("clean", 99, "Removing what was there before")
        shutil.rmtree(fresh)


def move_scripts(folder: Path, fresh: Path, target: Path) -> None:
    """Programs of a virtual environment begin with the path of its interpreter."""
    before, after = os.fsencode(fresh), os.fsencode(target)
    for path in folder.iterdir():
        if not path.is_symlink() and before in (data := path.read_bytes()):
            write_file(path, data.replace(before, after), path.stat().st_mode & 0o7777)


def _packages(target: Path, cache: Path, version: str, python: str) -> None:
    """Everything in the lock: without the network when the cache has it all."""
    lock = target / "requirements.txt"
    lock.write_text(lock_text(version, python))
    total = sum(line[:1].isalnum() for line in lock.read_text().splitlines())
    command = _sync(target, version)
    report("install", 5, f"Installing Airflow {version} from the cache")
    try:
        uv.run([*command, "--offline"], cache=cache)
    except uv.UvError as error:
        if error.disk_full:
            raise
    else:
        return
    unpacked = cache / "archive-v0"
    before = _count(unpacked)

    def tick() -> None:
        here = max(0, min(total, _count(unpacked) - before))
        report("download", 5 + 60 * here // total, f"Downloading Airflow {version}: {here} of {total} packages")

    report("download", 5, f"Downloading Airflow {version}: {total} packages")
    uv.run(command, cache=cache, tick=tick)


def _sync(target: Path, version: str) -> list[str]:
    """uv's arguments that bring a virtual environment to what its lock says."""
    lock = str(target / "requirements.txt")
    command = ["pip", "sync", "--require-hashes", "--python", str(target / "bin" / "python"), lock]
    command += ["--only-binary", ":all:"]
    for name in versions.get(version).sources:  # built with what the lock pins, hashes included
        command += ["--no-binary", name, "--build-constraints", lock]
    return command


def _replace_wrong(target: Path, site: Path, cache: Path, version: str) -> None:
    """Runtimes and cache share files on disk: what was cut short in one is cut short in all. Fetch those packages anew.

    Raises:
        uv.UvError: the registry can't be reached.
        Permanent: what it gives is wrong too.
    """
    report("check", 60, "Checking every file against its package's record")
    wrong = inventory.wrong_packages(site)
    if not wrong:
        return
    report(
        "download", 62, f"Downloading {len(wrong)} packages that are damaged in the cache too: {', '.join(wrong[:5])}"
    )
    uv.run(["cache", "clean", *wrong], cache=cache)
    again = [word for name in wrong for word in ("--reinstall-package", name)]
    uv.run([*_sync(target, version), *again], cache=cache)
    if still := inventory.wrong_packages(site):
        raise Permanent(
            f"Airflow {version} was not installed: files of {', '.join(still[:5])} differ from the packages' own "
            "records although they were downloaded anew. Is the disk failing?"
        )


def _count(folder: Path) -> int:
    try:
        return sum(1 for _ in folder.iterdir())
    except FileNotFoundError:
        return 0


def _explain(error: uv.UvError, version: str) -> Permanent:
    if error.disk_full:
        return Permanent(
            f"Airflow {version} was not installed: the disk is full. Free 1 GB, then try again.", error.output
        )
    if error.network:
        return Permanent(
            f"Airflow {version} was not installed: the package registry can't be reached, and the cache doesn't hold "
            "all packages. Connect this machine once, or name a mirror with UV_DEFAULT_INDEX.",
            error.output,
        )
    return Permanent(f"Airflow {version} was not installed: uv failed (its words are above).", error.output)


def _compile_late(layout: Layout, key: str) -> bool:
    """Compile the rest, politely; done once. False: the runtime was damaged in the meantime, which comes first."""
    target = layout.runtime(key)
    if (target / _COMPILED).exists():
        return True
    if not _compile(target, workers=1, nice=True, go_on=lambda: inventory.damage(layout, key) is None):
        return False
    write_file(target / _COMPILED, "", 0o644)
    inventory.complete(target, key)
    return True


def _compile(
    target: Path, *options: str, workers: int, nice: bool = False, go_on: Callable[[], bool] = lambda: True
) -> bool:
    """Write bytecode; a file of a package that isn't valid Python for this version is no failure of ours.

    `go_on` is asked now and then; False: it didn't, so we stopped.
    """
    command = [str(target / "bin" / "python"), "-IB", "-m", "compileall", "-qq", f"-j{workers}", *options]
    polite = ["nice", "-n", "10"] if nice else []
    process = subprocess.Popen([*polite, *command, str(target / "lib")], stdin=subprocess.DEVNULL)
    try:
        while True:
            try:
                code = process.wait(_WATCH)
                break
            except subprocess.TimeoutExpired:
                if not go_on():
                    return False
    finally:
        process.kill()
        process.wait()
    if code < 0:
        raise Permanent(f"Compiling {target} was ended by signal {-code}; start it again.")
    return True


def _python_version(path: str) -> str:
    try:
        script = "import sys; print('%d.%d' % sys.version_info[:2])"
        done = subprocess.run([path, "-I", "-c", script], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise Permanent(f"{path} is not a Python that works ({error}).") from error
    return done.stdout.strip()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="aerodrome.runtimes.build")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--python", required=True, help="path of the interpreter")
    parser.add_argument("--key", help="the runtime that must come out; anything else is refused")
    options = parser.parse_args(arguments)
    try:
        build(Layout(options.home.absolute()), options.version, options.python, options.key)
    except AerodromeError as error:
        detail = error.detail if isinstance(error, Permanent) else ""
        sys.stderr.write(f"{detail}\n{error}\n" if detail else f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

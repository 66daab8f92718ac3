"""Builds a runtime: `python -m aerodrome.runtimes.build --home HOME --version 3.3.1 --python /usr/bin/python3.11`.

Run as a job under Supervisor. A virtual environment knows its own path, so it is made where it will stay; the marker,
written last, makes it a runtime. What lies there without a marker is wiped. Two builders: the second waits, then sees
that there is nothing to do. The marker comes as soon as Airflow can start; the job goes on to compile the parts that
no start imports.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aerodrome.domain import versions
from aerodrome.errors import AerodromeError, Permanent
from aerodrome.files import write_file
from aerodrome.layout import Layout
from aerodrome.runtimes import uv
from aerodrome.runtimes.key import MARKER, is_ready, lock_text, package_files, runtime_key
from aerodrome.runtimes.progress import report

_COMPILED = ".compiled"
# Nearly half of all source text, and no component imports it before a task asks for it.
_LATE = r"/site-packages/(kubernetes|kubernetes_asyncio|sagemaker_studio|libcst|pygments/lexers)/"


def argv(layout: Layout, version: str, python_path: str) -> list[str]:
    """The job's command line."""
    options = ["--home", str(layout.home), "--version", version, "--python", python_path]
    return [sys.executable, "-m", "aerodrome.runtimes.build", *options]


def build(layout: Layout, version: str, python_path: str) -> str:
    """Make the runtime unless it is there; return its key.

    Raises:
        Permanent: it can't be made; the message says why and what to do.
    """
    python = _python_version(python_path)
    key = runtime_key(version, python)
    os.umask(0o022)  # every user of the machine may read and run it, none but ours may change it
    layout.runtimes.mkdir(parents=True, exist_ok=True)
    with _only_builder(layout, key):
        try:
            if not is_ready(layout, key):
                _install(layout, key, version, python, python_path)
            report("ready", 100, f"Runtime {key} is ready")
            _compile_late(layout.runtime(key))
        except OSError as error:
            raise Permanent(f"Runtime {key} can't be written to {layout.runtime(key)}: {error.strerror}.") from error
    return key


@contextmanager
def _only_builder(layout: Layout, key: str) -> Iterator[None]:
    """A lock that the kernel gives back when its holder dies."""
    with (layout.runtimes / f".{key}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _install(layout: Layout, key: str, version: str, python: str, python_path: str) -> None:
    target = layout.runtime(key)
    if target.exists():
        report("clean", 1, "Removing a runtime that was not finished")
        shutil.rmtree(target)
    cache = layout.cache / "uv"
    cache.mkdir(parents=True, exist_ok=True)
    report("venv", 2, f"Making a virtual environment with Python {python}")
    try:
        uv.run(["venv", "--quiet", "--no-project", "--python", python_path, str(target)], cache=cache)
        _packages(target, cache, version, python)
    except uv.UvError as error:
        raise _explain(error, version) from error
    report("package", 70, "Adding Aerodrome's part")
    site = target / "lib" / f"python{python}" / "site-packages"
    for name, data in package_files().items():
        place = site / "aerodrome_airflow" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    report("compile", 72, "Compiling what Airflow imports when it starts")
    _compile(target, "-x", _LATE, workers=min(4, os.cpu_count() or 1))
    (target / ".lock").unlink(missing_ok=True)  # uv's own, which anybody could write
    write_file(target / MARKER, key + "\n", 0o644)


def _packages(target: Path, cache: Path, version: str, python: str) -> None:
    """Everything in the lock: without the network when the cache has it all."""
    lock = target / "requirements.txt"
    lock.write_text(lock_text(version, python))
    total = sum(line[:1].isalnum() for line in lock.read_text().splitlines())
    command = ["pip", "sync", "--require-hashes", "--python", str(target / "bin" / "python"), str(lock)]
    command += ["--only-binary", ":all:"]
    for name in versions.get(version).sources:  # built with what the lock pins, hashes included
        command += ["--no-binary", name, "--build-constraints", str(lock)]
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


def _compile_late(target: Path) -> None:
    """Compile the rest, politely; done once."""
    if (target / _COMPILED).exists():
        return
    os.nice(10)
    _compile(target, workers=1)
    write_file(target / _COMPILED, "", 0o644)


def _compile(target: Path, *options: str, workers: int) -> None:
    """Write bytecode; a file of a package that isn't valid Python for this version is no failure of ours."""
    command = [str(target / "bin" / "python"), "-I", "-m", "compileall", "-qq", f"-j{workers}", *options]
    done = subprocess.run([*command, str(target / "lib")], stdin=subprocess.DEVNULL, check=False)
    if done.returncode < 0:
        raise Permanent(f"Compiling {target} was ended by signal {-done.returncode}; start it again.")


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
    options = parser.parse_args(arguments)
    try:
        build(Layout(options.home.absolute()), options.version, options.python)
    except AerodromeError as error:
        detail = error.detail if isinstance(error, Permanent) else ""
        sys.stderr.write(f"{detail}\n{error}\n" if detail else f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

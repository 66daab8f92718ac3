"""Requirements beside real Airflow, with packages from the registry: found, installed beside the base, and tried."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from aerodrome.content.unpack import unpack
from aerodrome.domain import versions
from aerodrome.errors import Permanent, Temporary
from aerodrome.runtimes import extend, inventory
from aerodrome.runtimes.extend import Extension, Reader
from aerodrome.runtimes.key import is_ready, split_key
from aerodrome.runtimes.requirements import PLUGINS, parse
from aerodrome.runtimes.resolve import resolve
from aerodrome.runtimes.sources import opener
from support.real_airflow import Runtime

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]
PURE, COMPILED = "cowsay==6.1", "rapidfuzz==3.13.0"
READER = Reader(65534, 65534) if os.geteuid() == 0 else Reader()


@pytest.fixture(scope="session", params=versions.VERSIONS)
def base(request: pytest.FixtureRequest, runtimes: Callable[[str], Runtime]) -> Runtime:
    return runtimes(request.param)


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that every user can enter."""
    path = Path(tempfile.mkdtemp(prefix="aero-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def wheel(folder: Path, name: str, files: dict[str, str], requires: str = "") -> Path:
    """A wheel, as somebody would make one for plugins.zip."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    meta = f"{name}-1.0.dist-info"
    requirement = f"Requires-Dist: {requires}\n" if requires else ""
    content = {
        **files,
        f"{meta}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{requirement}",
        f"{meta}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [f"{file},{_digest(text)},{len(text.encode())}" for file, text in content.items()]
    content[f"{meta}/RECORD"] = "\n".join([*rows, f"{meta}/RECORD,,"]) + "\n"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in content.items():
            archive.writestr(file, text)
    return path


def _digest(text: str) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def extension(base: Runtime, text: str, folders: dict[str, Path] | None = None, scope: str = "") -> Extension:
    folders = folders or {}
    version, python = split_key(base.key)
    wanted = parse(text.encode(), {}, opener(version, python, folders))
    return Extension(base.key, wanted, resolve(base.layout, base.key, wanted, folders), folders, scope)


def says(base: Runtime, key: str, script: str) -> str:
    """What a script prints in the runtime, run as nobody."""
    command = [str(base.layout.runtime(key) / "bin" / "python"), "-I", "-c", script]
    groups = () if READER.uid is not None else None
    done = subprocess.run(
        command, user=READER.uid, group=READER.gid, extra_groups=groups, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def shares_files(one: Path, other: Path) -> bool:
    names = [path.relative_to(one) for path in one.glob("lib/*/site-packages/airflow/__init__.py")]
    return bool(names) and all(os.path.samefile(one / name, other / name) for name in names)


def state(root: Path) -> dict[str, tuple[int, int, int]]:
    """Every file with what changes when it is written to."""
    found = {}
    for top, _, names in os.walk(root):
        for name in names:
            entry = os.lstat(os.path.join(top, name))
            found[os.path.join(top, name)] = (entry.st_ino, entry.st_size, entry.st_mtime_ns)
    return found


async def test_packages_are_added_beside_the_base(base: Runtime) -> None:
    before = state(base.layout.runtime(base.key))
    wanted = await asyncio.to_thread(extension, base, f"{PURE}\n{COMPILED}\n", None, "one")
    assert dict(wanted.resolution.packages) == {"cowsay": "6.1", "rapidfuzz": "3.13.0"}
    assert wanted.resolution.lock.count("--hash=sha256:") >= 2
    key = await extend.ensure(base.layout, wanted, READER)
    try:
        assert key == wanted.key != base.key
        assert split_key(key) == split_key(base.key)
        assert inventory.damage(base.layout, key) is None
        assert says(base, key, "import cowsay, rapidfuzz.fuzz_cpp; print(rapidfuzz.fuzz.ratio('ab', 'ab'))") == "100.0"
        place = base.layout.runtime(key)
        assert says(base, key, "import sys; print(sys.prefix)") == str(place)
        assert list(place.glob("lib/*/site-packages/cowsay/__pycache__/*.pyc"))
        assert f"#!{place}/bin/python" in (place / "bin" / "airflow").read_text()
        assert shares_files(place, base.layout.runtime(base.key))
        if READER.gid is not None:
            assert (stat.S_IMODE(place.stat().st_mode), place.stat().st_gid) == (0o750, READER.gid)
        marker = (place / ".complete").stat().st_mtime_ns
        assert await extend.ensure(base.layout, wanted, READER) == key
        assert (place / ".complete").stat().st_mtime_ns == marker, "what is whole is left alone"
    finally:
        shutil.rmtree(base.layout.runtime(key))
    assert state(base.layout.runtime(base.key)) == before
    assert sorted(path.name for path in base.layout.runtimes.iterdir() if path.name.endswith(".new")) == []


def test_keys_say_what_is_in_them(base: Runtime) -> None:
    one, same = (extension(base, text).key for text in (f"{PURE}\n", f"# mine\n{PURE}   # pinned\n"))
    assert one == same
    others = {extension(base, f"{PURE}\n{COMPILED}\n").key, extension(base, f"{PURE}\n", scope="another").key, base.key}
    assert one not in others
    assert len(others) == 3
    version = split_key(base.key)[0]
    assert extension(base, f"apache-airflow=={version}\nrequests\n# nothing more\n").key == base.key


@pytest.mark.parametrize("text", ["celery==4.4.7", "# --constraint none\ncelery==4.4.7", "apache-airflow==2.10.0"])
def test_a_conflict_is_told_in_the_resolvers_words(base: Runtime, text: str) -> None:
    with pytest.raises(Permanent) as conflict:
        extension(base, text)
    message = str(conflict.value)
    package, _, pinned = text.splitlines()[-1].partition("==")
    assert message.startswith(f"The requirements can't be installed beside Airflow {split_key(base.key)[0]}: Because ")
    assert f"{package}=={pinned}" in message
    assert "your requirements are unsatisfiable" in message
    assert not set("×╰▶\n") & set(message)


def test_what_does_not_exist_is_told(base: Runtime) -> None:
    with pytest.raises(Permanent, match=r"cowsay==99\.99"):
        extension(base, "cowsay==99.99")


def test_a_package_without_a_wheel_is_refused_and_nothing_of_it_runs(base: Runtime) -> None:
    with pytest.raises(Permanent, match=r"no usable wheels|only-binary|source distributions"):
        extension(base, "docopt==0.6.2")


def test_an_index_out_of_reach_is_temporary_and_its_login_is_told_to_nobody(base: Runtime) -> None:
    with pytest.raises(Temporary) as failure:
        extension(base, "--index-url http://me:hidden-word@127.0.0.1:1/simple\nsome-private-thing\n")
    assert "hidden-word" not in str(failure.value)
    assert "can't be reached" in str(failure.value)


async def test_a_private_wheel_in_plugins_zip_without_the_registry(base: Runtime, folder: Path) -> None:
    """And what begins to run with the interpreter doesn't run as us."""
    trace = folder / "trace"
    trace.mkdir(mode=0o777)
    trace.chmod(0o777)
    code = f"import os; open({str(trace)!r} + f'/{{os.geteuid()}}', 'a').close()\n"
    made = wheel(folder, "private_thing", {"private_thing.py": "x = 42\n", "evil.pth": code}, requires="requests")
    with zipfile.ZipFile(folder / "plugins.zip", "w") as archive:
        archive.write(made, f"wheels/{made.name}")
    tree = unpack(folder / "plugins.zip", folder / "trees")
    text = f"--find-links {PLUGINS}/wheels\n--no-index\nprivate-thing\n"
    wanted = await asyncio.to_thread(extension, base, text, {PLUGINS: tree.path})
    moved = tree.path.rename(folder / "moved")
    again = await asyncio.to_thread(extension, base, text, {PLUGINS: moved})
    assert again.key == wanted.key, "where plugins.zip was unpacked is in no key"
    by_path = await asyncio.to_thread(extension, base, f"{PLUGINS}/wheels/{made.name}\n", {PLUGINS: moved})
    assert str(folder) not in by_path.resolution.lock
    for one in (again, by_path):
        key = await extend.ensure(base.layout, one, READER)
        assert says(base, key, "import private_thing; print(private_thing.x)") == "42"
        shutil.rmtree(base.layout.runtime(key))
    assert {path.name for path in trace.iterdir()} == {str(READER.uid if READER.uid is not None else os.geteuid())}


@pytest.fixture
def private_index(folder: Path) -> Iterator[tuple[str, set[str]]]:
    """An index that asks for a login, with one package; its URL without the login, and the paths that were served."""
    made = wheel(folder, "private_thing", {"private_thing.py": "x = 42\n"}, requires="requests")
    link = f'<a href="/files/{made.name}">{made.name}</a>'
    pages = {"/simple/private-thing/": link.encode(), f"/files/{made.name}": made.read_bytes()}
    expected = f"Basic {base64.b64encode(b'me:hidden-word').decode()}"
    served = set[str]()

    class Handler(BaseHTTPRequestHandler):
        def answer(self, *, whole: bool) -> None:
            known = self.headers.get("Authorization") == expected
            body = pages.get(self.path, b"") if known else b""
            self.send_response(200 if body else 404 if known else 401)
            self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if whole and body:
                self.wfile.write(body)
                served.add(self.path)

        def do_GET(self) -> None:
            self.answer(whole=True)

        def do_HEAD(self) -> None:
            self.answer(whole=False)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}/simple", served
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("option", ["--index-url", "--extra-index-url"])
def test_a_private_index(base: Runtime, private_index: tuple[str, set[str]], option: str) -> None:
    url, served = private_index
    found = extension(base, f"{option} http://me:hidden-word@{url}\nprivate-thing\n")
    assert dict(found.resolution.packages) == {"private-thing": "1.0"}
    assert "hidden-word" not in found.resolution.lock
    assert served
    with pytest.raises((Permanent, Temporary)) as failure:
        extension(base, f"{option} http://me:other-word@{url}\nprivate-thing\n")
    assert "other-word" not in str(failure.value) + getattr(failure.value, "detail", "")


async def test_airflow_must_start_with_it(base: Runtime, folder: Path) -> None:
    wheel(folder, "breaks_all", {"breaks_all.py": "", "breaks_all.pth": "import sys; sys.modules['argparse'] = None\n"})
    wanted = await asyncio.to_thread(extension, base, f"--find-links {PLUGINS}\nbreaks_all\n", {PLUGINS: folder})
    with pytest.raises(Permanent, match=r"doesn't start with these requirements: .*argparse"):
        await extend.ensure(base.layout, wanted, READER)
    assert not is_ready(base.layout, wanted.key)
    assert not base.layout.runtime(wanted.key).exists()


async def test_another_version_of_what_airflow_has(base: Runtime) -> None:
    """With constraints of one's own all but the essential pins may change."""
    wanted = await asyncio.to_thread(extension, base, "# --constraint none\ntabulate==0.9.0\n")
    assert (dict(wanted.resolution.packages), dict(wanted.resolution.replaced)) == (
        {"tabulate": "0.9.0"},
        {"tabulate": "0.10.0"},
    )
    key = await extend.ensure(base.layout, wanted, READER)
    script = (
        "from importlib import metadata; import tabulate; print(metadata.version('tabulate'), tabulate.__version__)"
    )
    assert says(base, key, script) == "0.9.0 0.9.0"
    assert says(base, base.key, script) == "0.10.0 0.10.0"
    shutil.rmtree(base.layout.runtime(key))


async def test_what_was_killed_is_made_again(base: Runtime) -> None:
    wanted = await asyncio.to_thread(extension, base, f"{PURE}\n", None, "killed")
    left = base.layout.runtimes / f".{wanted.key}.new" / "left-behind"
    left.parent.mkdir()
    left.touch()
    key = await extend.ensure(base.layout, wanted, READER)
    assert not left.parent.exists()
    assert is_ready(base.layout, key)
    (base.layout.runtime(key) / "bin" / "airflow").unlink()
    assert inventory.damage(base.layout, key) is not None
    assert await extend.ensure(base.layout, wanted, READER) == key
    assert inventory.damage(base.layout, key) is None
    shutil.rmtree(base.layout.runtime(key))

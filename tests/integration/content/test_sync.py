"""S3 to a folder, against a real S3 and a real file system."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aerodrome.aws.clients import AwsClients
from aerodrome.content.sync import ContentSync, SyncResult
from aerodrome.errors import Permanent, Temporary
from aerodrome.layout import Layout

if TYPE_CHECKING:
    from conftest import Aws

ENVIRONMENT = "0123456789ab"
LIST = {"Effect": "Allow", "Action": "s3:ListBucket"}
Put = Callable[[str, str], None]
Look = Callable[[str, str], SyncResult]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


@pytest.fixture
def dags(layout: Layout) -> Path:
    return layout.dags(ENVIRONMENT)


@pytest.fixture
def sync(layout: Layout) -> Iterator[ContentSync]:
    made = ContentSync(layout)
    yield made
    made.close()


@pytest.fixture
def look(sync: ContentSync, s3: Any) -> Look:
    """One look at a bucket: look(bucket, prefix)."""
    return lambda bucket, prefix: asyncio.run(sync.sync_dags(ENVIRONMENT, bucket, prefix, s3))


@pytest.fixture
def calls(s3: Any) -> Counter[str]:
    """How many calls of each operation reach S3."""
    counted: Counter[str] = Counter()
    s3.meta.events.register("before-call", lambda model, **_: counted.update([model.name]))
    return counted


def tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def versions(dags: Path) -> list[str]:
    return sorted(path.name for path in (dags.parent / ".versions").iterdir() if path.is_dir())


def test_files_arrive_change_and_go(look: Look, dags: Path, admin: Any, bucket: str, put: Put) -> None:
    put("dags/a.py", "one")
    put("dags/package/b.py", "two")
    put("dags/package/deep/c.sql", "three")
    put("dags-other/x.py", "not ours")
    put("elsewhere.py", "not ours")
    first = look(bucket, "dags")
    assert tree(dags) == {"a.py": "one", "package/b.py": "two", "package/deep/c.sql": "three"}
    assert (first.files, first.changed, first.removed, first.bytes, first.warnings) == (3, 3, 0, 11, ())

    put("dags/a.py", "changed")
    put("dags/new/d.py", "four")
    admin.delete_object(Bucket=bucket, Key="dags/package/deep/c.sql")
    second = look(bucket, "dags/")
    assert tree(dags) == {"a.py": "changed", "package/b.py": "two", "new/d.py": "four"}
    assert (second.files, second.changed, second.removed) == (3, 2, 1)
    assert second.version > first.version
    assert not (dags / "package/deep").exists()


def test_an_unchanged_bucket_costs_one_listing(
    look: Look, dags: Path, bucket: str, put: Put, calls: Counter[str]
) -> None:
    for name in "abc":
        put(f"dags/{name}.py", name)
    first = look(bucket, "dags")
    inode = dags.stat().st_ino
    calls.clear()
    second = look(bucket, "dags")
    assert calls == {"ListObjectsV2": 1}
    assert (second.version, second.changed, second.removed) == (first.version, 0, 0)
    assert dags.stat().st_ino == inode


def test_only_changed_objects_are_fetched(look: Look, dags: Path, bucket: str, put: Put, calls: Counter[str]) -> None:
    for name in "abcde":
        put(f"dags/{name}.py", name)
    look(bucket, "dags")
    kept = (dags / "a.py").stat()
    put("dags/e.py", "other")
    calls.clear()
    look(bucket, "dags")
    assert calls == {"ListObjectsV2": 2, "GetObject": 1}, "the second listing confirms the first"
    assert (dags / "a.py").stat().st_ino == kept.st_ino
    assert (dags / "a.py").stat().st_mtime_ns == kept.st_mtime_ns


def test_a_changed_file_is_younger_than_the_look_that_found_it(look: Look, dags: Path, bucket: str, put: Put) -> None:
    """Airflow parses a known file again only when it is younger than its last parse."""
    put("dags/a.py", "one")
    started = time.time()
    look(bucket, "dags")
    assert (dags / "a.py").stat().st_mtime >= started - 0.05


def test_everyone_reads_and_only_the_owner_writes_whatever_the_umask(
    look: Look, dags: Path, bucket: str, put: Put
) -> None:
    put("dags/package/a.py", "one")
    before = os.umask(0o077)
    try:
        look(bucket, "dags")
    finally:
        os.umask(before)
    for path in (dags.parent, dags, dags / "package"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert stat.S_IMODE((dags / "package/a.py").stat().st_mode) == 0o644


def test_the_folder_has_one_path_for_ever(look: Look, dags: Path, bucket: str, put: Put) -> None:
    put("dags/a.py", "one")
    look(bucket, "dags")
    resolved = (dags / "a.py").resolve()
    put("dags/a.py", "two")
    look(bucket, "dags")
    assert (dags / "a.py").resolve() == resolved == dags / "a.py"
    assert resolved.read_text() == "two"


def test_one_version_back_is_kept(look: Look, dags: Path, bucket: str, put: Put) -> None:
    results: list[SyncResult] = []
    for text in ("one", "two", "three", "four"):
        put("dags/a.py", text)
        results.append(look(bucket, "dags"))
    assert versions(dags) == [f"dags-{results[-2].version}"]
    assert (dags.parent / ".versions" / versions(dags)[0] / "a.py").read_text() == "three"


def test_a_process_inside_the_folder_finishes_with_what_it_began(look: Look, dags: Path, bucket: str, put: Put) -> None:
    put("dags/script.sh", "one")
    look(bucket, "dags")
    inside = os.open(dags, os.O_RDONLY | os.O_DIRECTORY)
    try:
        put("dags/script.sh", "two")
        look(bucket, "dags")
        with os.fdopen(os.open("script.sh", os.O_RDONLY, dir_fd=inside)) as file:
            assert file.read() == "one"
    finally:
        os.close(inside)


def test_odd_keys_are_skipped_and_named(look: Look, dags: Path, bucket: str, put: Put) -> None:
    put("dags/fine.py", "fine")
    put("dags/ünï code.py", "fine")
    put("dags/marker/", "")
    put("dags/a//b.py", "empty segment")
    put("dags/tree", "file")
    put("dags/tree/leaf.py", "leaf")
    put(f"dags/{'x' * 300}.py", "long")
    result = look(bucket, "dags")
    assert tree(dags) == {"fine.py": "fine", "ünï code.py": "fine", "tree/leaf.py": "leaf"}
    assert len(result.warnings) == 3
    assert any("dags/a//b.py" in warning for warning in result.warnings)


def test_listings_of_several_pages(look: Look, dags: Path, s3: Any, bucket: str, put: Put, calls: Counter[str]) -> None:
    for number in range(25):
        put(f"dags/{number:02}.py", str(number))
    name = "provide-client-params.s3.ListObjectsV2"
    s3.meta.events.register(name, lambda params, **_: {**params, "MaxKeys": 10})
    result = look(bucket, "dags")
    assert result.files == 25
    assert len(list(dags.iterdir())) == 25
    assert calls["ListObjectsV2"] == 2 * 3, "a second listing confirms the first"


def test_an_empty_prefix_is_an_empty_folder(look: Look, dags: Path, bucket: str) -> None:
    result = look(bucket, "dags")
    assert dags.is_dir()
    assert (result.files, tree(dags)) == (0, {})


def test_another_bucket_replaces_everything(look: Look, dags: Path, bucket: str, put: Put) -> None:
    put("dags/a.py", "same")
    look(bucket, "dags")
    look(bucket, "nothing-here")
    assert tree(dags) == {}


def test_a_file_that_somebody_removed_here_comes_back_with_the_next_change(
    look: Look, dags: Path, bucket: str, put: Put
) -> None:
    put("dags/a.py", "one")
    put("dags/b.py", "two")
    look(bucket, "dags")
    (dags / "a.py").unlink()
    put("dags/b.py", "changed")
    look(bucket, "dags")
    assert tree(dags) == {"a.py": "one", "b.py": "changed"}


def test_a_missing_bucket_is_permanent_and_named(look: Look) -> None:
    with pytest.raises(Permanent, match=r"Bucket not-there-4711 can't be read \(NoSuchBucket\)"):
        look("not-there-4711", "dags")


def test_a_role_that_may_not_list_is_permanent_and_told_what_to_allow(
    sync: ContentSync, bucket: str, put: Put, aws: Aws
) -> None:
    put("dags/a.py", "one")
    nothing = {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::another"}
    s3 = aws.client("s3", aws.assume(aws.role(f"no-list-{bucket}", nothing)))
    with pytest.raises(Permanent, match=rf"Bucket {bucket} can't be read \(AccessDenied\): .* allow s3:ListBucket"):
        asyncio.run(sync.sync_dags(ENVIRONMENT, bucket, "dags", s3))
    s3.close()


def test_a_role_that_may_list_but_not_read_is_permanent(sync: ContentSync, bucket: str, put: Put, aws: Aws) -> None:
    put("dags/a.py", "one")
    s3 = aws.client("s3", aws.assume(aws.role(f"no-get-{bucket}", {**LIST, "Resource": "*"})))
    with pytest.raises(Permanent, match="allow s3:GetObject"):
        asyncio.run(sync.sync_dags(ENVIRONMENT, bucket, "dags", s3))
    s3.close()


def test_one_unreadable_object_keeps_its_old_copy_and_holds_nothing_up(
    sync: ContentSync, dags: Path, look: Look, bucket: str, put: Put, aws: Aws
) -> None:
    put("dags/open.py", "one")
    put("dags/closed.py", "one")
    look(bucket, "dags")
    closed = {"Effect": "Deny", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/dags/closed.py"}
    allowed = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}
    s3 = aws.client("s3", aws.assume(aws.role(f"partly-{bucket}", allowed, closed)))
    put("dags/open.py", "two")
    put("dags/closed.py", "two")
    first = asyncio.run(sync.sync_dags(ENVIRONMENT, bucket, "dags", s3))
    assert tree(dags) == {"open.py": "two", "closed.py": "one"}
    assert first.warnings == ("skipped 'dags/closed.py': S3 answered AccessDenied",)
    second = asyncio.run(sync.sync_dags(ENVIRONMENT, bucket, "dags", s3))
    assert (second.version, second.changed) == (first.version, 0)
    assert second.warnings == first.warnings
    s3.close()


def test_an_s3_that_is_away_is_temporary_and_changes_nothing(
    look: Look, sync: ContentSync, dags: Path, bucket: str, put: Put, aws: Aws
) -> None:
    put("dags/a.py", "one")
    look(bucket, "dags")
    nobody = AwsClients({"": "http://127.0.0.1:9"}).client("s3", "us-east-1", aws.admin)
    with pytest.raises(Temporary, match=f"Bucket {bucket} can't be reached"):
        asyncio.run(sync.sync_dags(ENVIRONMENT, bucket, "dags", nobody))
    assert tree(dags) == {"a.py": "one"}


def test_readers_always_find_a_whole_version(
    look: Look, sync: ContentSync, dags: Path, s3: Any, bucket: str, put: Put
) -> None:
    names = [f"{number}.py" for number in range(12)]
    for name in names:
        put(f"dags/{name}", "0")
    look(bucket, "dags")
    stop, seen, broken = threading.Event(), Counter[str](), list[str]()

    def read() -> None:
        while not stop.is_set():
            inside = os.open(dags, os.O_RDONLY | os.O_DIRECTORY)
            try:
                texts = {_text(inside, name) for name in names}
            except FileNotFoundError:
                texts = set()  # opened a version that was removed two syncs later
            finally:
                os.close(inside)
            seen.update(texts)
            if len(texts) > 1:
                broken.append(str(texts))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for version in range(1, 6):
            for name in names:
                put(f"dags/{name}", str(version))
            look(bucket, "dags")
    finally:
        stop.set()
        reader.join()
    assert broken == []
    assert {"0", "5"} <= seen.keys() or len(seen) > 2


def _text(inside: int, name: str) -> str:
    with os.fdopen(os.open(name, os.O_RDONLY, dir_fd=inside)) as file:
        return file.read()


WRITER = """
    import asyncio, sys
    from datetime import UTC, datetime
    from pathlib import Path
    from aerodrome.aws.clients import AwsClients
    from aerodrome.content.sync import ContentSync
    from aerodrome.domain.principal import Credentials
    from aerodrome.layout import Layout

    endpoint, key, secret, bucket, home, start = sys.argv[1:]
    s3 = AwsClients({"": endpoint}).client("s3", "us-east-1", Credentials(key, secret, "", datetime.now(UTC)))
    sync = ContentSync(Layout(Path(home)))
    for version in range(int(start), int(start) + 1000):
        for number in range(8):
            s3.put_object(Bucket=bucket, Key=f"dags/{number}.py", Body=str(version).encode())
        print("uploaded", flush=True)
        asyncio.run(sync.sync_dags("ENVIRONMENT", bucket, "dags", s3))
""".replace("ENVIRONMENT", ENVIRONMENT)


def test_kill_at_any_moment_leaves_a_whole_version(
    look: Look, layout: Layout, dags: Path, s3: Any, bucket: str, put: Put, aws: Aws
) -> None:
    chance, seen = random.Random(7), set[str]()  # noqa: S311
    for attempt in range(8):
        arguments = [aws.url, aws.admin.access_key_id, aws.admin.secret_access_key, bucket]
        arguments += [str(layout.home), str(attempt * 1000)]
        writer = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), *arguments], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        with writer.stdout:
            for _ in range(chance.randint(2, 4)):
                assert writer.stdout.readline() == "uploaded\n"
            time.sleep(chance.uniform(0, 0.1))  # anywhere in a sync, or just after it
            writer.send_signal(signal.SIGKILL)
            writer.wait()
        found = tree(dags)
        assert len(found) == 8
        assert len(set(found.values())) == 1, found
        seen.update(found.values())
    assert len(seen) == 8
    put("dags/0.py", "after")
    look(bucket, "dags")
    assert len(versions(dags)) == 1
    assert list((dags.parent / ".versions").glob("*.new*")) == []
    assert tree(dags)["0.py"] == "after"

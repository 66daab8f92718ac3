"""Logs of a deleted environment: kept whole, once, away from everybody, for every environment that there ever was."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from aerodrome.backends import kept_logs
from aerodrome.backends.kept_logs import KeptLogs
from aerodrome.domain.environment import EnvironmentKey
from aerodrome.layout import Layout

KEY = EnvironmentKey("aws", "100000000001", "eu-west-1", "demo")
ONE, TWO = "0123456789ab", "ba9876543210"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has users for environments")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    found = Layout(tmp_path)
    for environment_id in (ONE, TWO):
        (found.logs(environment_id) / "dag_id=hello").mkdir(parents=True)
        (found.logs(environment_id) / "dag_id=hello/attempt=1.log").write_text(f"task of {environment_id}")
        found.component_logs(environment_id).mkdir()
        (found.component_logs(environment_id) / "scheduler-1-abcd.log").write_text(f"scheduler of {environment_id}")
    return found


def kept(layout: Layout, environment_id: str = ONE) -> Path:
    return layout.kept_logs / f"aws.100000000001.eu-west-1.demo.{environment_id}"


def texts(layout: Layout, environment_id: str = ONE) -> dict[str, str]:
    root = kept(layout, environment_id)
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def whole(environment_id: str = ONE) -> dict[str, str]:
    return {
        "tasks/dag_id=hello/attempt=1.log": f"task of {environment_id}",
        "components/scheduler-1-abcd.log": f"scheduler of {environment_id}",
    }


async def test_logs_are_moved_where_only_we_read_them(layout: Layout) -> None:
    assert await KeptLogs(layout, "abc123", wanted=True).keep(ONE, KEY)
    assert texts(layout) == whole()
    assert not layout.logs(ONE).exists()
    assert not layout.component_logs(ONE).exists()
    assert {path.stat().st_mode & 0o777 for path in (layout.kept_logs, kept(layout))} == {0o700}


async def test_nothing_is_kept_that_is_not_wanted(layout: Layout) -> None:
    assert not await KeptLogs(layout, "abc123", wanted=False).keep(ONE, KEY)
    assert not layout.kept_logs.exists()
    assert layout.logs(ONE).exists()


async def test_what_never_logged_leaves_nothing(layout: Layout) -> None:
    layout.logs("0" * 12).mkdir(parents=True)
    assert not await KeptLogs(layout, "abc123", wanted=True).keep("0" * 12, KEY)
    assert not await KeptLogs(layout, "abc123", wanted=True).keep("1" * 12, KEY)
    assert not layout.kept_logs.exists()


async def test_again_it_changes_nothing_and_still_says_that_they_are_kept(layout: Layout) -> None:
    logs = KeptLogs(layout, "abc123", wanted=True)
    assert await logs.keep(ONE, KEY)
    layout.logs(ONE).mkdir()
    (layout.logs(ONE) / "late.log").write_text("made by a look at what was gone")
    assert await logs.keep(ONE, KEY)
    assert texts(layout) == whole()


async def test_a_later_environment_of_the_same_name_has_its_own(layout: Layout) -> None:
    logs = KeptLogs(layout, "abc123", wanted=True)
    assert await logs.keep(ONE, KEY)
    assert await logs.keep(TWO, KEY)
    assert (texts(layout, ONE), texts(layout, TWO)) == (whole(ONE), whole(TWO))


@pytest.mark.parametrize("line", ["ensure_directory", "sync_directory", "_take_over"])
@pytest.mark.parametrize("number", [1, 2])
async def test_a_kill_at_every_line_loses_nothing(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, line: str, number: int
) -> None:
    class Killed(BaseException):
        pass

    function, calls = getattr(kept_logs, line), list[Any]()

    def die(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == number:
            raise Killed
        return function(*arguments)

    monkeypatch.setattr(kept_logs, line, die)
    logs = KeptLogs(layout, "abc123", wanted=True)
    if line == "_take_over" and number == 2:  # it is called once in a life
        assert await logs.keep(ONE, KEY)
    with pytest.raises(Killed):
        await logs.keep(ONE, KEY)
    assert await KeptLogs(layout, "abc123", wanted=True).keep(ONE, KEY)
    assert texts(layout) == whole()


@as_root
async def test_the_environments_user_owns_nothing_of_it_and_leads_us_nowhere(layout: Layout, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("another's")
    (layout.logs(ONE) / "link").symlink_to(outside)
    os.chown(outside, 54321, 54321)
    for path in [layout.logs(ONE), *layout.logs(ONE).rglob("*")]:
        os.chown(path, 54322, 54322, follow_symlinks=False)
    assert await KeptLogs(layout, "abc123", wanted=True).keep(ONE, KEY)
    owners = {(path.lstat().st_uid, path.lstat().st_gid) for path in [kept(layout), *kept(layout).rglob("*")]}
    assert owners == {(0, 0)}
    assert outside.stat().st_uid == 54321


def test_directories_deeper_than_python_can_follow_are_taken_over(layout: Layout) -> None:
    at = os.open(layout.logs(ONE), os.O_RDONLY)
    try:
        for _ in range(1500):
            os.mkdir("d", dir_fd=at)
            inner = os.open("d", os.O_RDONLY, dir_fd=at)
            os.close(at)
            at = inner
        os.close(at)
        assert asyncio.run(KeptLogs(layout, "abc123", wanted=True).keep(ONE, KEY))
        assert (kept(layout) / "tasks/d/d/d").is_dir()
    finally:  # pytest can't follow them either, and would fail on them in a later run
        subprocess.run(["rm", "-rf", str(layout.environments), str(layout.kept_logs)], check=True)

"""No key, however odd, becomes a path outside of the folder or breaks a sync."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aerodrome.content.keys import Listed, folder_prefix, plan_files, unusable

SEGMENT = st.text(alphabet="ab./\0\n\\~é\udc80", max_size=6) | st.sampled_from(["..", ".", "", "a", "b", "x" * 300])
KEYS = st.lists(st.lists(SEGMENT, min_size=1, max_size=5).map("/".join), max_size=12)


def listed(key: str) -> Listed:
    return Listed(key, '"etag"', 1, 0)


@given(KEYS, st.sampled_from(["", "dags/"]))
def test_every_planned_file_is_a_file_below_the_folder(keys: list[str], prefix: str) -> None:
    files, warnings = plan_files([listed(prefix + key) for key in keys], prefix)
    for path, item in files.items():
        assert item.key == prefix + path
        assert not PurePosixPath(path).is_absolute()
        assert PurePosixPath("/root", path).is_relative_to("/root")
        assert str(PurePosixPath(path)) == path  # normal already: nothing to resolve away
        assert not {"..", ".", ""} & set(path.split("/"))
        assert not any(other.startswith(f"{path}/") for other in files)
    markers = {key for key in keys if (prefix + key).endswith("/")}
    empty = {key for key in keys if not key and not prefix}
    skipped = len(set(keys) - markers - empty) - len(files)
    assert len(warnings) >= skipped


@given(keys=KEYS)
def test_every_plan_can_be_written(keys: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    files, _ = plan_files([listed(key) for key in keys], "")
    root = tmp_path_factory.mktemp("plan")
    for path in files:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch(exist_ok=False)
    assert sum(1 for path in root.rglob("*") if path.is_file()) == len(files)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("a//b", "empty path segment"),
        ("/etc/passwd", "empty path segment"),
        ("../x", "'..'"),
        ("a/../../x", "'..'"),
        ("./x", "'.'"),
        ("a\0b", "control character"),
        ("a\nb", "control character"),
        ("\udc80", "Unicode"),
        ("é" * 128, "longer than 255 bytes"),
        ("/".join(["abc"] * 300), "longer than 1024 bytes"),
        ("/".join("a" * 101), "more than 100 directories deep"),
    ],
)
def test_unusable_names_say_why(path: str, reason: str) -> None:
    assert reason in (unusable(path) or "")


@pytest.mark.parametrize("path", ["a.py", "a b/c.sql", "..a", "a..", "...", "~", "é.py", "a\\b", ".airflowignore"])
def test_usable_names(path: str) -> None:
    assert unusable(path) is None


def test_a_file_gives_way_to_a_directory_of_its_name() -> None:
    files, warnings = plan_files([listed("a"), listed("a/b"), listed("a/b/c")], "")
    assert list(files) == ["a/b/c"]
    assert len(warnings) == 2
    assert "'a'" in warnings[0]


def test_neighbours_of_a_name_are_not_below_it() -> None:
    keys = ["a", "a-b", "a.py", "a!/x", "ab/c", "b", "b/c", "b-/d"]
    files, warnings = plan_files([listed(key) for key in keys], "")
    assert sorted(files) == sorted(set(keys) - {"b"})
    assert len(warnings) == 1


def test_directory_markers_are_no_files_and_no_warnings() -> None:
    assert plan_files([listed("dags/"), listed("dags/sub/")], "dags/") == ({}, [])


@pytest.mark.parametrize(
    ("path", "prefix"),
    [("dags", "dags/"), ("dags/", "dags/"), ("/dags/", "dags/"), ("a/b", "a/b/"), ("", ""), ("/", "")],
)
def test_folder_prefix(path: str, prefix: str) -> None:
    assert folder_prefix(path) == prefix


def test_nothing_of_a_key_is_lost(tmp_path: Path) -> None:
    files, _ = plan_files([listed("dags/x/dags/y.py")], "dags/")
    assert list(files) == ["x/dags/y.py"]

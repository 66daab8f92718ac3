"""The embedded cloud's state directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aerodrome.aws.shim.config import Refusal
from aerodrome.aws.shim.disk import SMALL, Change, Disk
from aerodrome.aws.shim.rows import Row, decode, encode
from aerodrome.aws.shim.sealing import Sealer, WrongSeal

KEY = bytes(range(32))


@contextmanager
def opened(directory: Path, key: bytes = KEY) -> Iterator[tuple[Disk, Any]]:
    disk = Disk(directory, Sealer(key))
    try:
        yield disk, disk.load()
    finally:
        disk.close()


def row(value: object, *blobs: bytes) -> Row:
    return Row(encode(value), blobs)


def test_rows_come_back_and_go(tmp_path: Path) -> None:
    with opened(tmp_path) as (disk, rows):
        assert rows == {}
        disk.commit(Change({("a", 1): row({"k": (1, b"\xff", {2})}), ("a", 2): row("gone")}))
        disk.commit(Change({("a", 2): None, ("a", 3): None}))
    with opened(tmp_path) as (_, rows):
        assert rows == {("a", 1): {"k": (1, b"\xff", {2})}}


def test_equal_keys_are_one_row_whatever_their_identity(tmp_path: Path) -> None:
    name = "same"
    with opened(tmp_path) as (disk, _):
        disk.commit(Change({("s3", name, name): row(1)}))
        disk.commit(Change({("s3", name[:2] + name[2:], name[:1] + name[1:]): row(2)}))
    with opened(tmp_path) as (_, rows):
        assert rows == {("s3", "same", "same"): 2}


@pytest.mark.parametrize("size", [0, 10, SMALL, SMALL + 1, 9 * 1024 * 1024])
def test_a_body_lives_as_long_as_a_row_points_to_it(tmp_path: Path, size: int) -> None:
    body, sealer = os.urandom(size), Sealer(KEY)
    name = sealer.name(body)
    with opened(tmp_path) as (disk, _):
        disk.commit(Change({("a",): row(1, name), ("b",): row(2, name)}, {name: body}))
        disk.commit(Change({("a",): None}))
    with opened(tmp_path) as (disk, _):
        assert disk.read_blob(name) == body
        disk.commit(Change({("b",): row(3)}))
        with pytest.raises(WrongSeal):
            disk.read_blob(name)
        disk.commit(Change({("c",): row(4, name)}, {name: body}))
        assert disk.read_blob(name) == body


def test_a_body_that_nothing_points_to_is_not_kept(tmp_path: Path) -> None:
    body = os.urandom(SMALL + 1)
    name = Sealer(KEY).name(body)
    with opened(tmp_path) as (disk, _):
        disk._write_body(name, body)  # as a crash between the body and its commit leaves it
    with opened(tmp_path):
        assert list(tmp_path.glob("bodies/*/*")) == []


def test_a_failed_commit_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path) as (disk, _):
        disk.commit(Change({("a",): row(1)}))
        with monkeypatch.context() as patched:

            def fail(*_: object) -> None:
                raise OSError(28, "No space left on device")

            patched.setattr(disk, "_write_summary", fail)
            with pytest.raises(OSError, match="No space"):
                disk.commit(Change({("a",): row(2), ("b",): row(3)}))
        disk.commit(Change({("c",): row(4)}))
    with opened(tmp_path) as (_, rows):
        assert rows == {("a",): 1, ("c",): 4}


def test_a_lost_row_is_noticed(tmp_path: Path) -> None:
    with opened(tmp_path) as (disk, _):
        disk.commit(Change({("a",): row(1), ("b",): row(2)}))
        disk._writer.execute("DELETE FROM rows WHERE rowid = (SELECT max(rowid) FROM rows WHERE length(id) = 32)")
    with pytest.raises(Refusal, match="rows are missing"), opened(tmp_path):
        pass


def test_swapped_rows_are_noticed(tmp_path: Path) -> None:
    with opened(tmp_path) as (disk, _):
        disk.commit(Change({("a",): row(1), ("b",): row(2)}))
        (one, sealed), (two, other) = disk._writer.execute(
            "SELECT id, value FROM rows WHERE length(id) = 32"
        ).fetchall()
        disk._writer.execute("UPDATE rows SET value = ? WHERE id = ?", (sealed, two))
        disk._writer.execute("UPDATE rows SET value = ? WHERE id = ?", (other, one))
    with pytest.raises(Refusal, match="has been changed"), opened(tmp_path):
        pass


def test_only_one_at_a_time(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(Refusal, match="another embedded cloud"), opened(tmp_path):
        pass


def test_only_plain_data_is_read() -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.system, ("true",)

    with pytest.raises(Exception, match="not plain data"):
        decode(encode(Evil()))


@given(st.binary(max_size=100), st.binary(max_size=10), st.integers(min_value=0))
def test_a_seal_holds(value: bytes, context: bytes, position: int) -> None:
    sealer = Sealer(KEY)
    sealed = sealer.seal(value, context)
    assert sealer.open(sealed, context) == value
    changed = bytearray(sealed)
    changed[position % len(sealed)] ^= 1
    for wrong in (bytes(changed), sealed[:-1], sealed[:5], b""):
        with pytest.raises(WrongSeal):
            sealer.open(wrong, context)
    with pytest.raises(WrongSeal):
        sealer.open(sealed, context + b"x")


def test_frames_stay_in_their_place() -> None:
    sealer = Sealer(KEY)
    first, second, third = sealer.seal_large(b"x" * (17 * 1024 * 1024), b"c")
    assert len(sealer.open_large(first + second + third, b"c")) == 17 * 1024 * 1024
    for wrong in (first + second, second + first + third, first, b""):
        with pytest.raises(WrongSeal):
            sealer.open_large(wrong, b"c")

"""Archives that somebody means harm with, archives of every tool, and a kill at every line."""

from __future__ import annotations

import errno
import io
import json
import os
import stat
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from aerodrome.content import archive as archives
from aerodrome.content import unpack as unpacking
from aerodrome.content.archive import Entry, plan
from aerodrome.content.unpack import Tree, digest_of, unpack
from aerodrome.errors import Permanent, Temporary

Make = Callable[..., Path]


@pytest.fixture
def packed(tmp_path: Path) -> Make:
    """Makes an archive of (name or ZipInfo, content) pairs."""

    def make(*entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
        path = tmp_path / "plugins.zip"
        with zipfile.ZipFile(path, "w", method) as opened:
            for name, content in entries:
                opened.writestr(name, content, compress_type=method)
        return path

    return make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "trees"


def info(name: str, mode: int = 0, system: int = 3) -> zipfile.ZipInfo:
    found = zipfile.ZipInfo(name)
    found.external_attr = mode << 16
    found.create_system = system
    return found


def contents(tree: Tree) -> dict[str, bytes]:
    return {str(path.relative_to(tree.path)): path.read_bytes() for path in tree.path.rglob("*") if path.is_file()}


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


class TestAnArchive:
    def test_becomes_a_folder_named_after_it(self, packed: Make, folder: Path) -> None:
        path = packed(("my_plugin.py", b"x = 1\n"), ("hooks/__init__.py", b""), ("hooks/my_hook.py", b"y = 2\n"))
        tree = unpack(path, folder)
        assert tree == Tree(digest_of(path), folder / digest_of(path), 3, 12)
        assert contents(tree) == {"my_plugin.py": b"x = 1\n", "hooks/__init__.py": b"", "hooks/my_hook.py": b"y = 2\n"}
        assert left_in(folder) == sorted([tree.digest, f"{tree.digest}.json"])

    def test_twice_is_once(self, packed: Make, folder: Path) -> None:
        path = packed(("a.py", b"x"))
        first = unpack(path, folder)
        inode = first.path.stat().st_ino
        assert unpack(path, folder) == first
        assert first.path.stat().st_ino == inode

    def test_another_one_lies_beside_it(self, packed: Make, folder: Path) -> None:
        first = unpack(packed(("a.py", b"1")), folder)
        second = unpack(packed(("a.py", b"2")), folder)
        assert (contents(first), contents(second)) == ({"a.py": b"1"}, {"a.py": b"2"})

    @pytest.mark.parametrize("harm", ["cut", "gone", "no list", "damaged list"])
    def test_what_was_damaged_is_made_again(self, packed: Make, folder: Path, harm: str) -> None:
        tree = unpack(packed(("a.py", b"x = 1"), ("b/c.py", b"y")), folder)
        listing = folder / f"{tree.digest}.json"
        if harm == "cut":
            (tree.path / "a.py").write_bytes(b"")
        elif harm == "gone":
            (tree.path / "b" / "c.py").unlink()
        elif harm == "no list":
            listing.unlink()
        else:
            listing.write_text("[")
        assert unpack(packed(("a.py", b"x = 1"), ("b/c.py", b"y")), folder) == tree
        assert contents(tree) == {"a.py": b"x = 1", "b/c.py": b"y"}
        assert left_in(folder) == sorted([tree.digest, f"{tree.digest}.json"])

    def test_an_empty_file_is_no_plugins(self, tmp_path: Path, folder: Path) -> None:
        (tmp_path / "empty.zip").touch()
        tree = unpack(tmp_path / "empty.zip", folder)
        assert (tree.files, left_in(tree.path)) == (0, [])

    def test_an_archive_of_nothing_is_no_plugins(self, packed: Make, folder: Path) -> None:
        assert unpack(packed(), folder).files == 0

    def test_everybody_may_read_and_nobody_may_write(self, packed: Make, folder: Path) -> None:
        umask = os.umask(0o077)
        try:
            tree = unpack(packed((info("bin/run.sh", 0o106755), b"#!"), (info("a/b.py", 0o100666), b"")), folder)
        finally:
            os.umask(umask)
        modes = {str(path.relative_to(tree.path)): stat.S_IMODE(path.stat().st_mode) for path in tree.path.rglob("*")}
        assert modes == {"bin": 0o755, "bin/run.sh": 0o755, "a": 0o755, "a/b.py": 0o644}
        assert stat.S_IMODE(tree.path.stat().st_mode) == 0o755

    def test_a_file_without_a_mode_is_a_file(self, packed: Make, folder: Path) -> None:
        tree = unpack(packed((info("a.py", 0, system=0), b"1")), folder)
        assert stat.S_IMODE((tree.path / "a.py").stat().st_mode) == 0o644

    def test_what_macos_adds_is_left_out(self, packed: Make, folder: Path) -> None:
        tree = unpack(packed(("a.py", b"1"), ("__MACOSX/", b""), ("__MACOSX/._a.py", b"\x00\x05")), folder)
        assert contents(tree) == {"a.py": b"1"}

    def test_names_that_begin_with_the_folder_itself(self, packed: Make, folder: Path) -> None:
        assert contents(unpack(packed(("./", b""), ("./a/", b""), ("./a/b.py", b"1")), folder)) == {"a/b.py": b"1"}

    def test_names_of_every_language(self, packed: Make, folder: Path) -> None:
        names = ["größe.py", "配置/данные.py", "🛫.txt", "with space.py", "A.py", "a.py"]
        tree = unpack(packed(*((name, name.encode()) for name in names)), folder)
        assert contents(tree) == {name: name.encode() for name in names}

    def test_names_of_dos(self, tmp_path: Path, folder: Path) -> None:
        path = tmp_path / "dos.zip"
        with zipfile.ZipFile(path, "w") as opened:
            opened.writestr("uber.py", b"1")
        path.write_bytes(path.read_bytes().replace(b"uber.py", b"\x81ber.py"))  # code page 437, no mark of UTF-8
        assert contents(unpack(path, folder)) == {"über.py": b"1"}

    def test_of_more_than_four_gigabytes_in_form(self, tmp_path: Path, folder: Path) -> None:
        path = tmp_path / "zip64.zip"
        with zipfile.ZipFile(path, "w") as opened, opened.open("a.py", "w", force_zip64=True) as file:
            file.write(b"x = 1")
        assert contents(unpack(path, folder)) == {"a.py": b"x = 1"}

    def test_an_archive_behind_something_else(self, packed: Make, folder: Path) -> None:
        path = packed(("a.py", b"1"))
        path.write_bytes(b"#!/bin/sh\nexit\n" + path.read_bytes())
        assert contents(unpack(path, folder)) == {"a.py": b"1"}

    def test_archives_within_stay_archives(self, packed: Make, folder: Path) -> None:
        inner = io.BytesIO()
        with zipfile.ZipFile(inner, "w") as opened:
            opened.writestr("../evil.py", b"1")
        assert contents(unpack(packed(("a.whl", inner.getvalue())), folder)) == {"a.whl": inner.getvalue()}


REFUSED_NAMES = {
    "../evil.py": r"'\.' or '\.\.' path segment",
    "a/../../evil.py": r"'\.' or '\.\.' path segment",
    "a/./b.py": r"'\.' or '\.\.' path segment",
    "..": r"'\.' or '\.\.' path segment",
    "/etc/cron.d/evil": "absolute name",
    "C:/evil.py": "absolute name",
    "c:evil.py": "absolute name",
    "..\\evil.py": "backslash",
    "a\\b.py": "backslash",
    "a//b.py": "empty path segment",
    "a\nb.py": "control character",
    "a\x7f.py": "control character",
    "n" * 256: "longer than 255 bytes",
    "/".join(["d" * 200] * 6): "longer than 1024 bytes",
}


class TestARefusal:
    def refused(self, path: Path, folder: Path, match: str) -> None:
        with pytest.raises(Permanent, match=match) as refusal:
            unpack(path, folder)
        assert str(refusal.value).startswith("plugins.zip was not unpacked: ")
        assert left_in(folder) == []

    @pytest.mark.parametrize(("name", "why"), REFUSED_NAMES.items(), ids=ascii)
    def test_of_a_name(self, packed: Make, folder: Path, name: str, why: str) -> None:
        self.refused(packed(("good.py", b"1"), (name, b"evil")), folder, why)
        assert sorted(path.name for path in folder.parent.iterdir()) == ["plugins.zip", "trees"]

    def test_of_a_name_that_is_cut_at_a_nul(self, packed: Make, folder: Path) -> None:
        path = packed(("a.pyX../evil", b"1"))
        path.write_bytes(path.read_bytes().replace(b"a.pyX", b"a.py\0"))
        self.refused(path, folder, "control character")

    @pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
    @pytest.mark.parametrize("system", [0, 3])
    def test_of_what_is_no_file(self, packed: Make, folder: Path, kind: int, system: int) -> None:
        path = packed((info("link.py", kind | 0o777, system), b"/etc/shadow"))
        self.refused(path, folder, "'link.py' is a (symbolic link|special file)")

    def test_of_a_file_below_a_link(self, packed: Make, folder: Path) -> None:
        path = packed((info("etc", stat.S_IFLNK | 0o777), b"/etc"), ("etc/evil", b"1"))
        self.refused(path, folder, "symbolic link")

    @pytest.mark.parametrize("bit", [0x1, 0x40, 0x2000])
    def test_of_what_is_encrypted(self, packed: Make, folder: Path, bit: int) -> None:
        path = packed(("a.py", b"1"), method=zipfile.ZIP_STORED)
        data = bytearray(path.read_bytes())
        for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
            at = data.index(signature) + offset
            data[at : at + 2] = struct.pack("<H", bit)
        path.write_bytes(data)
        self.refused(path, folder, "encrypted|damaged")

    @pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_of_other_compression(self, packed: Make, folder: Path, method: int) -> None:
        self.refused(packed(("a.py", b"1"), method=method), folder, f"compressed with method {method}")

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_of_a_name_that_comes_twice(self, packed: Make, folder: Path) -> None:
        self.refused(packed(("a.py", b"good"), ("a.py", b"evil")), folder, "'a.py' comes twice")
        self.refused(packed(("a.py", b"good"), ("./a.py", b"evil")), folder, "'./a.py' comes twice")

    @pytest.mark.parametrize("second", ["a/b.py", "a/"])
    def test_of_a_file_that_is_a_folder(self, packed: Make, folder: Path, second: str) -> None:
        self.refused(packed(("a", b"1"), (second, b"")), folder, "'a' is a file and a folder")

    def test_of_a_bomb(self, packed: Make, folder: Path) -> None:
        path = packed(("bomb", bytes(archives.FREE_BYTES + 1)))
        self.refused(path, folder, r"\d KB of it unpack to 64 MB, as nothing but a ZIP bomb does")

    def test_of_more_than_a_gigabyte(self, packed: Make, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(archives, "MAX_BYTES", 100)
        self.refused(packed(("a", b"1" * 60), ("b", b"2" * 41)), folder, "it unpacks to 101 bytes, and 100 bytes is")

    def test_of_an_archive_of_more_than_a_gigabyte(self, tmp_path: Path, folder: Path) -> None:
        path = tmp_path / "large.zip"
        with path.open("wb") as file:
            file.truncate(archives.MAX_BYTES + 1)  # a hole: no bytes on the disk
        with pytest.raises(Permanent, match="it has 1 GB, and 1 GB is the most"):
            unpacking._make(path, folder / ".new", "plugins.zip")

    def test_of_an_entry_that_says_too_little(self, packed: Make, folder: Path) -> None:
        path = packed(("a.py", b"x" * 1000))
        data = path.read_bytes()
        path.write_bytes(data.replace(struct.pack("<I", 1000), struct.pack("<I", 10)))
        self.refused(path, folder, "damaged one")

    def test_of_more_bytes_than_allowed_whatever_the_directory_says(self, packed: Make, folder: Path) -> None:
        with zipfile.ZipFile(packed(("a.py", b"x" * 1000))) as opened:
            folder.mkdir()
            with pytest.raises(zipfile.BadZipFile, match="holds more than"):
                unpacking._write(opened, opened.infolist()[0], folder / "a.py", 999)

    def test_of_too_many_entries(self, folder: Path) -> None:
        entries = [Entry(f"{number}.py", 0, 0, number * 64, 0, 0, 0) for number in range(archives.MAX_ENTRIES + 1)]
        with pytest.raises(Permanent, match="50001 entries"):
            plan("plugins.zip", entries, 1 << 30)
        assert len(plan("plugins.zip", entries[1:], 1 << 30)) == archives.MAX_ENTRIES

    def test_of_a_directory_too_large_for_memory(
        self, packed: Make, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(unpacking, "_DIRECTORY_BYTES", 100)
        self.refused(packed(*((f"{number}.py", b"") for number in range(9))), folder, "its directory has")

    def test_of_entries_that_share_bytes(self, tmp_path: Path, folder: Path) -> None:
        """A bomb whose ratio looks harmless: many names, one content (as the one of David Fifield)."""
        path = tmp_path / "shared.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
            opened.writestr("0", os.urandom(1000))
            opened.writestr("1", b"x")
            opened.infolist()[1].header_offset = 0
            opened.infolist()[1].compress_size = opened.infolist()[0].compress_size
        self.refused(path, folder, "shares bytes with another one")

    def test_of_an_entry_that_reaches_into_the_directory(self) -> None:
        with pytest.raises(Permanent, match="shares bytes"):
            plan("plugins.zip", [Entry("a", 100, 100, 0, 0, 0, 0)], 129)
        assert plan("plugins.zip", [Entry("a", 100, 100, 0, 0, 0, 0)], 131) == {"a": 0}

    def test_of_a_name_in_broken_utf_8(self, packed: Make, folder: Path) -> None:
        path = packed(("größe.py", b"1"))
        path.write_bytes(path.read_bytes().replace("ö".encode(), b"\xff\xfe"))
        self.refused(path, folder, "no ZIP archive, or a damaged one")

    def test_of_a_header_that_names_another_file(self, packed: Make, folder: Path) -> None:
        path = packed(("good.py", b"1"))
        path.write_bytes(path.read_bytes().replace(b"good.py", b"evil.py", 1))  # the one before the content
        self.refused(path, folder, "damaged one")

    @pytest.mark.parametrize("content", [b"PK", b"not an archive", b"\x1f\x8b" + bytes(100), b"PK\5\6" + b"\xff" * 18])
    def test_of_what_is_no_archive(self, tmp_path: Path, folder: Path, content: bytes) -> None:
        (tmp_path / "other").write_bytes(content)
        self.refused(tmp_path / "other", folder, "no ZIP archive, or a damaged one")

    def test_of_an_archive_that_was_cut_or_changed_anywhere(self, packed: Make, folder: Path) -> None:
        """Whatever byte is wrong: it is unpacked as it was, or refused with a sentence."""
        whole = packed(("a.py", b"x = 1\n" * 50), ("b/c.py", b"y")).read_bytes()
        path, seen = folder.parent / "changed.zip", set[str]()
        for position in range(len(whole)):
            for data in (whole[:position], whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :]):
                path.write_bytes(data)
                try:
                    found = contents(unpack(path, folder))
                except Permanent:
                    seen.add("refused")
                else:
                    seen.add("unpacked")
                    assert all(".." not in name for name in found)
        assert seen == {"refused", "unpacked"}

    def test_says_the_name_that_it_was_given(self, tmp_path: Path, folder: Path) -> None:
        (tmp_path / "x").write_bytes(b"no")
        with pytest.raises(Permanent, match=r"^s3://bucket/mine\.zip was not unpacked"):
            unpack(tmp_path / "x", folder, "s3://bucket/mine.zip")


def test_a_full_disk_is_temporary(packed: Make, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = packed(("a.py", b"1"))
    monkeypatch.setattr(unpacking, "_write", full)
    with pytest.raises(Temporary, match=r"No space left on device\. Free some space"):
        unpack(path, folder)
    monkeypatch.undo()
    assert contents(unpack(path, folder)) == {"a.py": b"1"}


# Runs `unpack` again and again in a child that is killed one line later each time, until one gets to its end. After
# each kill: the tree is whole or not there. Its own process: a fork of this one would have its threads' locks.
KILLING = """
import json, os, shutil, signal, sys
from pathlib import Path
from aerodrome import files
from aerodrome.content import archive, folder, unpack

path, trees = Path(sys.argv[1]), Path(sys.argv[2])
traced = {module.__file__ for module in (files, archive, folder, unpack)}
place = trees / unpack.digest_of(path)

def killer(left):
    def trace(frame, event, argument):
        nonlocal left
        if frame.f_code.co_filename not in traced:
            return None
        if event == "line":
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace
    return trace

def found():
    return {str(file.relative_to(place)): file.read_text() for file in place.rglob("*") if file.is_file()}

wanted, lines, there = {"a.py": "x = 1", "b/c.py": "y = 2"}, 0, 0
while True:
    child = os.fork()
    if child == 0:
        sys.settrace(killer(lines))
        unpack.unpack(path, trees)
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if place.exists():
        there += 1
        assert found() == wanted, (lines, found())
    if ended == 0:
        break
    assert ended == -signal.SIGKILL
    if sys.argv[3] == "again":
        unpack.unpack(path, trees)
        assert found() == wanted
        assert sorted(entry.name for entry in trees.iterdir()) == sorted([place.name, place.name + ".json"])
        shutil.rmtree(trees)
    lines += 1
print(json.dumps([lines, there]))
"""


@pytest.mark.parametrize("then", ["again", "on"])
def test_kill_9_at_every_line_leaves_nothing_half(packed: Make, folder: Path, then: str) -> None:
    path = packed(("a.py", b"x = 1"), ("b/c.py", b"y = 2"))
    command = [sys.executable, "-c", KILLING, str(path), str(folder), then]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    lines, there = json.loads(done.stdout)
    assert lines > 100
    assert 0 < there < lines
    assert left_in(folder) == sorted([digest_of(path), f"{digest_of(path)}.json"])

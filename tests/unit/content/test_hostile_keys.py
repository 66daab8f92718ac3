"""Every key of the corpus, through a whole look: what is a file is there with its content, nothing is elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from aerodrome.content.sync import SyncResult
from aerodrome.layout import Layout
from support.fake_s3 import FakeS3
from support.hostile_keys import CASES, Case

Look = Callable[[], SyncResult]
ALL = Case(
    "all at once, but for those that exclude each other",
    tuple(path for case in CASES for path in case.files if path != "m"),
    tuple(path for case in CASES for path in case.skipped),
    tuple(path for case in CASES for path in case.silent),
)


@pytest.mark.parametrize("case", [*CASES, ALL], ids=lambda case: case.name)
def test_what_becomes_of_it(look: Look, s3: FakeS3, layout: Layout, dags: Path, case: Case) -> None:
    for path in (*case.files, *case.skipped, *case.silent):
        s3.put(f"dags/{path}", path)
    result = look()
    assert sorted(found(dags)) == sorted(case.files)
    assert all((dags / path).read_text() == path for path in case.files)
    assert {path for path in found(layout.home) if "/dags/" not in path} == {manifest(dags, layout, result.version)}
    assert sorted(result.warnings) == sorted(
        warning
        for key in case.skipped
        for warning in result.warnings
        if warning.startswith(f"skipped {f'dags/{key}'!r}:")
    )
    assert len(result.warnings) == len(case.skipped)
    assert all(warning.isprintable() for warning in result.warnings), "a name can't forge lines of a log"
    assert look().version == result.version, "it is seen that nothing changed"
    s3.remove()
    look()
    assert found(dags) == []


def manifest(dags: Path, layout: Layout, version: str) -> str:
    return str((dags.parent / ".versions" / f"dags-{version}.json").relative_to(layout.home))


def found(root: Path) -> list[str]:
    return [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]

"""Manifests that survive being read back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aerodrome.content.keys import Listed
from aerodrome.content.manifest import Manifest

ITEM = st.builds(Listed, st.text(max_size=5), st.sampled_from(["a", "b"]), st.integers(0, 2), st.integers(0, 2))
FILES = st.dictionaries(st.sampled_from("abcdef"), ITEM)


@given(FILES)
def test_a_manifest_survives_being_written(files: dict[str, Listed]) -> None:
    manifest = Manifest("1", "bucket/dags/", 42, files)
    assert Manifest.parse(manifest.dump()) == manifest


@given(
    st.text() | st.sampled_from(["null", "[]", "{}", '{"format": 1}', '{"format": 1, "files": []}', '{"format": 2}'])
)
def test_a_damaged_manifest_is_none(text: str) -> None:
    assert Manifest.parse(text) is None

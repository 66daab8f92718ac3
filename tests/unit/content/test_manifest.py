"""What differs between two versions, and manifests that survive being read back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aerodrome.content.keys import Listed
from aerodrome.content.manifest import Manifest, compare

ITEM = st.builds(Listed, st.text(max_size=5), st.sampled_from(["a", "b"]), st.integers(0, 2), st.integers(0, 2))
FILES = st.dictionaries(st.sampled_from("abcdef"), ITEM)


@given(FILES, FILES)
def test_the_difference_turns_one_into_the_other(previous: dict[str, Listed], wanted: dict[str, Listed]) -> None:
    difference = compare(previous, wanted)
    built = {path: previous[path] for path in difference.kept} | {path: wanted[path] for path in difference.changed}
    assert built == wanted
    assert set(difference.removed) == previous.keys() - wanted.keys()
    assert not set(difference.kept) & set(difference.changed)


@given(FILES)
def test_nothing_differs_from_itself(files: dict[str, Listed]) -> None:
    difference = compare(files, dict(files))
    assert (difference.changed, difference.removed) == ((), ())


@given(FILES)
def test_a_manifest_survives_being_written(files: dict[str, Listed]) -> None:
    manifest = Manifest("1", "bucket/dags/", 42, files)
    assert Manifest.parse(manifest.dump()) == manifest


@given(
    st.text() | st.sampled_from(["null", "[]", "{}", '{"format": 1}', '{"format": 1, "files": []}', '{"format": 2}'])
)
def test_a_damaged_manifest_is_none(text: str) -> None:
    assert Manifest.parse(text) is None


def test_each_part_counts() -> None:
    base = Listed("k", "e", 1, 1)
    for other in (Listed("k2", "e", 1, 1), Listed("k", "e2", 1, 1), Listed("k", "e", 2, 1), Listed("k", "e", 1, 2)):
        assert compare({"a": base}, {"a": other}).changed == ("a",)

"""Values of the model's shapes, generated."""

from __future__ import annotations

import string
from datetime import UTC, datetime
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StringShape, StructureShape
from hypothesis import strategies as st


def generated(shape: Shape, *, whole: bool = False) -> st.SearchStrategy[Any]:
    """Values that satisfy the model's constraints. `whole`: every member is there, no list and no map is empty."""
    if isinstance(shape, StructureShape):
        if shape.is_document_type:
            return st.dictionaries(st.text(max_size=5), st.none() | st.integers(-9, 9) | st.text(max_size=5))
        members = {name: generated(member, whole=whole) for name, member in shape.members.items()}
        absent = [] if whole else [name for name in members if name not in shape.required_members]
        optional = {name: members.pop(name) for name in absent}
        return st.fixed_dictionaries(members, optional=optional)
    least, most = shape.metadata.get("min", 0), min(shape.metadata.get("max", 20), 20)
    fewest = max(least, 1) if whole else least
    if isinstance(shape, ListShape):
        entries = generated(shape.member, whole=whole)
        return st.lists(entries, min_size=fewest, max_size=max(fewest, min(most, 3)))
    if isinstance(shape, MapShape):
        entries = generated(shape.value, whole=whole)
        return st.dictionaries(generated(shape.key), entries, min_size=fewest, max_size=max(fewest, 2))
    if shape.type_name == "boolean":
        return st.booleans()
    if shape.type_name == "integer":
        return st.integers(shape.metadata.get("min", -(2**31)), shape.metadata.get("max", 2**31 - 1))
    if shape.type_name == "double":
        return st.floats(allow_nan=False, allow_infinity=False)
    if shape.type_name == "timestamp":
        return st.integers(0, 2**31).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
    assert isinstance(shape, StringShape)
    return generated_text(shape, least)


def generated_text(shape: StringShape, least: int) -> st.SearchStrategy[str]:
    if shape.enum:
        return st.sampled_from(shape.enum)
    most = shape.metadata.get("max", 1000)
    pattern = shape.metadata.get("pattern")
    if pattern is None:
        alphabet = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
        return st.text(alphabet, min_size=least, max_size=min(most, 20))
    if "\\p" in pattern:
        return st.text(string.ascii_letters + "éß文٣ _.:/=+-@", min_size=least, max_size=most)
    ascii_only = st.characters(min_codepoint=32, max_codepoint=126)
    found = st.from_regex(pattern, fullmatch=True, alphabet=ascii_only)
    return found.filter(lambda text: least <= len(text) <= most)

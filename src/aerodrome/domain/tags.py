"""Tags of an environment: the rules that the model doesn't have (mwaa-spec 1.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aerodrome.errors import validation_error

LIMIT = 50  # of one environment
_RESERVED = "aws:"


def reserved_faults(field: str, keys: Iterable[str]) -> list[str]:
    """What is wrong with the keys of tags: AWS keeps some for itself, in whatever case."""
    found = sorted(key for key in keys if key.lower().startswith(_RESERVED))
    if not found:
        return []
    named = ", ".join(found)
    return [f"{field}: {named}: keys that begin with {_RESERVED} are reserved for AWS; choose another key."]


def added(tags: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """The tags with those that are given; a key that is there gets the new value.

    Raises:
        ApiError: ValidationException for a reserved key, and for more tags than an environment can have.
    """
    _refuse_reserved("Tags", given)
    whole = {**tags, **given}
    if len(whole) > LIMIT:
        raise validation_error(
            f"Tags: with these the environment would have {len(whole)} tags, and {LIMIT} is the most;"
            " remove some first (UntagResource)."
        )
    return whole


def removed(tags: Mapping[str, str], keys: Iterable[str]) -> dict[str, str]:
    """The tags without those of the keys; a key that isn't there is none to remove.

    Raises:
        ApiError: ValidationException for a reserved key.
    """
    gone = set(keys)
    _refuse_reserved("tagKeys", gone)
    return {key: value for key, value in tags.items() if key not in gone}


def _refuse_reserved(field: str, keys: Iterable[str]) -> None:
    for fault in reserved_faults(field, keys):
        raise validation_error(fault)

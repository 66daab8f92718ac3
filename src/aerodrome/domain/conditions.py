"""The `Condition` element of IAM policies: operators over the context of a request.

A key that isn't there makes an operator false, a negated one (`...Not...`) true, as IAM's reference has it;
`...IfExists` makes it true; `ForAllValues:` is true of nothing and of empty texts alone, `ForAnyValue:` false. An
operator without a set prefix over a key that has several values can't be told, and what can't be told never allows
(see `patterns`).
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from aerodrome.domain.patterns import Context, all_of, any_of, arn_matches, matches, negated, parse

_NUMBER = re.compile(r"[+-]?(\d{1,100}(\.\d{0,100})?|\.\d{1,100})([eE][+-]?\d{1,3})?", re.ASCII)

# (policy's value, context's value, variables, answer when a variable has no value) -> does it hold
Test = Callable[[str, str, Context | None, bool | None], bool | None]


def normalise(context: Mapping[str, object]) -> Context:
    """Condition keys in lower case, values as text; None and empty lists are absent.

    Two keys that differ in case alone (tags may) become one key with several values, which single tests refuse.
    """
    found: dict[str, tuple[str, ...]] = {}
    for key, value in context.items():
        values = tuple(value) if isinstance(value, list | tuple | set | frozenset) else (value,)
        texts = tuple(_text(item) for item in values if item is not None)
        if texts:
            found[key.lower()] = found.get(key.lower(), ()) + texts
    return found


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, datetime) else str(value)


def holds(condition: object, context: Context, variables: Context | None) -> bool | None:
    """Whether every operator of a Condition element holds; None when it can't be told."""
    if not isinstance(condition, Mapping):
        return None
    return all_of(
        _operator_holds(operator, keys, context, variables) if isinstance(keys, Mapping) else None
        for operator, keys in condition.items()
    )


def _operator_holds(operator: str, keys: Mapping[str, Any], context: Context, variables: Context | None) -> bool | None:
    prefix, _, name = operator.rpartition(":")
    name = name.lower()
    if_exists = name.endswith("ifexists")
    name = name.removesuffix("ifexists")
    if name == "null" and not prefix and not if_exists:
        return all_of(_is_null(key, wanted, context) for key, wanted in keys.items())
    negative = name in _NEGATIVE
    test = _TESTS.get(_NEGATIVE.get(name, name))
    one = _ONE.get(prefix.lower())
    if test is None or one is None:
        return None
    return all_of(
        _key_holds(one, test, negative, if_exists, context.get(key.lower(), ()), _texts(wanted), variables)
        for key, wanted in keys.items()
    )


def _key_holds(
    one: str,
    test: Test,
    negative: bool,
    if_exists: bool,
    values: tuple[str, ...],
    wanted: list[str] | None,
    variables: Context | None,
) -> bool | None:
    if wanted is None:
        return None
    if not values:
        return one == "all" or if_exists or (one == "single" and negative)
    if one != "single" and not any(values):
        return one == "all"
    missing = None if negative else False

    def value_holds(value: str) -> bool | None:
        found = any_of(test(text, value, variables, missing) for text in wanted)
        return negated(found) if negative else found

    if one == "any":
        return any_of(map(value_holds, values))
    if one == "single" and len(values) > 1:
        return None
    return all_of(map(value_holds, values))


def _is_null(key: str, wanted: object, context: Context) -> bool | None:
    texts = _texts(wanted)
    if texts is None or not all(text.lower() in ("true", "false") for text in texts):
        return None
    absent = str(not context.get(key.lower())).lower()
    return any(text.lower() == absent for text in texts)


def _texts(wanted: object) -> list[str] | None:
    """The values of a policy's condition key; None when they aren't scalars or there is none."""
    items = wanted if isinstance(wanted, list | tuple) else [wanted]
    if not items or not all(isinstance(item, str | int | float | bool) for item in items):
        return None
    return [_text(item) for item in items]


def _expanded(text: str, variables: Context | None) -> str | None:
    pattern = parse(text, variables, wildcards=False)
    return None if pattern is None else "".join(str(sign) for sign in pattern)


def _string_equals(wanted: str, value: str, variables: Context | None, missing: bool | None) -> bool | None:
    text = _expanded(wanted, variables)
    return missing if text is None else text == value


def _string_equals_ignore_case(wanted: str, value: str, variables: Context | None, missing: bool | None) -> bool | None:
    text = _expanded(wanted, variables)
    return missing if text is None else text.lower() == value.lower()


def _string_like(wanted: str, value: str, variables: Context | None, missing: bool | None) -> bool | None:
    pattern = parse(wanted, variables)
    return missing if pattern is None else matches(pattern, value)


def _arn_like(wanted: str, value: str, variables: Context | None, missing: bool | None) -> bool | None:
    return arn_matches(wanted, value, variables, missing)


def _bool(wanted: str, value: str, _: Context | None, __: bool | None) -> bool | None:
    if wanted.lower() not in ("true", "false"):
        return None
    return wanted.lower() == value.lower()


def _binary(wanted: str, value: str, _: Context | None, __: bool | None) -> bool | None:
    try:
        return base64.b64decode(wanted, validate=True) == base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None


def _ip_address(wanted: str, value: str, _: Context | None, __: bool | None) -> bool | None:
    try:
        network = _network(wanted)
        address = ipaddress.ip_address(value)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped and network.version == 4:
        address = address.ipv4_mapped
    return address in network


@lru_cache(maxsize=256)
def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(text, strict=False)


def _number(text: str) -> Decimal | None:
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def _moment(text: str) -> datetime | None:
    """A date of a policy: ISO 8601, or seconds since the epoch. Without a zone it is UTC."""
    try:
        if text.isascii() and text.isdecimal():
            return datetime.fromtimestamp(int(text), UTC)
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _compared(read: Callable[[str], Any], holds_for: Callable[[Any, Any], bool]) -> Test:
    def test(wanted: str, value: str, _: Context | None, __: bool | None) -> bool | None:
        left, right = read(value), read(wanted)
        return None if left is None or right is None else holds_for(left, right)

    return test


def _ordered(prefix: str, read: Callable[[str], Any]) -> dict[str, Test]:
    return {
        f"{prefix}equals": _compared(read, lambda left, right: bool(left == right)),
        f"{prefix}lessthan": _compared(read, lambda left, right: bool(left < right)),
        f"{prefix}lessthanequals": _compared(read, lambda left, right: bool(left <= right)),
        f"{prefix}greaterthan": _compared(read, lambda left, right: bool(left > right)),
        f"{prefix}greaterthanequals": _compared(read, lambda left, right: bool(left >= right)),
    }


_ONE = {"": "single", "forallvalues": "all", "foranyvalue": "any"}
_NEGATIVE = {
    "stringnotequals": "stringequals",
    "stringnotequalsignorecase": "stringequalsignorecase",
    "stringnotlike": "stringlike",
    "numericnotequals": "numericequals",
    "datenotequals": "dateequals",
    "notipaddress": "ipaddress",
    "arnnotequals": "arnequals",
    "arnnotlike": "arnlike",
}
_TESTS: Mapping[str, Test] = {
    "stringequals": _string_equals,
    "stringequalsignorecase": _string_equals_ignore_case,
    "stringlike": _string_like,
    "bool": _bool,
    "binaryequals": _binary,
    "ipaddress": _ip_address,
    "arnequals": _arn_like,
    "arnlike": _arn_like,
    **_ordered("numeric", _number),
    **_ordered("date", _moment),
}

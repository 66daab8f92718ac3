"""Every constraint of the model, for all twelve operations: enumerated from the model itself, each broken once."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pytest
from botocore import xform_name
from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, ServiceModel, Shape, StringShape, StructureShape
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from aerodrome.errors import ApiError
from aerodrome.wire import Match, Wire
from aerodrome.wire.values import lower_first
from support.shapes import generated

MODEL = ServiceModel(Loader().load_service_model("mwaa", "service-2"), "mwaa")
WIRE = Wire("mwaa")
FEW = settings(
    max_examples=2,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)
# What can be sent for a shape of that kind and isn't one, and the word for it.
STRANGERS: dict[str, list[Any]] = {
    "string": [1, True, 1.5, [], {}],
    "integer": ["1", True, 1.5, [], {}, "", 2**31, -(2**31) - 1],
    "boolean": ["true", "false", 0, 1, [], {}],
    "double": ["1.5", True, [], {}],
    "timestamp": ["1", "2026-01-01T00:00:00Z", True, [], {}],
    "list": ["a", 1, {}, True],
    "map": ["a", 1, [], True],
    "structure": ["a", 1, [], True],
}


@dataclass(frozen=True)
class Site:
    """A place in an operation's input: the keys that lead to it, its shape, its name in messages."""

    steps: tuple[Any, ...]
    shape: Shape
    name: str  # of what breaks a constraint
    read_name: str  # of what can't be read
    required: bool

    def get(self, params: Any) -> Any:
        for step in self.steps:
            params = params[step]
        return params

    def put(self, params: Any, value: Any) -> Any:
        """A copy of the parameters with that value there; `...` takes it out."""
        changed = copy.deepcopy(params)
        place = replace(self, steps=self.steps[:-1]).get(changed)
        if value is ...:
            del place[self.steps[-1]]
        else:
            place[self.steps[-1]] = value
        return changed


def sites(shape: Shape, value: Any, steps: tuple[Any, ...] = (), name: str = "", read: str = "") -> Iterator[Site]:
    """Every member below `shape` that `value` has, the first entry of lists and maps."""
    if isinstance(shape, StructureShape):
        members = {member: inner for member, inner in shape.members.items() if member in value}
        below = [(member, inner, lower_first(member), lower_first(member)) for member, inner in members.items()]
    elif isinstance(shape, ListShape) and value:
        below = [(0, shape.member, "1.member", "1.member")]
    elif isinstance(shape, MapShape) and value:
        key = next(iter(value))
        below = [(key, shape.value, f"{key}.member", "value")]  # a key that wasn't checked yet isn't repeated
    else:
        return
    for step, inner, word, read_word in below:
        required = isinstance(shape, StructureShape) and step in shape.required_members
        site = Site((*steps, step), inner, f"{name}.{word}".strip("."), f"{read}.{read_word}".strip("."), required)
        yield site
        yield from sites(inner, value[step], site.steps, site.name, site.read_name)


def broken(site: Site, value: Any) -> Iterator[tuple[Any, str]]:
    """Values that the site's shape forbids, and what the message says of each."""
    rules, shape = site.shape.metadata, site.shape
    if site.required:
        yield ..., "Member must not be null"
    word = "length" if isinstance(shape, StringShape | ListShape | MapShape) else "value"
    if "max" in rules:
        yield _sized(shape, value, rules["max"] + 1), f"{word} less than or equal to {rules['max']}"
    if rules.get("min", 0) > 0:
        yield _sized(shape, value, rules["min"] - 1), f"{word} greater than or equal to {rules['min']}"
    if isinstance(shape, StringShape) and shape.enum:
        yield shape.enum[0].lower() + "x", f"enum value set: [{', '.join(shape.enum)}]"
    if isinstance(shape, StringShape) and rules.get("pattern"):
        yield "\n", f"regular expression pattern: {rules['pattern']}"  # which none of them takes


def _sized(shape: Shape, value: Any, size: int) -> Any:
    if isinstance(shape, ListShape):
        return [value[0]] * size
    if isinstance(shape, MapShape):
        return dict.fromkeys((f"k{number}" for number in range(size)), next(iter(value.values())))
    return "a" * size if isinstance(shape, StringShape) else size


def input_shape(operation: str) -> StructureShape:
    shape = MODEL.operation_model(operation).input_shape
    assert isinstance(shape, StructureShape)
    return shape


def each(operation: str, look: Callable[[Any], None]) -> None:
    """`look` at some whole parameters of the operation: every member is there."""
    FEW(given(generated(input_shape(operation), whole=True))(look))()


@pytest.mark.parametrize("operation", WIRE.operations)
def test_every_constraint_is_held_and_named(operation: str) -> None:
    tried = 0

    def look(params: Any) -> None:
        nonlocal tried
        WIRE.validate(operation, params)
        for site in sites(input_shape(operation), params):
            for value, words in broken(site, site.get(params)):
                tried += 1
                with pytest.raises(ApiError) as caught:
                    WIRE.validate(operation, site.put(params, value))
                assert caught.value.code == "ValidationException"
                assert f"at '{site.name}' failed to satisfy constraint: " in caught.value.message
                assert words in caught.value.message, (site.name, value)

    each(operation, look)
    assert tried, "the model constrains every operation"


def body_of(operation: str, params: Any) -> dict[str, Any]:
    """The part of the parameters that travels in the body, as JSON."""
    members = input_shape(operation).members
    inside = {name: value for name, value in params.items() if "location" not in members[name].serialization}
    return dict(json.loads(json.dumps(inside, default=datetime.timestamp)))


def parse(operation: str, body: Any) -> dict[str, Any]:
    return WIRE.parse(Match(operation, {}), "", {}, json.dumps(body).encode())


WITH_BODY = [name for name in WIRE.operations if body_of(name, dict.fromkeys(input_shape(name).members, 0))]


def test_five_operations_have_a_body() -> None:
    assert WITH_BODY == ["CreateEnvironment", "InvokeRestApi", "PublishMetrics", "TagResource", "UpdateEnvironment"]


@pytest.mark.parametrize("operation", WITH_BODY)
def test_no_member_takes_a_value_of_another_type(operation: str) -> None:
    """A number that is a string is no number, a number is no string, and so on, at every place of the body."""

    def look(params: Any) -> None:
        body = body_of(operation, params)
        for site in sites(input_shape(operation), body):
            if isinstance(site.shape, StructureShape) and site.shape.is_document_type:
                continue
            for stranger in STRANGERS[site.shape.type_name]:
                with pytest.raises(ApiError) as caught:
                    parse(operation, site.put(body, stranger))
                assert caught.value.code == "SerializationException"
                assert f"at '{site.read_name}'" in caught.value.message, (site.name, stranger)

    each(operation, look)


@pytest.mark.parametrize("operation", WITH_BODY)
def test_members_that_the_model_does_not_know_are_dropped_at_every_level(operation: str) -> None:
    def look(params: Any) -> None:
        body = body_of(operation, params)
        expected = parse(operation, body)
        strange = {"Unknown": {"a": [1]}, "__type": "x", "name": None}
        found = [site for site in sites(input_shape(operation), body) if _takes_members(site.shape)]
        for site in found:
            assert parse(operation, site.put(body, {**site.get(body), **strange})) == expected, site.name
        assert parse(operation, {**body, **strange}) == expected

    each(operation, look)


def _takes_members(shape: Shape) -> bool:
    return isinstance(shape, StructureShape) and not shape.is_document_type


@pytest.mark.parametrize("operation", WIRE.operations)
def test_whatever_we_answer_the_client_reads(operation: str, exchange: Any) -> None:
    shape = MODEL.operation_model(operation).output_shape
    client = exchange.client("mwaa", parameter_validation=False)
    members = input_shape(operation).members.items()
    labels = {name: "x" for name, member in members if member.serialization.get("location") == "uri"}

    @settings(max_examples=8, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(generated(shape) if shape is not None else st.just({}))
    def check(output: Any) -> None:
        exchange.answer = output
        found = getattr(client, xform_name(operation))(**labels)
        del found["ResponseMetadata"]
        assert found == output

    check()

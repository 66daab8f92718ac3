"""Recipes: what the same is made of is the same, and everything that makes a difference makes another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from aerodrome.domain import products
from aerodrome.domain.environment import Environment, Status
from aerodrome.domain.products import Content, Part, Source
from aerodrome.domain.update import Update, in_force, roll_back
from support.world import NEW_OBJECTS, NOW, OBJECTS, environment, made_of

BASE = "3.3.1-py3.11-0123456789ab"


def wanted(**members: Any) -> Environment:
    return replace(environment(**{**OBJECTS, **members}), status=Status.AVAILABLE, runtime=BASE)


def finished(before: Environment) -> Environment:
    """With everything made that it names."""
    for part in Part:
        recipe = products.recipe(before, part, BASE)
        if recipe is not None:
            version = before.desired[f"{part}S3ObjectVersion"]
            before = replace(before, made={**before.made, recipe: made_of(part, version)})
    return replace(before, applied=before.desired)


def recipes(made: Environment) -> dict[Part, str | None]:
    return {part: products.recipe(made, part, made.runtime or "") for part in Part}


def test_the_object_is_the_path_without_its_first_slash_in_the_settled_version() -> None:
    made = wanted(RequirementsS3Path="/a/r.txt", RequirementsS3ObjectVersion="v7")
    assert products.source(made, Part.REQUIREMENTS) == Source("bucket", "a/r.txt", "v7")
    assert products.source(environment(), Part.REQUIREMENTS) is None
    assert products.recipe(environment(), Part.REQUIREMENTS, BASE) is None


def test_nothing_is_made_yet_and_then_all() -> None:
    made = wanted()
    assert products.content(made, BASE) == Content(BASE)
    content = products.content(finished(made), BASE)
    assert content == Content("3.3.1-own-1", "tree-1", {"worker": {"EXPORTED": "exports-1"}})
    assert "exports-1" not in repr(content) + repr(finished(made))


PLUGINS, STARTUP, REQUIREMENTS = Part


@pytest.mark.parametrize(
    ("members", "others"),
    [
        ({"PluginsS3ObjectVersion": "2"}, {PLUGINS, REQUIREMENTS}),
        ({"StartupScriptS3ObjectVersion": "2"}, {STARTUP, REQUIREMENTS}),
        ({"RequirementsS3ObjectVersion": "2"}, {REQUIREMENTS}),
        ({"SourceBucketArn": "arn:aws:s3:::second", **dict.fromkeys(NEW_OBJECTS, "1")}, set(Part)),
        ({"StartupScriptS3Path": ""}, {STARTUP, REQUIREMENTS}),
        ({"DagS3Path": "elsewhere", "MaxWorkers": 9, "AirflowConfigurationOptions": {}}, set()),
    ],
)
def test_what_a_recipe_depends_on(members: dict[str, Any], others: set[Part]) -> None:
    before = finished(wanted())
    after = replace(before, desired=Update.of(members).apply(before.desired))
    changed = {part for part, recipe in recipes(after).items() if recipe != recipes(before)[part]}
    assert changed == others


def test_another_base_and_a_start_of_everything_anew() -> None:
    before = finished(wanted())
    rebased = recipes(replace(before, runtime="3.3.1-py3.11-ffffffffffff"))
    assert {part for part in Part if rebased[part] != recipes(before)[part]} == {REQUIREMENTS}
    anew = recipes(replace(before, revision=5))
    assert {part for part in Part if anew[part] != recipes(before)[part]} == {STARTUP, REQUIREMENTS}


def test_an_update_keeps_what_is_in_use_and_its_roll_back_finds_it() -> None:
    before = finished(wanted())
    crowded = replace(before, made={**before.made, "0" * 16: {"tree": "of an update that failed"}})
    begun = replace(crowded, **Update.of(NEW_OBJECTS).begin(crowded, NOW))
    assert begun.made == before.made
    assert products.content(begun, BASE) == Content(BASE), "the new ones aren't made"
    assert products.content(in_force(begun), BASE) == products.content(before, BASE)
    done = finished(begun)
    assert products.content(done, BASE).plugins == "tree-2"
    back = replace(done, applied=before.desired)
    back = replace(back, **roll_back(back))
    assert products.content(back, BASE) == products.content(before, BASE)
    assert in_force(back) is back


def test_all_exports_are_known_those_of_before_too() -> None:
    before = finished(wanted())
    after = finished(replace(before, **Update.of(NEW_OBJECTS).begin(before, NOW)))
    assert sorted(products.exports_of(after)) == [("EXPORTED", "exports-1"), ("EXPORTED", "exports-2")]

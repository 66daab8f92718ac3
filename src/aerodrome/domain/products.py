"""What is made of the objects that an environment names besides its DAGs: a folder of plugins, exports, a runtime.

Each is made beside what there is and kept in the row under its recipe, a hash of all that it is made of. So the way to
a product is pure: an update that is undone finds those of before, and one that uploads the same again changes nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from aerodrome.domain.objects import VERSIONS, key_of

if TYPE_CHECKING:
    from aerodrome.domain.environment import Environment

Product = Mapping[str, Any]  # JSON; what is in it for each part stands at `Part`


class Part(StrEnum):
    """A kind of object, and what is made of one."""

    PLUGINS = "Plugins"  # {"tree": name of a folder}
    STARTUP = "StartupScript"  # {"exports": {who: {variable: value}}}: `who` as in MWAA_AIRFLOW_COMPONENT
    REQUIREMENTS = "Requirements"  # {"runtime": its key, …}: what else is there is its maker's


@dataclass(frozen=True, slots=True)
class Source:
    """One version of an object: it never changes."""

    bucket: str
    key: str
    version: str

    @property
    def id(self) -> str:
        return _hash(self.bucket, self.key, self.version)


@dataclass(frozen=True, slots=True)
class Content:
    """What components run in and with, besides their configuration."""

    runtime: str
    plugins: str | None = None
    exports: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)


def source(environment: Environment, part: Part) -> Source | None:
    """The object to make the part of; None when the environment names none."""
    path = environment.desired.get(f"{part}S3Path")
    if not path:
        return None
    bucket = environment.desired["SourceBucketArn"].split(":::", 1)[1]
    return Source(bucket, key_of(path), environment.desired[VERSIONS[f"{part}S3Path"]])


def recipe(environment: Environment, part: Part, base: str) -> str | None:
    """What the part is made by; None when the environment names no such object. `base`: the runtime without additions.

    An update with nothing in it starts everything anew: a script is run and requirements are resolved again. What
    requirements may refer to is part of them; as long as that isn't made, neither can they be.
    """
    found = source(environment, part)
    if found is None:
        return None
    match part:
        case Part.PLUGINS:
            return _hash(part, found.id)
        case Part.STARTUP:
            return _hash(part, found.id, environment.revision)
        case Part.REQUIREMENTS:
            before = [product(environment, each, base) for each in (Part.PLUGINS, Part.STARTUP)]
            return _hash(part, found.id, environment.revision, base, before)


def product(environment: Environment, part: Part, base: str) -> Product | None:
    """What the part was made to; None when it isn't made, or there is nothing to make."""
    made = recipe(environment, part, base)
    return None if made is None else environment.made.get(made)


def content(environment: Environment, base: str) -> Content:
    """What is there of it by now."""
    plugins, startup, requirements = (product(environment, part, base) or {} for part in Part)
    return Content(requirements.get("runtime", base), plugins.get("tree"), startup.get("exports", {}))


def in_use(environment: Environment) -> dict[str, Product]:
    """The products that an environment is made of, by recipe."""
    recipes = {recipe(environment, part, environment.runtime or "") for part in Part}
    return {made: found for made, found in environment.made.items() if made in recipes}


def exports_of(environment: Environment) -> Iterator[tuple[str, str]]:
    """All that startup scripts exported, those of an update that may be undone included; values may be secrets."""
    for each in environment.made.values():
        for variables in each.get("exports", {}).values():
            yield from variables.items()


def _hash(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

"""What one pass knows and may use: loaded once, handed to every step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from aerodrome.domain.component import ComponentState
from aerodrome.domain.environment import Environment, Status
from aerodrome.domain.plan import Plan
from aerodrome.domain.products import Product
from aerodrome.domain.secrets import EnvironmentSecrets
from aerodrome.reconcile.ports import Services


@dataclass(frozen=True, slots=True)
class Done:
    """The step's part of the world is as it should be. `note`: what a person should know all the same.

    `idle`: nothing of it is this environment's business, so that there is nothing to tell.
    """

    note: str = ""
    idle: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again after `seconds`; `why` is for people. `event`: (type, message) of what is told once, besides.

    `status`: what the environment is while it waits for this. `made`: products to be written down, by recipe.
    """

    seconds: float
    why: str
    event: tuple[str, str] | None = None
    status: Status | None = None
    made: Mapping[str, Product] = field(default_factory=dict, repr=False)
    data: Mapping[str, object] = field(default_factory=dict)  # of the event


Outcome = Done | Wait


@dataclass(slots=True)
class Scope:
    """One environment at one instant. Steps read it; the world is changed through `services` alone."""

    environment: Environment
    secrets: EnvironmentSecrets
    plan: Plan
    observed: Mapping[str, ComponentState]
    services: Services


@dataclass(frozen=True, slots=True)
class Step:
    """A step and the steps that must be Done before it in the same pass. `title` is what a person sees."""

    name: str
    title: str
    run: Callable[[Scope], Awaitable[Outcome]]
    needs: tuple[str, ...] = ()

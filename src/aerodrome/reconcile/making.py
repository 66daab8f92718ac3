"""The steps that make what components are made of: folders of plugins, exports of a startup script, a runtime.

All of it is made beside what there is. That a product is another one than before makes components of other names, and
those take over as in any update; what made them is then used by nobody, and goes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aerodrome.domain import products
from aerodrome.domain.component import Phase
from aerodrome.domain.environment import Status
from aerodrome.domain.products import Part
from aerodrome.reconcile.ports import Making
from aerodrome.reconcile.scope import Done, Outcome, Scope, Step, Wait

_SOON = 0.3
_ENDED = frozenset({Phase.BACKOFF, Phase.FAILED})  # by itself
_SETTLED = (Status.AVAILABLE, Status.UPDATE_FAILED)


def _maker(part: Part) -> Callable[[Scope], Awaitable[Outcome]]:
    async def make(scope: Scope) -> Outcome:
        """Its product is in the row, and there.

        Raises:
            Permanent: it can't be made of this object; an update is rolled back.
        """
        environment = scope.environment
        recipe = products.recipe(environment, part, scope.plan.runtime)
        if recipe is None:
            return Done(idle=True)
        suspicious = any(state.phase in _ENDED for state in scope.observed.values())
        found = await scope.services.objects.make(environment, scope.secrets, part, suspicious=suspicious)
        if isinstance(found, Making):
            return Wait(_SOON, found.why)
        if environment.made.get(recipe) == found.product:
            return Done()
        event = ("object.made", found.told) if found.told else None
        took = {phase: round(seconds, 2) for phase, seconds in found.took.items()}
        return Wait(0.0, "Writing down what was made", event, made={recipe: found.product}, data={"phases": took})

    return make


async def remove_unused(scope: Scope) -> Outcome:
    """Folders and runtimes of before are gone, once nothing runs that may use them: workers drain for hours."""
    if scope.environment.status not in _SETTLED or scope.observed.keys() - scope.plan.names:
        return Done(idle=True)
    await scope.services.objects.tidy(scope.environment)
    return Done(idle=True)


async def drop_objects(scope: Scope) -> Outcome:
    await scope.services.objects.drop(scope.environment.id)
    return Done()


# As on MWAA (mwaa-spec 5): plugins are unpacked before the startup script runs, and both are there for requirements.
RUN_STEPS = (
    Step("unpack_plugins", "Plugins unpacked", _maker(Part.PLUGINS)),
    Step("run_startup_script", "Startup script run", _maker(Part.STARTUP), ("ensure_runtime", "unpack_plugins")),
    Step(
        "install_requirements",
        "Requirements installed",
        _maker(Part.REQUIREMENTS),
        ("ensure_runtime", "sync_content", "unpack_plugins", "run_startup_script"),
    ),
)
TIDY_STEP = Step("remove_unused", "What was used before removed", remove_unused, ("remove_strays",))
DROP_STEP = Step("drop_objects", "Plugins and requirements removed", drop_objects, ("stop_components",))

"""The steps of a pass. Each looks at the world, does at most one thing about it, and says Done or Wait.

A step may run again at any time, after any failure, after a `kill -9` between any two of its lines.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from aerodrome.domain.component import Component, ComponentKind, ComponentState, Phase
from aerodrome.domain.endpoints import endpoint_services
from aerodrome.domain.environment import Status
from aerodrome.domain.update import Strategy
from aerodrome.errors import Permanent
from aerodrome.reconcile import making
from aerodrome.reconcile.scope import Done, Outcome, Scope, Step, Wait
from aerodrome.runtimes.progress import latest

_SOON = 0.5
_AT_ONCE = 0.2  # for what takes a few tenths of a second
_OWNERS_PACE = 5.0  # between two looks at what a person or a tool of theirs makes
_LIVE = frozenset({Phase.STARTING, Phase.RUNNING, Phase.BACKOFF})
_ENDED = frozenset({Phase.BACKOFF, Phase.FAILED})  # by itself


async def ensure_runtime(scope: Scope) -> Outcome:
    """Airflow's virtual environment is built and whole; several environments share one build.

    One that is damaged is built anew under its name, while what runs in it goes on.
    """
    runtimes, runtime = scope.services.runtimes, scope.plan.runtime
    ended = sorted(name for name, state in scope.observed.items() if state.phase in _ENDED)
    damage = await runtimes.damage(runtime, suspicious=bool(ended))
    if damage is not None and await runtimes.pin(scope.environment.desired["AirflowVersion"], runtime) != runtime:
        told = f"The runtime {runtime} was damaged: {damage}; it can't be made again here."
        return Wait(0.0, "Going over to another runtime", ("runtime.damaged", told))
    outcome = await _job(scope, runtimes.build_job, partial(runtimes.is_built, runtime), "Installing Airflow")
    if isinstance(outcome, Wait) and damage is not None:
        told = f"The runtime {runtime} was damaged: {damage}; rebuilding."
        return Wait(outcome.seconds, outcome.why, ("runtime.damaged", told))
    if isinstance(outcome, Done) and ended and runtimes.is_settling(runtime):
        return Wait(2.0, f"The runtime was rebuilt; {', '.join(ended)} is started again")
    return outcome


async def ensure_template(scope: Scope) -> Outcome:
    """A migrated, empty metadata database that environments of this runtime are cloned from."""
    runtimes, runtime = scope.services.runtimes, scope.plan.runtime
    return await _job(
        scope, runtimes.template_job, partial(runtimes.has_template, runtime), "Preparing the metadata database"
    )


async def ensure_database(scope: Scope) -> Outcome:
    """Its role may open as many connections as the plan's components need; as many as it could before while others
    still drain, for hours perhaps, whose tasks need theirs.
    """
    draining = scope.observed.keys() - scope.plan.names
    await scope.services.databases.ensure(
        scope.environment.id,
        scope.plan.runtime,
        scope.secrets.database_password,
        scope.plan.connection_limit,
        may_shrink=not draining,
    )
    return Done()


async def ensure_broker(scope: Scope) -> Outcome:
    await scope.services.brokers.ensure(scope.environment.id, scope.secrets.broker_password)
    return Done()


async def sync_content(scope: Scope) -> Outcome:
    state = await scope.services.content.ensure(scope.environment)
    if state.synced_at is not None:
        return Done(f"DAGs are no longer synchronised: {state.error}" if state.error else "")
    return Wait(_SOON if state.error else _AT_ONCE, state.error or "Reading the bucket")


async def await_endpoints(scope: Scope) -> Outcome:
    """The owner has made the VPC endpoints, where that is left to them; a create waits for it (mwaa-spec 2.1, 12).

    Raises:
        Permanent: a subnet is gone.
    """
    environment = scope.environment
    creating = environment.status in (Status.CREATING, Status.PENDING)
    if not creating or not endpoint_services(environment.id, environment.key, environment.desired):
        return Done(idle=True)
    lacking = await scope.services.endpoints.lacking(environment)
    if lacking:
        missing = "; ".join(f"of {service} in {', '.join(subnets)}" for service, subnets in lacking.items())
        return Wait(
            _OWNERS_PACE,
            f"Waiting for VPC endpoints, which are yours to make (EndpointManagement is CUSTOMER): {missing}",
            status=Status.PENDING,
        )
    if environment.status is Status.PENDING:
        return Wait(0.0, "All VPC endpoints are there", status=Status.CREATING)
    return Done()


async def ensure_components(scope: Scope) -> Outcome:
    """Every planned component was asked for. Whether it is well is `check_health`'s question.

    What runs on is told the options that it doesn't read: not before an update can no longer be rolled back.
    """
    environment, backend, running = scope.environment, scope.services.backend, list[Component]()
    for component in scope.plan.components:
        state = scope.observed.get(component.name)
        if state is None or state.phase not in _LIVE:
            await backend.ensure(environment.id, component)
        else:
            running.append(component)
    if environment.fallback is None:
        await backend.tell(environment.id, running)
    return Done()


async def remove_strays(scope: Scope) -> Outcome:
    """What runs and is not planned is drained: the plan's components are healthy by now and take over.

    While an update can still be rolled back nothing is taken away. Then: FORCED kills the old workers, GRACEFUL waits
    for their tasks, and without a strategy they finish while the environment is AVAILABLE.
    """
    environment, strays = scope.environment, sorted(set(scope.observed) - scope.plan.names)
    if not strays:
        return Done()
    if environment.fallback is not None:
        return Wait(0.0, f"Taking over from {', '.join(strays)}")
    await scope.services.routes.ensure(environment, scope.plan, _planned(scope))
    changing = environment.status in (Status.UPDATING, Status.ROLLING_BACK)
    strategy = environment.last_update.strategy if changing and environment.last_update else None
    for name in strays:
        force = strategy == Strategy.FORCED and _is_worker(name)
        await scope.services.backend.remove(environment.id, name, force=force)
    if changing and strategy is None and all(map(_is_worker, strays)):
        return Done()
    return Wait(_SOON if changing else 2.0, f"Draining {', '.join(strays)}")


def _planned(scope: Scope) -> dict[str, ComponentState]:
    return {name: state for name, state in scope.observed.items() if name in scope.plan.names}


def _is_worker(name: str) -> bool:
    return name.startswith(f"{ComponentKind.WORKER}-")


async def ensure_route(scope: Scope) -> Outcome:
    return Done(await scope.services.routes.ensure(scope.environment, scope.plan, scope.observed))


async def check_health(scope: Scope) -> Outcome:
    """Every planned component runs and passed its own check.

    Raises:
        Permanent: one ended by itself too often; carries its last log lines.
    """
    observed = await scope.services.backend.observe(scope.environment.id)
    for component in scope.plan.components:
        state = observed.get(component.name)
        if state is not None and state.phase == Phase.FAILED:
            lines = await scope.services.backend.logs(scope.environment.id, component.name)
            raise Permanent(f"{component.slot} keeps ending by itself ({state.detail}).", lines)
    waiting = [
        c.slot for c in scope.plan.components if c.name not in observed or observed[c.name].phase != Phase.RUNNING
    ]
    if waiting:
        return Wait(_SOON, f"Starting {', '.join(sorted(waiting))}")
    await scope.services.routes.ensure(scope.environment, scope.plan, observed)
    problems = await scope.services.health.problems(scope.environment, scope.secrets, scope.plan, observed)
    if problems:
        return Wait(_SOON, "; ".join(f"{name}: {problem}" for name, problem in sorted(problems.items())))
    return Done()


async def stop_components(scope: Scope) -> Outcome:
    """Nothing of the environment runs. The environment is being deleted or never came up: nothing is drained."""
    for name in sorted(scope.observed):
        await scope.services.backend.remove(scope.environment.id, name, force=True)
    left = await scope.services.backend.observe(scope.environment.id)
    return Done() if not left else Wait(_SOON, f"Stopping {', '.join(sorted(left))}")


async def drop_route(scope: Scope) -> Outcome:
    await scope.services.routes.drop(scope.environment.id)
    return Done()


async def drop_content(scope: Scope) -> Outcome:
    await scope.services.content.drop(scope.environment.id)
    return Done()


async def drop_broker(scope: Scope) -> Outcome:
    await scope.services.brokers.drop(scope.environment.id)
    return Done()


async def drop_database(scope: Scope) -> Outcome:
    await scope.services.databases.drop(scope.environment.id)
    return Done()


async def keep_logs(scope: Scope) -> Outcome:
    """As MWAA leaves log groups behind. Also those of an environment that never came up: they say why."""
    kept = await scope.services.logs.keep(scope.environment.id, scope.environment.key)
    return Done(idle=not kept)


async def forget(scope: Scope) -> Outcome:
    await scope.services.backend.forget(scope.environment.id)
    return Done()


async def _job(
    scope: Scope, make: Callable[[str], Component], is_done: Callable[[], Awaitable[bool]], title: str
) -> Outcome:
    """Start the job unless it runs; when it has failed, forget it, so that the next create tries again."""
    if await is_done():
        return Done()
    backend, owner, job = scope.services.backend, scope.services.runtimes.scope, make(scope.plan.runtime)
    state = (await backend.observe(owner)).get(job.name)
    if await is_done():  # asked again: it may have ended between the two looks
        return Done()
    if state is None:
        await backend.ensure(owner, job)
        return Wait(_SOON, title)
    if state.phase == Phase.FAILED:
        lines = await backend.logs(owner, job.name)
        await backend.remove(owner, job.name)
        raise Permanent(f"{title} failed ({state.detail}).", lines)
    if state.phase == Phase.SUCCEEDED:
        # Done, yet its result isn't there: it was taken away since. Run it again.
        await backend.remove(owner, job.name)
        return Wait(_SOON, title)
    progress = latest(await backend.logs(owner, job.name, lines=5))
    return Wait(_SOON, f"{progress.text} ({progress.percent} %)" if progress else title)


RUN_STEPS = (
    # First, since a step that fails for good ends the pass: what still runs must stay reachable.
    Step("ensure_route", "Gateway route set", ensure_route),
    # Goes on by itself once asked for: while the database is cloned, say.
    Step("sync_content", "DAGs synchronised", sync_content),
    Step("ensure_runtime", "Airflow installed", ensure_runtime),
    Step("ensure_template", "Metadata schema prepared", ensure_template, ("ensure_runtime",)),
    Step("ensure_database", "Metadata database cloned", ensure_database, ("ensure_template",)),
    Step("ensure_broker", "Broker user made", ensure_broker),
    *making.RUN_STEPS,
    # Last of what needs no component: whoever is told to make endpoints needn't wait for anything else then.
    Step(
        "await_endpoints",
        "VPC endpoints there",
        await_endpoints,
        ("ensure_database", "ensure_broker", "sync_content", "install_requirements"),
    ),
    Step(
        "ensure_components",
        "Components started",
        ensure_components,
        (
            "ensure_runtime",
            "ensure_database",
            "ensure_broker",
            "sync_content",
            "install_requirements",
            "await_endpoints",
        ),
    ),
    Step("check_health", "All components healthy", check_health, ("ensure_components", "ensure_route")),
    Step("remove_strays", "Old components gone", remove_strays, ("check_health",)),
    making.TIDY_STEP,
)

STOP_STEPS = (
    Step("drop_route", "Gateway route removed", drop_route),
    Step("drop_content", "Synchronisation stopped", drop_content),
    Step("stop_components", "Components stopped", stop_components),
    making.DROP_STEP,
)

REMOVE_STEPS = (
    *STOP_STEPS,
    Step("drop_broker", "Broker user and keys removed", drop_broker, ("stop_components",)),
    Step("drop_database", "Metadata database dropped", drop_database, ("stop_components",)),
    Step("keep_logs", "Logs kept", keep_logs, ("stop_components",)),
    Step(
        "forget",
        "Files and system user removed",
        forget,
        ("stop_components", "drop_content", "drop_objects", "keep_logs"),
    ),
)

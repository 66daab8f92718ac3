"""What a create doesn't wait for."""

from __future__ import annotations

from aerodrome.reconcile.run import run
from aerodrome.reconcile.scope import Scope
from aerodrome.reconcile.steps import RUN_STEPS
from support.world import SECRETS, World, environment


def scope(world: World) -> Scope:
    made = environment()
    return Scope(made, SECRETS, world.plan(made, SECRETS), {}, world.services())


async def test_the_bucket_is_read_while_everything_else_is_made() -> None:
    world = World()
    result = await run(RUN_STEPS, scope(world))
    assert environment().id in world.content  # asked for, in the first pass
    assert next(iter(result.waiting)) == "sync_content"


async def test_a_bucket_that_is_being_read_is_asked_again_at_once() -> None:
    reading = (await run(RUN_STEPS, scope(World()))).waiting["sync_content"]
    failing = (await run(RUN_STEPS, scope(World(bucket_error="NoSuchBucket")))).waiting["sync_content"]
    assert reading.seconds < failing.seconds
    assert failing.why == "NoSuchBucket"

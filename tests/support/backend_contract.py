"""What every backend promises; run against each one by subclassing `BackendContract` with a `harness` fixture."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

import pytest

from aerodrome.backends.base import Backend
from aerodrome.domain.component import OPTIONS_KEY, Component, ComponentKind, ComponentState, Phase
from aerodrome.errors import Permanent, Temporary

Observed = Mapping[str, ComponentState]


class Harness(Protocol):
    """`one` and `two` are environments that nothing is kept for yet."""

    backend: Backend
    one: str
    two: str

    def component(
        self, behaviour: str, name: str, kind: ComponentKind = ComponentKind.SCHEDULER, **members: Any
    ) -> Component:
        """`behaviour`: serves | drains (for a while once asked to stop) | lingers (for ever then) | dies | succeeds |
        fails | hangs | echoes.
        """
        ...

    async def until(self, environment_id: str, met: Callable[[Observed], bool]) -> Observed: ...


def is_in(phase: Phase, name: str) -> Callable[[Observed], bool]:
    return lambda observed: name in observed and observed[name].phase is phase


def is_gone(name: str) -> Callable[[Observed], bool]:
    return lambda observed: name not in observed


class BackendContract:
    async def test_what_is_absent_is_no_error(self, harness: Harness) -> None:
        backend = harness.backend
        assert await backend.observe(harness.one) == {}
        await backend.remove(harness.one, "worker-1-abcd")
        await backend.remove(harness.one, "worker-1-abcd", force=True)
        await backend.forget(harness.one)
        assert await backend.logs(harness.one, "worker-1-abcd") == ""

    async def test_ensure_starts_once(self, harness: Harness) -> None:
        component = harness.component("serves", "scheduler-1-abcd")
        await harness.backend.ensure(harness.one, component)
        await harness.backend.ensure(harness.one, component)
        observed = await harness.until(harness.one, is_in(Phase.RUNNING, component.name))
        await harness.backend.ensure(harness.one, component)
        assert list(await harness.backend.observe(harness.one)) == list(observed) == [component.name]
        assert observed[component.name].exit_code is None

    async def test_removal_drains_and_then_forgets(self, harness: Harness) -> None:
        component = harness.component("drains", "worker-1-abcd", ComponentKind.WORKER)
        await harness.backend.ensure(harness.one, component)
        await harness.until(harness.one, is_in(Phase.RUNNING, component.name))
        await harness.backend.remove(harness.one, component.name)
        await harness.backend.remove(harness.one, component.name)
        observed = await harness.backend.observe(harness.one)
        assert observed[component.name].phase is Phase.DRAINING
        with pytest.raises(Temporary, match="draining"):
            await harness.backend.ensure(harness.one, component)
        with pytest.raises(Temporary, match=component.name):
            await harness.backend.forget(harness.one)
        await harness.until(harness.one, is_gone(component.name))
        await harness.backend.ensure(harness.one, component)
        await harness.until(harness.one, is_in(Phase.RUNNING, component.name))

    async def test_old_and_new_of_a_slot_coexist(self, harness: Harness) -> None:
        old = harness.component("drains", "worker-1-old", ComponentKind.WORKER)
        new = harness.component("serves", "worker-1-new", ComponentKind.WORKER)
        await harness.backend.ensure(harness.one, old)
        await harness.until(harness.one, is_in(Phase.RUNNING, old.name))
        await harness.backend.remove(harness.one, old.name)
        await harness.backend.ensure(harness.one, new)
        observed = await harness.backend.observe(harness.one)
        assert set(observed) == {old.name, new.name}
        await harness.until(harness.one, is_gone(old.name))
        await harness.until(harness.one, is_in(Phase.RUNNING, new.name))

    async def test_force_removes_what_would_drain(self, harness: Harness) -> None:
        component = harness.component("drains", "worker-1-abcd", ComponentKind.WORKER)
        await harness.backend.ensure(harness.one, component)
        await harness.until(harness.one, is_in(Phase.RUNNING, component.name))
        await harness.backend.remove(harness.one, component.name)
        await harness.backend.remove(harness.one, component.name, force=True)
        assert await harness.backend.observe(harness.one) == {}

    async def test_what_drains_longer_than_its_grace_is_ended(self, harness: Harness) -> None:
        component = replace(harness.component("lingers", "worker-1-abcd", ComponentKind.WORKER), grace=1)
        await harness.backend.ensure(harness.one, component)
        await harness.until(harness.one, is_in(Phase.RUNNING, component.name))
        await harness.backend.remove(harness.one, component.name)
        await harness.until(harness.one, is_in(Phase.DRAINING, component.name))
        await harness.until(harness.one, is_gone(component.name))

    async def test_what_is_told_changes_nothing_of_what_runs(self, harness: Harness) -> None:
        key = {OPTIONS_KEY: base64.urlsafe_b64encode(b"o" * 32).decode()}
        component = harness.component("serves", "scheduler-1-abcd", secrets=key)
        await harness.backend.ensure(harness.one, replace(component, unread={"A": "1"}))
        before = await harness.until(harness.one, is_in(Phase.RUNNING, component.name))
        for unread in ({"A": "2", "B": "3"}, {}):
            told = replace(component, unread=unread)
            await harness.backend.tell(harness.one, [told, told])
            await harness.backend.ensure(harness.one, told)
            assert (await harness.backend.observe(harness.one)) == before

    async def test_a_job_succeeds_and_is_not_run_again(self, harness: Harness) -> None:
        job = harness.component("succeeds", "migrate-abcd", ComponentKind.JOB)
        await harness.backend.ensure(harness.one, job)
        await harness.until(harness.one, is_in(Phase.SUCCEEDED, job.name))
        await harness.backend.ensure(harness.one, job)
        state = (await harness.backend.observe(harness.one))[job.name]
        assert (state.phase, state.exit_code) == (Phase.SUCCEEDED, 0)
        await harness.backend.remove(harness.one, job.name)
        assert await harness.backend.observe(harness.one) == {}

    async def test_a_job_fails(self, harness: Harness) -> None:
        job = harness.component("fails", "migrate-abcd", ComponentKind.JOB)
        await harness.backend.ensure(harness.one, job)
        observed = await harness.until(harness.one, is_in(Phase.FAILED, job.name))
        assert observed[job.name].exit_code
        assert "no such table" in observed[job.name].detail
        await harness.backend.ensure(harness.one, job)
        assert (await harness.backend.observe(harness.one))[job.name].phase is Phase.FAILED

    async def test_who_keeps_ending_fails(self, harness: Harness) -> None:
        component = harness.component("dies", "scheduler-1-abcd")
        await harness.backend.ensure(harness.one, component)
        observed = await harness.until(harness.one, is_in(Phase.FAILED, component.name))
        assert "no such table" in observed[component.name].detail
        await harness.backend.remove(harness.one, component.name)
        await harness.until(harness.one, is_gone(component.name))

    async def test_what_can_never_run(self, harness: Harness) -> None:
        component = harness.component("serves", "scheduler-1-abcd")
        with pytest.raises(Permanent):
            await harness.backend.ensure(harness.one, Component(**_members(component) | {"command": ()}))
        assert await harness.backend.observe(harness.one) == {}

    async def test_environments_are_apart(self, harness: Harness) -> None:
        component = harness.component("serves", "webserver-1-abcd", ComponentKind.WEB_SERVER)
        for environment in (harness.one, harness.two):
            await harness.backend.ensure(environment, component)
        one = await harness.until(harness.one, is_in(Phase.RUNNING, component.name))
        two = await harness.until(harness.two, is_in(Phase.RUNNING, component.name))
        assert one[component.name].addresses.keys() == {"web"}
        assert one[component.name].addresses != two[component.name].addresses
        await harness.backend.remove(harness.one, component.name, force=True)
        assert (await harness.backend.observe(harness.two))[component.name].phase is Phase.RUNNING

    async def test_addresses_are_stable(self, harness: Harness) -> None:
        addresses = []
        for name in ("webserver-1-abcd", "webserver-1-ef01"):
            component = harness.component("serves", name, ComponentKind.WEB_SERVER)
            await harness.backend.ensure(harness.one, component)
            observed = await harness.until(harness.one, is_in(Phase.RUNNING, name))
            addresses.append(observed[name].addresses)
            await harness.backend.remove(harness.one, name)
            await harness.until(harness.one, is_gone(name))
        assert addresses[0] == addresses[1]

    async def test_forget_starts_afresh(self, harness: Harness) -> None:
        component = harness.component("serves", "scheduler-1-abcd")
        await harness.backend.ensure(harness.one, component)
        await harness.until(harness.one, is_in(Phase.RUNNING, component.name))
        with pytest.raises(Temporary, match=component.name):
            await harness.backend.forget(harness.one)
        await harness.backend.remove(harness.one, component.name, force=True)
        await harness.backend.forget(harness.one)
        await harness.backend.forget(harness.one)
        await harness.backend.ensure(harness.one, component)
        await harness.until(harness.one, is_in(Phase.RUNNING, component.name))

    async def test_exec(self, harness: Harness) -> None:
        output = await harness.backend.exec(harness.one, harness.component("echoes", "tool"), stdin=b"hello\n")
        assert (output.exit_code, output.stdout) == (0, b"hello\n")
        output = await harness.backend.exec(harness.one, harness.component("fails", "tool"))
        assert output.exit_code
        assert b"no such table" in output.stderr
        assert await harness.backend.observe(harness.one) == {}

    async def test_exec_ends_in_time(self, harness: Harness) -> None:
        with pytest.raises(Temporary, match=r"did not end within 0\.5 s"):
            await harness.backend.exec(harness.one, harness.component("hangs", "tool"), timeout=0.5)


def _members(component: Component) -> dict[str, object]:
    return {name: getattr(component, name) for name in Component.__dataclass_fields__}

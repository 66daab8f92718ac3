"""A backend in memory, to test what drives backends.

Time passes by being looked at: one `observe` is one tick. Only how long a component may drain is a matter of the clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from aerodrome.domain.component import Component, ComponentKind, ComponentState, Output, Phase
from aerodrome.errors import AerodromeError, Permanent, Temporary


@dataclass(frozen=True, slots=True)
class Mode:
    """How a component behaves, counted in observations."""

    starting: int | None = 0  # observations as STARTING; None: for ever
    living: int | None = None  # observations as RUNNING, then it ends; None: for ever (a job ends well after one)
    message: str = ""  # why it ended
    draining: int | None = 1  # observations as DRAINING once it is removed; None: until its `grace` is over


def ok() -> Mode:
    return Mode()


def slow(observations: int) -> Mode:
    """Takes that many observations to start."""
    return Mode(starting=observations)


def never() -> Mode:
    """Never leaves STARTING."""
    return Mode(starting=None)


def failing(message: str) -> Mode:
    """Ends at once, for good: FAILED."""
    return Mode(living=0, message=message)


def dies_after(observations: int, message: str = "ended with exit code 1") -> Mode:
    """Runs for that many observations, then FAILED (a job's failure, a component that ended too often)."""
    return Mode(living=observations, message=message)


def never_drains() -> Mode:
    """Works on once it is removed, as long as it may."""
    return Mode(draining=None)


def drains_for(observations: int) -> Mode:
    """Stays DRAINING for that many observations after `remove`."""
    return Mode(draining=observations)


@dataclass(slots=True)
class _Running:
    component: Component
    age: int = 0  # observations since `ensure`
    drained: int | None = None  # observations since `remove`
    asked: float = 0.0  # when it was asked to stop


@dataclass(slots=True)
class FakeBackend:
    """Implements `Backend`. What it holds survives as long as the object does, whoever drives it.

    `mode` is looked up by component name, then slot, then kind (`"worker"`); the default is `ok()`.
    """

    mode: dict[str, Mode] = field(default_factory=dict)
    outputs: dict[tuple[str, ...], Output] = field(default_factory=dict)  # answers of `exec`, by command
    log: dict[str, str] = field(default_factory=dict)  # by component name
    broken: AerodromeError | None = None  # raised by every call while it is set
    components: dict[str, dict[str, _Running]] = field(default_factory=dict)
    ports: dict[tuple[str, str, str], int] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)  # environments that something is kept for
    clock: Callable[[], float] = time.monotonic  # seconds

    async def observe(self, environment_id: str) -> Mapping[str, ComponentState]:
        self._check()
        present = self.components.get(environment_id, {})
        states = {}
        for name, running in list(present.items()):
            state = self._look(environment_id, running)
            if state is None:
                del present[name]
            else:
                states[name] = state
        return states

    async def ensure(self, environment_id: str, component: Component) -> None:
        self._check()
        if not component.command:
            raise Permanent(f"Component {component.name} has no command.")
        self.known.add(environment_id)
        present = self.components.setdefault(environment_id, {})
        running = present.setdefault(component.name, _Running(component))
        if running.drained is not None:
            raise Temporary(f"{component.name} is still draining.")

    async def tell(self, environment_id: str, components: Iterable[Component]) -> None:
        self._check()
        for component in components:
            running = self.components.get(environment_id, {}).get(component.name)
            if running is not None:
                running.component = replace(running.component, unread=component.unread)

    async def remove(self, environment_id: str, name: str, *, force: bool = False) -> None:
        self._check()
        present = self.components.get(environment_id, {})
        running = present.get(name)
        if running is None:
            return
        if force or self._look(environment_id, replace(running), tick=0) is None or self._ended(running):
            del present[name]
        elif running.drained is None:
            running.drained, running.asked = 0, self.clock()

    async def forget(self, environment_id: str) -> None:
        self._check()
        if left := sorted(self.components.get(environment_id, {})):
            raise Temporary(f"Environment {environment_id} still has components: {', '.join(left)}.")
        self.components.pop(environment_id, None)
        self.known.discard(environment_id)
        self.ports = {key: port for key, port in self.ports.items() if key[0] != environment_id}

    async def exec(
        self, environment_id: str, component: Component, *, stdin: bytes = b"", timeout: float = 60.0
    ) -> Output:
        self._check()
        self.known.add(environment_id)
        mode = self._mode(component)
        if mode.starting is None:
            raise Temporary(f"{component.name} did not end within {timeout:g} s and was ended.")
        if mode.living is not None:
            return Output(1, b"", mode.message.encode())
        return self.outputs.get(component.command, Output(0, stdin, b""))

    async def airflow(
        self, environment_id: str, tool: Component, arguments: Sequence[str], *, timeout: float = 60.0
    ) -> Output:
        return await self.exec(environment_id, replace(tool, command=("airflow", *arguments)), timeout=timeout)

    async def logs(self, environment_id: str, name: str, *, lines: int = 50) -> str:
        self._check()
        return "\n".join(self.log.get(name, "").splitlines()[-lines:])

    def _check(self) -> None:
        if self.broken is not None:
            raise self.broken

    def _mode(self, component: Component) -> Mode:
        for key in (component.name, component.slot, component.kind.value):
            if key in self.mode:
                return self.mode[key]
        return ok()

    def _ended(self, running: _Running) -> bool:
        return self._phase(running)[0] in (Phase.FAILED, Phase.SUCCEEDED)

    def _look(self, environment_id: str, running: _Running, tick: int = 1) -> ComponentState | None:
        component, mode = running.component, self._mode(running.component)
        addresses = {name: self._address(environment_id, component.slot, name) for name in component.ports}
        if running.drained is not None:
            late = self.clock() - running.asked >= component.grace
            if late or (mode.draining is not None and running.drained >= mode.draining):
                return None
            running.drained += tick
            return ComponentState(component.name, Phase.DRAINING, addresses, "finishing its work")
        running.age += tick
        phase, code = self._phase(running)
        detail = mode.message if phase is Phase.FAILED else ""
        return ComponentState(component.name, phase, addresses, detail, code)

    def _phase(self, running: _Running) -> tuple[Phase, int | None]:
        mode = self._mode(running.component)
        if mode.starting is None or running.age <= mode.starting:
            return Phase.STARTING, None
        job = running.component.kind is ComponentKind.JOB
        living = 1 if job and mode.living is None else mode.living
        if living is None or running.age - mode.starting <= living:
            return Phase.RUNNING, None
        return (Phase.SUCCEEDED, 0) if job and mode.living is None else (Phase.FAILED, 1)

    def _address(self, environment_id: str, slot: str, name: str) -> str:
        port = self.ports.setdefault((environment_id, slot, name), 20000 + len(self.ports))
        return f"127.0.0.1:{port}"

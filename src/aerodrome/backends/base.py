"""The contract between the reconciler and whatever runs components.

Suits processes on a host and pods in a cluster: no process ids, no local paths.
`environment_id` is an opaque DNS label.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from aerodrome.domain.component import Component, ComponentState, Output


class Backend(Protocol):
    """MUST be safe to call again after any failure or `kill -9`; MUST raise only `Temporary` or `Permanent`."""

    async def observe(self, environment_id: str) -> Mapping[str, ComponentState]:
        """All components of the environment that exist in any phase, draining ones included, by name."""
        ...

    async def ensure(self, environment_id: str, component: Component) -> None:
        """Ask for the component to run; return at once. Idempotent: the same name is the same specification.

        A job that has ended is not started again. Prepares what the environment needs (home, user, ports) first.
        The runtime "" is the control plane's own: such a component runs with the control plane's rights, not the
        environment's (it builds a runtime, say), and its command starts with an absolute path.

        Raises:
            Permanent: this can never work (unknown runtime, no such command).
            Temporary: the machinery is away for a moment, or a component of this name is still draining.
        """
        ...

    async def tell(self, environment_id: str, components: Iterable[Component]) -> None:
        """Bring `unread` to components that run: what they start from now on knows it, as they do after a restart.

        Costs next to nothing when there is nothing new.
        """
        ...

    async def remove(self, environment_id: str, name: str, *, force: bool = False) -> None:
        """Drain, then stop, then forget the component; return at once. Absent is success.

        It stays visible in `observe` as DRAINING until it is gone; what drains for longer than its `grace` is ended.
        `force` kills at once, with everything it started.
        """
        ...

    async def forget(self, environment_id: str) -> None:
        """Remove all that is kept for an environment with no components left: home, logs, ports, system user.

        Raises:
            Temporary: components are still there.
        """
        ...

    async def exec(
        self, environment_id: str, component: Component, *, stdin: bytes = b"", timeout: float = 60.0
    ) -> Output:
        """Run `component.command` once in the environment, to its end, and return what it printed.

        Raises:
            Temporary: it did not end within `timeout` seconds (and has been ended).
        """
        ...

    async def airflow(
        self, environment_id: str, tool: Component, arguments: Sequence[str], *, timeout: float = 60.0
    ) -> Output:
        """Run `airflow ARGUMENTS…` in the environment, to its end, as a start of Airflow of its own would.

        `tool` is the plan's; its command is of no account. A backend may keep Airflow ready for the next command.

        Raises:
            Temporary: it did not end within `timeout` seconds (and has been ended).
        """
        ...

    async def logs(self, environment_id: str, name: str, *, lines: int = 50) -> str:
        """The last lines that the component (running, failed or removed) wrote."""
        ...

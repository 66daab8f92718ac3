"""Components as processes of this machine, under Supervisor."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aerodrome.backends import confinement, directories, users
from aerodrome.backends.commands import WarmCommands
from aerodrome.backends.options import OptionFiles
from aerodrome.backends.phases import detail_of, phase_of
from aerodrome.backends.places import Placeholders, Ports
from aerodrome.backends.tail import last_lines
from aerodrome.backends.users import User
from aerodrome.domain import versions
from aerodrome.domain.component import Component, ComponentKind, ComponentState, Output, Phase
from aerodrome.errors import Permanent, Temporary
from aerodrome.layout import Layout
from aerodrome.supervision import Command, Program, ProgramPhase, ProgramState, Supervisor, run_once
from aerodrome.supervision.launch import PATH
from aerodrome.supervision.sandbox import AIRFLOW_HOME

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LONGEST_TASK = timedelta(hours=12)  # mwaa-spec 3
_PRIORITY = {ComponentKind.WORKER: 900, ComponentKind.JOB: 850}  # workers stop first: their tasks need the others
_USUAL_PRIORITY = 800
_PLUGINS = "AIRFLOW__CORE__PLUGINS_FOLDER"
_START_SECONDS = 10  # Airflow imports for several seconds before it can fail


class LocalBackend:
    """Implements `Backend`. When we are root, every environment has a system user of its own."""

    def __init__(
        self,
        layout: Layout,
        supervisor: Supervisor,
        installation_id: str,
        address: str = "127.0.0.1",
        shared: Mapping[str, str] | None = None,
    ) -> None:
        """`address` is what components listen on; `shared` are variables that every component gets."""
        self._layout = layout
        self._supervisor = supervisor
        self._installation_id = installation_id
        self._shared = dict(shared or {})
        self._ports = Ports(layout, address)
        self._options = OptionFiles(layout)
        self._commands = WarmCommands(layout)

    async def observe(self, environment_id: str) -> Mapping[str, ComponentState]:
        """As `Backend`. Components that were removed and have ended are cleared away in passing."""
        observed = {}
        for name, state in (await self._programs(environment_id)).items():
            if state.leaving and not state.phase.lives:
                if not await self._clear(environment_id, name, state):
                    observed[name] = ComponentState(name, Phase.DRAINING, detail="its tasks finish without it")
                continue
            seen = await asyncio.to_thread(self._look, environment_id, name, state)
            if seen is not None:
                observed[name] = seen
        return observed

    async def ensure(self, environment_id: str, component: Component) -> None:
        """As `Backend`."""
        program = _program_name(environment_id, component.name)
        state = (await self._programs(environment_id)).get(component.name)
        if state is not None and await self._is_in_place(environment_id, component, state):
            return
        if state is not None and state.leaving:
            await self._clear(environment_id, component.name, state)
        wanted = await asyncio.to_thread(self._program, program, environment_id, component)
        if not await self._supervisor.put(wanted):
            raise Temporary(f"{component.name} is being started by somebody else.")

    async def tell(self, environment_id: str, components: Iterable[Component]) -> None:
        """As `Backend`."""
        news = [each for each in components if not self._options.holds(environment_id, each)]
        if news:
            await asyncio.to_thread(self._tell, environment_id, news)

    async def remove(self, environment_id: str, name: str, *, force: bool = False) -> None:
        """As `Backend`. Called again, it clears away what has ended."""
        state = (await self._programs(environment_id)).get(name)
        if state is None:
            return
        if force:
            await self._supervisor.kill(_program_name(environment_id, name))
            await asyncio.to_thread(self._let_go, environment_id, name)
        elif not state.phase.lives:
            await self._clear(environment_id, name, state)
        elif state.phase is not ProgramPhase.STOPPING:
            await self._supervisor.stop(_program_name(environment_id, name))

    async def forget(self, environment_id: str) -> None:
        """As `Backend`."""
        for name, state in (await self._programs(environment_id)).items():
            if state.phase.lives or not (state.leaving or phase_of(state, datetime.now(UTC)) is None):
                raise Temporary(f"Environment {environment_id} still has the component {name}.")
            await self._supervisor.discard(_program_name(environment_id, name))
        await self._commands.forget(environment_id)
        await asyncio.to_thread(self._forget, environment_id)

    async def exec(
        self, environment_id: str, component: Component, *, stdin: bytes = b"", timeout: float = 60.0
    ) -> Output:
        """As `Backend`. Of output beyond 10 MB only the first part is returned, and the error output says so."""
        command = await asyncio.to_thread(self._one_off, environment_id, component)
        return Output(*await run_once(self._layout, command, stdin=stdin, timeout=timeout))

    async def airflow(
        self, environment_id: str, tool: Component, arguments: Sequence[str], *, timeout: float = 60.0
    ) -> Output:
        """As `Backend`. The first command starts a process that has Airflow imported for those after it."""

        async def cold(left: float) -> Output:
            return await self.exec(environment_id, with_arguments(tool, arguments), timeout=left)

        warm = replace(tool, command=versions.warm_command())
        command = await asyncio.to_thread(self._one_off, environment_id, warm)
        return await self._commands.run(environment_id, command, arguments, cold, timeout)

    async def close(self) -> None:
        """End what must not outlive us: processes that are kept ready for commands."""
        await self._commands.close()

    async def logs(self, environment_id: str, name: str, *, lines: int = 50) -> str:
        """As `Backend`."""
        return await asyncio.to_thread(last_lines, self._log_path(environment_id, name), lines)

    async def _programs(self, environment_id: str) -> dict[str, ProgramState]:
        """The environment's programs by component name; "NAME~PID" is an older process left by a crash."""
        prefix = _program_name(environment_id, "")
        states = await self._supervisor.states()
        return {name[len(prefix) :]: state for name, state in states.items() if name.startswith(prefix)}

    async def _is_in_place(self, environment_id: str, component: Component, state: ProgramState) -> bool:
        """Raises Temporary while it drains."""
        if state.phase is ProgramPhase.STOPPING:
            raise Temporary(f"{component.name} is still draining.")
        if state.leaving:
            if state.phase.lives:
                raise Temporary(f"{component.name} is about to stop.")
            return False
        if state.phase is ProgramPhase.BACKOFF and component.ports:
            if await asyncio.to_thread(self._ports.stolen, environment_id, component.name):
                await self._supervisor.kill(_program_name(environment_id, component.name))
                return False
            return True
        return phase_of(state, datetime.now(UTC)) is not None

    async def _clear(self, environment_id: str, name: str, state: ProgramState) -> bool:
        """Forget a program that has ended. What was killed may have left children behind: they go with it.

        But not a worker's: its main process may have died while it drained, and its tasks are at work. False for that.
        """
        program = _program_name(environment_id, name)
        with suppress(Temporary):  # the next look will do it
            if state.exit == -1 and not self._may_have_tasks(name, state):
                await self._supervisor.kill(program)
            elif state.exit == -1 and await self._supervisor.has_members(program):
                return False
            else:
                await self._supervisor.discard(program)
            await asyncio.to_thread(self._let_go, environment_id, name)
        return True

    @staticmethod
    def _may_have_tasks(name: str, state: ProgramState) -> bool:
        """Whether what a dead main process left behind may be tasks at work, which get as long as any task gets."""
        ended = state.since or datetime.now(UTC)
        return name.startswith(f"{ComponentKind.WORKER}-") and datetime.now(UTC) - ended < _LONGEST_TASK

    # What follows blocks and runs in threads.

    def _look(self, environment_id: str, name: str, state: ProgramState) -> ComponentState | None:
        phase = phase_of(state, datetime.now(UTC))
        if phase is None:
            return None
        ports = self._ports.of_component(environment_id, name)
        ended = phase in (Phase.FAILED, Phase.BACKOFF)
        last = last_lines(self._log_path(environment_id, name), 1) if ended else ""
        return ComponentState(
            name=name,
            phase=phase,
            addresses={key: self._ports.address(port) for key, port in ports.items()},
            detail=detail_of(state, phase, last),
            exit_code=state.result,
            since=state.since if state.phase.lives else None,
        )

    def _tell(self, environment_id: str, components: Iterable[Component]) -> None:
        for component in components:
            user = self._prepare(environment_id, component)
            self._options.bring(environment_id, component, user)

    def _let_go(self, environment_id: str, name: str) -> None:
        """What a component that is gone has no more use for."""
        self._ports.release(environment_id, name)
        self._options.drop(environment_id, name)

    def _program(self, name: str, environment_id: str, component: Component, *, with_ports: bool = True) -> Program:
        """Everything about the component made concrete; prepares what the environment needs."""
        user = self._prepare(environment_id, component)
        ports = self._ports.assign(environment_id, component) if with_ports else {}
        if component.unread:
            self._options.write(environment_id, component, user)
        fill = Placeholders(self._layout, environment_id, component, ports, self._ports).fill
        templates = {key: fill(template) for key, template in component.templates.items()}
        sandbox = None
        if component.confined and component.runtime:
            folder = templates.get(_PLUGINS)
            runtime = self._layout.runtime(component.runtime)
            sandbox = confinement.sandbox(self._layout, environment_id, runtime, Path(folder) if folder else None)
        job = component.kind is ComponentKind.JOB
        return Program(
            name=name,
            argv=(self._command(component, fill), *(fill(word) for word in component.command[1:])),
            log_path=self._log_path(environment_id, component.name),
            uid=user.uid,
            gid=user.gid,
            directory=self._directory(environment_id, component),
            environment={
                **self._defaults(environment_id, component, user),
                **self._shared,
                **component.variables,
                **templates,
                **component.secrets,
            },
            stop_wait=component.grace,
            start_seconds=_START_SECONDS,
            job=job,
            priority=_PRIORITY.get(component.kind, _USUAL_PRIORITY),
            waits=True,  # for the machine room: a dozen components that start beside it would slow it down fivefold
            sandbox=sandbox,
        )

    def _one_off(self, environment_id: str, component: Component) -> Command:
        name = _program_name(environment_id, component.name)
        program = self._program(name, environment_id, component, with_ports=False)
        return Command(
            argv=program.argv,
            uid=program.uid,
            gid=program.gid,
            directory=program.directory,
            environment=program.environment,
            umask=program.umask,
            sandbox=program.sandbox,
        )

    def _prepare(self, environment_id: str, component: Component) -> User:
        if not component.runtime:
            directories.prepare_logs(self._layout, environment_id)
            return users.ourselves()
        user = users.ensure(self._layout, self._installation_id, environment_id)
        directories.prepare(self._layout, environment_id, user)
        return user

    def _command(self, component: Component, fill: Callable[[str], str]) -> str:
        word = fill(component.command[0]) if component.command else ""
        if not component.runtime:
            if not word.startswith("/"):
                raise Permanent(f"Component {component.name} has no runtime, so its command must be an absolute path.")
            return word
        if not re.fullmatch(r"[A-Za-z0-9._-]+", component.runtime) or component.runtime in (".", ".."):
            raise Permanent(f"Component {component.name} names the runtime {component.runtime!r}, which can't be one.")
        programs = self._layout.runtime(component.runtime) / "bin"
        if not programs.is_dir():
            raise Permanent(f"There is no runtime {component.runtime}; build it first.")
        if not word or "/" in word or not os.path.lexists(programs / word):
            raise Permanent(f"The runtime {component.runtime} has no command {word!r}.")
        return str(programs / word)

    def _directory(self, environment_id: str, component: Component) -> Path:
        if component.runtime:
            return self._layout.airflow_home(environment_id)
        return self._layout.environment(environment_id)

    def _defaults(self, environment_id: str, component: Component, user: User) -> dict[str, str]:
        if not component.runtime:
            return {}
        home = str(AIRFLOW_HOME if component.confined else self._layout.airflow_home(environment_id))
        return {
            "PATH": f"{self._layout.runtime(component.runtime) / 'bin'}:{PATH}",
            "HOME": home,
            "USER": user.name,
            "LOGNAME": user.name,
            "TMPDIR": str(directories.temporary(self._layout, environment_id)),
        }

    def _log_path(self, environment_id: str, name: str) -> Path:
        _program_name(environment_id, name)
        return self._layout.component_logs(environment_id) / f"{name.partition('~')[0]}.log"

    def _forget(self, environment_id: str) -> None:
        # The user goes last: its number may be given to the next one, who must not find files of this one.
        users.end_processes(self._installation_id, environment_id)
        directories.remove(self._layout, environment_id)
        users.remove(self._installation_id, environment_id)
        self._ports.forget(environment_id)
        self._options.forget(environment_id)


def with_arguments(tool: Component, arguments: Sequence[str]) -> Component:
    """The one-off component that runs `airflow ARGUMENTS…`; its argv would show them, secrets too, to everybody."""
    given = {"AERODROME_ARGUMENTS": json.dumps(arguments, ensure_ascii=False)}
    return replace(tool, command=versions.airflow_command(), secrets={**tool.secrets, **given})


def _program_name(environment_id: str, name: str) -> str:
    """Raises Permanent: one of them is no DNS label, so it can't be part of paths and names."""
    for label in (environment_id, name.partition("~")[0] or environment_id):
        if not _LABEL.fullmatch(label):
            raise Permanent(f"{label!r} is not a DNS label (lower-case letters, digits, hyphens; at most 63).")
    return f"{environment_id}.{name}"

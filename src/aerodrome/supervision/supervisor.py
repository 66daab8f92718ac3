"""The one who starts, watches and stops programs: Supervisor (the PyPI package) behind a small async face."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime
from typing import Any

from aerodrome.errors import Permanent, Temporary
from aerodrome.files import write_file
from aerodrome.layout import Layout
from aerodrome.supervision import config, daemon, launch, processes, rpc
from aerodrome.supervision.files import Files, Meta, digest
from aerodrome.supervision.leftovers import leftovers, program_of, records
from aerodrome.supervision.program import Program, ProgramPhase, ProgramState, check
from aerodrome.supervision.validation import check_runnable

_EXPENDABLE = 500  # programs of this priority or more are killed by a forced shutdown; the machine room never is
_FORKED = 2.0  # seconds that a program may take from the fork to its launch script


class Supervisor:
    """Safe to use from several tasks and several processes; every call can be repeated after any failure.

    Each method raises `Temporary` while the daemon is away.
    """

    def __init__(self, layout: Layout, password: str) -> None:
        self._layout = layout
        self._files = Files.of(layout)
        self._password = password
        self._rpc = rpc.Rpc(layout.supervisor_socket, password)
        self._changing = threading.Lock()  # "write, reread, add" must not interleave with another's bad file

    async def start_daemon(self, *, timeout: float = 20) -> None:
        """Start supervisord, and with it every program that was put and not stopped; not those that wait. Idempotent.

        Raises:
            Permanent: it can't start.
            Temporary: it doesn't answer within `timeout` seconds.
        """
        await asyncio.to_thread(daemon.start, self._layout, self._password, self._answers, timeout)

    async def start_waiting(self) -> None:
        """Start every program that was put, not stopped since, and waited. Idempotent."""
        await asyncio.to_thread(self._start_waiting)

    async def alive(self) -> bool:
        """Whether supervisord answers."""
        return await asyncio.to_thread(self._answers)

    async def pid(self) -> int:
        """Of supervisord."""
        return int(await asyncio.to_thread(self._rpc.call, "getPID"))

    async def states(self) -> dict[str, ProgramState]:
        """Every program that was put and not discarded, and leftovers that are finishing their work."""
        return await asyncio.to_thread(self._states)

    async def put(self, program: Program) -> bool:
        """Ask for the program to run; return at once.

        True: it is in place. False: the name runs with another specification and nothing was changed (see `replace`).

        Raises:
            Permanent: it can never run; the message says why.
            Temporary: it is still stopping.
        """
        return not await self.put_many([program])

    async def put_many(self, programs: Iterable[Program]) -> list[str]:
        """As `put`, reading the configuration once; returns the names that run with another specification."""
        return await asyncio.to_thread(self._put, list(programs))

    async def replace(self, program: Program, *, timeout: float = 60) -> None:
        """Put it, ending first what runs under its name with another specification.

        Raises:
            Temporary: that didn't end within `timeout` seconds.
        """
        if await self.put(program):
            return
        await self.stop(program.name)
        if await self.wait_stopped([program.name], timeout=timeout):
            raise Temporary(f"{program.name} is still stopping after {timeout:.0f} s.")
        await self.discard(program.name)
        await self.put(program)

    async def stop(self, name: str) -> None:
        """One stop signal to the main process; return at once. It will not come back by itself. Absent is success."""
        await asyncio.to_thread(self._stop, name)

    async def kill(self, name: str) -> None:
        """SIGKILL to the program and everything it started, until none is left; then discard it. Absent is success."""
        await asyncio.to_thread(self._kill, name)

    async def has_members(self, name: str) -> bool:
        """Whether anything lives that the program started, whether it lives itself or not."""
        return await asyncio.to_thread(self._has_members, name)

    async def wait_stopped(self, names: Collection[str], *, timeout: float) -> set[str]:
        """Wait until none of them lives; returns those that still do after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            states = await self.states()
            left = {name for name in names if name in states and states[name].phase.lives}
            if not left or time.monotonic() > deadline:
                return left
            await asyncio.sleep(0.1)

    async def discard(self, name: str) -> None:
        """Forget a stopped program; its log stays. Absent is success.

        Raises:
            Temporary: it still lives.
        """
        await asyncio.to_thread(self._discard, name)

    async def shutdown(self, *, force: bool = False, progress: Callable[[list[str]], None] | None = None) -> None:
        """Stop everything, highest priority number first, equal ones at once; then the daemon. Return when it is gone.

        Draining workers can take hours; `progress` is told who is waited for, about once a second. With `force`,
        programs of priority 500 and more are killed with all they started. All come back at the next `start_daemon`.
        """
        if not await self.alive():
            await asyncio.to_thread(daemon.wait_gone, self._files)
            return
        while layer := await asyncio.to_thread(self._last_layer):
            await asyncio.to_thread(self._stop_layer, layer, force)
            left = await self.wait_stopped(layer, timeout=1)
            if left and progress is not None:
                progress(sorted(left))
        await asyncio.to_thread(self._rpc.call, "shutdown")
        await asyncio.to_thread(daemon.wait_gone, self._files)

    # What follows blocks and runs in threads.

    def _answers(self) -> bool:
        try:
            return int(self._rpc.call("getState")["statecode"]) == 1
        except Temporary:
            return False

    def _supervised(self) -> dict[str, dict[str, Any]]:
        return {str(info["group"]): info for info in self._rpc.call("getAllProcessInfo")}

    def _states(self) -> dict[str, ProgramState]:
        states = {name: self._state(name, info) for name, info in self._supervised().items()}
        for leftover in leftovers(self._layout):
            if leftover.name not in states:
                states[leftover.name] = ProgramState(
                    leftover.name,
                    ProgramPhase.STOPPING,
                    pid=leftover.pid,
                    description="finishing its work since the process supervisor crashed",
                    leaving=True,
                )
        for name in {*self._files.names(), *(name for name in records(self._files) if "~" in name)} - set(states):
            meta = self._files.read_meta(name)
            states[name] = ProgramState(
                name,
                ProgramPhase.STOPPED,
                description="not loaded",
                result=self._files.read_result(name),
                job=meta is not None and meta.job,
                leaving=not self._files.ini(name).exists(),
            )
        return states

    def _state(self, name: str, info: dict[str, Any]) -> ProgramState:
        phase = ProgramPhase(str(info["statename"]).lower())
        stamp = info["start"] if phase.lives else info["stop"]
        meta = self._files.read_meta(name)
        return ProgramState(
            name=name,
            phase=phase,
            pid=info["pid"] or None,
            exit=info["exitstatus"] if phase in (ProgramPhase.STOPPED, ProgramPhase.EXITED) and stamp else None,
            since=datetime.fromtimestamp(stamp, UTC) if stamp else None,
            description=info["description"],
            starts=self._files.count_starts(name),
            result=self._files.read_result(name),
            job=meta is not None and meta.job,
            leaving=not self._files.ini(name).exists(),
        )

    def _put(self, programs: list[Program]) -> list[str]:
        for program in programs:
            check(program)
        config.check_home(self._layout)
        self._files.prepare()
        with self._changing:
            supervised = self._supervised()
            others, fresh = [], []
            for program in programs:
                texts = self._texts(program)
                in_place = self._in_place(program, texts[-1].digest, supervised.get(program.name))
                if in_place is None:
                    fresh.append((program, *texts))
                elif not in_place:
                    others.append(program.name)
            self._add(fresh)
        return others

    def _start_waiting(self) -> None:
        with self._changing:
            for name, info in self._supervised().items():
                if info["statename"].lower() == ProgramPhase.STOPPED and self._files.ini(name).exists():
                    self._start_process(name)

    def _start_process(self, name: str) -> None:
        self._tolerate("startProcess", name, False, tolerated=rpc.ALREADY_STARTED)

    def _texts(self, program: Program) -> tuple[str, str, str, Meta]:
        texts = (
            launch.variables(self._files, program),
            launch.script(self._files, program),
            config.program(self._files, program),
        )
        return *texts, Meta(digest(*texts), program.job, program.stop_signal, program.stop_wait, program.priority)

    def _in_place(self, program: Program, digest: str, info: dict[str, Any] | None) -> bool | None:
        """None: it must be added. False: something else runs under its name."""
        if info is None:
            return None
        name, phase = program.name, ProgramPhase(str(info["statename"]).lower())
        if phase is ProgramPhase.STOPPING:
            raise Temporary(f"{name} is still stopping.")
        meta = self._files.read_meta(name)
        same = meta is not None and meta.digest == digest
        if same and phase.lives:
            if not self._files.ini(name).exists():  # asked to stop, then the stop call was lost
                write_file(self._files.ini(name), config.program(self._files, program))
            return True
        if phase.lives:
            return False
        if same and program.job and (phase is ProgramPhase.EXITED or self._files.read_result(name) is not None):
            return True
        if same:
            check_runnable(program)
            write_file(self._files.ini(name), config.program(self._files, program))
            self._start_process(name)
            return True
        self._tolerate("removeProcessGroup", name, tolerated=rpc.BAD_NAME)
        self._files.drop(name)
        return None

    def _add(self, fresh: list[tuple[Program, str, str, str, Meta]]) -> None:
        if not fresh:
            return
        for program, *_ in fresh:
            check_runnable(program)
        for program, variables, script, ini, meta in fresh:
            program.log_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            before = self._files.read_meta(program.name)
            if before is None or before.digest != meta.digest:
                self._files.result(program.name).unlink(missing_ok=True)
            self._files.write_meta(program.name, meta)
            self._files.write_variables(program.name, variables)
            write_file(self._files.launch(program.name), script)
            write_file(self._files.ini(program.name), ini)
        try:
            self._reread()
        except rpc.Refused as fault:
            names = [program.name for program, *_ in fresh]
            for name in names:
                self._files.drop(name)
            raise Permanent(f"The process supervisor refuses {', '.join(names)}: {fault}") from fault
        for program, *_ in fresh:
            self._tolerate("addProcessGroup", program.name, tolerated=rpc.ALREADY_ADDED)
            if program.waits:
                self._start_process(program.name)

    def _reread(self) -> None:
        """One unreadable file makes Supervisor refuse all: mend what can be mended, once."""
        try:
            self._rpc.call("reloadConfig")
        except rpc.Refused:
            daemon.mend(self._files)
            self._rpc.call("reloadConfig")

    def _stop(self, name: str) -> None:
        with self._changing:
            self._files.ini(name).unlink(missing_ok=True)
            self._stop_process(name)

    def _stop_process(self, name: str) -> None:
        """In STOPPING this is NOT_RUNNING: the signal is sent once however often we are called.

        A process that supervisord forked this very moment still handles signals as supervisord does: SIGTERM would be
        lost on it, and a worker would go on for hours. So it is awaited that the launch script has recorded itself.
        """
        deadline = time.monotonic() + _FORKED
        while self._just_forked(name) and time.monotonic() < deadline:
            time.sleep(0.01)
        self._tolerate("stopProcess", f"{name}:{name}", False, tolerated=(rpc.NOT_RUNNING, rpc.BAD_NAME))

    def _just_forked(self, name: str) -> bool:
        try:
            pid = self._rpc.call("getProcessInfo", f"{name}:{name}")["pid"]
        except rpc.Refused:  # none of that name, or the stop is refused as well and says why
            return False
        record = processes.read_record(self._files.record(name))
        return bool(pid) and (record is None or record.process.pid != pid or record.find() is None)

    def _kill(self, name: str) -> None:
        self._stop(name)
        deadline = time.monotonic() + 10
        while True:
            self._kill_tree(name)
            try:
                self._discard(name)
            except Temporary:  # supervisord has yet to notice the death
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def _kill_tree(self, name: str) -> None:
        """Everything of a program, its older processes included; of a leftover "NAME~PID" that one alone."""
        known = records(self._files)
        if "~" in name:
            processes.kill_tree([known[name]] if name in known else [])
            return
        roots = [record for key, record in known.items() if program_of(key) == name]
        processes.kill_tree(roots, launch.marker(self._files, name))

    def _has_members(self, name: str) -> bool:
        roots = [record for key, record in records(self._files).items() if program_of(key) == name]
        return bool(processes.members(roots, launch.marker(self._files, name)))

    def _discard(self, name: str) -> None:
        with self._changing:
            if "~" not in name:
                self._tolerate("removeProcessGroup", name, tolerated=rpc.BAD_NAME, busy=rpc.STILL_RUNNING)
            record = processes.read_record(self._files.record(name))
            if record is not None and record.find() is not None:
                raise Temporary(f"{name} still runs (process {record.process.pid}).")
            self._files.drop(name)

    def _last_layer(self) -> list[str]:
        """Names of those living programs that have the highest priority number."""
        live = [name for name, state in self._states().items() if state.phase.lives and "~" not in name]
        supervised = self._supervised()
        layers: dict[int, list[str]] = {}
        for name in live:
            if name in supervised:
                meta = self._files.read_meta(name)
                layers.setdefault(meta.priority if meta else _EXPENDABLE, []).append(name)
        return layers[max(layers)] if layers else []

    def _stop_layer(self, names: list[str], force: bool) -> None:
        for name in names:
            self._stop_process(name)
            meta = self._files.read_meta(name)
            if force and (meta is None or meta.priority >= _EXPENDABLE):
                self._kill_tree(name)

    def _tolerate(
        self, method: str, *arguments: object, tolerated: int | tuple[int, ...], busy: int | None = None
    ) -> None:
        try:
            self._rpc.call(method, *arguments)
        except rpc.Refused as fault:
            if fault.code == busy:
                raise Temporary(f"{arguments[0]} still runs.") from fault
            if fault.code not in (tolerated if isinstance(tolerated, tuple) else (tolerated,)):
                raise Temporary(f"The process supervisor refuses to {method} {arguments[0]}: {fault}") from fault

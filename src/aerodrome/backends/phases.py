"""From Supervisor's words to the domain's."""

from __future__ import annotations

from datetime import datetime, timedelta

from aerodrome.domain.component import Phase
from aerodrome.supervision import ProgramPhase, ProgramState

MANY_STARTS = 5  # within an hour: it keeps ending by itself
_FIRST_LOOK = timedelta(seconds=1)  # who is started for the first time and lives this long counts as running


def phase_of(state: ProgramState, now: datetime) -> Phase | None:
    """None: there is nothing, and `ensure` would start it."""
    if state.phase is ProgramPhase.STOPPING:
        return Phase.DRAINING
    if state.phase is ProgramPhase.STOPPED and state.result is None:
        return None
    return _of_job(state) if state.job else _of_service(state, now)


def _of_job(state: ProgramState) -> Phase:
    if state.result is not None:
        return Phase.FAILED if state.result else Phase.SUCCEEDED
    if state.phase in (ProgramPhase.STARTING, ProgramPhase.RUNNING):
        return Phase.RUNNING
    return Phase.FAILED


def _of_service(state: ProgramState, now: datetime) -> Phase:
    if state.phase is ProgramPhase.RUNNING:
        return Phase.RUNNING
    if state.phase in (ProgramPhase.FATAL, ProgramPhase.UNKNOWN) or state.starts >= MANY_STARTS:
        return Phase.FAILED
    if state.phase is not ProgramPhase.STARTING:
        return Phase.BACKOFF
    first = state.starts == 1 and state.since is not None and now - state.since > _FIRST_LOOK
    return Phase.RUNNING if first else Phase.STARTING


def detail_of(state: ProgramState, phase: Phase, last_line: str) -> str:
    """One line for a person."""
    if phase is Phase.DRAINING:
        return state.description or "finishing its work"
    if phase in (Phase.RUNNING, Phase.STARTING):
        restarts = state.starts - 1
        return f"restarted {restarts} times within the last hour" if restarts > 0 and not state.job else ""
    if phase is Phase.SUCCEEDED:
        return ""
    words = f"; last words: {last_line[:300]}" if last_line.strip() else "; it wrote nothing"
    if state.job:
        return (f"ended with exit code {state.result}" if state.result is not None else "ended by a signal") + words
    return f"ended by itself, started {state.starts} times within the last hour{words}"

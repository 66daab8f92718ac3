"""Supervised processes; the only package that knows Supervisor."""

from aerodrome.supervision.leftovers import Leftover, end_leftovers, leftovers, read_on
from aerodrome.supervision.once import Command, run_once
from aerodrome.supervision.opening import rewrapped as variables_rewrapped
from aerodrome.supervision.program import Program, ProgramPhase, ProgramState
from aerodrome.supervision.sandbox import Sandbox
from aerodrome.supervision.supervisor import Supervisor
from aerodrome.supervision.warm import Unavailable, WarmProcess

__all__ = [
    "Command",
    "Leftover",
    "Program",
    "ProgramPhase",
    "ProgramState",
    "Sandbox",
    "Supervisor",
    "Unavailable",
    "WarmProcess",
    "end_leftovers",
    "leftovers",
    "read_on",
    "run_once",
    "variables_rewrapped",
]

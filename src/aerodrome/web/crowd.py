"""Who is connected, and who leaves when there is no room.

Caps alone would let strangers who say nothing shut out everybody else. So a full house sends away the one that has
kept us waiting longest: somebody who gets to the point needs milliseconds, and is never the one.

The embedded cloud has this file too, by a symbolic link: nothing but the standard library in here.
"""

from __future__ import annotations

import logging
import resource
import time
from typing import Protocol

log = logging.getLogger(__name__)

_SHARE = 4  # of our file descriptors, what one crowd may take: the rest is for files, databases and web servers
_SILENCE = 10.0  # seconds between two lines of the log about the same


def affordable(connections: int) -> int:
    """That many connections, or as many as the system's limit on open files allows."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return connections if soft == resource.RLIM_INFINITY else max(1, min(connections, soft // _SHARE))


class Guest(Protocol):
    """A connection, from the moment it is accepted."""

    @property
    def waiting_since(self) -> float | None:
        """When the client's turn began (to send, or to read), by the monotonic clock; None: it is our turn."""
        ...

    def cut(self) -> None:
        """Close at once."""
        ...


class Crowd:
    """At most `limit` connections, of one listener or of several."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._guests: dict[Guest, None] = {}  # in the order of their coming
        self._spoke = -_SILENCE

    def __len__(self) -> int:
        return len(self._guests)

    def admit(self, guest: Guest) -> bool:
        """Whether there is room, made if need be. False only when every connection waits for us."""
        if len(self._guests) >= self._limit and not self.make_room():
            self._say("All %d connections are busy; new ones are refused.")
            return False
        self._guests[guest] = None
        return True

    def leave(self, guest: Guest) -> None:
        self._guests.pop(guest, None)

    def make_room(self) -> bool:
        """Close the connection whose client has kept us waiting longest; whether there was one."""
        waiting = [(since, guest) for guest in self._guests if (since := guest.waiting_since) is not None]
        if not waiting:
            return False
        _, guest = min(waiting, key=lambda pair: pair[0])
        self._guests.pop(guest, None)
        guest.cut()
        self._say("All %d connections are in use; those that have kept us waiting longest are closed.")
        return True

    def _say(self, text: str) -> None:
        now = time.monotonic()
        if now - self._spoke >= _SILENCE:
            self._spoke = now
            log.warning(text, self._limit)

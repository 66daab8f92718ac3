"""What happened to an environment, as the endpoint tells it (`/_aerodrome/environments/NAME/events`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import httpx

from aerodrome.cli.connection import Connection
from aerodrome.errors import Permanent, Temporary


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `at` is in seconds since 1970."""

    id: int
    at: float
    type: str
    message: str
    actor: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Event:
        return cls(
            id=int(raw["Id"]),
            at=float(raw["At"]),
            type=str(raw["Type"]),
            message=str(raw.get("Message") or ""),
            actor=raw.get("Actor"),
            data=raw.get("Data") or {},
        )


class Journal:
    """The events of one environment name, read forward. A context manager: it holds a connection."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self._name = name
        self._http = httpx.Client(timeout=30, trust_env=False)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def after(self, event_id: int) -> list[Event]:
        """All events after that one, oldest first.

        Raises:
            Permanent: the endpoint refused, with what it said.
            Temporary: the endpoint answered that it can't just now.
            httpx.TransportError: nothing answers.
        """
        events: list[Event] = []
        while True:
            page = self._page(events[-1].id if events else event_id)
            events += page
            if not page:
                return events

    def before_current(self) -> int:
        """The id just before the last create or delete was asked for: where to begin to watch what is under way."""
        requests = [event.id for event in self.after(0) if event.type.endswith(".requested")]
        return requests[-1] - 1 if requests else 0

    def _page(self, event_id: int) -> list[Event]:
        from botocore.auth import SigV4Auth  # here: it takes long, and commands that only start or stop don't need it
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        query = urlencode({"after": event_id, "region": self._connection.region})
        url = f"{self._connection.endpoint}/_aerodrome/environments/{quote(self._name, safe='')}/events?{query}"
        request = AWSRequest(method="GET", url=url)
        installation = self._connection.installation
        keys = Credentials(installation.admin_access_key, installation.admin_secret_key)
        SigV4Auth(keys, "airflow", self._connection.region).add_auth(request)
        answer = self._http.get(url, headers=dict(request.headers.items()))
        if answer.status_code == 404:
            return []  # nothing is known of that name
        if answer.status_code >= 500:
            raise Temporary(f"The events of {self._name} can't be read now ({answer.status_code}): {answer.text[:300]}")
        if answer.status_code != 200:
            raise Permanent(f"The events of {self._name} can't be read ({answer.status_code}): {answer.text[:300]}")
        return [Event.parse(raw) for raw in answer.json()["Events"]]

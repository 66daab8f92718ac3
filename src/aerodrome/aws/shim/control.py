"""The private unix socket: one JSON object a line, from the users that the configuration names."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from .journal import Journal, NotDurable
from .pinned import VERSION
from .principals import Denied, Principals

log = logging.getLogger("aerodrome.cloud")

_LINE_LIMIT = 1024 * 1024  # bytes
_LINE_SECONDS = 60.0  # to send a line, and to read an answer
_BACKLOG = 512  # the kernel refuses more at once: the whole control plane may ask in one moment
_CREDENTIALS = struct.Struct("3i")


class Control:
    """Answers the verbs."""

    def __init__(self, principals: Principals, journal: Journal, allowed_uids: tuple[int, ...]) -> None:
        self._principals = principals
        self._journal = journal
        self._allowed = frozenset(allowed_uids)
        self._verbs: Mapping[str, Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]] = {
            "ping": self._ping,
            "resolve": self._resolve,
            "standing": self._standing,
            "role": self._role,
            "assume_role": self._assume_role,
            "assume_service_role": self._assume_service_role,
            "has_service_role": self._has_service_role,
            "flush": self._flush,
            "ensure_admin": self._ensure_admin,
            "forget_key": self._forget_key,
        }

    async def serve(self, listener: socket.socket) -> asyncio.AbstractServer:
        return await asyncio.start_unix_server(self._connection, sock=listener, limit=_LINE_LIMIT, backlog=_BACKLOG)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._peer(writer) not in self._allowed:
                log.warning("the private socket was tried by user id %d", self._peer(writer))
                return
            while line := await asyncio.wait_for(reader.readline(), _LINE_SECONDS):
                writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                await asyncio.wait_for(writer.drain(), _LINE_SECONDS)
        except (ConnectionError, ValueError, TimeoutError):  # gone, a line beyond the limit, or too slow
            return
        finally:
            writer.close()

    @staticmethod
    def _peer(writer: asyncio.StreamWriter) -> int:
        raw = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return int(_CREDENTIALS.unpack(raw)[1])

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            verb = self._verbs[request["verb"]]
        except (ValueError, KeyError, TypeError):
            return _no("Invalid", "the line is not a request with a known verb")
        try:
            return {"ok": True, **await verb(request)}
        except Denied as denied:
            return _no(denied.code, str(denied))
        except NotDurable as error:
            return _no("Unavailable", str(error))
        except (KeyError, TypeError, ValueError) as error:
            return _no("Invalid", f"{request['verb']}: a member is missing or wrong ({error})")

    async def _ping(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        return {"version": VERSION, "pid": os.getpid()}

    async def _resolve(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return {"key": self._principals.resolve(str(request["key_id"]), request.get("session_token"))}

    async def _standing(self, request: Mapping[str, Any]) -> dict[str, Any]:
        texts = [str(request[name]) for name in ("key_id", "arn", "user_id", "issuer_arn", "issuer_id")]
        return {"principal": self._principals.standing(*texts, temporary=bool(request["temporary"]))}

    async def _role(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return {"role": self._principals.role(str(request["role_arn"]))}

    async def _assume_role(self, request: Mapping[str, Any]) -> dict[str, Any]:
        credentials = self._principals.assume_role(
            str(request["role_arn"]),
            str(request["session_name"]),
            int(request.get("duration", 3600)),
            str(request.get("service", "airflow-env.amazonaws.com")),
            request.get("source_arn"),
        )
        await self._journal.durable_services("sts")
        return {"credentials": credentials}

    async def _assume_service_role(self, request: Mapping[str, Any]) -> dict[str, Any]:
        credentials = self._principals.assume_service_role(str(request["account"]), str(request["session_name"]))
        await self._journal.durable_services("iam", "sts")
        return {"credentials": credentials}

    async def _has_service_role(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return {"there": self._principals.has_service_role(str(request["account"]))}

    async def _flush(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        await self._journal.flush()
        return {}

    async def _ensure_admin(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self._principals.ensure_admin(
            str(request["user"]), str(request["access_key"]), str(request["secret_key"]), str(request["account"])
        )
        await self._journal.durable_services("iam")
        return {}

    async def _forget_key(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self._principals.forget_key(str(request["user"]), str(request["access_key"]), str(request["account"]))
        await self._journal.durable_services("iam")
        return {}


def _no(error: str, message: str) -> dict[str, Any]:
    return {"ok": False, "error": error, "message": message}

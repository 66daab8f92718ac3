"""Supervisor's XML-RPC over its unix socket: one connection per call, each with a time limit."""

from __future__ import annotations

import base64
import http.client
import socket
import xmlrpc.client
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

from supervisor.xmlrpc import Faults

from aerodrome.errors import Permanent, Temporary
from aerodrome.supervision.config import USER

ALREADY_ADDED = Faults.ALREADY_ADDED
ALREADY_STARTED = Faults.ALREADY_STARTED
BAD_NAME = Faults.BAD_NAME
CANT_REREAD = Faults.CANT_REREAD
NOT_RUNNING = Faults.NOT_RUNNING
STILL_RUNNING = Faults.STILL_RUNNING


class Refused(Exception):
    """Supervisor answered with a fault."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: Path, timeout: float, authorization: str) -> None:
        super().__init__(headers=[("Authorization", authorization)])
        self._path = path
        self._timeout = timeout

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = self._connection[1]
        if connection is None:
            connection = _Connection(self._path, self._timeout)
            self._connection = host, connection
        return connection


class Rpc:
    """Blocking: to be called from a thread."""

    def __init__(self, path: Path, password: str, timeout: float = 15) -> None:
        self._path = path
        self._timeout = timeout
        self._authorization = "Basic " + base64.b64encode(f"{USER}:{password}".encode()).decode()

    def call(self, method: str, *arguments: object) -> Any:
        """Call `supervisor.METHOD`.

        Raises:
            Refused: Supervisor says no.
            Temporary: it isn't there, or is shutting down.
            Permanent: the password isn't its password.
        """
        transport = _Transport(self._path, self._timeout, self._authorization)
        try:
            with xmlrpc.client.ServerProxy("http://localhost", transport=transport) as proxy:
                return getattr(proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == Faults.SHUTDOWN_STATE:
                raise Temporary("The process supervisor is shutting down.") from fault
            raise Refused(fault.faultCode, str(fault.faultString)) from fault
        except xmlrpc.client.ProtocolError as error:
            if error.errcode == http.HTTPStatus.UNAUTHORIZED:
                raise Permanent(f"The process supervisor at {self._path} has another password: not ours?") from error
            raise Temporary(f"The process supervisor at {self._path} answered {error.errcode}.") from error
        except PermissionError as error:
            raise Permanent(f"{self._path} belongs to another user; run this as its owner.") from error
        except (OSError, http.client.HTTPException, xmlrpc.client.Error, ExpatError) as error:
            raise Temporary(f"The process supervisor isn't answering at {self._path}: {error}.") from error

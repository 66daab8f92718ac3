"""Single-row reads for the API's hot path: one connection that all callers share, in libpq's pipeline mode.

A read through the pool is four exchanges with the server (check, BEGIN, the query, COMMIT) and costs more than the rest
of a GetEnvironment; here it is one. While the server works on one batch of reads the next gathers, and those in it that
ask the same are one read. What is committed when a read is asked for is what it reads, as in the pool.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType

import psycopg
from psycopg import AsyncConnection, pq

log = logging.getLogger(__name__)

Row = tuple[str | None, ...]  # values as PostgreSQL writes them
_Question = tuple[bytes, tuple[bytes, ...]]  # statement, values
_CONNECT_SECONDS = 5.0


class Away(Exception):
    """No answer this way, for whatever reason: ask through the pool, which waits, checks and says why."""


class Reader:
    """`statements`: name -> a query of $1, $2, ...; they run one at a time, each as its own transaction."""

    def __init__(self, url: str, statements: Mapping[str, str] = MappingProxyType({})) -> None:
        self._url = url
        self._statements = dict(statements)
        self._connection: AsyncConnection | None = None
        self._socket = -1
        self._gathered: dict[_Question, list[asyncio.Future[list[Row]]]] = {}  # not sent yet: who waits for each
        self._waiting: deque[list[asyncio.Future[list[Row]]]] = deque()  # sent, in that order
        self._rows: list[Row] | Away = []  # of the read that is being answered
        self._connecting: asyncio.Task[None] | None = None

    async def read(self, statement: str, *values: str) -> list[Row]:
        """The rows.

        Raises:
            Away: at once when the connection isn't there; a new one is on its way then.
        """
        if self._connection is None:
            if self._connecting is None or self._connecting.done():
                self._connecting = asyncio.create_task(self.open(), name="reader")
            raise Away
        if any("\0" in value for value in values):
            raise Away("libpq would end the text there")
        question = statement.encode(), tuple(value.encode() for value in values)
        answer: asyncio.Future[list[Row]] = asyncio.get_running_loop().create_future()
        self._gathered.setdefault(question, []).append(answer)
        if not self._waiting:
            self._send(self._connection.pgconn)
        return await answer

    def _send(self, server: pq.abc.PGconn) -> None:
        """Everything that has gathered."""
        gathered, self._gathered = self._gathered, {}
        self._waiting.extend(gathered.values())
        try:
            for statement, values in gathered:
                server.send_query_prepared(statement, values)
                server.pipeline_sync()
            all_sent = server.flush() == 0
        except psycopg.OperationalError as error:
            self._drop(error)
        else:
            if not all_sent:  # the server takes nothing more: it hangs
                self._drop(None)

    async def open(self) -> None:
        """Connect, unless the server is away: then the next read tries again."""
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await self._open()
        except (psycopg.OperationalError, TimeoutError) as error:
            log.warning("The database is away for reads: %s", error or type(error).__name__)

    async def _open(self) -> None:
        connection = await AsyncConnection.connect(self._url, autocommit=True)
        try:
            for name, query in self._statements.items():
                await connection.execute(f"PREPARE {name} AS {query}".encode())
            connection.pgconn.nonblocking = 1
            connection.pgconn.enter_pipeline_mode()
        except BaseException:
            connection.pgconn.finish()
            raise
        self._connection, self._socket = connection, connection.fileno()
        asyncio.get_running_loop().add_reader(self._socket, self._readable)

    async def close(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
            with suppress(asyncio.CancelledError):
                await self._connecting
        self._drop(None)

    def _readable(self) -> None:
        """Hand out what the server has answered, in the order in which it was asked."""
        server = self._connection.pgconn if self._connection else None
        try:
            if server is not None:
                server.consume_input()
            while server is not None and self._waiting and not server.is_busy():
                result = server.get_result()
                if result is not None:
                    self._take(result)
                elif server.status != pq.ConnStatus.OK:
                    self._drop(None)
                    return
            if server is not None and not self._waiting and self._gathered:
                self._send(server)
        except psycopg.OperationalError as error:
            self._drop(error)

    def _take(self, result: pq.abc.PGresult) -> None:
        if result.status == pq.ExecStatus.TUPLES_OK:
            fields = range(result.nfields)
            self._rows = [
                tuple(_text(result.get_value(row, field)) for field in fields) for row in range(result.ntuples)
            ]
        elif result.status == pq.ExecStatus.PIPELINE_SYNC:  # the end of one read
            rows, self._rows = self._rows, []
            for answer in self._waiting.popleft():
                if answer.done():  # its caller gave up
                    continue
                if isinstance(rows, Away):
                    answer.set_exception(Away(*rows.args))
                else:
                    answer.set_result(rows)
        else:
            self._rows = Away(result.get_error_message())

    def _drop(self, why: Exception | None) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            connection.pgconn.finish()
        for answers in (*self._waiting, *self._gathered.values()):
            for answer in answers:
                if not answer.done():
                    answer.set_exception(Away(str(why or "closed")))
        self._waiting.clear()
        self._gathered.clear()
        self._rows = []


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()

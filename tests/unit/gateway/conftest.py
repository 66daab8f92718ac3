"""A real TLS gateway, real little web servers behind it, and clients that send exactly what they are told."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import shutil
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvloop
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from aerodrome.domain.component import Output
from aerodrome.domain.environment import EnvironmentKey
from aerodrome.gateway.gateway import Gateway
from aerodrome.gateway.ports import Backstage, CliGrant, Limits, Principal, Redeemed, Route, Session
from aerodrome.layout import Layout
from aerodrome.pki import issue
from support.homes import home_with_key


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What hangs on a loop's own way with sockets and TLS is tried on the control plane's too."""
    both = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return both if item.path.name == "test_sides.py" else {"asyncio": asyncio.new_event_loop}


SECRETS = {"aaa": b"secret of aaa", "bbb": b"secret of bbb"}


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def json(self) -> Any:
        return json.loads(self.body)


class World:
    """Tokens, sessions and environments in memory: what the store and the backend do for the real gateway."""

    def __init__(self) -> None:
        self.clock = datetime(2026, 1, 1, tzinfo=UTC)
        self.web_tokens: dict[str, Redeemed] = {}
        self.cli_tokens: dict[str, CliGrant] = {}
        self.checked = asyncio.Semaphore(0)  # released by every CLI token that is checked
        self.held: dict[str, Session] = {}
        self.ended: set[str] = set()
        self.token_revoked = False
        self.commands: list[tuple[str, list[str], float]] = []
        self.output: Output | Exception = Output(0, b"out\n", b"err\n")
        self.started = asyncio.Semaphore(0)  # released by every command that starts
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None

    def now(self) -> datetime:
        return self.clock

    async def redeem_web_token(self, token: str) -> Redeemed | None:
        return self.web_tokens.pop(token, None)

    async def check_cli_token(self, token: str) -> CliGrant | None:
        self.checked.release()
        return self.cli_tokens.get(token)

    async def open_session(self, credential_hash: str, redeemed: Redeemed, expires: datetime) -> bool:
        assert len(credential_hash) == 64
        if self.token_revoked:
            return False
        session_id = f"s{len(self.held)}"
        self.held[credential_hash] = Session(session_id, redeemed.environment_id, redeemed.principal, expires)
        return True

    async def follow_session(self, credential_hash: str, session_id: str) -> None:
        assert len(credential_hash) == 64
        self.held[credential_hash] = next(each for each in self.held.values() if each.id == session_id)

    async def session(self, credential_hash: str) -> Session | None:
        if self.failure:
            raise self.failure
        found = self.held.get(credential_hash)
        return None if found is None or found.id in self.ended else found

    async def end_session(self, session_id: str) -> None:
        self.ended.add(session_id)

    async def identity_secret(self, environment_id: str) -> bytes:
        return SECRETS[environment_id]

    async def run_cli(self, environment_id: str, argv: Sequence[str], timeout: float) -> Output:
        self.commands.append((environment_id, list(argv), timeout))
        self.started.release()
        await self.gate.wait()
        if isinstance(self.output, Exception):
            raise self.output
        return self.output

    def sign_in(self, credential: str, environment_id: str = "aaa", hours: float = 12) -> str:
        """A session without the sign-in; returns the credential."""
        key = hashlib.sha256(credential.encode()).hexdigest()
        expires = self.clock + timedelta(hours=hours)
        session_id = f"s{len(self.held)}"
        self.held[key] = Session(session_id, environment_id, Principal("u", ("Admin",), "user/u"), expires)
        return credential


@dataclass
class Airflow:
    """A web server: checks the identity header as Airflow's side does, and does odd things on request."""

    environment_id: str
    cookie: str = "_token"
    port: int = 0
    seen: list[dict[str, Any]] = field(default_factory=list)
    chunks: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    logins: int = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = [(name.decode(), value.decode("latin-1")) for name, value in scope["headers"]]
        path = scope["raw_path"].decode()
        record = {"method": scope["method"], "path": path, "query": scope["query_string"].decode(), "headers": headers}
        self.seen.append(record)
        handler: Callable[..., Any] | None = getattr(self, "do_" + path.strip("/").replace("/", "_"), None)
        await (handler or self.do_echo)(record, receive, send)

    async def reply(
        self, send: Any, status: int, body: bytes = b"", headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        sized = [*headers, (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": sized})
        await send({"type": "http.response.body", "body": body})

    async def do_echo(self, record: dict[str, Any], receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            event = await receive()
            body, more = body + event.get("body", b""), event.get("more_body", False)
        record["body"] = body
        text = json.dumps({**record, "body": body.decode("latin-1"), "who": self.environment_id}).encode()
        await self.reply(
            send, 200, text, [(b"x-odd", b"1"), (b"x-odd", b"2"), (b"connection", b"x-hop"), (b"x-hop", b"1")]
        )

    async def do_auth_login(self, record: dict[str, Any], receive: Any, send: Any) -> None:
        identity = dict(record["headers"]).get("x-aerodrome-identity", "")
        text, _, mac = identity.partition(".")
        expected = hmac.new(SECRETS[self.environment_id], text.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(mac, expected):
            await self.reply(send, 401)
            return
        record["identity"] = json.loads(base64.urlsafe_b64decode(text + "=="))
        self.logins += 1
        cookie = f"{self.cookie}=cookie-{self.environment_id}-{self.logins}; HttpOnly; Path=/; Domain=localhost"
        extra = (b"set-cookie", b"other=1; Path=/; Secure; SameSite=Strict")
        await self.reply(send, 302, b"", [(b"location", b"/"), (b"set-cookie", cookie.encode()), extra])

    do_login = do_auth_login

    async def do_rotate(self, record: dict[str, Any], receive: Any, send: Any) -> None:
        await self.reply(send, 200, b"", [(b"set-cookie", self.cookie.encode() + b"=rotated; Path=/")])

    async def do_auth_logout(self, record: dict[str, Any], receive: Any, send: Any) -> None:
        await self.reply(send, 302, b"", [(b"location", b"/auth/login/"), (b"set-cookie", b"_token=fresh; Path=/")])

    async def do_stream(self, record: dict[str, Any], receive: Any, send: Any) -> None:
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/x-ndjson")]}
        )
        await send({"type": "http.response.body", "body": b'{"n":1}\n', "more_body": True})
        await self.go.wait()
        await send({"type": "http.response.body", "body": b'{"n":2}\n', "more_body": False})

    async def do_upload(self, record: dict[str, Any], receive: Any, send: Any) -> None:
        size, more = 0, True
        while more:
            event = await receive()
            more = event.get("more_body", False)
            size += len(event.get("body", b""))
            self.chunks.put_nowait(event.get("body", b""))
        await self.reply(send, 200, str(size).encode())

    async def do_hang(self, record: dict[str, Any], receive: Any, send: Any) -> None:
        self.entered.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left.set()

    async def do_break(self, record: dict[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})

    async def do_close(self, record: dict[str, Any], receive: Any, send: Any) -> None:
        receive.__self__.transport.abort()

    async def do_big(self, record: dict[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(400):
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        self.left.set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


class Client:
    """Sends bytes over TLS and parses what comes back; nothing is normalised on the way."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self.port = port
        self.context = context

    async def connect(self, name: str, address: str = "127.0.0.1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(
            address, self.port, ssl=self.context, server_hostname=name.partition(":")[0]
        )

    async def raw(self, name: str, data: bytes, address: str = "127.0.0.1", sni: str | None = None) -> Answer:
        """Send the bytes, read one response."""
        async with asyncio.timeout(10):
            reader, writer = await self.connect(sni or name, address)
            try:
                writer.write(data)
                await writer.drain()
                return await self.read(reader, head=data.startswith(b"HEAD"))
            finally:
                await self.close(writer)

    async def close(self, writer: asyncio.StreamWriter) -> None:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async def head(self, reader: asyncio.StreamReader) -> Answer:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = [line.partition(":") for line in lines[1:] if line]
        return Answer(int(lines[0].split()[1]), [(name.lower(), value.strip()) for name, _, value in pairs], b"")

    async def chunk(self, reader: asyncio.StreamReader) -> bytes:
        size = int(await reader.readline(), 16)
        data = await reader.readexactly(size)
        await reader.readexactly(2)
        return data

    async def read(self, reader: asyncio.StreamReader, *, head: bool = False) -> Answer:
        answer = await self.head(reader)
        if head or answer.status in (204, 304):
            return answer
        if answer.header("transfer-encoding") == "chunked":
            pieces = []
            while data := await self.chunk(reader):
                pieces.append(data)
            answer.body = b"".join(pieces)
        else:
            answer.body = await reader.readexactly(int(answer.header("content-length") or 0))
        return answer

    async def call(
        self,
        host: str,
        target: str,
        *,
        method: str = "GET",
        headers: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
        address: str = "127.0.0.1",
    ) -> Answer:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers)]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        data = "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")
        return await self.raw(host, data, address)

    async def login(self, host: str, token: str, prefix: str = "/pluginsv2/aws_mwaa", **more: Any) -> Answer:
        headers = [("Content-Type", "application/x-www-form-urlencoded"), *more.pop("headers", [])]
        return await self.call(
            host, prefix + "/login", method="POST", headers=headers, body=f"token={token}".encode(), **more
        )


@dataclass
class Setup:
    """A running gateway with two environments on the shared listener."""

    gateway: Gateway
    world: World
    client: Client
    airflows: dict[str, Airflow]
    routes: dict[str, Route]

    @property
    def host(self) -> str:
        return self.routes["aaa"].host

    @property
    def other_host(self) -> str:
        return self.routes["bbb"].host

    @property
    def airflow(self) -> Airflow:
        return self.airflows["aaa"]

    async def get(self, target: str, credential: str | None = None, **more: Any) -> Answer:
        headers = [*more.pop("headers", [])]
        if credential:
            headers.append(("Cookie", f"_token={credential}"))
        return await self.client.call(more.pop("host", self.host), target, headers=headers, **more)


@pytest.fixture(scope="session")
def layout() -> Iterator[Layout]:
    folder = Path(tempfile.mkdtemp(prefix="aero-", dir="/tmp"))
    yield home_with_key(folder)
    shutil.rmtree(folder)


@pytest.fixture
def limits() -> Limits:
    return Limits(connect=1.0, body_idle=5.0, login=5.0)


@pytest.fixture
def trust(layout: Layout) -> ssl.SSLContext:
    issue(layout, ["localhost"], ["127.0.0.1"])
    return ssl.create_default_context(cafile=str(layout.ca_certificate))


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Airflow], Any]]:
    """Starts a web server on a free loopback port."""
    async with AsyncExitStack() as stack:

        async def start(airflow: Airflow) -> Airflow:
            config = Config(airflow, lifespan="off", log_config=None, ws="none", interface="asgi3", proxy_headers=False)
            config.load()
            state, loop = ServerState(), asyncio.get_running_loop()

            def quiet() -> H11Protocol:
                protocol = H11Protocol(config, state, {}, loop)
                protocol.access_log = False
                return protocol

            server = await loop.create_server(quiet, "127.0.0.1", airflow.port)
            airflow.port = server.sockets[0].getsockname()[1]

            async def stop() -> None:
                server.close()
                for connection in list(state.connections):
                    connection.transport.abort()
                for task in list(state.tasks):
                    task.cancel()
                if state.tasks:
                    await asyncio.wait(list(state.tasks))
                await server.wait_closed()

            stack.push_async_callback(stop)
            return airflow

        yield start


def make_route(environment_id: str, upstreams: Sequence[str], **more: Any) -> Route:
    values: dict[str, Any] = {
        "environment_id": environment_id,
        "key": EnvironmentKey("aws", "100000000001", "us-east-1", f"env-{environment_id}"),
        "host": f"{environment_id}.us-east-1.airflow.localhost:8443",
        "upstreams": tuple(upstreams),
        "login_path": "/auth/login/",
        "cookie_name": "_token",
        "airflow_major": 3,
    }
    return Route(**{**values, **more})


@pytest.fixture
def route() -> Callable[..., Route]:
    return make_route


@pytest.fixture
def oidc() -> Any:
    """The world -> what people sign in through. None: they don't."""
    return None


@pytest.fixture
async def setup(
    layout: Layout, limits: Limits, trust: ssl.SSLContext, serve: Callable[[Airflow], Any], oidc: Any
) -> AsyncIterator[Setup]:
    world = World()
    airflows = {each: await serve(Airflow(each)) for each in ("aaa", "bbb")}
    backstage = Backstage(tokens=world, sessions=world, environments=world, now=world.now, limits=limits)
    if oidc is not None:
        backstage = replace(backstage, oidc=oidc(world))
    gateway = Gateway(port=0, bind="127.0.0.1", certificate=partial(issue, layout), backstage=backstage)
    await gateway.start()
    routes = {each: make_route(each, [airflow.address]) for each, airflow in airflows.items()}
    await gateway.sync(routes.values())
    yield Setup(gateway, world, Client(gateway.port("127.0.0.1"), trust), airflows, routes)
    await gateway.stop(grace=0.5)

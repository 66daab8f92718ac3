"""The way to a web server whose name this machine doesn't resolve."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from aerodrome import pki
from aerodrome.cli.connection import Connection, connect
from aerodrome.cli.webserver import _way, run_command
from aerodrome.errors import Temporary
from aerodrome.machineroom.installation import Installation
from support.homes import home_with_key
from support.pairs import write_plain

NAME = "0123456789ab.us-east-1.airflow.localhost"


@pytest.fixture(autouse=True)
def names_do_not_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        if str(host).endswith(".localhost"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.fixture
def seen() -> list[tuple[str, str, str]]:
    """(Host, Authorization, body) of each command that came to the gateway."""
    return []


@pytest.fixture
def connection_to(
    installation: Installation, serve_app: Callable[..., int], seen: list[tuple[str, str, str]]
) -> Callable[[str, str], Connection]:
    """An installation of a mode, and a gateway with a certificate for a host."""

    def connection_to(mode: str, certified: str) -> Connection:
        async def cli(request: Request) -> Response:
            body = (await request.body()).decode()
            seen.append((request.headers["host"], request.headers["authorization"], body))
            return JSONResponse({"stdout": base64.b64encode(b"3.3.1\n").decode(), "stderr": ""})

        layout = home_with_key(connect().layout.home)
        names, addresses = ([certified], []) if mode == "name" else ([], [certified])
        certificate = write_plain(pki.issue(layout, names, addresses), layout.home / "plain.pem")
        port = serve_app(Starlette(routes=[Route("/aws_mwaa/cli", cli, methods=["POST"])]), 0, certificate)
        host = f"{NAME if mode == 'name' else '127.0.0.1'}:{port}"

        async def token(_: Request) -> Response:
            return JSONResponse({"CliToken": "secret", "WebServerHostname": host})

        record = json.loads(layout.installation_file.read_text()) | {"web_host": mode}
        layout.installation_file.write_text(json.dumps(record))
        serve_app(Starlette(routes=[Route("/clitoken/{name}", token, methods=["POST"])]), installation.front_port)
        return connect()

    return connection_to


@pytest.mark.parametrize(("mode", "host"), [("name", NAME), ("address", "127.0.0.1")])
def test_a_command_reaches_the_environment_by_its_name(
    mode: str, host: str, connection_to: Callable[[str, str], Connection], seen: list[tuple[str, str, str]]
) -> None:
    output = run_command(connection_to(mode, host), "demo", ["dags", "list"])
    assert (output.exit_code, output.stdout) == (0, b"3.3.1\n")
    ((said, authorization, body),) = seen
    assert (said.rpartition(":")[0], authorization, body) == (host, "Bearer secret", "dags list")


def test_the_certificate_must_be_the_names(
    connection_to: Callable[[str, str], Connection], seen: list[tuple[str, str, str]]
) -> None:
    with pytest.raises(Temporary, match=rf"https://{NAME}.*Hostname mismatch"):
        run_command(connection_to("name", "other.us-east-1.airflow.localhost"), "demo", ["version"])
    assert seen == []


@pytest.mark.parametrize(
    ("name", "address"),
    [
        (NAME, "127.0.0.1:8443"),  # who listens everywhere, is here
        (NAME.replace(".", "-vpce.", 1), "[::1]:8443"),
    ],
)
def test_a_private_host_is_looked_for_where_private_ones_are(
    connection_to: Callable[[str, str], Connection], name: str, address: str
) -> None:
    connection = connection_to("name", NAME)
    installation = replace(connection.installation, gateway_bind="0.0.0.0", private_bind="::")  # noqa: S104
    way = _way(replace(connection, installation=installation), f"{name}:8443")
    assert way == (address, {"sni_hostname": name})


def test_who_is_not_let_in_to_a_private_one_hears_of_security_groups(installation: Installation) -> None:
    """In vain: whoever a group refuses is closed without a word."""
    connection = connect()
    host = "127.84.0.1:1"

    class Mwaa:
        def create_cli_token(self, Name: str) -> dict[str, str]:  # noqa: N803 - boto3's name
            return {"CliToken": "secret", "WebServerHostname": host}

    pki.ensure_authority(home_with_key(connection.layout.home))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connection, "client", lambda *_: Mwaa())
        with pytest.raises(Temporary, match=r"127\.84\.0\.1:1/ .*security groups must let this machine in"):
            run_command(connection, "demo", ["version"])

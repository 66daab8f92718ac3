"""An environment's web server as the command line reaches it: the sign-in link and Airflow's own CLI."""

from __future__ import annotations

import base64
import shlex
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from aerodrome.cli.connection import Connection
from aerodrome.cli.tls import HERE
from aerodrome.domain.web_server import is_private
from aerodrome.errors import Permanent, Temporary
from aerodrome.gateway.hosts import split_host
from aerodrome.gateway.paths import sso_url

_CLI_TIMEOUT = 120.0  # seconds: a command imports Airflow first


@dataclass(frozen=True, slots=True)
class CommandOutput:
    exit_code: int
    stdout: bytes
    stderr: bytes


def sign_in_link(connection: Connection, name: str) -> str:
    """A link that signs its first visitor in, for 60 seconds (mwaa-spec 7.2)."""
    mwaa = connection.client("mwaa")
    version = mwaa.get_environment(Name=name)["Environment"]["AirflowVersion"]
    token = mwaa.create_web_login_token(Name=name)
    return sso_url(token["WebServerHostname"], int(version.split(".")[0]), token["WebToken"])


def run_command(connection: Connection, name: str, words: Sequence[str]) -> CommandOutput:
    """Run `airflow WORDS` in the environment, as MWAA's own clients do (mwaa-spec 7.2).

    Raises:
        Permanent: the command isn't allowed or the token was refused.
        Temporary: too many commands at once, or the web server is away.
    """
    token = connection.client("mwaa").create_cli_token(Name=name)
    host = token["WebServerHostname"]
    address, extensions = _way(connection, host)
    headers = {"Host": host, "Authorization": f"Bearer {token['CliToken']}", "Content-Type": "text/plain"}
    trust = ssl.create_default_context(cafile=str(connection.layout.ca_bundle))
    try:
        with httpx.Client(verify=trust, trust_env=False, timeout=_CLI_TIMEOUT) as http:
            url = f"https://{address}/aws_mwaa/cli"
            answer = http.post(url, headers=headers, content=shlex.join(words), extensions=extensions)
    except httpx.TransportError as error:
        todo = "Try again in a moment."
        if is_private(host.partition(":")[0]):
            todo = "It is private: its security groups must let this machine in. " + todo
        raise Temporary(f"The web server of {name} doesn't answer at https://{host}/ ({error}). {todo}") from error
    try:
        body = answer.json()
        stdout, stderr = base64.b64decode(body["stdout"]), base64.b64decode(body["stderr"])
    except (ValueError, KeyError, TypeError):
        message = f"The web server of {name} answered {answer.status_code}: {answer.text[:500]}"
        raise (Temporary(message) if answer.status_code >= 500 else Permanent(message)) from None
    # The answer has no exit status: a command that failed is answered with 400.
    return CommandOutput(0 if answer.status_code == 200 else 1, stdout, stderr)


def _way(connection: Connection, host: str) -> tuple[str, dict[str, Any]]:
    """(where to connect to, httpx's extensions) for a web server's host.

    Python resolves *.localhost only where the system does. The gateway is on this machine and tells environments apart
    by the name that TLS asks for, which the certificate is checked against too.
    """
    parts = split_host(host)
    installation = connection.installation
    if installation.web_host != "name" or parts is None:
        return host, {}
    name, port = parts
    bind = installation.private_bind if is_private(name) else installation.gateway_bind
    address = HERE.get(bind, bind)
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}", {"sni_hostname": name}

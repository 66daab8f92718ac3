"""Signed calls of the endpoint that MWAA doesn't have, below `/_aerodrome/`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx

from aerodrome.cli.connection import Connection
from aerodrome.errors import Permanent, Temporary


def ask(connection: Connection, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """The answer's document.

    Raises:
        Permanent: the endpoint refused, with what it said.
        Temporary: the endpoint answered that it can't just now.
        httpx.TransportError: nothing answers.
    """
    from botocore.auth import SigV4Auth  # here: it takes long, and commands that only start or stop don't need it
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    data = b"" if body is None else json.dumps(body).encode()
    request = AWSRequest(method=method, url=f"{connection.endpoint}/_aerodrome/{path}", data=data)
    installation = connection.installation
    keys = Credentials(installation.admin_access_key, installation.admin_secret_key)
    SigV4Auth(keys, "airflow", connection.region).add_auth(request)
    headers = dict(request.headers.items())
    answer = httpx.request(method, str(request.url), headers=headers, content=data, timeout=30, trust_env=False)
    if answer.status_code == 200:
        return answer.json()
    said = f"{method} /_aerodrome/{path} answered {answer.status_code}: {_message(answer)}"
    if answer.status_code >= 500:
        raise Temporary(said)
    raise Permanent(_message(answer) if answer.status_code in (400, 403, 404) else said)


def _message(answer: httpx.Response) -> str:
    try:
        document = answer.json()
    except ValueError:
        return answer.text[:300]
    return str(document.get("message") or document.get("Message") or document)

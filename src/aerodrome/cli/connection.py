"""The command line's way to the endpoint: stock boto3 with the administrator's keys, and errors in one clear line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import typer
from botocore.exceptions import BotoCoreError, ClientError
from botocore.exceptions import ConnectionError as BotoConnectionError

from aerodrome.cli.output import err
from aerodrome.errors import Permanent
from aerodrome.layout import Layout
from aerodrome.machineroom.installation import Installation, load
from aerodrome.settings import Settings

INTERRUPTED = 130  # what a shell calls the exit status of a program ended by Ctrl-C


@dataclass(frozen=True, slots=True)
class Connection:
    """An installation and the region to talk to it about."""

    layout: Layout
    installation: Installation
    region: str

    @property
    def endpoint(self) -> str:
        return self.installation.endpoint

    def client(self, service: str, *, retry: bool = True) -> Any:
        """A boto3 client for the service. The user's profile and proxy settings are about other endpoints: left out."""
        import boto3  # here, and below: it takes long, and `status`, `down` and others don't need it
        import botocore.session
        from botocore.config import Config

        unread = (None, None, None, None)
        core = botocore.session.Session(session_vars={"profile": unread, "config_file": unread})
        session = boto3.session.Session(
            aws_access_key_id=self.installation.admin_access_key,
            aws_secret_access_key=self.installation.admin_secret_key,
            region_name=self.region,
            botocore_session=core,
        )
        config = Config(
            inject_host_prefix=False,
            connect_timeout=5,
            read_timeout=60,
            retries={"mode": "standard", "total_max_attempts": 4 if retry else 1},
            proxies={},
            s3={"addressing_style": "path"},
        )
        return session.client(service, endpoint_url=self.endpoint, config=config)

    @property
    def partition(self) -> str:
        import boto3

        return str(boto3.session.Session().get_partition_for_region(self.region))


def connect(region: str | None = None) -> Connection:
    """The installation that the settings name.

    Raises:
        Permanent: there is none.
    """
    settings = Settings()
    layout = Layout(settings.home)
    installation = load(layout)
    asked = settings.region if "region" in settings.model_fields_set else None
    return Connection(layout, installation, region or asked or installation.region)


@contextmanager
def connected(region: str | None = None) -> Iterator[Connection]:
    """A connection to work with.

    Raises:
        Permanent: for every error of boto3 or of the network, in words.
        typer.Exit: with status 130 after Ctrl-C.
    """
    connection = connect(region)
    with in_words(connection.endpoint):
        yield connection


@contextmanager
def in_words(endpoint: str) -> Iterator[None]:
    """Foreign errors as `Permanent` with one clear line; Ctrl-C as exit status 130."""
    try:
        yield
    except KeyboardInterrupt:
        err.print("\nStopped. What was under way in the service goes on; run the same command again to go on watching.")
        raise typer.Exit(INTERRUPTED) from None
    except (ClientError, BotoCoreError, httpx.HTTPError) as error:
        raise Permanent(describe(error, endpoint)) from error


def describe(error: Exception, endpoint: str = "the endpoint") -> str:
    """What happened and what to do, in one line (further lines: what the service itself had to say)."""
    match error:
        case ClientError():
            response: dict[str, Any] = {**error.response}
            details = response.get("Error", {})
            code, message = details.get("Code", "Error"), details.get("Message", "")
            if "RestApiStatusCode" in response:
                answer = json.dumps(response.get("RestApiResponse"))
                message = f"Airflow answered {response['RestApiStatusCode']}: {answer}"
            return f"{code}: {message}" if message else str(code)
        case BotoConnectionError() | httpx.TransportError():
            return f"Nothing answers at {endpoint} ({error}). Is it up? Run `aerodrome up`."
        case _:
            return str(error)


def error_code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))

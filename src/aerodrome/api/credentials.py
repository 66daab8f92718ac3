"""Execution credentials for components, in the container format that every AWS SDK knows.

A component gets `AWS_CONTAINER_CREDENTIALS_FULL_URI` (this endpoint, on a loopback address) and
`AWS_CONTAINER_AUTHORIZATION_TOKEN` (its environment's token); SDKs ask again before the credentials run out.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, timedelta
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from aerodrome.content.credentials import RoleCredentials
from aerodrome.content.loop import session_name
from aerodrome.errors import Permanent, Temporary

log = logging.getLogger(__name__)

PATH = "/_aerodrome/credentials/{environment_id}"

# boto3 asks again when 15 minutes are left, and before every call when 10 are: never hand out such a rest.
_MARGIN = timedelta(minutes=20)
_FORWARDING_HEADERS = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


class Holder(NamedTuple):
    """An environment's role, and the token that its components show."""

    role_arn: str
    token: str
    environment_arn: str | None = None


Lookup = Callable[[str], Awaitable[Holder | None]]
"""Environment id -> its role and token, or None when there is no such environment."""

Tell = Callable[[str, str | None], Awaitable[None]]
"""(environment id, why its role gives no credentials, or None when it gave some): told after every answer."""


async def _untold(environment_id: str, problem: str | None) -> None:
    return None


def credential_path(environment_id: str) -> str:
    return PATH.format(environment_id=environment_id)


def credential_routes(lookup: Lookup, credentials: RoleCredentials, tell: Tell = _untold) -> list[Route]:
    """The endpoint's routes. They authenticate by themselves: mount them outside of the signature check.

    A wrong token and the id of no environment get one answer: nobody learns which there are.
    """

    async def answer(request: Request) -> Response:
        if not _from_this_machine(request):
            return _refusal(403, "AccessDenied", "Credentials are handed out on this machine only.")
        token = request.headers.get("authorization", "")
        if not token:
            return _refusal(401, "MissingAuthenticationToken", "The Authorization header holds no token.")
        environment_id: str = request.path_params["environment_id"]
        try:
            holder = await lookup(environment_id)
        except Permanent as error:
            log.error("environment %s can't be read for its credentials: %s", environment_id, error)
            return _refusal(500, "InternalServerException", "The environment can't be read. The server's log says why.")
        except Temporary as error:
            return _away(error)
        role_arn, expected, environment_arn = holder or Holder("", "")
        if not hmac.compare_digest(token.encode(), expected.encode()):  # which is not empty
            return _refusal(403, "AccessDenied", f"The token is not that of environment {environment_id}.")
        try:
            fresh = await credentials.get(role_arn, session_name(environment_id), _MARGIN, source_arn=environment_arn)
            await tell(environment_id, None)
        except Permanent as error:
            await tell(environment_id, str(error))
            return _refusal(403, "AssumeRoleFailed", str(error))
        except Temporary as error:
            return _away(error)
        body = {
            "AccessKeyId": fresh.access_key_id,
            "SecretAccessKey": fresh.secret_access_key,
            "Token": fresh.session_token,
            "Expiration": fresh.expires_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "RoleArn": role_arn,
        }
        return JSONResponse(body, headers={"Cache-Control": "no-store"})

    return [Route(PATH, answer, methods=["GET"])]


def _from_this_machine(request: Request) -> bool:
    """A loopback peer that speaks for itself: what a proxy forwards is not from here, whoever the proxy is."""
    if request.client is None or any(header in request.headers for header in _FORWARDING_HEADERS):
        return False
    try:
        address = ipaddress.ip_address(request.client.host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _away(error: Temporary) -> JSONResponse:
    refusal = _refusal(503, "ServiceUnavailable", str(error))
    refusal.headers["Retry-After"] = str(max(1, round(error.retry_after)))
    return refusal


def _refusal(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"code": code, "message": message}, status_code=status, headers={"Cache-Control": "no-store"})

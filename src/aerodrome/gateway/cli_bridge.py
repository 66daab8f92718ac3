"""`POST …/cli`: one Airflow command (mwaa-spec 7.2, 7.4).

    200  {"stdout": BASE64, "stderr": BASE64}   the command ended with 0
    400  the same members                        it ended with another code, or is refused (the reason is in `stderr`)
    403 / 413 / 503 / 504                        bad token / line too long / its turn didn't come / took too long

MWAA documents the 200 alone. Clients decode `stdout` and `stderr` whatever the status, so every answer has both.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import shlex

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope

from aerodrome.domain.component import Output
from aerodrome.errors import Permanent
from aerodrome.gateway import pages
from aerodrome.gateway.cli_commands import check
from aerodrome.gateway.headers import bearers
from aerodrome.gateway.ports import Backstage, Route
from aerodrome.gateway.turnstile import Full, Turnstile
from aerodrome.web import bodies

log = logging.getLogger("aerodrome.gateway")

_BY_SIGNAL = 128  # and the signal's number: the exit code of what was killed


class CliBridge:
    """Runs allowed commands, a few at once per environment; others wait for their turn."""

    def __init__(self, backstage: Backstage) -> None:
        self._backstage = backstage
        self._turnstile = Turnstile(backstage.limits.cli_commands, backstage.limits.cli_wait)

    async def run(self, route: Route, scope: Scope, receive: Receive) -> Response:
        """Answer the request."""
        if scope["method"] != "POST":
            answer = _refusal(405, "Post the command line as text/plain.")
            answer.headers["allow"] = "POST"
            return answer
        if not await self._allowed(route, scope):
            return _refusal(403, "The CLI token is not valid: it lasts 60 seconds. Ask CreateCliToken for a new one.")
        limits = self._backstage.limits
        try:
            argv = parse(await bodies.read(receive, limits.cli_size, limits.body_idle))
        except bodies.TooLarge as error:
            return _refusal(413, str(error))
        except bodies.Incomplete as error:
            return _refusal(408, str(error))
        except ValueError as error:
            return _refusal(400, f"The command line can't be read: {error}.")
        refusal = check(argv, route.airflow_major)
        if refusal:
            return _refusal(400, refusal)
        try:
            async with self._turnstile.turn(route.environment_id):
                if await _has_left(receive):  # while it waited: it may have sent the command again
                    return _refusal(408, "The client left before the command began.")
                return await self._run(route, argv)
        except Full:
            text = f"{limits.cli_commands} commands run in environment {route.key.name}, and none ended in time."
            return _refusal(503, f"{text} Try again in a moment.", retry_after=5)

    async def _allowed(self, route: Route, scope: Scope) -> bool:
        tokens = bearers(scope["headers"])
        grant = await self._backstage.tokens.check_cli_token(tokens[0]) if len(tokens) == 1 else None
        return grant is not None and grant.environment_id == route.environment_id

    async def _run(self, route: Route, argv: list[str]) -> Response:
        limits, environment_id = self._backstage.limits, route.environment_id
        try:
            output = await self._backstage.environments.run_cli(environment_id, argv, limits.cli_timeout)
        except TimeoutError:
            text = f"The command did not end within {limits.cli_timeout:.0f} seconds and was stopped."
            return _refusal(504, text)
        except Permanent as error:
            return _refusal(400, str(error))
        # Two words only: the rest may be a secret (`variables set`).
        log.info("environment %s: airflow %s: exit code %d", environment_id, " ".join(argv[:2]), output.exit_code)
        return _answer(output)


def parse(body: bytes) -> list[str]:
    """The line as arguments, by the shell's quoting rules and nothing else of a shell.

    Raises:
        ValueError: not UTF-8, a zero byte, or a quotation that doesn't end.
    """
    text = body.decode("utf-8")
    if "\0" in text:
        raise ValueError("it holds a zero byte")
    return shlex.split(text)


async def _has_left(receive: Receive) -> bool:
    """Whether the client, whose request has been read, is gone."""
    try:
        async with asyncio.timeout(0):
            event = await receive()
            return bool(event["type"] == "http.disconnect")
    except TimeoutError:
        return False


def _answer(output: Output) -> Response:
    stderr = output.stderr
    if output.exit_code > _BY_SIGNAL:  # it had no last word
        stderr += f"\n[Aerodrome: the command was ended by signal {output.exit_code - _BY_SIGNAL}]\n".encode()
    content = {"stdout": base64.b64encode(output.stdout).decode(), "stderr": base64.b64encode(stderr).decode()}
    return pages.guarded(JSONResponse(content, 200 if output.exit_code == 0 else 400))


def _refusal(status: int, text: str, *, retry_after: int = 0) -> Response:
    content = {"message": text, "stdout": "", "stderr": base64.b64encode(text.encode()).decode()}
    answer = pages.guarded(JSONResponse(content, status))
    if retry_after:
        answer.headers["retry-after"] = str(retry_after)
    return answer

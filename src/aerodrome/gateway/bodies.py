"""Reading a small request body whole, with a limit on size and time."""

from __future__ import annotations

import asyncio

from starlette.types import Receive


class TooLarge(Exception):
    """The body is longer than the limit."""


class Incomplete(Exception):
    """The body did not arrive: the client left, or was too slow."""


async def read(receive: Receive, size: int, seconds: float) -> bytes:
    """The whole body, at most `size` bytes, within `seconds`.

    Raises:
        TooLarge, Incomplete.
    """
    body = bytearray()
    more = True
    try:
        async with asyncio.timeout(seconds):
            while more:
                event = await receive()
                if event["type"] == "http.disconnect":
                    raise Incomplete("The client left.")
                body += event.get("body", b"")
                if len(body) > size:
                    raise TooLarge(f"The request body is larger than {size} bytes.")
                more = event.get("more_body", False)
    except TimeoutError as error:
        raise Incomplete(f"The request body did not arrive within {seconds:.0f} seconds.") from error
    return bytes(body)

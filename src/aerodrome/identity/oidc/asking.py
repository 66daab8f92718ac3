"""Requests to the provider: https alone, no redirects, and an end to every answer, in time and in size."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from aerodrome.identity.oidc.errors import ProviderAway

TIMEOUT = 10.0  # seconds for a whole answer
SIZE = 512 * 1024  # bytes of one; key sets of the largest providers have 20 KB


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """The usual public roots (or SSL_CERT_FILE's), and those of the file.

    Raises:
        OSError: it can't be read, or holds no certificate (ssl.SSLError is one).
    """
    context = httpx.create_ssl_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


class Asking:
    """One connection pool for the provider's few hosts."""

    def __init__(
        self,
        trust: ssl.SSLContext,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        timeout: float = TIMEOUT,
        size: int = SIZE,
    ) -> None:
        self._client = httpx.AsyncClient(
            verify=trust, transport=transport, follow_redirects=False, timeout=timeout, cookies=None
        )
        self._timeout = timeout
        self._size = size

    async def close(self) -> None:
        await self._client.aclose()

    async def json(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: str | None = None
    ) -> tuple[int, Mapping[str, Any]]:
        """(status, the JSON object of the answer). A redirect is an answer like any other, and holds no JSON.

        Raises:
            ProviderAway: none came in time, it is too large, or no JSON object.
        """
        host = urlsplit(url).hostname
        asked = {"accept": "application/json", "accept-encoding": "identity", **(headers or {})}
        try:
            async with asyncio.timeout(self._timeout):
                return await self._ask(method, url, asked, body)
        except TimeoutError as error:
            raise ProviderAway(f"The identity provider ({host}) did not answer in {self._timeout:.0f} s.") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            what = type(error).__name__
            raise ProviderAway(f"The identity provider ({host}) can't be reached ({what}).") from error

    async def _ask(
        self, method: str, url: str, headers: Mapping[str, str], body: str | None
    ) -> tuple[int, Mapping[str, Any]]:
        host = urlsplit(url).hostname
        pieces = bytearray()
        async with self._client.stream(method, url, headers=headers, content=body) as answer:
            self._client.cookies.clear()
            if answer.headers.get("content-encoding", "identity") != "identity":
                raise ProviderAway(f"The identity provider ({host}) sent a compressed answer that nobody asked for.")
            async for piece in answer.aiter_raw():
                pieces += piece
                if len(pieces) > self._size:
                    raise ProviderAway(f"The identity provider ({host}) sent more than {self._size // 1024} KB.")
        try:
            found = json.loads(pieces)
        except (ValueError, RecursionError) as error:
            raise self._no_json(host, answer.status_code) from error
        if not isinstance(found, dict):
            raise self._no_json(host, answer.status_code)
        return answer.status_code, found

    @staticmethod
    def _no_json(host: str | None, status: int) -> ProviderAway:
        return ProviderAway(f"The identity provider ({host}) answered {status} without a JSON object.")

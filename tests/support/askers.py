"""Many clients of the API in a process of their own: `askers.py URL CLIENTS REGION NAME...`, until stdin ends.

Each has a connection and asks again and again after its environment and after all of them. Prints one JSON object:
`answered` (rounds of each client), `wrong` (what should not have been answered).
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

_ROUNDS = 3  # that every client is served, however fast the rest is
_PATIENCE = 60.0  # seconds for an answer


class Asker:
    def __init__(self, url: str, region: str, name: str, names: list[str]) -> None:
        self._url, self._region, self._name, self._names = url, region, name, names
        self._seen = "CREATING"
        self.rounds = 0
        self.wrong: str | None = None

    async def run(self, stop: asyncio.Event) -> None:
        parts = urlsplit(self._url)
        try:
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            while not (stop.is_set() and self.rounds >= _ROUNDS):
                async with asyncio.timeout(_PATIENCE):
                    await self._round(reader, writer)
                self.rounds += 1
                await asyncio.sleep(0.05)
            writer.close()
        except (OSError, EOFError, TimeoutError, AssertionError) as error:
            self.wrong = f"{self._name}, round {self.rounds}: {error!r}"

    async def _round(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        status, answer = await self._ask(reader, writer, f"/environments/{self._name}")
        assert (status, answer.get("Environment", {}).get("Name")) == (200, self._name), answer
        now = answer["Environment"]["Status"]
        assert now == "AVAILABLE" or (now, self._seen) == ("CREATING", "CREATING"), f"{self._seen}, then {now}"
        self._seen = now
        status, answer = await self._ask(reader, writer, "/environments")
        assert (status, answer.get("Environments")) == (200, self._names), answer

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> tuple[int, Any]:
        request = AWSRequest("GET", self._url + path)
        SigV4Auth(Credentials("admin", "secret"), "airflow", self._region).add_auth(request)
        lines = [f"GET {path} HTTP/1.1", f"Host: {urlsplit(self._url).netloc}"]
        lines += [f"{name}: {value}" for name, value in request.headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length:")[1].split()[0])
        return int(head.split()[1]), json.loads(await reader.readexactly(length))


async def main(url: str, clients: str, region: str, *names: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def told() -> None:
        loop.remove_reader(sys.stdin)
        stop.set()

    loop.add_reader(sys.stdin, told)
    askers = [Asker(url, region, names[number % len(names)], list(names)) for number in range(int(clients))]
    await asyncio.gather(stop.wait(), *(asker.run(stop) for asker in askers))
    wrong = [asker.wrong for asker in askers if asker.wrong]
    print(json.dumps({"answered": [asker.rounds for asker in askers], "wrong": wrong}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

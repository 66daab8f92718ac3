"""How the web servers of environments are named on this machine (design 2, 'Web server host names')."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

PROBE = "probe.airflow.localhost"
_PATIENCE = 3.0  # seconds: a resolver that asks a network that isn't there


async def decide(web_host: str) -> str:
    """`name` or `address`; `auto` asks the resolver that Python clients use here."""
    if web_host != "auto":
        return web_host
    return "name" if await _resolves_to_loopback(PROBE) else "address"


async def _resolves_to_loopback(name: str) -> bool:
    loop = asyncio.get_running_loop()
    try:
        found = await asyncio.wait_for(loop.getaddrinfo(name, 443, type=socket.SOCK_STREAM), _PATIENCE)
    except (OSError, TimeoutError):
        return False
    # Some networks answer every name with an address of their own.
    return bool(found) and all(ipaddress.ip_address(str(entry[4][0])).is_loopback for entry in found)

"""How the web servers of environments are named on this machine (design 2, 'Web server host names')."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

PROBE = "probe.airflow.localhost"
UNRESOLVED = (
    "AERODROME_WEB_HOST is `name`, but *.localhost names don't resolve to 127.0.0.1 here: Python (requests, httpx), "
    "Node.js, wget and whatever else asks the system's resolver won't find web servers; browsers and curl will. "
    "On Debian, `apt install libnss-myhostname` mends that; or choose AERODROME_WEB_HOST=address, which takes a new "
    "installation (`aerodrome purge`, or another AERODROME_HOME)."
)
_GATEWAY = "127.0.0.1"  # all that the gateway listens on in `name` mode
_PATIENCE = 3.0  # seconds: a resolver that asks a network that isn't there


async def decide(web_host: str) -> str:
    """`name` or `address`; `auto` asks the resolver that Python clients use here."""
    if web_host != "auto":
        return web_host
    return "name" if await resolves() else "address"


async def resolves(name: str = PROBE) -> bool:
    """Whether Python clients here come to the gateway by the name."""
    loop = asyncio.get_running_loop()
    try:
        found = await asyncio.wait_for(loop.getaddrinfo(name, 443, type=socket.SOCK_STREAM), _PATIENCE)
    except (OSError, TimeoutError):
        return False
    addresses = {str(entry[4][0]) for entry in found}
    # Some networks answer every name with an address of their own; some resolvers answer ::1 alone.
    return _GATEWAY in addresses and all(ipaddress.ip_address(address).is_loopback for address in addresses)

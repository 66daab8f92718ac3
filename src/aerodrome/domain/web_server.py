"""Where an environment's web server is reached: its public and its private host (mwaa-spec 7.1). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from aerodrome.domain.environment import Environment

HTTPS_PORT = 443
DOMAIN = "airflow.localhost"  # of host names, unless the installation has one of its own
PUBLIC_NET, PRIVATE_NET = "127.83.", "127.84."  # of loopback addresses: one of each for every environment
MODE = "WebserverAccessMode"
_DEFAULT = "PRIVATE_ONLY"  # mwaa-spec 1.5


class Side(StrEnum):
    """Of the gateway."""

    PUBLIC = "public"
    PRIVATE = "private"


_SIDES = {
    "PUBLIC_ONLY": (Side.PUBLIC,),
    "PRIVATE_ONLY": (Side.PRIVATE,),
    "PUBLIC_AND_PRIVATE": (Side.PUBLIC, Side.PRIVATE),
}


def sides(members: Mapping[str, Any]) -> tuple[Side, ...]:
    """The sides that `WebserverAccessMode` opens, the public one first."""
    return _SIDES[members.get(MODE, _DEFAULT)]


def with_port(name: str, port: int) -> str:
    """As in `WebserverUrl`: the port is left out when it is 443."""
    return name if port == HTTPS_PORT else f"{name}:{port}"


def public_name(environment_id: str, region: str, domain: str = DOMAIN) -> str:
    """The host name in `name` mode."""
    return f"{environment_id}.{region}.{domain}"


def private_name(name: str) -> str:
    """Of a public host name or address: MWAA's `-vpce` behind the first label, the neighbouring loopback network."""
    if name.startswith(PUBLIC_NET):
        return PRIVATE_NET + name.removeprefix(PUBLIC_NET)
    first, dot, rest = name.partition(".")
    return f"{first}-vpce{dot}{rest}"


def is_private(name: str) -> bool:
    """Whether it is a name that `private_name` gives."""
    return name.startswith(PRIVATE_NET) or name.partition(".")[0].endswith("-vpce")


def host_on(side: Side, public_host: str, private_port: int) -> str:
    """The host of a web server on one side, with its port unless that is 443. `public_host` is `Environment.host`."""
    return public_host if side is Side.PUBLIC else with_port(private_name(public_host.partition(":")[0]), private_port)


def webserver_url(environment: Environment, private_port: int) -> str:
    """`WebserverUrl`, by the access mode in force: the private host when there is no public one."""
    members = environment.desired if environment.applied is None else environment.applied
    return host_on(sides(members)[0], environment.host, private_port)

from __future__ import annotations

from dataclasses import replace

import pytest

from aerodrome.domain.web_server import Side, host_on, is_private, private_name, sides, webserver_url
from support.world import environment

NAME = "0123456789ab.us-east-1.airflow.localhost"
HIDDEN = "0123456789ab-vpce.us-east-1.airflow.localhost"


@pytest.mark.parametrize(
    ("host", "port", "private"),
    [
        (NAME, 443, HIDDEN),
        (f"{NAME}:8443", 8444, f"{HIDDEN}:8444"),
        ("127.83.7.9", 443, "127.84.7.9"),
        ("127.83.7.9:8443", 8443, "127.84.7.9:8443"),
    ],
)
def test_the_private_host_follows_from_the_public_one(host: str, port: int, private: str) -> None:
    assert host_on(Side.PRIVATE, host, port) == private
    assert host_on(Side.PUBLIC, host, port) == host
    assert is_private(private_name(host.partition(":")[0]))
    assert not is_private(host)


@pytest.mark.parametrize(
    ("mode", "open_", "url"),
    [
        ("PUBLIC_ONLY", (Side.PUBLIC,), NAME),
        ("PRIVATE_ONLY", (Side.PRIVATE,), f"{HIDDEN}:8444"),
        ("PUBLIC_AND_PRIVATE", (Side.PUBLIC, Side.PRIVATE), NAME),
    ],
)
def test_the_mode_in_force_says_which_sides_are_open(mode: str, open_: tuple[Side, ...], url: str) -> None:
    made = replace(environment(WebserverAccessMode=mode), host=NAME)
    assert sides(made.desired) == open_
    assert webserver_url(made, 8444) == url
    updating = replace(made, applied=made.desired, desired={**made.desired, "WebserverAccessMode": "PUBLIC_ONLY"})
    assert webserver_url(updating, 8444) == url, "what was asked for is not in force yet"

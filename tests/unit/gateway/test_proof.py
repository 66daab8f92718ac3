"""What the gateway shows to web servers, and that no client can."""

from __future__ import annotations

from typing import Any

from aerodrome.domain.secrets import gateway_proof
from aerodrome.gateway.ports import Redeemed


async def test_every_request_to_a_web_server_shows_its_proof(setup: Any) -> None:
    for environment, host in (("aaa", setup.host), ("bbb", setup.other_host)):
        proof = gateway_proof(f"secret of {environment}", environment)
        setup.world.sign_in(f"c-{environment}", environment)
        forged = [("Cookie", f"_token=c-{environment}"), ("X-Aerodrome-Gateway", "forged"), ("x-aerodrome-gateway", "")]
        answer = await setup.client.call(host, "/x", headers=forged)
        shown = [value for name, value in answer.json()["headers"] if name == "x-aerodrome-gateway"]
        assert shown == [proof]


async def test_so_does_the_sign_in(setup: Any) -> None:
    setup.world.web_tokens["t"] = Redeemed("aaa", "ann", ("Op",), "user/ann")
    assert (await setup.client.login(setup.host, "t")).status == 200
    shown = [value for name, value in setup.airflow.seen[0]["headers"] if name == "x-aerodrome-gateway"]
    assert shown == [gateway_proof("secret of aaa", "aaa")]

"""The identity provider's parts, put together from settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aerodrome.domain.sign_in import People
from aerodrome.identity.oidc.config import OidcConfig, mappings_of
from aerodrome.server.oidc import open_oidc

CONFIG = OidcConfig("https://id.example.com", "aerodrome", mappings_of('[{"group": "g", "role": "User"}]'))
BACK = "https://demo.example.com/aws_mwaa/oidc/callback"
ANYBODY: Any = None


async def test_without_a_provider_there_is_nothing() -> None:
    async with open_oidc(None, b"k" * 32) as parts:
        assert (parts.issuer, parts.people, parts.pages_for(ANYBODY)) == (None, None, None)


async def test_with_one_all_parts_know_it() -> None:
    async with open_oidc(CONFIG, b"k" * 32) as parts:
        assert parts.issuer == CONFIG.issuer
        assert parts.people == People(CONFIG.issuer, CONFIG.mappings)
        pages = parts.pages_for(ANYBODY)
        assert pages is not None
        assert (pages.provider.issuer, pages.provider.name, pages.groups_claim) == (
            CONFIG.issuer,
            "id.example.com",
            "groups",
        )


async def test_a_sign_in_outlives_a_restart_but_no_change_of_the_provider() -> None:
    async def read(cookie: str, config: OidcConfig, key: bytes) -> bool:
        async with open_oidc(config, key) as parts:
            assert parts.attempts is not None
            return parts.attempts.read(cookie, "e", BACK) is not None

    async with open_oidc(CONFIG, b"k" * 32) as parts:
        assert parts.attempts is not None
        cookie = parts.attempts.begin("e", BACK, "/")[1]
    assert await read(cookie, CONFIG, b"k" * 32)
    assert not await read(cookie, CONFIG, b"j" * 32)
    assert not await read(cookie, replace(CONFIG, issuer="https://other.example.com"), b"k" * 32)
    assert not await read(cookie, replace(CONFIG, client_id="other"), b"k" * 32)

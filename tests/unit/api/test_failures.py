"""What goes wrong on our side: told as AWS tells it, with the request's id and nothing of our insides."""

from __future__ import annotations

import logging

import pytest

from aerodrome.errors import Temporary
from support.mwaa import House


async def test_what_nobody_foresaw_is_in_the_log_alone(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(house.store, "get", broken)
    with caplog.at_level(logging.ERROR, "aerodrome"):
        refusal = await house.refused("get_environment", Name="demo")
    assert (refusal["Error"]["Code"], refusal["ResponseMetadata"]["HTTPStatusCode"]) == ("InternalServerException", 500)
    request = refusal["ResponseMetadata"]["RequestId"]
    assert request in refusal["Error"]["Message"]
    assert "hunter2" not in str(refusal)
    assert request in caplog.text
    assert "hunter2" in caplog.text


async def test_what_passes_is_to_be_tried_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> None:
        raise Temporary("The database starts.")

    monkeypatch.setattr(house.store, "get", away)
    refusal = await house.refused("get_environment", Name="demo")
    assert refusal["Error"]["Code"] == "ServiceUnavailableException"
    assert refusal["ResponseMetadata"]["HTTPStatusCode"] == 503
    assert refusal["Error"]["Message"] == "Try again in a moment: The database starts."

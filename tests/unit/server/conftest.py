"""The control plane's event loop, which isn't Python's own; and the making of objects' products."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop

from aerodrome.backends import users
from aerodrome.domain.environment import Environment
from aerodrome.layout import Layout
from aerodrome.runtimes import extend
from aerodrome.server import requirements
from support.making import BASE, ROLE, House, Uv
from support.world import OBJECTS, environment


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.setattr(users, "ensure", lambda *_: users.User("us", None, None))  # makes no system user
    made = House(Layout(tmp_path))
    made.layout.runtimes.mkdir()
    yield made
    await made.objects.close()
    assert made.bucket.open == 0, "every client was closed"


@pytest.fixture
def made() -> Environment:
    return replace(environment(**OBJECTS, ExecutionRoleArn=ROLE), runtime=BASE)


@pytest.fixture
def uv(house: House, monkeypatch: pytest.MonkeyPatch) -> Uv:
    made = Uv(house.layout)
    monkeypatch.setattr(requirements, "resolve", made.resolve)
    monkeypatch.setattr(extend, "ensure", made.ensure)
    return made

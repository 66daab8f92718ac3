"""The exchange of the master key in its files, cut short at every step."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aerodrome import sealed_files
from aerodrome.cli.keys import keys_app
from aerodrome.errors import Permanent
from aerodrome.layout import Layout
from aerodrome.machineroom import keys
from aerodrome.machineroom.installation import Installation, load, save
from aerodrome.machineroom.progress import Silent
from aerodrome.store.database import DATABASE, create_database, migrate, open_pool
from aerodrome.store.environments import EnvironmentStore
from aerodrome.supervision.files import Files
from aerodrome.supervision.opening import opened
from aerodrome.vault import MasterKeyFiles, Vault
from support.homes import home_with_key
from support.world import SECRETS, environment

RUNNER = CliRunner()
ROW = environment(id_="0" * 12)
INSTALLATION = Installation(
    id="abc123",
    account="100000000001",
    region="us-east-1",
    front_port=1,
    gateway_port=2,
    postgres_port=3,
    valkey_port=4,
    cloud_port=5,
    web_host="address",
    postgres_password="p",
    valkey_password="v",
    admin_access_key="AKIATEST",
    admin_secret_key="secret",
    supervisor_password="s",
)


KEPT = {sealed_files.CLOUD: b"c" * 32, sealed_files.PKI: b"p" * 32, sealed_files.ADMINISTRATOR: b"a" * 60}


class Killed(BaseException):
    """Nothing after it happens, as after SIGKILL; no `except` of ours catches it."""


@pytest.fixture
def layout(postgres_url: str, tmp_path: Path) -> Layout:
    """An installation with an environment and a program."""
    layout = home_with_key(tmp_path / "home")
    save(layout, installed(postgres_url))
    files = Files.of(layout)
    files.prepare()
    files.write_variables("server", "export SECRET=hunter2\n")
    for name, secret in KEPT.items():
        sealed_files.write(layout, name, secret)

    async def prepare() -> None:
        url = await create_database(postgres_url)
        await migrate(url)
        async with open_pool(url, size=2, read_soon=False) as pool:
            async with pool.connection() as connection:
                await connection.execute("TRUNCATE environments, access_keys CASCADE")
            await EnvironmentStore(pool, Vault(MasterKeyFiles(layout))).insert(ROW, "127.83.1.1", SECRETS)

    asyncio.run(prepare())
    return layout


def installed(postgres_url: str) -> Installation:
    return replace(INSTALLATION, external_postgres_url=postgres_url)


async def opens(layout: Layout, postgres_url: str) -> None:
    """What a process that starts now finds."""
    if layout.installation_file.exists():
        assert load(layout) == installed(postgres_url)
        layout.installation_file.rename(aside := layout.home / "aside")
        layout.installation_copy.rename(layout.installation_file)
        assert load(layout) == installed(postgres_url), "the copy"
        layout.installation_file.rename(layout.installation_copy)
        aside.rename(layout.installation_file)
    async with open_pool(f"{postgres_url}/{DATABASE}", size=2, read_soon=False) as pool:
        store = EnvironmentStore(pool, Vault(MasterKeyFiles(layout)))
        assert await store.secrets(ROW.id) == SECRETS
        assert await store.by_id(ROW.id) == ROW
    for name, secret in KEPT.items():
        assert secret not in (layout.secrets / name).read_bytes()
        assert sealed_files.read(layout, name) == secret
    assert opened(layout, "server", Files.of(layout).variables("server").read_bytes()) == "export SECRET=hunter2\n"


STEPS = (
    ("write_file", "before"),
    ("write_file", "after"),
    ("rekey_old", "after"),
    ("rewrap", "after"),
    ("rewrap_installation", "after"),
    ("rewrap_files", "after"),
    ("replace", "before"),
    ("replace", "after"),
)


@pytest.mark.parametrize(("step", "when"), STEPS)
@pytest.mark.parametrize("ended_by", ["up", "rotate"])
def test_whatever_kills_it_everything_opens_and_it_is_ended_by_the_next(
    layout: Layout, postgres_url: str, monkeypatch: pytest.MonkeyPatch, step: str, when: str, ended_by: str
) -> None:
    before = layout.master_key.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(keys, step, _killing(getattr(keys, step), when))
        with pytest.raises((Killed, BaseExceptionGroup)):
            asyncio.run(keys.exchange_master(layout, Silent()))
    asyncio.run(opens(layout, postgres_url))
    begun = layout.next_master_key.exists()
    assert begun == ((step, when) not in (("write_file", "before"), ("replace", "after")))
    coming = layout.next_master_key.read_bytes() if begun else None
    if ended_by == "up":
        asyncio.run(keys.finish_exchange(layout, installed(postgres_url), Silent()))
    else:
        asyncio.run(keys.exchange_master(layout, Silent()))
    asyncio.run(opens(layout, postgres_url))
    assert not layout.next_master_key.exists()
    after = layout.master_key.read_bytes()
    if coming is not None:
        assert after == coming, "the key that was begun with"
    if ended_by == "rotate" or begun:
        assert after != before
    assert layout.master_key.stat().st_mode & 0o777 == 0o600 or after == before


def _killing(original: Callable[..., object], when: str) -> Callable[..., object]:
    if asyncio.iscoroutinefunction(original):

        async def later(*given: object, **named: object) -> object:
            if when == "after":
                await original(*given, **named)
            raise Killed

        return later

    def at_once(*given: object, **named: object) -> object:
        if when == "after":
            original(*given, **named)
        raise Killed

    return at_once


def test_the_key_before_opens_nothing_any_more(layout: Layout, postgres_url: str, tmp_path: Path) -> None:
    before = home_with_key(tmp_path / "before")
    sealed = Files.of(layout).variables("server").read_bytes()
    asyncio.run(keys.exchange_master(layout, Silent()))
    assert opened(before, "server", sealed)
    with pytest.raises(Permanent):
        opened(before, "server", Files.of(layout).variables("server").read_bytes())
    with pytest.raises(Permanent, match="master key"):
        asyncio.run(opens(before, postgres_url))


def test_a_process_that_runs_on_learns_of_it(layout: Layout, postgres_url: str) -> None:
    async def run() -> None:
        async with open_pool(f"{postgres_url}/{DATABASE}", size=2, read_soon=False) as pool:
            vault = Vault(MasterKeyFiles(layout))
            store, token = EnvironmentStore(pool, vault), vault.seal(b"page 2", "names")
            assert await store.secrets(ROW.id) == SECRETS
            await keys.exchange_master(layout, Silent())
            assert await EnvironmentStore(pool, vault).secrets(ROW.id) == SECRETS
            assert await store.secrets(ROW.id) == SECRETS
            assert vault.open(token, "names") == b"page 2", "handed out before"
            late = environment("late", id_="1" * 12)
            await store.insert(late, "127.83.1.2", SECRETS)
            assert await EnvironmentStore(pool, Vault(MasterKeyFiles(layout))).secrets(late.id) == SECRETS

    asyncio.run(run())


def test_data_keys_of_some_and_of_all(layout: Layout, postgres_url: str) -> None:
    assert asyncio.run(keys.exchange_data_keys(layout, ["demo"], Silent())) == 1
    assert asyncio.run(keys.exchange_data_keys(layout, None, Silent())) == 1

    async def generation() -> int:
        async with open_pool(f"{postgres_url}/{DATABASE}", size=2, read_soon=False) as pool:
            found = await EnvironmentStore(pool, Vault(MasterKeyFiles(layout))).by_id(ROW.id)
        assert found is not None
        return found.generation

    assert asyncio.run(generation()) == 3
    with pytest.raises(Permanent, match="There is no environment nobody, other"):
        asyncio.run(keys.exchange_data_keys(layout, ["other", "nobody", "demo"], Silent()))
    assert asyncio.run(generation()) == 3


def test_the_command_says_what_it_did(layout: Layout, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AERODROME_HOME", str(layout.home))
    before = layout.master_key.read_bytes()
    done = RUNNER.invoke(keys_app, ["rotate"])
    assert done.exit_code == 0, (done.output, done.exception)
    assert "master key: 1 of 1 records" in done.output
    assert f"{layout.master_key} is another one now." in " ".join(done.output.split())
    assert layout.master_key.read_bytes() != before
    asyncio.run(opens(layout, postgres_url))
    for chosen in (["--environment", "demo"], ["--data-keys"]):
        done = RUNNER.invoke(keys_app, ["rotate", *chosen])
        assert done.exit_code == 0, (done.output, done.exception)
        assert "1 environment sealed anew, under new data keys." in done.output
    assert RUNNER.invoke(keys_app, ["rotate", "--environment", "demo", "--data-keys"]).exit_code == 2
    assert isinstance(RUNNER.invoke(keys_app, ["rotate", "--environment", "nobody"]).exception, Permanent)

from __future__ import annotations

import os
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from aerodrome.domain import versions
from aerodrome.errors import Permanent
from aerodrome.layout import Layout
from aerodrome.runtimes import key as keys
from aerodrome.runtimes.database import database_name, database_url, template_name

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def test_equal_inputs_give_equal_keys_and_any_other_input_another() -> None:
    key = keys.runtime_key("3.3.1", "3.11")
    assert key == keys.runtime_key("3.3.1", "3.11")
    others = [keys.runtime_key("3.3.1", "3.12"), keys.runtime_key("3.3.1", "3.11", "pandas\n")]
    assert len({key, *others}) == 3
    assert keys.split_key(key) == ("3.3.1", "3.11")


def test_our_own_part_is_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys.runtime_key("3.3.1", "3.11")
    changed = {**keys.package_files(), "identity.py": b"# changed"}
    monkeypatch.setattr(keys, "package_files", lambda: changed)
    assert keys.runtime_key("3.3.1", "3.11") != before


def test_the_part_that_is_copied_is_whole() -> None:
    names = set(keys.package_files())
    assert {"__main__.py", "airflow.cfg", "webserver_config.py", "worker.py", "identity.py"} <= names
    assert not [name for name in names if name.endswith(".pyc")]


@pytest.mark.parametrize("version", versions.VERSIONS.values(), ids=lambda version: version.version)
def test_every_python_of_the_catalogue_has_a_lock(version: versions.AirflowVersion) -> None:
    for python in version.pythons:
        text = keys.lock_text(version.version, python)
        pins = [line for line in text.splitlines() if line[:1].isalnum()]
        assert f"apache-airflow=={version.version} \\" in pins
        assert text.count("--hash=sha256:") >= len(pins)
        assert "://" not in text


def test_an_unknown_pair_says_how_to_make_a_lock() -> None:
    with pytest.raises(Permanent, match=r"3\.3\.1 on Python 3\.9.*aerodrome runtimes lock 3\.3\.1"):
        keys.lock_text("3.3.1", "3.9")


def test_a_key_is_not_any_text() -> None:
    with pytest.raises(Permanent, match="not the key of a runtime"):
        keys.split_key("../../etc")


def test_a_runtime_without_its_marker_is_not_ready(tmp_path: Path) -> None:
    layout, key = Layout(tmp_path), keys.runtime_key("3.3.1", "3.11")
    layout.runtime(key).mkdir(parents=True)
    assert not keys.is_ready(layout, key)
    (layout.runtime(key) / keys.MARKER).touch()
    assert keys.is_ready(layout, key)


class TestChoosingPython:
    def version(self, *pythons: str) -> versions.AirflowVersion:
        return replace(versions.get("3.3.1"), pythons=pythons)

    def test_skips_what_is_not_there(self) -> None:
        python, path = keys.choose_python(self.version("3.99", HERE), as_other_user=False)
        assert python == HERE
        assert os.access(path, os.X_OK)

    def test_skips_a_shim_that_has_no_python_behind_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        shim = tmp_path / "python3.98"
        shim.write_text("#!/bin/sh\necho 'no such version' >&2\nexit 127\n")
        shim.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        assert keys.choose_python(self.version("3.98", HERE), as_other_user=False)[0] == HERE

    def test_for_other_users_everybody_can_run_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        private = tmp_path / "private"
        private.mkdir(mode=0o700)
        fake = private / "python3.97"
        fake.write_text(f"#!/bin/sh\necho 3.97\necho {fake}\n")
        fake.chmod(0o755)
        monkeypatch.setenv("PATH", f"{private}:{os.environ['PATH']}")
        assert keys.choose_python(self.version("3.97"), as_other_user=False) == ("3.97", str(fake))
        with pytest.raises(Permanent, match=r"needs Python 3\.97 that every user can run"):
            keys.choose_python(self.version("3.97"), as_other_user=True)
        assert stat.S_IMODE(private.stat().st_mode) == 0o700

    def test_none_says_what_to_install(self) -> None:
        with pytest.raises(Permanent, match=r"Airflow 3\.3\.1 needs Python 3\.99, and none was found.*apt install"):
            keys.choose_python(self.version("3.99"), as_other_user=False)


class TestDatabaseNames:
    def test_fit_into_postgresqls_63_bytes_and_need_no_quotes(self) -> None:
        for name in (template_name(keys.runtime_key("3.3.1", "3.12")), database_name("0123456789ab")):
            assert len(name) < 63
            assert name.replace("_", "").isalnum()

    def test_the_url_is_the_environments_not_the_superusers(self) -> None:
        url = database_url("postgresql://boss:top@db.example:5432?sslmode=require", "0123456789ab", "a/b@c")
        assert url == "postgresql://env_0123456789ab:a%2Fb%40c@db.example:5432/env_0123456789ab?sslmode=require"

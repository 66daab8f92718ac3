"""Files that a requirements.txt names: found below two folders, or fetched; and what stays apart."""

from __future__ import annotations

import hashlib
from pathlib import Path

import httpx
import pytest

from aerodrome.errors import Permanent, Temporary
from aerodrome.layout import Layout
from aerodrome.runtimes import extend, sources
from aerodrome.runtimes.constraints import pins
from aerodrome.runtimes.key import lock_text
from aerodrome.runtimes.requirements import DAGS, PLUGINS, Requirements
from aerodrome.runtimes.sources import cache_of, opener, own_hashes, translate, translate_back

OFFICIAL = "https://raw.githubusercontent.com/apache/airflow/constraints-3.3.1/constraints-3.11.txt"


def test_paths_are_translated_and_back(tmp_path: Path) -> None:
    folders = {PLUGINS: tmp_path / "a b", DAGS: tmp_path / "dags"}
    assert translate(f"{PLUGINS}/x", folders) == f"{tmp_path}/a b/x"
    assert translate(DAGS, folders) == str(tmp_path / "dags")
    line = f"demo @ file://{PLUGINS}/demo-1-py3-none-any.whl ; python_version > '3'"
    there = translate(line, folders)
    assert there == f"demo @ file://{tmp_path}/a%20b/demo-1-py3-none-any.whl ; python_version > '3'"
    assert translate_back(there, folders) == line


class TestOpening:
    def test_a_file_of_plugins_zip(self, tmp_path: Path) -> None:
        (tmp_path / "more.txt").write_text("six\n")
        assert opener("3.3.1", "3.11", {PLUGINS: tmp_path})(f"{PLUGINS}/more.txt") == b"six\n"

    @pytest.mark.parametrize("place", [f"{PLUGINS}/none.txt", f"{DAGS}/more.txt", PLUGINS, f"{PLUGINS}/out/shadow"])
    def test_what_is_not_there(self, tmp_path: Path, place: str) -> None:
        (tmp_path / "out").symlink_to("/etc")
        with pytest.raises(Permanent, match="no such file"):
            opener("3.3.1", "3.11", {PLUGINS: tmp_path})(place)

    def test_a_file_without_end(self, tmp_path: Path) -> None:
        with (tmp_path / "large.txt").open("wb") as file:
            file.truncate(11 << 20)
        with pytest.raises(Permanent, match="larger than 10 MB"):
            opener("3.3.1", "3.11", {PLUGINS: tmp_path})(f"{PLUGINS}/large.txt")

    def answers(self, monkeypatch: pytest.MonkeyPatch, answer: httpx.Response | Exception) -> None:
        def handle(request: httpx.Request) -> httpx.Response:
            if isinstance(answer, Exception):
                raise answer
            return answer

        client = httpx.Client(transport=httpx.MockTransport(handle))
        monkeypatch.setattr(sources.httpx, "stream", lambda *words, **options: client.stream(*words))

    def test_a_url(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers(monkeypatch, httpx.Response(200, content=b"six==1.0\n"))
        assert opener("3.3.1", "3.11", {})(OFFICIAL) == b"six==1.0\n"

    def test_airflows_own_file_is_known_when_it_cannot_be_reached(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers(monkeypatch, httpx.ConnectError("no route"))
        found = opener("3.3.1", "3.11", {})(OFFICIAL).decode().splitlines()
        assert sorted(found) == sorted(pins(lock_text("3.3.1", "3.11")).values())
        with pytest.raises(Temporary, match=r"can't be reached \(ConnectError\)"):
            opener("2.11.2", "3.11", {})(OFFICIAL)

    @pytest.mark.parametrize(("status", "kind"), [(404, Permanent), (403, Permanent), (503, Temporary)])
    def test_a_url_that_refuses(self, monkeypatch: pytest.MonkeyPatch, status: int, kind: type[Exception]) -> None:
        self.answers(monkeypatch, httpx.Response(status))
        with pytest.raises(kind, match=f"answered {status}") as failure:
            opener("3.3.1", "3.11", {})("https://me:hidden-word@host/constraints.txt")
        assert "hidden-word" not in str(failure.value)

    def test_a_url_without_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers(monkeypatch, httpx.Response(200, content=bytes(11 << 20)))
        with pytest.raises(Permanent, match="larger than 10 MB"):
            opener("3.3.1", "3.11", {})("https://host/constraints.txt")


def test_caches_are_shared_by_those_who_name_the_same_sources_alone(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    wanted = [
        Requirements(("six",)),
        Requirements(("idna",), constraints=("six==1",), own_constraints=True),
        Requirements(("six",), index="https://one:secret@host/simple"),
        Requirements(("idna",), index="https://one:secret@host/simple"),
        Requirements(("six",), index="https://two:secret@host/simple"),
        Requirements(("six",), extra_indexes=("https://one:secret@host/simple",)),
    ]
    public, also, one, same, two, extra = (cache_of(layout, each) for each in wanted)
    assert public == also == tmp_path / "cache" / "uv"
    assert one == same
    assert len({public, one, two, extra}) == 4
    assert all("secret" not in str(place) for place in (one, two, extra))


def test_hashes_of_wheels_in_ones_own_folder(tmp_path: Path) -> None:
    for name in (
        "my_thing-1.0-py3-none-any.whl",
        "my_thing-1.0-cp311-cp311-linux_x86_64.whl",
        "my_thing-2.0-py3-none-any.whl",
    ):
        (tmp_path / name).write_text(name)
    (tmp_path / "no wheel.whl").touch()
    wanted = Requirements((), find_links=(PLUGINS, "https://host/wheels"))
    texts = ("my_thing-1.0-py3-none-any.whl", "my_thing-1.0-cp311-cp311-linux_x86_64.whl")
    expected = sorted(f"sha256:{hashlib.sha256(text.encode()).hexdigest()}" for text in texts)
    assert own_hashes(wanted, {PLUGINS: tmp_path}, "My-Thing", "1.0") == expected


def test_a_record_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    meta = tmp_path / "my_thing-1.0.dist-info"
    meta.mkdir()
    rows = ["my_thing/a.py,,", "/etc/evil.py,,", "../evil.py,,", "my_thing/../../evil.py,,", '"x\ny.py",,', "b.txt,,"]
    (meta / "RECORD").write_text("\n".join(rows))
    assert list(extend._sources(tmp_path, "my-thing")) == [tmp_path / "my_thing/a.py"]

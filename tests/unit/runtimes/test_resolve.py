"""What uv is asked, and what is made of its answers; a real uv answers in tests/integration/runtimes."""

from __future__ import annotations

import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from aerodrome.errors import Permanent, Temporary
from aerodrome.layout import Layout
from aerodrome.runtimes import uv
from aerodrome.runtimes.extend import Extension
from aerodrome.runtimes.key import runtime_key, split_key
from aerodrome.runtimes.requirements import PLUGINS, Requirements
from aerodrome.runtimes.resolve import Resolution, resolve, resolve_elsewhere

BASE = runtime_key("3.3.1", "3.11")
CONFLICT = uv.UvError("error: No solution found when resolving dependencies\n  cause: Because it is so.")


class FakeUv:
    """Answers one question after the other, and keeps what was asked: words, and the text of the files they name."""

    def __init__(self, *answers: str | uv.UvError) -> None:
        self.answers = list(answers)
        self.words: list[list[str]] = []
        self.files: list[dict[str, str]] = []
        self.modes: set[int] = set()
        self.options: list[dict[str, Any]] = []

    def run(self, words: Sequence[str], **options: Any) -> str:
        paths = [Path(word) for word in words if word.endswith(".txt")]
        self.words.append(list(words))
        self.files.append({path.name: path.read_text() for path in paths})
        self.modes |= {stat.S_IMODE(place.stat().st_mode) for path in paths for place in (path, path.parent)}
        self.options.append(options)
        answer = self.answers.pop(0)
        if isinstance(answer, uv.UvError):
            raise answer
        return answer


Ask = Callable[..., tuple[Resolution, FakeUv]]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    layout = Layout(tmp_path / "home")
    layout.runtime(BASE).mkdir(parents=True)

    def asked(wanted: Requirements, *answers: str | uv.UvError, **folders: Path) -> tuple[Resolution, FakeUv]:
        fake = FakeUv(*answers)
        monkeypatch.setattr(uv, "run", fake.run)
        places = {PLUGINS: folders["plugins"]} if folders else {}
        try:
            return resolve(layout, BASE, wanted, places), fake
        finally:
            assert fake.answers == []

    return asked


def test_what_changes_is_read_and_pinned_by_hash(ask: Ask) -> None:
    plan = "Resolved 3 packages in 1s\nWould install 2 packages\n - boto3==1.0\n + boto3==1.1\n + My.Thing==2.0\n"
    lock = "boto3==1.1 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\nmy-thing==2.0 \\\n    --hash=sha256:cc\n"
    found, fake = ask(Requirements(("boto3>1", "my.thing"), own_constraints=True), plan, lock)
    assert dict(found.packages) == {"boto3": "1.1", "my-thing": "2.0"}
    assert dict(found.replaced) == {"boto3": "1.0"}
    assert found.lock == "boto3==1.1 --hash=sha256:aa --hash=sha256:bb\nmy-thing==2.0 --hash=sha256:cc\n"
    assert fake.words[0][:3] == ["pip", "install", "--requirements"]
    assert "--dry-run" in fake.words[0]
    assert all(words[words.index("--only-binary") + 1] == ":all:" for words in fake.words), "nothing is built"
    asked = fake.files[0]["install.txt"].splitlines()
    assert asked[0].startswith("apache-airflow[")
    assert asked[-2:] == ["boto3>1", "my.thing"]


def test_airflow_is_part_of_the_question_and_its_pins_hold(ask: Ask) -> None:
    _, fake = ask(Requirements(("six",)), "Would make no changes\n")
    constraints = fake.files[0]["constraints.txt"].splitlines()
    assert "apache-airflow==3.3.1" in constraints
    assert any(line.startswith("boto3==") for line in constraints)


def test_nothing_to_do_is_the_base_itself(ask: Ask) -> None:
    found, fake = ask(Requirements(("requests",)), "Would make no changes\n")
    assert found.is_empty
    assert len(fake.words) == 1
    assert Extension(BASE, Requirements(("requests",)), found).key == BASE


def test_a_wheel_by_its_path(ask: Ask, tmp_path: Path) -> None:
    wanted = Requirements((f"my-thing @ file://{PLUGINS}/my_thing-1.0-py3-none-any.whl",))
    place = f"file://{tmp_path}/tree/my_thing-1.0-py3-none-any.whl"
    plan, lock = f" + my-thing @ {place}\n", f"my-thing @ {place} \\\n    --hash=sha256:aa\n"
    found, fake = ask(wanted, plan, lock, plugins=tmp_path / "tree")
    assert dict(found.packages) == {"my-thing": "1.0"}
    assert found.lock == f"my-thing @ file://{PLUGINS}/my_thing-1.0-py3-none-any.whl --hash=sha256:aa\n"
    assert fake.files[1]["compile.txt"].splitlines() == [f"my-thing @ {place}"]


def test_hashes_of_the_users_are_the_only_ones(ask: Ask) -> None:
    wanted = Requirements(("six==1.0",), hashes={"six": ("sha256:mine",)})
    found, fake = ask(wanted, " + six==1.0\n")
    assert found.lock == "six==1.0 --hash=sha256:mine\n"
    assert len(fake.words) == 1


class TestPreReleases:
    PLAN = " + thing==2.0a1\n"

    def test_that_nobody_wants_are_a_conflict(self, ask: Ask) -> None:
        with pytest.raises(Permanent, match="Because it is so"):
            ask(Requirements(("thing",)), self.PLAN, "thing==1.0\n", CONFLICT)

    def test_give_way_to_a_release_that_fits(self, ask: Ask) -> None:
        found, fake = ask(Requirements(("thing",)), self.PLAN, "thing==1.0\n", " + thing==1.0\n", "thing==1.0\n")
        assert dict(found.packages) == {"thing": "1.0"}
        assert fake.words[2][-6:-4] == ["--prerelease-package", "thing=disallow"]

    def test_of_packages_that_have_nothing_else_are_taken(self, ask: Ask) -> None:
        found, _ = ask(Requirements(("thing",)), self.PLAN, CONFLICT, "thing==2.0a1\n")
        assert dict(found.packages) == {"thing": "2.0a1"}

    @pytest.mark.parametrize(
        "wanted",
        [Requirements(("thing==2.0a1",)), Requirements(("Thing>=2.0a0",)), Requirements(("x",), prereleases=True)],
    )
    def test_that_are_asked_for_are_taken(self, ask: Ask, wanted: Requirements) -> None:
        found, fake = ask(wanted, self.PLAN, "thing==2.0a1\n")
        assert dict(found.packages) == {"thing": "2.0a1"}
        assert ("--prerelease" in fake.words[0]) == wanted.prereleases


class TestSources:
    WANTED = Requirements(
        ("thing",),
        index="https://me:hidden-word@host/simple",
        extra_indexes=("https://token-abcd@other/simple",),
        find_links=(f"{PLUGINS}/wheels", "https://links"),
        no_index=False,
    )

    def test_are_in_a_file_of_our_own_and_in_no_command_line(self, ask: Ask, tmp_path: Path) -> None:
        found, fake = ask(self.WANTED, " + thing==1.0\n", "thing==1.0\n", plugins=tmp_path / "tree")
        assert found.lock == "thing==1.0\n"
        for words, files in zip(fake.words, fake.files, strict=True):
            assert not [word for word in words if "hidden" in word or "token" in word]
            source = next(text for name, text in files.items() if name != "constraints.txt")
            assert source.splitlines()[:4] == [
                "--index-url https://me:hidden-word@host/simple",
                "--extra-index-url https://token-abcd@other/simple",
                f"--find-links {tmp_path}/tree/wheels",
                "--find-links https://links",
            ]
        assert fake.modes == {0o600, 0o700}
        assert all(words[-2:] == ["--index-strategy", "unsafe-best-match"] for words in fake.words)

    def test_replace_the_installations_and_have_a_cache_of_their_own(self, ask: Ask, tmp_path: Path) -> None:
        _, fake = ask(self.WANTED, "", plugins=tmp_path / "tree")
        assert fake.options[0]["without"] == ("UV_DEFAULT_INDEX", "UV_INDEX_URL")
        assert fake.options[0]["cache"].name.startswith("uv-")
        assert stat.S_IMODE(fake.options[0]["cache"].stat().st_mode) == 0o700
        _, plain = ask(Requirements(("thing",)), "")
        assert (plain.options[0]["without"], plain.options[0]["cache"].name) == ((), "uv")

    def test_failures_name_no_secret_not_even_in_their_cause(self, ask: Ask, tmp_path: Path) -> None:
        away = uv.UvError("error: Failed to fetch: https://me:hidden-word@host/simple/thing/")
        with pytest.raises(Temporary) as failure:
            ask(self.WANTED, away, plugins=tmp_path / "tree")
        assert "hidden-word" not in str(failure.value)
        assert failure.value.__suppress_context__

    def test_a_lock_that_uv_leaves_in_the_base_goes(self, ask: Ask, tmp_path: Path) -> None:
        lock = Layout(tmp_path / "home").runtime(BASE) / ".lock"
        lock.touch()
        with pytest.raises(Permanent):
            ask(Requirements(("thing",)), CONFLICT)
        assert not lock.exists()


def test_for_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeUv("[[packages]]\n")
    monkeypatch.setattr(uv, "run", fake.run)
    wanted = Requirements(("thing",))
    assert (
        resolve_elsewhere(Layout(tmp_path), "2.11.2", "3.12", "aarch64-manylinux_2_28", wanted, {}) == "[[packages]]\n"
    )
    words = " ".join(fake.words[0])
    assert "--python-version 3.12 --python-platform aarch64-manylinux_2_28 --format pylock.toml" in words
    assert "--only-binary :all: --no-binary python-nvd3" in words
    assert "apache-airflow==2.11.2" in fake.files[0]["constraints.txt"]


def test_keys_say_base_requirements_wheels_and_whose_they_are() -> None:
    def key(lock: str = "six==1.0 --hash=sha256:aa\n", wanted: str = "six", base: str = BASE, scope: str = "") -> str:
        return Extension(base, Requirements((wanted,)), Resolution({"six": "1.0"}, {}, lock), scope=scope).key

    assert key() == key()
    assert split_key(key()) == ("3.3.1", "3.11")
    other = runtime_key("3.3.1", "3.12")
    assert (
        len(
            {BASE, key(), key(lock="six==1.0 --hash=sha256:bb\n"), key(wanted="six>0"), key(base=other), key(scope="x")}
        )
        == 6
    )

"""A runtime of an environment's own that was damaged: what of it lies in the cache is looked at, too."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from aerodrome.errors import Temporary
from aerodrome.layout import Layout
from aerodrome.runtimes import extend, uv
from aerodrome.runtimes.extend import Extension
from aerodrome.runtimes.requirements import Requirements
from aerodrome.runtimes.resolve import Resolution

BASE = "3.3.1-py3.11-0123456789ab"


def package(site: Path, name: str, *, damaged: bool) -> None:
    text = b"x = 1\n"
    digest = base64.urlsafe_b64encode(hashlib.sha256(text).digest()).rstrip(b"=").decode()
    (site / name).mkdir(parents=True)
    (site / name / "__init__.py").write_bytes(b"" if damaged else text)
    (site / f"{name}-1.0.dist-info").mkdir()
    (site / f"{name}-1.0.dist-info" / "RECORD").write_text(f"{name}/__init__.py,sha256={digest},6\n")


@pytest.mark.parametrize("damaged", [False, True])
def test_only_what_was_added_and_is_damaged_is_fetched_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    """What came with the base is the base's to repair, which is done before."""
    said = list[list[str]]()
    monkeypatch.setattr(uv, "run", lambda words, **_: said.append(list(words)))
    layout, fresh = Layout(tmp_path), tmp_path / "fresh"
    site = fresh / "lib" / "python3.11" / "site-packages"
    package(site, "of_the_base", damaged=True)
    package(site, "fine", damaged=False)
    package(site, "my_thing", damaged=damaged)
    wanted = Requirements(("my-thing", "fine"))
    extension = Extension(BASE, wanted, Resolution({"my-thing": "1.0", "fine": "1.0"}, {}, "lock"))
    assert extend._clean_cache(layout, extension, fresh) is damaged
    assert said == ([["cache", "clean", "my_thing"]] if damaged else [])


def test_a_cache_that_stays_damaged_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(words: list[str], **_: object) -> None:
        raise uv.UvError("Read-only file system")

    monkeypatch.setattr(uv, "run", refuses)
    fresh = tmp_path / "fresh"
    package(fresh / "lib" / "python3.11" / "site-packages", "my_thing", damaged=True)
    extension = Extension(BASE, Requirements(("my-thing",)), Resolution({"my-thing": "1.0"}, {}, "lock"))
    with pytest.raises(Temporary, match=r"my_thing.*Read-only"):
        extend._clean_cache(Layout(tmp_path), extension, fresh)

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from aerodrome.errors import Permanent
from aerodrome.runtimes import package
from aerodrome.runtimes.package import Wheel
from aerodrome.runtimes.requirements import Requirements

SHIPPED = "idna==3.10 \\\n    --hash=sha256:00\nattrs==25.1\n"


def lock(*packages: tuple[str, str, list[str]]) -> str:
    """A pylock.toml, as uv writes it."""
    text = 'lock-version = "1.0"\ncreated-by = "uv"\n'
    for name, version, files in packages:
        wheels = ", ".join(f'{{ url = "https://host/{file}", hashes = {{ sha256 = "{file}" }} }}' for file in files)
        text += f'[[packages]]\nname = "{name}"\nversion = "{version}"\nwheels = [{wheels}]\n'
    return text


def chosen(files: list[str], python: str = "3.12", machine: str = "x86_64") -> str:
    return package.choose(lock(("demo", "1", files)), SHIPPED, python, machine)[0].file


def test_the_best_wheel_for_the_machine_is_chosen() -> None:
    pure, here = "demo-1-py3-none-any.whl", "demo-1-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
    stable, arm = "demo-1-cp38-abi3-manylinux1_x86_64.whl", "demo-1-cp312-cp312-manylinux_2_28_aarch64.whl"
    others = [
        "demo-1-cp312-cp312-win_amd64.whl",
        "demo-1-cp312-cp312-musllinux_1_2_x86_64.whl",
        "demo-1-cp313-cp313-manylinux_2_17_x86_64.whl",
    ]
    assert chosen([*others, pure, here, stable, arm]) == here
    assert chosen([*others, pure, stable, arm]) == stable
    assert chosen([*others, pure, here], machine="aarch64") == pure
    assert chosen([*others, pure, here, arm], machine="aarch64") == arm
    assert chosen([*others, pure, here, stable], python="3.11") == stable


def test_none_for_the_machine_is_told() -> None:
    with pytest.raises(Permanent, match=r"demo 1 has no wheel for Python 3\.12 on Linux aarch64"):
        chosen(["demo-1-cp312-cp312-manylinux_2_17_x86_64.whl"], machine="aarch64")
    with pytest.raises(Permanent, match="has no wheel"):
        chosen(["demo-1-cp312-cp312-manylinux_2_34_x86_64.whl"])  # newer than what Airflow itself needs


def test_what_airflow_has_in_that_version_is_left_out() -> None:
    text = lock(("idna", "3.10", ["idna-3.10-py3-none-any.whl"]), ("attrs", "26.0", ["attrs-26.0-py3-none-any.whl"]))
    assert [wheel.name for wheel in package.choose(text, SHIPPED, "3.12", "x86_64")] == ["attrs"]


def test_a_file_is_fetched_and_checked(tmp_path: Path) -> None:
    source, target = tmp_path / "demo-1-py3-none-any.whl", tmp_path / "to"
    source.write_bytes(b"wheel")
    target.mkdir()
    good = Wheel("demo", "1", source.name, f"file://{source}", hashlib.sha256(b"wheel").hexdigest())
    assert package.fetch(good, target, Requirements(())).read_bytes() == b"wheel"
    bad = Wheel("demo", "1", source.name, str(source), "0" * 64)
    with pytest.raises(Permanent, match="not the file whose hash"):
        package.fetch(bad, target, Requirements(()))


def test_a_login_goes_to_its_own_host_alone() -> None:
    wanted = Requirements((), index="https://me:secret@private/simple")
    assert package._with_login("https://private/x.whl", wanted) == "https://me:secret@private/x.whl"
    for other in ("https://elsewhere/x.whl", "http://private/x.whl", "https://private:444/x.whl"):
        assert package._with_login(other, wanted) == other


def test_equal_content_makes_equal_archives(tmp_path: Path) -> None:
    wheel, plugins = tmp_path / "demo-1-py3-none-any.whl", tmp_path / "plugins"
    wheel.write_bytes(b"wheel")
    (plugins / "hooks").mkdir(parents=True)
    (plugins / "hooks" / "mine.py").write_text("x = 1")
    archives = []
    for name in ("one.zip", "two.zip"):
        package.pack(tmp_path / name, [wheel], plugins)
        archives.append((tmp_path / name).read_bytes())
    assert archives[0] == archives[1]
    with zipfile.ZipFile(tmp_path / "one.zip") as opened:
        assert opened.namelist() == [wheel.name, "hooks/mine.py"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [wheel.name, "one.zip", "plugins", "two.zip"]


def test_the_requirements_that_go_with_it() -> None:
    text = package.packed_requirements([Wheel("demo", "1", "demo-1-py3-none-any.whl", "https://host", "00")])
    assert text.splitlines()[1:] == ["--find-links /usr/local/airflow/plugins", "--no-index", "demo==1"]

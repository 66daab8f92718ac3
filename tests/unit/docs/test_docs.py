"""Docs that can't go stale: settings, compatibility rows and links are checked against the code."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from aerodrome.cli.main import app
from aerodrome.settings import Settings

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
COMPATIBILITY = ROOT / "docs/reference/compatibility.md"
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def compatibility_rows() -> list[tuple[str, str, str]]:
    """(feature, state, proof) of every row of the table."""
    rows = []
    for line in COMPATIBILITY.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) == 4 and cells[1] in ("works", "differs", "not yet"):
            rows.append((cells[0], cells[1], cells[3]))
    return rows


def functions_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_there_are_rows() -> None:
    assert len(compatibility_rows()) > 60


@pytest.mark.parametrize(("feature", "state", "proof"), compatibility_rows())
def test_a_row_that_claims_something_names_a_test_that_exists(feature: str, state: str, proof: str) -> None:
    if state == "not yet":
        return
    named = TEST.findall(proof)
    assert named, f"{feature}: a row that says '{state}' must name its test"
    for file, function in named:
        assert (ROOT / file).exists(), f"{feature}: {file} doesn't exist"
        assert function in functions_in(ROOT / file), f"{feature}: {file} has no {function}"


def test_a_promise_of_security_names_tests_that_exist() -> None:
    named = TEST.findall((ROOT / "docs/explanation/security.md").read_text())
    assert len(named) > 30
    gone = [(file, name) for file, name in named if not (ROOT / file).exists() or name not in functions_in(ROOT / file)]
    assert gone == []


def names_of_the_model() -> Iterator[str]:
    """Operations, their errors, the members of calls and answers, and those of an environment."""
    from botocore.loaders import Loader
    from botocore.model import ServiceModel, StructureShape

    model = ServiceModel(Loader().load_service_model("mwaa", "service-2"), "mwaa")
    environment = model.shape_for("Environment")
    assert isinstance(environment, StructureShape)
    yield from environment.members
    for name in model.operation_names:
        operation = model.operation_model(name)
        yield name
        yield from (error.name for error in operation.error_shapes)
        for shape in (operation.input_shape, operation.output_shape):
            yield from shape.members if shape is not None else ()


def test_every_operation_error_and_field_of_the_model_has_a_row() -> None:
    text = "\n".join(feature for feature, _, _ in compatibility_rows())
    assert sorted({name for name in names_of_the_model() if f"`{name}`" not in text}) == []


def test_every_setting_is_documented_with_its_description() -> None:
    page = " ".join((ROOT / "docs/reference/settings.md").read_text().split())
    for name, field in Settings.model_fields.items():
        assert f"`AERODROME_{name.upper()}`" in page, name
        assert field.description
        assert " ".join(field.description.split()) in page, f"{name}: the page says something else than the code"


def commands(command: Any, path: tuple[str, ...] = ("aerodrome",)) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that can be run, with the words that run it."""
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from commands(inner, (*path, name))
    else:
        yield path, command


def test_every_command_and_option_is_documented_as_its_help_says() -> None:
    page = (ROOT / "docs/reference/commands.md").read_text()
    for path, command in commands(get_command(app)):
        assert f"## `{' '.join(path)}" in page, path
        assert " ".join((command.help or "").split()) in page, path
        for option in (param for param in command.params if param.param_type_name == "option" and param.help):
            assert f"`{', '.join([*option.opts, *option.secondary_opts])}` | {' '.join(option.help.split())}" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_readme_shows_the_two_commands_on_its_first_screen() -> None:
    first_screen = (ROOT / "README.md").read_text().splitlines()[:20]
    assert any(line.startswith("make run") for line in first_screen)
    assert any(line.startswith("make test") for line in first_screen)


def test_no_file_of_ours_is_too_long_to_hold_in_the_head() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / "src").rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 400
    }
    assert long == {}


def test_lock_files_name_no_registry() -> None:
    for lock in [*ROOT.glob("requirements/*.txt"), *(ROOT / "src").rglob("locks/*.txt")]:
        assert "://" not in lock.read_text(), lock
    for lock in ROOT.glob("tests/**/package-lock.json"):
        packages = json.loads(lock.read_text())["packages"]
        assert all("resolved" not in package for package in packages.values()), lock

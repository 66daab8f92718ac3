"""What becomes of uv's words; each output here is one that uv 0.13 printed."""

from __future__ import annotations

import pytest

from aerodrome.errors import Permanent, Temporary
from aerodrome.runtimes.conflicts import explain, explanation
from aerodrome.runtimes.requirements import Requirements
from aerodrome.runtimes.uv import UvError

CONFLICT = """\
Using Python 3.11.2 environment at: /var/lib/aerodrome/runtimes/3.3.1-py3.11-d967830a578d
error: No solution found when resolving dependencies
  cause: Because dbt-core==1.5.0 depends on cffi>=1.9,<2.0.0 and cffi==2.1.1, we can conclude that dbt-core==1.5.0 \
cannot be used.
         And because you require dbt-core==1.5.0, we can conclude that your requirements are unsatisfiable.
"""
NO_WHEEL = """\
error: No solution found when resolving dependencies
  cause: Because docopt==0.6.2 has no usable wheels and you require docopt==0.6.2, we can conclude that your \
requirements are unsatisfiable.

hint: Wheels are required for `docopt` because building from source is disabled for all packages \
(i.e., with `--no-build`)
"""
AWAY = """\
error: Request failed after 3 retries in 8.8s
  cause: Failed to fetch: http://me:hidden-word@127.0.0.1:1/simple/some-private/
  cause: client error (Connect)
  cause: Connection refused (os error 111)
"""
WANTED = Requirements(("dbt-core==1.5.0",), index="http://me:hidden-word@127.0.0.1:1/simple")
PINS = ["cffi==2.1.1", "boto3==1.2", "dbt-core==1.5.0"]


def test_a_conflict_is_told_with_whose_pins_they_are() -> None:
    found = explain(UvError(CONFLICT), WANTED, "3.3.1", PINS)
    assert isinstance(found, Permanent)
    assert str(found) == (
        "The requirements can't be installed beside Airflow 3.3.1: "
        "Because dbt-core==1.5.0 depends on cffi>=1.9,<2.0.0 and cffi==2.1.1, we can conclude that dbt-core==1.5.0 "
        "cannot be used. And because you require dbt-core==1.5.0, we can conclude that your requirements are "
        "unsatisfiable. Airflow 3.3.1 comes with cffi==2.1.1."
    )
    assert found.detail == CONFLICT


def test_hints_stay() -> None:
    assert explanation(NO_WHEEL).endswith("(i.e., with `--no-build`)")
    assert explanation(NO_WHEEL).startswith("Because docopt==0.6.2 has no usable wheels")


def test_an_index_that_is_away_is_temporary_and_its_login_a_secret() -> None:
    found = explain(UvError(AWAY), WANTED, "3.3.1", PINS)
    assert isinstance(found, Temporary)
    assert (
        "an index can't be reached. uv says: Request failed after 3 retries in 8.8s: Failed to fetch: http://****@"
        in str(found)
    )
    assert "hidden-word" not in str(found)


def test_a_full_disk_is_temporary() -> None:
    found = explain(
        UvError("error: Failed to write\n  cause: No space left on device (os error 28)"), WANTED, "3.3.1", PINS
    )
    assert isinstance(found, Temporary)
    assert "disk is full" in str(found)


@pytest.mark.parametrize("output", ["", "something else", "error: "])
def test_anything_else_is_passed_on(output: str) -> None:
    found = explain(UvError(output), WANTED, "3.3.1", PINS)
    assert isinstance(found, Permanent)
    assert str(found) == f"The requirements were not installed. uv says: {output.removeprefix('error: ')}"


def test_what_is_very_long_is_cut() -> None:
    assert len(explanation("error: " + "x" * 10_000)) < 2_000


def test_of_a_long_chain_of_reasons_the_end_is_told() -> None:
    versions = "".join(f"             dbt-core>1.{minor}.0,<1.{minor}.9\n" for minor in range(99))
    reasons = "".join(
        f"         And because dbt-core==1.{minor} depends on all of:\n{versions}         , we can conclude {minor}.\n"
        for minor in range(40)
    )
    first = "error: No solution found when resolving dependencies\n  cause: Because only these are there:\n"
    said = f"{first}{versions}{reasons}"
    hint = "\nhint: Pre-releases are available for `dbt-core` (try: `--prerelease-package dbt-core=allow`)\n"
    found = explanation(
        f"{said}         And because you require dbt-core, your requirements are unsatisfiable.\n{hint}"
    )
    assert len(found) <= 1501
    assert found.startswith("… And because dbt-core==1.")
    assert "depends on all of: dbt-core>1.0.0,<1.0.9 … , we can conclude 39." in found
    assert found.endswith("your requirements are unsatisfiable. hint: Pre-releases are available for `dbt-core`")

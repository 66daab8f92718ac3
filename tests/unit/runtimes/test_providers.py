from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aerodrome.cli import runtimes as command
from aerodrome.domain import versions
from aerodrome.errors import Permanent
from aerodrome.runtimes import lock
from aerodrome.runtimes.key import lock_text
from aerodrome.runtimes.providers import compare, providers

TEXT = """\
apache-airflow==9.9.9 \\
    --hash=sha256:00
apache-airflow-providers-amazon==1.2.3 \\
    --hash=sha256:00
    # via apache-airflow-providers-celery==7
apache-airflow-providers-common-sql==4.5.6 \\
    --hash=sha256:00
"""


def test_the_providers_are_the_pins_and_nothing_else() -> None:
    assert providers(TEXT) == {"amazon": "1.2.3", "common-sql": "4.5.6"}


def test_a_comparison_tells_all_four_ways() -> None:
    found = compare(TEXT, {"amazon": "1.2.3", "ftp": "1.0"})
    assert (found.same, found.missing, found.beyond, found.fits) == (("amazon",), ("ftp",), ("common-sql",), False)
    found = compare(TEXT, {"amazon": "1.2.4"})
    assert (found.different, found.fits) == ({"amazon": ("1.2.3", "1.2.4")}, False)
    assert compare(TEXT, {"amazon": "1.2.3"}).fits


@pytest.mark.parametrize("version", versions.VERSIONS.values(), ids=lambda version: version.version)
def test_what_we_ship_has_every_provider_of_mwaas_image(version: versions.AirflowVersion) -> None:
    assert version.mwaa_providers
    for python in version.pythons:
        found = compare(lock_text(version.version, python), version.mwaa_providers)
        assert found.fits, found


@pytest.mark.parametrize("version", versions.VERSIONS.values(), ids=lambda version: version.version)
def test_what_deferred_tasks_ask_aws_with_is_shipped(version: versions.AirflowVersion) -> None:
    """MWAA's image has the Amazon provider's extra `aiobotocore`; without it no operator of AWS can be deferred."""
    for python in version.pythons:
        pinned = {line.partition("==")[0] for line in lock_text(version.version, python).splitlines()}
        assert "aiobotocore" in pinned


def test_a_release_that_is_not_in_the_catalogue_takes_its_relatives_place() -> None:
    day = datetime(2027, 1, 2)  # noqa: DTZ001 (as the command line gives it)
    entry = command._entry("2.11.3", day, day)
    assert (entry.version, entry.major, entry.sources) == ("2.11.3", 2, versions.get("2.11.2").sources)
    assert (entry.released, entry.constraints_date) == ("2027-01-02", "2027-01-02T00:00:00+00:00")
    assert datetime.fromisoformat(entry.constraints_date).tzinfo == UTC


@pytest.mark.parametrize(("version", "words"), [("2.11.3", "--released"), ("9.0.0", "no Airflow 9")])
def test_what_is_missing_is_said(version: str, words: str) -> None:
    with pytest.raises(Permanent, match=words):
        command._entry(version, None, None)


@pytest.mark.parametrize(("pins", "code", "told"), [("right", 0, "12 of MWAA's 12"), ("wrong", 1, "amazon: missing")])
def test_the_command_ends_with_the_comparison(
    pins: str, code: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = lock_text("2.11.2", "3.11") if pins == "right" else "apache-airflow==2.11.2 \\\n"
    monkeypatch.setattr(lock, "make_lock", lambda *_: text)
    done = CliRunner().invoke(command.runtimes_app, ["2.11.2", "--to", str(tmp_path)])
    assert done.exit_code == code
    assert told in done.output
    assert {path.name for path in tmp_path.iterdir()} == {"airflow-2.11.2-py3.11.txt", "airflow-2.11.2-py3.12.txt"}

from __future__ import annotations

import pytest

from aerodrome.runtimes import progress


def test_what_is_reported_is_what_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    progress.report("download", 42, "Downloading: 3 of 9")
    found = progress.parse(capsys.readouterr().out)
    assert found == progress.Progress("download", 42, "Downloading: 3 of 9")


def test_other_output_is_not_a_report() -> None:
    assert progress.parse("Resolved 210 packages in 5ms") is None
    assert progress.parse("x aerodrome: phase=a percent=1 b") is None


def test_the_last_report_counts() -> None:
    output = "aerodrome: phase=venv percent=2 a\nnoise\naerodrome: phase=ready percent=100 b\nnoise\n"
    assert progress.latest(output) == progress.Progress("ready", 100, "b")
    assert progress.latest("noise") is None

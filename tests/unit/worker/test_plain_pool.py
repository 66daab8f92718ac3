from __future__ import annotations

import pytest

from aerodrome_airflow.worker import plain_pool


@pytest.mark.parametrize(
    ("autoscale", "arguments"),
    [
        ("5,5", ["--autoscale", ""]),
        (" 7 , 7 ", ["--autoscale", ""]),
        ("", ["--autoscale", ""]),
        ("9,2", []),
        ("5", []),
    ],
)
def test_two_equal_numbers_need_no_autoscaler(autoscale: str, arguments: list[str]) -> None:
    assert plain_pool(autoscale) == arguments

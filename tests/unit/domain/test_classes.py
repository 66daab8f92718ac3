from __future__ import annotations

import pytest

from aerodrome.domain import classes
from aerodrome.errors import Permanent


def test_tasks_per_worker_are_mwaas() -> None:
    assert {name: size.tasks_per_worker for name, size in classes.CLASSES.items()} == {
        "mw1.micro": 3,
        "mw1.small": 5,
        "mw1.medium": 10,
        "mw1.large": 20,
        "mw1.xlarge": 40,
        "mw1.2xlarge": 80,
    }


def test_micro_is_exactly_one_of_everything() -> None:
    micro = classes.get("mw1.micro")
    assert (micro.max_workers, micro.max_schedulers, micro.max_web_servers) == (1, 1, 1)
    assert (micro.min_workers, micro.min_schedulers, micro.min_web_servers) == (1, 1, 1)
    assert not micro.autoscales


def test_the_others_scale_within_the_quotas() -> None:
    for size in (size for name, size in classes.CLASSES.items() if name != "mw1.micro"):
        assert (size.max_workers, size.max_schedulers, size.max_web_servers) == (25, 5, 5)
        assert (size.min_schedulers, size.min_web_servers) == (2, 2)
        assert size.autoscales


def test_parsing_processes_leave_a_core_to_the_scheduler() -> None:
    assert classes.get("mw1.small").parsing_processes == 1
    assert classes.get("mw1.medium").parsing_processes == 3


def test_an_unknown_class_says_what_there_is() -> None:
    assert classes.exists(classes.DEFAULT_CLASS)
    assert not classes.exists("mw1.tiny")
    with pytest.raises(Permanent, match=r"mw1\.tiny.*mw1\.micro, mw1\.small"):
        classes.get("mw1.tiny")

from __future__ import annotations

from dataclasses import replace

import pytest

from aerodrome.domain.description import describe
from aerodrome.domain.environment import EnvironmentKey, LastUpdate, Status
from aerodrome.domain.lifecycle import GOALS, Goal, refusal
from support.world import NOW, environment


def test_the_same_name_in_two_regions_is_two_environments() -> None:
    here = EnvironmentKey("aws", "100000000001", "eu-west-1", "demo")
    there = replace(here, region="us-east-1")
    assert here != there
    assert here.arn != there.arn


@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov"])
def test_an_arn_and_back(partition: str) -> None:
    key = EnvironmentKey(partition, "100000000001", "eu-west-1", "a-B_9")
    assert EnvironmentKey.from_arn(key.arn) == key
    assert EnvironmentKey.from_arn(key.arn + "/x") is None
    assert EnvironmentKey.from_arn("arn:aws:s3:::bucket") is None


def test_every_status_has_a_goal() -> None:
    assert set(GOALS) == set(Status)
    assert GOALS[Status.CREATE_FAILED] is Goal.STOP


NOT_UP = {
    *(Status.CREATING, Status.PENDING, Status.CREATE_FAILED, Status.ROLLING_BACK, Status.UNAVAILABLE),
    *(Status.DELETING, Status.DELETED),
}
# The operations by the statuses in which they are refused; mwaa-spec 2.1 says what each status allows.
REFUSED: dict[str, set[Status]] = {
    "CreateEnvironment": set(),
    "GetEnvironment": set(),
    "ListEnvironments": set(),
    "PublishMetrics": set(),
    "ListTagsForResource": set(),
    "UpdateEnvironment": set(Status) - {Status.AVAILABLE, Status.UPDATE_FAILED},
    "DeleteEnvironment": {Status.DELETING, Status.DELETED},
    "CreateWebLoginToken": NOT_UP,
    "CreateCliToken": NOT_UP,
    "InvokeRestApi": NOT_UP,
}


@pytest.mark.parametrize("operation", sorted(REFUSED))
@pytest.mark.parametrize("status", list(Status))
def test_every_operation_in_every_status(operation: str, status: Status) -> None:
    reason = refusal(operation, status)
    assert (reason is not None) == (status in REFUSED[operation])
    if reason is not None:
        assert reason.startswith(f"Environments with {status} status cannot ")


def test_an_update_is_refused_in_mwaas_words() -> None:
    words = "Environments with CREATE_FAILED status cannot be updated."
    assert refusal("UpdateEnvironment", Status.CREATE_FAILED) == words


def test_deleting_what_is_being_created_is_legal() -> None:
    assert refusal("DeleteEnvironment", Status.CREATING) is None


def test_unset_members_are_left_out_and_last_update_is_always_there() -> None:
    shown = describe(replace(environment(), last_update=None))
    assert shown["LastUpdate"] == {"Status": "PENDING", "CreatedAt": NOW}
    assert shown["WebserverUrl"] == "127.84.1.1", "private unless it says otherwise"
    assert "KmsKey" not in shown
    assert None not in shown.values()


def test_a_failed_create_shows_its_reason_and_no_web_server() -> None:
    failed = replace(
        environment(),
        status=Status.CREATE_FAILED,
        last_update=LastUpdate("FAILED", NOW, "INCORRECT_CONFIGURATION", "no module named foo"),
    )
    shown = describe(failed)
    assert shown["LastUpdate"]["Error"] == {
        "ErrorCode": "INCORRECT_CONFIGURATION",
        "ErrorMessage": "no module named foo",
    }
    assert "WebserverUrl" not in shown


def test_what_is_in_force_is_shown_not_what_was_asked_for_since() -> None:
    made = replace(environment(), applied={"Schedulers": 1}, desired={"Schedulers": 2})
    assert describe(made)["Schedulers"] == 1

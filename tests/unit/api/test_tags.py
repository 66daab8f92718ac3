"""TagResource, UntagResource and ListTagsForResource through boto3's own client, against a real store."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aerodrome.domain.environment import Status
from aerodrome.domain.lifecycle import refusal
from support.mwaa import ACCOUNT, ALL, GIVEN, House

ARN = f"arn:aws:airflow:eu-west-1:{ACCOUNT}:environment/demo"


async def tag(house: House, key: str = "admin", arn: str = ARN, **tags: str) -> None:
    await house.call("tag_resource", key=key, ResourceArn=arn, Tags=tags)


async def untag(house: House, *keys: str) -> None:
    await house.call("untag_resource", ResourceArn=ARN, tagKeys=list(keys))


async def listed(house: House, arn: str = ARN) -> Any:
    return (await house.call("list_tags_for_resource", ResourceArn=arn))["Tags"]


async def shown(house: House) -> Any:
    return (await house.call("get_environment", Name="demo"))["Environment"]


def statement(action: str, **condition: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": f"airflow:{action}", "Resource": "*", "Condition": condition}


async def test_tags_are_set_overwritten_removed_and_shown_at_once(house: House) -> None:
    await house.create()
    assert await listed(house) == {}
    assert "Tags" not in await shown(house)
    await tag(house, team="a", Größe="1 /=+-@:._")
    await tag(house, team="b")
    assert await listed(house) == {"team": "b", "Größe": "1 /=+-@:._"} == (await shown(house))["Tags"]
    await untag(house, "Größe", "never there")
    assert await listed(house) == {"team": "b"} == (await shown(house))["Tags"]
    await untag(house, "team")
    assert "Tags" not in await shown(house)


async def test_tags_of_a_create_are_the_first_ones(house: House) -> None:
    await house.create(Tags={"a": "1"})
    await tag(house, b="2")
    assert await listed(house) == {"a": "1", "b": "2"}


async def test_tagging_disturbs_no_pass_and_no_roll_back(house: House) -> None:
    """A pass that read the environment before its tags changed writes what it found, and the tags stay."""
    await house.create(Tags={"a": "1"})
    (before,) = await house.store.all()
    await tag(house, a="2")
    assert await house.store.update(before, status=Status.AVAILABLE, applied=before.desired) is not None
    assert await listed(house) == {"a": "2"} == (await shown(house))["Tags"]
    assert "Tags" not in before.desired
    assert len(house.poked) == 1, "there is nothing to reconcile"


async def test_no_tag_is_lost_when_many_are_set_at_once(house: House) -> None:
    await house.create()
    await asyncio.gather(*(tag(house, **{f"k{number}": "v"}) for number in range(8)))
    assert await listed(house) == {f"k{number}": "v" for number in range(8)}


async def test_an_environment_has_fifty_tags_at_most(house: House) -> None:
    await house.create(Tags={f"k{number}": "v" for number in range(49)})
    refused = await house.refused("tag_resource", ResourceArn=ARN, Tags={"x": "1", "y": "2"})
    assert refused["Error"]["Code"] == "ValidationException"
    assert "would have 51 tags, and 50 is the most" in refused["Error"]["Message"]
    await tag(house, x="1", k0="new")
    assert len(await listed(house)) == 50


async def test_what_is_reserved_for_aws_is_refused(house: House) -> None:
    await house.create()
    for operation, params in {
        "tag_resource": {"ResourceArn": ARN, "Tags": {"aws:team": "a", "ok": "b"}},
        "untag_resource": {"ResourceArn": ARN, "tagKeys": ["AWS:team"]},
        "create_environment": {"Name": "other", "Tags": {"Aws:x": "a"}, **GIVEN},
    }.items():
        refused = await house.refused(operation, **params)
        assert refused["Error"]["Code"] == "ValidationException", operation
        assert "reserved for AWS" in refused["Error"]["Message"]
    assert await listed(house) == {}
    assert len(await house.store.all()) == 1


@pytest.mark.parametrize(
    ("arn", "code", "words"),
    [
        (ARN.replace("demo", "nobody"), "ResourceNotFoundException", "nobody not found in eu-west-1"),
        (
            ARN.replace("eu-west-1", "us-east-1"),
            "ValidationException",
            "and this call was signed for aws and eu-west-1",
        ),
        (ARN.replace("arn:aws", "arn:aws-cn"), "ValidationException", "partition aws-cn"),
        (ARN.replace(ACCOUNT, "200000000002"), "AccessDeniedException", "not authorized to perform: airflow:"),
        (ARN + " x", "ValidationException", "is not the ARN of an environment, which has the form arn:aws:airflow:"),
        ("arn:aws:s3:::bucket", "ValidationException", "regular expression pattern"),
        ("demo", "ValidationException", "regular expression pattern"),
    ],
)
async def test_the_arn_must_be_of_an_environment_here(house: House, arn: str, code: str, words: str) -> None:
    await house.create()
    await house.create(region="us-east-1")
    for operation, params in {
        "tag_resource": {"Tags": {"a": "b"}},
        "untag_resource": {"tagKeys": ["a"]},
        "list_tags_for_resource": {},
    }.items():
        refused = await house.refused(operation, ResourceArn=arn, **params)
        assert refused["Error"]["Code"] == code, operation
        assert words in str(refused)


async def test_another_accounts_environment_is_out_of_reach_and_not_told_of(house: House) -> None:
    await house.create()
    house.account.policies["stranger"] = [ALL]
    house.account.places["stranger"] = ("aws", "200000000002")
    there = await house.refused("list_tags_for_resource", key="stranger", ResourceArn=ARN)
    absent = await house.refused("list_tags_for_resource", key="stranger", ResourceArn=ARN.replace("demo", "none"))
    assert there["Error"]["Code"] == absent["Error"]["Code"] == "AccessDeniedException"


async def test_policies_may_ask_about_the_tags_of_the_call_and_of_the_environment(house: House) -> None:
    await house.create(Tags={"team": "a"})
    house.account.policies |= {
        "brings": [statement("TagResource", StringEquals={"aws:RequestTag/cost": "1"})],
        "names": [statement("*Resource", **{"ForAllValues:StringEquals": {"aws:TagKeys": ["cost"]}})],
        "owns": [statement("*", StringEquals={"aws:ResourceTag/team": "a"})],
        "other": [statement("*", StringEquals={"aws:ResourceTag/team": "b"})],
    }
    await tag(house, "brings", cost="1")
    await tag(house, "names", cost="2")
    await tag(house, "owns", cost="3")
    for key, tags in {"brings": {"cost": "2"}, "names": {"cost": "1", "x": "y"}, "other": {"cost": "1"}}.items():
        refused = await house.refused("tag_resource", key=key, ResourceArn=ARN, Tags=tags)
        assert refused["Error"]["Code"] == "AccessDeniedException", key
    refused = await house.refused("untag_resource", key="names", ResourceArn=ARN, tagKeys=["cost", "team"])
    assert refused["Error"]["Code"] == "AccessDeniedException"
    await house.call("untag_resource", key="names", ResourceArn=ARN, tagKeys=["cost"])
    await house.call("list_tags_for_resource", key="owns", ResourceArn=ARN)
    assert (await house.refused("list_tags_for_resource", key="other", ResourceArn=ARN))["Error"]["Code"] == (
        "AccessDeniedException"
    )
    assert await listed(house) == {"team": "a"}


async def test_who_gives_the_last_permitting_tag_away_is_refused_from_then_on(house: House) -> None:
    await house.create(Tags={"team": "a"})
    house.account.policies["owns"] = [statement("*", StringEquals={"aws:ResourceTag/team": "a"})]
    await tag(house, "owns", team="b")
    refused = await house.refused("tag_resource", key="owns", ResourceArn=ARN, Tags={"team": "a"})
    assert refused["Error"]["Code"] == "AccessDeniedException"


async def test_tags_change_in_every_status_that_the_table_allows(house: House) -> None:
    await house.create()
    for status in Status:
        await house.become("demo", status)
        before, reason = await listed(house), refusal("TagResource", status)
        if reason is None:
            await tag(house, last=status)
            assert await listed(house) == {"last": status}
            assert (await shown(house))["Status"] == status
        else:
            refused = await house.refused("tag_resource", ResourceArn=ARN, Tags={"last": status})
            assert refused["Error"]["Message"] == reason
            assert await listed(house) == before


async def test_the_history_tells_who_changed_which_tags(house: House) -> None:
    await house.create(Tags={"a": "1", "b": "1"})
    await tag(house, a="1", b="2", c="3")
    await tag(house, c="3")  # changes nothing
    await untag(house, "a", "z")
    _, body = await house.history("demo")
    told = [(event["Message"], event["Data"]) for event in body["Events"] if event["Type"] == "tags.changed"]
    assert told == [
        ("TagResource", {"set": ["b", "c"], "removed": []}),
        ("UntagResource", {"set": [], "removed": ["a"]}),
    ]
    assert {event["Actor"] for event in body["Events"]} == {f"arn:aws:iam::{ACCOUNT}:user/admin"}

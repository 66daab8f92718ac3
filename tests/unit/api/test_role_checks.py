"""What Create- and UpdateEnvironment ask of the execution role, before anything is made (mwaa-spec 1.6, 8)."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from aerodrome.domain.environment import Status
from aerodrome.store.database import Pool
from support.mwaa import ACCOUNT, ALL, GIVEN, ROLE, Buckets, House, error, open_house

OTHER = f"arn:aws:iam::{ACCOUNT}:role/other"
# What a bucket's owner can forget in a role's policy -> what a refusal says.
FORGOTTEN = {
    "list_objects_v2": "s3 location good/dags (AccessDenied)",
    "head_object": "s3 location good/dags (s3:GetObject)",
    "get_bucket_versioning": "s3 location good/dags (AccessDenied)",
    "get_public_access_block": "to read the public access block of s3 bucket good (AccessDenied)",
}
STRICTLY = {"MinWebservers": 2, "MaxWebservers": 2, "Schedulers": 2}  # what strict mode wants besides


class Refusing(Buckets):
    """Denies one call, and remembers of the others who was under way together."""

    def __init__(self, denied: str = "", seconds: float = 0.0) -> None:
        super().__init__()
        self.denied, self.seconds, self.asked = denied, seconds, list[str]()
        self._lock, self._now, self.most = threading.Lock(), 0, 0

    def _ask(self, name: str, **arguments: Any) -> Any:
        with self._lock:
            self.asked.append(name)
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(self.seconds)
        with self._lock:
            self._now -= 1
        if name == self.denied:
            raise error("403" if name == "head_object" else "AccessDenied", 403)
        return getattr(super(), name)(**arguments)

    def list_objects_v2(self, **arguments: Any) -> Any:
        return self._ask("list_objects_v2", **arguments)

    def get_bucket_versioning(self, **arguments: Any) -> Any:
        return self._ask("get_bucket_versioning", **arguments)

    def get_public_access_block(self, **arguments: Any) -> Any:
        return self._ask("get_public_access_block", **arguments)

    def head_object(self, **arguments: Any) -> Any:
        return self._ask("head_object", **arguments)


async def refused(house: House, operation: str = "create_environment", **members: Any) -> str:
    """The message of a refusal that changed nothing."""
    before = await house.store.all()
    given = members if operation == "update_environment" else {**GIVEN, **members}
    refusal = await house.refused(operation, Name="demo", **given)
    assert (refusal["Error"]["Code"], refusal["ResponseMetadata"]["HTTPStatusCode"]) == ("ValidationException", 400)
    assert (await house.store.all(), house.poked) == (before, [])
    return str(refusal["Error"]["Message"])


@pytest.mark.parametrize("denied", FORGOTTEN)
async def test_each_permission_on_the_bucket_is_tried(pool: Pool, denied: str) -> None:
    async with open_house(pool, s3_client=lambda *_: Refusing(denied)) as house:
        told = await refused(house)
    assert told.startswith("Invalid request provided: Provided role does not have sufficient permissions")
    assert FORGOTTEN[denied] in told


async def test_all_of_them_at_once(pool: Pool) -> None:
    buckets = Refusing(seconds=0.2)
    async with open_house(pool, s3_client=lambda *_: buckets) as house:
        await house.create()
    assert sorted(buckets.asked) == sorted(FORGOTTEN)
    assert buckets.most == len(FORGOTTEN)


async def test_reading_is_tried_where_the_dags_are(pool: Pool) -> None:
    """A role may be allowed its own folder alone."""
    keys = []

    class Noting(Buckets):
        def head_object(self, Bucket: str, Key: str, VersionId: str | None = None) -> Any:  # noqa: N803
            keys.append(Key)
            return super().head_object(Bucket, Key, VersionId)

    async with open_house(pool, s3_client=lambda *_: Noting()) as house:
        await house.create("deep", DagS3Path="/team/dags/")
        await house.create("root", DagS3Path="")
    assert [key.rpartition("/")[0] for key in keys] == ["team/dags", ""]


async def test_an_update_tries_the_new_role_as_a_create_does(house: House) -> None:
    await house.create()
    await house.become("demo", Status.AVAILABLE)
    house.poked.clear()
    house.account.roles.add(OTHER)
    house.account.untrusting = {OTHER}
    assert f"ExecutionRoleArn: The role {OTHER} doesn't trust" in await refused(
        house, "update_environment", ExecutionRoleArn=OTHER
    )


async def test_strict_asks_for_all_that_mwaa_needs(pool: Pool) -> None:
    async with open_house(pool, strict=True) as house:
        house.account.allowed[ROLE] = [{**ALL, "Action": ["s3:*", "logs:*", "cloudwatch:*", "airflow:*"]}]
        told = await refused(house, **STRICTLY)
        assert "Provided role does not have sufficient permissions: ExecutionRoleArn: let a policy of" in told
        assert f"sqs:SendMessage on arn:aws:sqs:eu-west-1:{ACCOUNT}:airflow-celery-demo" in told
        assert "logs:" not in told
        house.account.allowed[ROLE] = [ALL]
        await house.create(**STRICTLY)
        await house.become("demo", Status.AVAILABLE)
        house.poked.clear()
        house.account.roles.add(OTHER)
        house.account.allowed[OTHER] = []
        assert "airflow:PublishMetrics" in await refused(house, "update_environment", ExecutionRoleArn=OTHER)


async def test_what_nothing_here_uses_is_not_asked_for_otherwise(house: House) -> None:
    house.account.allowed[ROLE] = []
    await house.create()


async def test_where_nobody_can_tell_strict_refuses_nobody(pool: Pool) -> None:
    """A real AWS shows no policies to who may only assume a role."""
    async with open_house(pool, strict=True) as house:
        house.account.allowed[ROLE] = None
        await house.create(**STRICTLY)

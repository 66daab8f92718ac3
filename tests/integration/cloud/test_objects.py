"""The versions of objects, as the embedded S3 tells of them."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from aerodrome.api.objects import resolve_versions
from aerodrome.domain.principal import Credentials
from aerodrome.errors import ApiError

from .conftest import ADMIN_KEY, ADMIN_SECRET, RunningCloud

ADMIN = Credentials(ADMIN_KEY, ADMIN_SECRET, "", datetime.max.replace(tzinfo=UTC))


async def resolve(cloud: RunningCloud, who: Credentials = ADMIN, **members: str) -> dict[str, str]:
    def s3_client(role: Credentials, region: str) -> Any:
        return cloud.client("s3", role.access_key_id, role.secret_access_key, region=region)

    context: Any = SimpleNamespace(s3_client=s3_client)
    return await resolve_versions(context, who, {"SourceBucketArn": "arn:aws:s3:::objects", **members}, "us-east-1")


async def test_versions_are_found_and_what_is_not_there_is_refused(shared_cloud: RunningCloud) -> None:
    s3 = shared_cloud.client("s3")
    s3.create_bucket(Bucket="objects")
    s3.put_object(Bucket="objects", Key="old.txt", Body=b"before versions")
    s3.put_bucket_versioning(Bucket="objects", VersioningConfiguration={"Status": "Enabled"})
    first, second = (
        s3.put_object(Bucket="objects", Key="r.txt", Body=body)["VersionId"] for body in (b"first", b"second")
    )
    member = "RequirementsS3ObjectVersion"
    assert await resolve(shared_cloud, RequirementsS3Path="r.txt") == {member: second}
    assert await resolve(shared_cloud, RequirementsS3Path="/r.txt", **{member: first}) == {member: first}
    assert await resolve(shared_cloud, RequirementsS3Path="old.txt") == {member: "null"}
    assert await resolve(shared_cloud, RequirementsS3Path="old.txt", **{member: "null"}) == {member: "null"}
    marker = s3.delete_object(Bucket="objects", Key="r.txt")["VersionId"]
    for wrong in ("no-version", "0" * 32, marker):
        with pytest.raises(ApiError, match=rf"{member}: there is no version {wrong} of objects/r.txt"):
            await resolve(shared_cloud, RequirementsS3Path="r.txt", **{member: wrong})
    with pytest.raises(ApiError, match=r"RequirementsS3Path: there is no object objects/r\.txt; upload it first"):
        await resolve(shared_cloud, RequirementsS3Path="r.txt")
    assert await resolve(shared_cloud, RequirementsS3Path="r.txt", **{member: first}) == {member: first}


async def test_who_may_not_read_it_is_refused(shared_cloud: RunningCloud) -> None:
    key, secret = shared_cloud.user("reads-nothing")
    nobody = Credentials(key, secret, "", datetime.max.replace(tzinfo=UTC))
    with pytest.raises(ApiError, match="PluginsS3Path: Provided role does not have sufficient permissions"):
        await resolve(shared_cloud, nobody, PluginsS3Path="p.zip")

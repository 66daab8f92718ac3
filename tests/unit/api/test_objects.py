"""Objects that an environment names: they are there, and their versions are settled in the request (mwaa-spec 1.5)."""

from __future__ import annotations

from typing import Any

import pytest

from aerodrome.domain.environment import Status
from aerodrome.domain.objects import VERSIONS
from support.mwaa import GIVEN, ROLE, House

OTHER = ROLE + "-other"


@pytest.fixture(autouse=True)
def taken(house: House) -> None:
    for bucket in ("good", "second"):
        for path in VERSIONS:
            house.buckets.objects[bucket, f"the/{path}"] = [f"{bucket}1", f"{bucket}2"]


PATHS = {path: f"the/{path}" for path in VERSIONS}


async def shown(house: House) -> dict[str, Any]:
    found = (await house.call("get_environment", Name="demo"))["Environment"]
    return {name: found[name] for pair in VERSIONS.items() for name in pair if name in found}


async def settled(house: House) -> None:
    """What was asked for is in force."""
    (row,) = await house.store.all()
    assert await house.store.update(row, status=Status.AVAILABLE, applied=row.desired) is not None


async def refused(house: House, operation: str = "create_environment", **members: Any) -> str:
    before = await house.store.all()
    given = GIVEN if operation == "create_environment" else {}
    refusal = await house.refused(operation, Name="demo", **{**given, **members})
    assert refusal["Error"]["Code"] == "ValidationException"
    assert await house.store.all() == before
    return str(refusal["Error"]["Message"])


async def test_the_current_versions_are_settled_and_echoed(house: House) -> None:
    await house.create(**PATHS)
    expected = {**PATHS, **dict.fromkeys(VERSIONS.values(), "good2")}
    assert await shown(house) == expected
    for versions in house.buckets.objects.values():
        versions.append("newer")
    assert await shown(house) == expected, "a later upload changes nothing"


async def test_a_given_version_is_kept(house: House) -> None:
    await house.create(RequirementsS3Path="/the/RequirementsS3Path", RequirementsS3ObjectVersion="good1")
    assert await shown(house) == {
        "RequirementsS3Path": "/the/RequirementsS3Path",
        "RequirementsS3ObjectVersion": "good1",
    }


async def test_an_object_older_than_the_buckets_versioning_has_the_version_null(house: House) -> None:
    house.buckets.objects["good", "old.txt"] = ["null"]
    await house.create(RequirementsS3Path="old.txt")
    assert (await shown(house))["RequirementsS3ObjectVersion"] == "null"


@pytest.mark.parametrize(("path", "version"), VERSIONS.items())
async def test_what_is_not_there_is_refused_by_its_field(house: House, path: str, version: str) -> None:
    missing = "Invalid request provided: "
    assert await refused(house, **{path: "nowhere"}) == (
        f"{missing}{path}: there is no object good/nowhere; upload it first."
    )
    for wrong in ("gone", "no-version-id"):
        assert await refused(house, **{path: f"the/{path}", version: wrong}) == (
            f"{missing}{version}: there is no version {wrong} of good/the/{path};"
            " leave the field out to use the current one."
        )
    assert f"{path}: Provided role does not have sufficient permissions for s3 location good/secret/x" in (
        await refused(house, **{path: "secret/x"})
    )


class TestUpdate:
    @pytest.fixture(autouse=True)
    async def available(self, taken: None, house: House) -> None:
        await house.create(**PATHS, RequirementsS3ObjectVersion="good1")
        await settled(house)

    async def updated(self, house: House, **members: Any) -> dict[str, Any]:
        await house.call("update_environment", Name="demo", **members)
        await settled(house)
        return await shown(house)

    @pytest.mark.parametrize("members", [{}, {"MaxWorkers": 3}, {"SourceBucketArn": GIVEN["SourceBucketArn"]}])
    async def test_what_is_not_named_stays_in_its_version(self, house: House, members: dict[str, Any]) -> None:
        before = await shown(house)
        for versions in house.buckets.objects.values():
            versions.append("good3")
        assert await self.updated(house, **members) == before

    async def test_a_path_without_a_version_is_the_current_one(self, house: House) -> None:
        before = await shown(house)
        after = await self.updated(house, RequirementsS3Path="the/RequirementsS3Path")
        assert after == {**before, "RequirementsS3ObjectVersion": "good2"}

    async def test_a_version_alone_is_of_the_stored_path(self, house: House) -> None:
        before = await shown(house)
        after = await self.updated(house, PluginsS3ObjectVersion="good1")
        assert after == {**before, "PluginsS3ObjectVersion": "good1"}
        refusal = await refused(house, "update_environment", PluginsS3ObjectVersion="good9")
        assert "PluginsS3ObjectVersion: there is no version good9 of good/the/PluginsS3Path" in refusal

    async def test_an_empty_path_takes_the_version_along(self, house: House) -> None:
        after = await self.updated(house, PluginsS3Path="")
        assert not [name for name in after if name.startswith("Plugins")]

    async def test_another_bucket_has_versions_of_its_own(self, house: House) -> None:
        after = await self.updated(house, SourceBucketArn="arn:aws:s3:::second", PluginsS3ObjectVersion="second1")
        assert {name: after[name] for name in VERSIONS.values()} == {
            "PluginsS3ObjectVersion": "second1",
            "RequirementsS3ObjectVersion": "second2",
            "StartupScriptS3ObjectVersion": "second2",
        }

    async def test_another_bucket_must_have_the_objects(self, house: House) -> None:
        del house.buckets.objects["second", "the/PluginsS3Path"]
        refusal = await refused(house, "update_environment", SourceBucketArn="arn:aws:s3:::second")
        assert "PluginsS3Path: there is no object second/the/PluginsS3Path" in refusal

    async def test_another_role_must_be_able_to_read_the_versions_that_there_are(self, house: House) -> None:
        house.account.roles.add(OTHER)
        house.buckets.objects["good", "the/RequirementsS3Path"] = ["good2"]
        refusal = await refused(house, "update_environment", ExecutionRoleArn=OTHER)
        assert "RequirementsS3ObjectVersion: there is no version good1" in refusal

    async def test_its_event_names_the_version_that_changed(self, house: House) -> None:
        await house.call("update_environment", Name="demo", RequirementsS3Path="the/RequirementsS3Path")
        _, body = await house.history("demo")
        assert body["Events"][-1]["Data"]["members"] == ["RequirementsS3ObjectVersion"]

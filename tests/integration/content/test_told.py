"""Writes that pass our front door are found at once, of whatever kind and however signed: nothing looks by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import httpx
import pytest
from botocore.config import Config

from aerodrome.api.app import FrontDoor
from aerodrome.api.call import Call
from aerodrome.aws.clients import AwsClients
from aerodrome.content.credentials import RoleCredentials
from aerodrome.content.loop import ContentLoop, Source
from aerodrome.content.sync import ContentSync
from aerodrome.domain.principal import Credentials
from aerodrome.layout import Layout
from aerodrome.relay import Relay
from aerodrome.wire import Reply, Wire
from support.asgi import serving

if TYPE_CHECKING:
    from conftest import Aws

PATIENT = 20.0  # seconds; far longer than anything here takes when it works
NEVER = 3600.0  # seconds between two looks that nobody asked for
PART = 5 * 1024 * 1024  # bytes, the least that a part but the last one has


async def nobody(*_: Any) -> None:
    raise AssertionError("not for us")


async def no_operation(call: Call) -> Reply:
    raise AssertionError(f"not for us: {call.raw_path!r}")


@dataclass
class Told:
    """A DAG folder, and the door before the bucket that it comes from."""

    dags: Path
    bucket: str
    url: str
    keys: Credentials

    def client(self, signature: str = "s3v4") -> Any:
        return boto3.Session().client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.url,
            aws_access_key_id=self.keys.access_key_id,
            aws_secret_access_key=self.keys.secret_access_key,
            config=Config(signature_version=signature),
        )

    async def call(self, operation: str, **arguments: Any) -> Any:
        s3 = self.client()
        try:
            return await asyncio.to_thread(getattr(s3, operation), Bucket=self.bucket, **arguments)
        finally:
            s3.close()

    def presigned(self, operation: str, key: str, signature: str) -> str:
        s3 = self.client(signature)
        try:
            return str(s3.generate_presigned_url(operation, {"Bucket": self.bucket, "Key": key}))
        finally:
            s3.close()

    async def until(self, files: dict[str, int]) -> None:
        """Sizes by path."""
        async with asyncio.timeout(PATIENT):
            while self._found() != files:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    def _found(self) -> dict[str, int]:
        paths = [path for path in self.dags.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.dags)): path.stat().st_size for path in paths}


@pytest.fixture
async def told(aws: Aws, role: str, bucket: str, tmp_path: Path) -> AsyncIterator[Told]:
    """With an empty folder that has been looked at once."""
    clients, sync = AwsClients({"": aws.url}), ContentSync(Layout(tmp_path))

    async def sources() -> list[Source]:
        return [Source("one", bucket, "dags", role, "us-east-1")]

    def client(credentials: Credentials, region: str) -> Any:
        return clients.client("s3", region, credentials)

    loop = ContentLoop(sync, sources, RoleCredentials(aws.socket), client, interval=NEVER)
    looking = asyncio.create_task(loop.run())
    relay = Relay("127.0.0.1", int(aws.url.rpartition(":")[2]))
    front = FrontDoor(
        own=nobody, mwaa=no_operation, history=no_operation, wire=Wire("mwaa"), cloud=relay,
        healthy=lambda: True, writes=loop,
    )  # fmt: skip
    try:
        await loop.first_sync("one", PATIENT)
        async with serving(front) as url:
            yield Told(Layout(tmp_path).dags("one"), bucket, url, aws.admin)
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        await relay.close()
        sync.close()


async def test_objects_are_put_copied_and_deleted(told: Told) -> None:
    await told.call("put_object", Key="dags/a.py", Body=b"1")
    await told.until({"a.py": 1})
    await told.call("copy_object", Key="dags/deep/b c.py", CopySource=f"{told.bucket}/dags/a.py")
    await told.until({"a.py": 1, "deep/b c.py": 1})
    await told.call("put_object", Key="dags/a.py", Body=b"22")
    await told.until({"a.py": 2, "deep/b c.py": 1})
    await told.call("delete_object", Key="dags/a.py")
    await told.until({"deep/b c.py": 1})
    await told.call("delete_objects", Delete={"Objects": [{"Key": "dags/deep/b c.py"}]})
    await told.until({})


async def test_an_upload_in_parts(told: Told) -> None:
    key = {"Key": "dags/large.bin"}
    upload = (await told.call("create_multipart_upload", **key))["UploadId"]
    part = {**key, "UploadId": upload}
    bodies = {1: b"1" * PART, 2: b"2"}
    parts = [
        {"PartNumber": n, "ETag": (await told.call("upload_part", **part, PartNumber=n, Body=body))["ETag"]}
        for n, body in bodies.items()
    ]
    await told.call("complete_multipart_upload", **part, MultipartUpload={"Parts": parts})
    await told.until({"large.bin": PART + 1})


@pytest.mark.parametrize("signature", ["s3v4", "s3"])
async def test_presigned_urls(told: Told, signature: str) -> None:
    put, delete = (told.presigned(name, "dags/signed.py", signature) for name in ("put_object", "delete_object"))
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.put(put, content=b"123")).status_code == 200
        await told.until({"signed.py": 3})
        assert (await http.delete(delete)).status_code == 204
        await told.until({})


async def test_a_version_that_is_restored_by_deleting_the_newest(told: Told) -> None:
    await told.call("put_object", Key="dags/a.py", Body=b"1")
    newest = await told.call("put_object", Key="dags/a.py", Body=b"22")
    await told.until({"a.py": 2})
    await told.call("delete_object", Key="dags/a.py", VersionId=newest["VersionId"])
    await told.until({"a.py": 1})

"""S3 of the embedded cloud, through boto3: our tables and bodies lie beneath all of it."""

from __future__ import annotations

import os
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .conftest import RunningCloud, fetch


def body(s3: Any, bucket: str, key: str, **more: str) -> bytes:
    content: bytes = s3.get_object(Bucket=bucket, Key=key, **more)["Body"].read()
    return content


@pytest.mark.parametrize("size", [0, 1, 64 * 1024, 64 * 1024 + 1, 9 * 1024 * 1024])
def test_what_is_put_is_got(shared_cloud: RunningCloud, size: int) -> None:
    s3, content = shared_cloud.client("s3"), os.urandom(size)
    bucket = f"sizes-{size}"
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="a/b c+ä", Body=content, Metadata={"k": "v"})
    assert body(s3, bucket, "a/b c+ä") == content
    assert s3.head_object(Bucket=bucket, Key="a/b c+ä")["Metadata"] == {"k": "v"}
    assert [entry["Size"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [size]
    s3.delete_object(Bucket=bucket, Key="a/b c+ä")
    with pytest.raises(ClientError, match="NoSuchKey"):
        s3.get_object(Bucket=bucket, Key="a/b c+ä")
    s3.delete_bucket(Bucket=bucket)


def test_versions(shared_cloud: RunningCloud) -> None:
    s3 = shared_cloud.client("s3")
    s3.create_bucket(Bucket="versions")
    s3.put_object(Bucket="versions", Key="k", Body=b"before versioning")
    s3.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket="versions", Key="k", Body=b"first")["VersionId"]
    second = s3.put_object(Bucket="versions", Key="k", Body=b"second")["VersionId"]
    assert body(s3, "versions", "k") == b"second"
    assert body(s3, "versions", "k", VersionId=first) == b"first"
    assert body(s3, "versions", "k", VersionId="null") == b"before versioning"
    marker = s3.delete_object(Bucket="versions", Key="k")["VersionId"]
    with pytest.raises(ClientError, match="NoSuchKey"):
        s3.get_object(Bucket="versions", Key="k")
    s3.delete_object(Bucket="versions", Key="k", VersionId=marker)
    s3.delete_object(Bucket="versions", Key="k", VersionId=second)
    assert body(s3, "versions", "k") == b"first"
    found = s3.list_object_versions(Bucket="versions")["Versions"]
    assert [version["VersionId"] for version in found] == [first, "null"]


def test_the_same_body_twice_survives_the_loss_of_one(shared_cloud: RunningCloud) -> None:
    """Bodies are stored by content: deleting one object must not take another's body along."""
    s3, content = shared_cloud.client("s3"), os.urandom(200_000)
    s3.create_bucket(Bucket="twins")
    for key in ("one", "two"):
        s3.put_object(Bucket="twins", Key=key, Body=content)
    s3.copy_object(Bucket="twins", Key="three", CopySource="twins/one")
    s3.delete_object(Bucket="twins", Key="one")
    s3.put_object(Bucket="twins", Key="two", Body=b"other")
    assert body(s3, "twins", "three") == content
    s3.delete_object(Bucket="twins", Key="three")
    s3.put_object(Bucket="twins", Key="four", Body=content)
    assert body(s3, "twins", "four") == content


def test_multipart(shared_cloud: RunningCloud) -> None:
    s3, parts = shared_cloud.client("s3"), [os.urandom(5 * 1024 * 1024), os.urandom(100)]
    s3.create_bucket(Bucket="multipart")
    upload = s3.create_multipart_upload(Bucket="multipart", Key="k")["UploadId"]
    done = [
        {
            "PartNumber": number,
            "ETag": s3.upload_part(Bucket="multipart", Key="k", UploadId=upload, PartNumber=number, Body=part)["ETag"],
        }
        for number, part in enumerate(parts, 1)
    ]
    s3.complete_multipart_upload(Bucket="multipart", Key="k", UploadId=upload, MultipartUpload={"Parts": done})
    assert body(s3, "multipart", "k") == b"".join(parts)


@pytest.mark.parametrize("version", ["s3v4", None])
def test_presigned_urls(shared_cloud: RunningCloud, version: str | None) -> None:
    """`s3v4` is what `aws s3 presign` makes, None what boto3 makes by default (version 2)."""
    bucket = f"presigned-{version or 'default'}".lower()
    s3 = shared_cloud.client("s3", signature_version=version)
    s3.create_bucket(Bucket=bucket)
    put = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "k"})
    assert fetch(put, "PUT", b"by url")[0] == 200
    get = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    assert fetch(get) == (200, b"by url")
    assert fetch(get, "DELETE")[0] == 403
    for wrong in (get.replace("/k?", "/l?"), tampered(get), get.replace("AKIAADMINISTRATOR001", "test")):
        assert wrong != get
        assert fetch(wrong)[0] == 403


def test_an_expired_url_is_refused(shared_cloud: RunningCloud) -> None:
    s3 = shared_cloud.client("s3", signature_version="s3v4")
    status, answer = fetch(s3.generate_presigned_url("list_buckets", ExpiresIn=0))
    assert status == 403
    assert b"Request has expired" in answer


def tampered(url: str) -> str:
    """The URL with another first character in its signature."""
    head, mark, tail = url.partition("Signature=")
    return head + mark + ("A" if tail[0] != "A" else "B") + tail[1:]

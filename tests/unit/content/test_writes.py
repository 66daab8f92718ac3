"""Which requests make us look at a bucket, read off what real clients send."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config

from aerodrome.content.writes import Write

KEY = {"Bucket": "dags-bucket", "Key": "dags/a b+é.py"}
PART = {**KEY, "UploadId": "up", "PartNumber": 1}
DELETE = {"Bucket": "dags-bucket", "Delete": {"Objects": [{"Key": "dags/a.py"}]}}
DONE = {**KEY, "UploadId": "up", "MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": "x"}]}}
WRITES: list[tuple[str, dict[str, Any]]] = [
    ("put_object", {**KEY, "Body": b"x"}),
    ("copy_object", {**KEY, "CopySource": "other/key"}),
    ("delete_object", KEY),
    ("delete_object", {**KEY, "VersionId": "v"}),
    ("delete_objects", DELETE),
    ("complete_multipart_upload", DONE),
]
OTHERS: list[tuple[str, dict[str, Any]]] = [
    ("get_object", KEY),
    ("head_object", KEY),
    ("list_objects_v2", {"Bucket": "dags-bucket", "Prefix": "dags/"}),
    ("create_multipart_upload", KEY),
    ("abort_multipart_upload", {**KEY, "UploadId": "up"}),
    ("put_bucket_versioning", {"Bucket": "dags-bucket", "VersioningConfiguration": {"Status": "Enabled"}}),
    ("create_bucket", {"Bucket": "dags-bucket"}),
]


class Sent(Exception):
    """Carries a request that was about to be sent."""


@pytest.fixture(params=["path", "virtual"])
def s3(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A client that raises what it would send."""
    client = boto3.Session().client(
        "s3",
        region_name="us-east-1",
        endpoint_url="http://s3.localhost:4610",
        aws_access_key_id="k",
        aws_secret_access_key="s",
        config=Config(s3={"addressing_style": request.param}),
    )

    def stop(request: Any, **_: Any) -> AWSResponse:
        raise Sent(request)

    client.meta.events.register("before-send.s3", stop)
    yield client
    client.close()


def sent(s3: Any, operation: str, arguments: dict[str, Any]) -> Write | None:
    with pytest.raises(Sent) as caught:
        getattr(s3, operation)(**arguments)
    (request,) = caught.value.args
    return parsed(request.method, request.url)


def parsed(method: str, url: str) -> Write | None:
    parts = urlsplit(url)
    return Write.of(method, parts.path.encode(), parts.query.encode(), [(b"host", parts.netloc.encode())])


@pytest.mark.parametrize(("operation", "arguments"), WRITES)
def test_a_write_is_one_of_its_bucket_and_folder(s3: Any, operation: str, arguments: dict[str, Any]) -> None:
    write = sent(s3, operation, arguments)
    assert write is not None
    assert write.changes
    assert write.is_about("dags-bucket", "dags/")
    assert write.is_about("dags-bucket", "")
    assert not write.is_about("other", "dags/")
    assert not write.is_about("dags-bucke", "dags/")
    assert not write.is_about("dags-bucket-2", "dags/")
    elsewhere = write.is_about("dags-bucket", "elsewhere/")
    assert elsewhere == (operation == "delete_objects"), "whose keys are in its body"


@pytest.mark.parametrize(
    ("operation", "more"), [("upload_part", {"Body": b"x"}), ("upload_part_copy", {"CopySource": "b/k"})]
)
def test_a_part_of_an_upload_changes_nothing_yet(s3: Any, operation: str, more: dict[str, Any]) -> None:
    write = sent(s3, operation, PART | more)
    assert write is not None
    assert write.is_about("dags-bucket", "dags/")
    assert not write.changes


@pytest.mark.parametrize(("operation", "arguments"), OTHERS)
def test_the_rest_is_none(s3: Any, operation: str, arguments: dict[str, Any]) -> None:
    write = sent(s3, operation, arguments)
    assert write is None or not (write.is_about("dags-bucket", "dags/") or write.is_about("dags-bucket", ""))


@pytest.mark.parametrize("operation", ["put_object", "delete_object"])
@pytest.mark.parametrize("version", ["s3v4", "s3"])
def test_presigned_urls(operation: str, version: str) -> None:
    client = boto3.Session().client(
        "s3",
        region_name="us-east-1",
        endpoint_url="http://localhost:4610",
        aws_access_key_id="k",
        aws_secret_access_key="s",
        config=Config(signature_version=version),
    )
    write = parsed("PUT" if operation == "put_object" else "DELETE", client.generate_presigned_url(operation, KEY))
    client.close()
    assert write is not None
    assert write.is_about("dags-bucket", "dags/")
    assert not write.is_about("dags-bucket", "plugins/")


def test_a_form_of_a_browser() -> None:
    write = parsed("POST", "http://localhost:4610/dags-bucket")
    assert write is not None
    assert write.is_about("dags-bucket", "dags/")


@pytest.mark.parametrize(
    "url", ["http://localhost:4610/", "http://iam.localhost:4610/", "http://h/%ff%fe?%zz=%", "http:///"]
)
def test_calls_of_other_services_change_no_bucket(url: str) -> None:
    for method in ("PUT", "POST", "DELETE"):
        write = parsed(method, url)
        assert write is None or not write.is_about("dags-bucket", "")

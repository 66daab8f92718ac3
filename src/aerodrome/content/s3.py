"""The few S3 calls that content needs, with errors a person can act on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from aerodrome.content.keys import Listed
from aerodrome.domain.principal import Credentials
from aerodrome.errors import AerodromeError, Permanent, Temporary

MAX_OBJECTS = 100_000  # below a prefix: a listing lies in the memory that all environments share
# What stays until somebody changes the bucket, the role or the environment; everything else may pass.
_PERMANENT = {
    "NoSuchBucket": "the bucket doesn't exist; create it or name another one",
    "AccessDenied": "the execution role may not; allow s3:ListBucket on it and s3:GetObject on its objects",
    "AllAccessDisabled": "the bucket's access is disabled",
    "InvalidBucketName": "that is no bucket name",
    "PermanentRedirect": "the bucket is in another region; use one in the environment's region",
    "AuthorizationHeaderMalformed": "the bucket is in another region; use one in the environment's region",
}
# Codes that a single object answers with while the rest of the bucket is fine.
_UNREADABLE = {"AccessDenied", "InvalidObjectState", "KMS.DisabledException", "KMS.NotFoundException"}
# Codes that say the credentials have run out or been replaced, not that the role may not.
STALE_CREDENTIALS = {
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}


class S3(Protocol):
    """The part of boto3's S3 client that is used here."""

    def list_objects_v2(self, **arguments: Any) -> Any: ...

    def get_object(self, **arguments: Any) -> Any: ...

    def close(self) -> None: ...


ClientFactory = Callable[[Credentials, str], S3]
"""A role's credentials and a region -> a client with both."""


class Unreadable(Exception):
    """One object can't be read although the bucket can; the message names it."""


class StaleCredentials(Temporary):
    """The credentials were refused as expired or unknown; newer ones may be accepted."""


def list_objects(s3: S3, bucket: str, prefix: str) -> list[Listed]:
    """All objects below the prefix, page by page.

    Raises:
        Permanent: there is no such bucket, the role may not list it, or there are more than `MAX_OBJECTS`.
        Temporary: S3 is away or busy; StaleCredentials when the credentials ran out.
    """
    found: list[Listed] = []
    arguments: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix}
    while True:
        try:
            page = s3.list_objects_v2(**arguments)
        except (ClientError, BotoCoreError) as error:
            raise explain(error, bucket) from error
        found += [
            Listed(item["Key"], item["ETag"], int(item["Size"]), int(item["LastModified"].timestamp()))
            for item in page.get("Contents", ())
        ]
        if len(found) > MAX_OBJECTS:
            raise Permanent(
                f"Bucket {bucket}: there are more than {MAX_OBJECTS:,} objects below {prefix!r}. Give the DAGs a folder"
                " of their own and name that in DagS3Path."
            )
        if not page.get("IsTruncated"):
            return found
        arguments["ContinuationToken"] = page["NextContinuationToken"]


def download(s3: S3, bucket: str, key: str, target: Path) -> Listed | None:
    """Write the object to the new file `target` and say what was written; None when the object is gone by now.

    Raises:
        Unreadable: this object can't be read.
        Temporary: S3 is away or busy, the connection broke, or the disk is full.
    """
    try:
        answer = s3.get_object(Bucket=bucket, Key=key)
        with closing(answer["Body"]) as body, target.open("xb") as file:
            shutil.copyfileobj(body, file, 1 << 20)
    except ClientError as error:
        code = error_code(error)
        if code == "NoSuchKey":
            return None
        if code in _UNREADABLE:
            raise Unreadable(f"skipped {key!r}: S3 answered {code}") from error
        raise explain(error, bucket) from error
    except BotoCoreError as error:
        raise explain(error, bucket) from error
    written = target.stat().st_size
    if written != int(answer["ContentLength"]):
        raise Temporary(
            f"S3 sent {written} of {answer['ContentLength']} bytes of {key!r} in bucket {bucket}; trying again."
        )
    return Listed(key, answer["ETag"], written, int(answer["LastModified"].timestamp()))


def error_code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "Unknown"))


def explain(error: ClientError | BotoCoreError, bucket: str) -> AerodromeError:
    """The error as ours: names the bucket, S3's code, and what to do."""
    if not isinstance(error, ClientError):
        return Temporary(f"Bucket {bucket} can't be reached: {error}", retry_after=5)
    code = error_code(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    message = str(error.response.get("Error", {}).get("Message", "")).rstrip(".")
    if code in STALE_CREDENTIALS:
        return StaleCredentials(f"Bucket {bucket}: S3 refused the execution role's credentials ({code}: {message}).")
    advice = _PERMANENT.get(code) or (_PERMANENT["AccessDenied"] if status == 403 else None)
    if advice:
        return Permanent(f"Bucket {bucket} can't be read ({code}): {advice}.", detail=message)
    return Temporary(f"Bucket {bucket} can't be read now ({code}: {message}).", retry_after=5)

"""Which version of an object an environment uses: settled in the request, so that a later upload changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from aerodrome.api.context import Context
from aerodrome.domain.objects import VERSIONS, key_of
from aerodrome.domain.principal import Credentials
from aerodrome.errors import ApiError, validation_error

_NO_VERSION = "null"  # S3's name for the version of an object that is older than the bucket's versioning
_NO_SUCH_VERSION = (400, 404, 405)  # S3 about one that can't be one, isn't there, or is a delete marker


async def resolve_versions(
    context: Context, credentials: Credentials, members: Mapping[str, Any], region: str
) -> dict[str, str]:
    """The versions of all objects that the members name: the given ones, and the current ones of the others.

    They are looked up with the execution role's credentials (mwaa-spec 1.5).

    Raises:
        ApiError: ValidationException that names the field: there is no such object or version, or the role may not
            read it; ServiceUnavailableException when S3 doesn't answer.
    """
    named = [path for path in VERSIONS if members.get(path)]
    if not named:
        return {}
    bucket = members["SourceBucketArn"].split(":::", 1)[1]
    client = context.s3_client(credentials, region)
    try:
        return await asyncio.to_thread(
            lambda: {VERSIONS[path]: _version(client, bucket, path, members) for path in named}
        )
    except BotoCoreError as error:
        raise ApiError("ServiceUnavailableException", f"S3 can't be asked about {bucket} now: {error}", 503) from error


def _version(client: Any, bucket: str, path: str, members: Mapping[str, Any]) -> str:
    key, given = key_of(members[path]), members.get(VERSIONS[path])
    try:
        found = client.head_object(Bucket=bucket, Key=key, **({"VersionId": given} if given else {}))
    except ClientError as error:
        raise _refusal(error, f"{bucket}/{key}", path, given) from error
    return str(found.get("VersionId") or _NO_VERSION)


def _refusal(error: ClientError, location: str, path: str, given: str | None) -> ApiError:
    """A HEAD has no body: the status says all."""
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    if status == 403:
        return validation_error(
            f"Invalid request provided: {path}: Provided role does not have sufficient permissions for s3 location"
            f" {location}"
        )
    if given and status in _NO_SUCH_VERSION:
        return validation_error(
            f"Invalid request provided: {VERSIONS[path]}: there is no version {given} of {location}; leave the field"
            " out to use the current one."
        )
    if status == 404:
        return validation_error(f"Invalid request provided: {path}: there is no object {location}; upload it first.")
    return ApiError("ServiceUnavailableException", f"S3 can't be asked about {location} now: {error}", 503)

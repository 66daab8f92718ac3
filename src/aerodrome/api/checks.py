"""The look at the execution role and the bucket, before anything is made or changed (mwaa-spec 1.6)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from aerodrome.api.context import Context
from aerodrome.domain.environment import EnvironmentKey
from aerodrome.domain.execution_role import lacking
from aerodrome.domain.principal import Credentials
from aerodrome.errors import ApiError, Permanent, Temporary, validation_error

_PUBLIC_ACCESS_FLAGS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
# An object that nobody has: whether it may be read is told all the same, since the role may list the bucket.
_PROBE = ".aerodrome-looks-whether-the-role-may-read"


async def assume(context: Context, members: dict[str, Any], key: EnvironmentKey) -> Credentials:
    """Credentials of the execution role, which trusts us and, in strict mode, has all the permissions that MWAA needs.

    Raises:
        ApiError: ValidationException when there is no such role, it doesn't trust the service or lacks a permission.
    """
    role_arn = members["ExecutionRoleArn"]
    if role_arn.split(":")[1] != key.partition:
        raise validation_error(
            f"Invalid request provided: ExecutionRoleArn: There is no role {role_arn} in {key.region}, whose ARNs begin"
            f" with arn:{key.partition}:."
        )
    try:
        if context.strict:
            await _check_permissions(context, members, key)
        return await context.roles.assume_role(role_arn, f"aerodrome-check-{key.name}"[:64], source_arn=key.arn)
    except Permanent as error:
        raise validation_error(f"Invalid request provided: ExecutionRoleArn: {error}") from error
    except Temporary as error:
        raise ApiError("ServiceUnavailableException", f"The role can't be checked now: {error}", 503) from error


async def _check_permissions(context: Context, members: dict[str, Any], key: EnvironmentKey) -> None:
    """A dry run of what MWAA does with the role and we don't: its policies are asked, nothing is done.

    Where the source of roles doesn't show their policies, nothing is known and nothing refused.
    """
    role_arn = members["ExecutionRoleArn"]
    role = await context.roles.confirm(role_arn, source_arn=key.arn)
    if role.principal is None:
        return
    missing = lacking(role.principal.seen_in(key.partition), key, members)
    if missing:
        raise validation_error(
            "Invalid request provided: Provided role does not have sufficient permissions: ExecutionRoleArn: let a"
            f" policy of {role_arn} allow {'; '.join(map(str, missing))}."
        )


async def check_bucket(context: Context, credentials: Credentials, members: dict[str, Any], region: str) -> None:
    """The bucket is there, readable by the role, versioned and closed to the public. All is asked at once.

    Raises:
        ApiError: ValidationException in MWAA's words, of the first that isn't so.
    """
    bucket = members["SourceBucketArn"].split(":::", 1)[1]
    location = f"{bucket}/{members['DagS3Path'].strip('/')}"
    prefix = members["DagS3Path"].strip("/")
    probe = f"{prefix}/{_PROBE}".lstrip("/")
    client = context.s3_client(credentials, region)
    looks: list[tuple[Callable[..., None], Any]] = [
        (_check_listing, (location, members["DagS3Path"].lstrip("/"))),
        (_check_reading, (location, probe)),
        (_check_versioning, (location,)),
        (_check_closed, ()),
    ]
    answers = await asyncio.gather(
        *(asyncio.to_thread(look, client, bucket, *given) for look, given in looks), return_exceptions=True
    )
    for error in answers:
        if isinstance(error, BotoCoreError):
            raise ApiError(
                "ServiceUnavailableException", f"S3 can't be asked about {bucket} now: {error}", 503
            ) from error
        if isinstance(error, BaseException):
            raise error


async def check_kms_key(context: Context, key: EnvironmentKey, members: dict[str, Any]) -> None:
    """The key of KMS that it names, if it names one, is one that an environment can be sealed under.

    Raises:
        ApiError: ValidationException that names the field.
    """
    if context.kms is None or not members.get("KmsKey"):
        return
    try:
        await context.kms.check(members["KmsKey"], key)
    except Permanent as error:
        raise validation_error(f"Invalid request provided: KmsKey: {error}") from error
    except Temporary as error:
        raise ApiError("ServiceUnavailableException", f"KmsKey can't be checked now: {error}", 503) from error


async def check_subnets(context: Context, key: EnvironmentKey, members: dict[str, Any]) -> None:
    """The subnets are there, in one VPC and two availability zones, where their owner is to make VPC endpoints in them.

    Nothing is asked about them otherwise: on one machine everything listens on loopback.

    Raises:
        ApiError: ValidationException that names the field.
    """
    if members["EndpointManagement"] != "CUSTOMER":
        return
    try:
        await context.network.check_subnets(key, members["NetworkConfiguration"]["SubnetIds"])
    except Permanent as error:
        raise validation_error(f"Invalid request provided: NetworkConfiguration: SubnetIds: {error}") from error
    except Temporary as error:
        raise ApiError("ServiceUnavailableException", f"The subnets can't be checked now: {error}", 503) from error


def _check_listing(client: Any, bucket: str, location: str, prefix: str) -> None:
    try:
        client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
    except ClientError as error:
        raise _unreadable(error, bucket, location) from error


def _check_reading(client: Any, bucket: str, location: str, key: str) -> None:
    """A HEAD has no body: the status says all. 404 is the good answer."""
    try:
        client.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 403:
            raise _insufficient(location, "s3:GetObject") from error


def _check_versioning(client: Any, bucket: str, location: str) -> None:
    try:
        versioning = client.get_bucket_versioning(Bucket=bucket).get("Status")
    except ClientError as error:
        raise _unreadable(error, bucket, location) from error
    if versioning != "Enabled":
        raise validation_error(
            f"Invalid request provided: SourceBucketArn: versioning is not enabled on bucket {bucket};"
            " enable it (aws s3api put-bucket-versioning)."
        )


def _check_closed(client: Any, bucket: str) -> None:
    if not _is_closed(client, bucket):
        raise validation_error(
            "Invalid request provided: Provided bucket does not have BlockPublicAccess set for s3 bucket"
            f" {bucket}. (SourceBucketArn: aws s3api put-public-access-block sets all four flags.)"
        )


def _unreadable(error: ClientError, bucket: str, location: str) -> ApiError:
    code = error.response["Error"]["Code"]
    if code in ("NoSuchBucket", "404"):
        return validation_error(
            f"Invalid request provided: SourceBucketArn: there is no bucket {bucket}; create it first."
        )
    return _insufficient(location, code)


def _insufficient(location: str, what: str) -> ApiError:
    return validation_error(
        f"Invalid request provided: Provided role does not have sufficient permissions for s3 location {location}"
        f" ({what})"
    )


def _is_closed(client: Any, bucket: str) -> bool:
    try:
        flags = client.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchPublicAccessBlockConfiguration":
            return False
        raise validation_error(
            f"Invalid request provided: Provided role does not have sufficient permissions to read the public access"
            f" block of s3 bucket {bucket} ({error.response['Error']['Code']})"
        ) from error
    return all(flags.get(flag) for flag in _PUBLIC_ACCESS_FLAGS)

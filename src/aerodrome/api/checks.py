"""CreateEnvironment's look at the caller's role and bucket, before anything is made (mwaa-spec 1.6)."""

from __future__ import annotations

import asyncio
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from aerodrome.api.context import Context
from aerodrome.domain.environment import EnvironmentKey
from aerodrome.domain.principal import Credentials
from aerodrome.errors import ApiError, Permanent, Temporary, validation_error

_PUBLIC_ACCESS_FLAGS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


async def assume(context: Context, role_arn: str, key: EnvironmentKey) -> Credentials:
    """Credentials of the execution role.

    Raises:
        ApiError: ValidationException when there is no such role or it doesn't trust the service.
    """
    if role_arn.split(":")[1] != key.partition:
        raise validation_error(
            f"Invalid request provided: ExecutionRoleArn: There is no role {role_arn} in {key.region}, whose ARNs begin"
            f" with arn:{key.partition}:."
        )
    try:
        return await context.roles.assume_role(role_arn, f"aerodrome-check-{key.name}"[:64], source_arn=key.arn)
    except Permanent as error:
        raise validation_error(f"Invalid request provided: ExecutionRoleArn: {error}") from error
    except Temporary as error:
        raise ApiError("ServiceUnavailableException", f"The role can't be checked now: {error}", 503) from error


async def check_bucket(context: Context, credentials: Credentials, members: dict[str, Any], region: str) -> None:
    """The bucket is there, readable by the role, versioned and closed to the public.

    Raises:
        ApiError: ValidationException in MWAA's words.
    """
    bucket = members["SourceBucketArn"].split(":::", 1)[1]
    location = f"{bucket}/{members['DagS3Path'].strip('/')}"
    client = context.s3_client(credentials, region)
    try:
        await asyncio.to_thread(_inspect, client, bucket, location, members["DagS3Path"].lstrip("/"))
    except BotoCoreError as error:
        raise ApiError("ServiceUnavailableException", f"S3 can't be asked about {bucket} now: {error}", 503) from error


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


def _inspect(client: Any, bucket: str, location: str, prefix: str) -> None:
    try:
        client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
        versioning = client.get_bucket_versioning(Bucket=bucket).get("Status")
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in ("NoSuchBucket", "404"):
            raise validation_error(
                f"Invalid request provided: SourceBucketArn: there is no bucket {bucket}; create it first."
            ) from error
        raise validation_error(
            f"Invalid request provided: Provided role does not have sufficient permissions for s3 location {location}"
            f" ({code})"
        ) from error
    if versioning != "Enabled":
        raise validation_error(
            f"Invalid request provided: SourceBucketArn: versioning is not enabled on bucket {bucket};"
            " enable it (aws s3api put-bucket-versioning)."
        )
    if not _is_closed(client, bucket):
        raise validation_error(
            "Invalid request provided: Provided bucket does not have BlockPublicAccess set for s3 bucket"
            f" {bucket}. (SourceBucketArn: aws s3api put-public-access-block sets all four flags.)"
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

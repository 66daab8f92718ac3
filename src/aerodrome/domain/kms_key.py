"""`KmsKey` of CreateEnvironment: what can be said of it before KMS is asked (mwaa-spec 1.3, 9)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MULTI_REGION = "mrk-"


def kms_key_faults(members: Mapping[str, Any], region: str, *, has_kms: bool) -> list[str]:
    """What is wrong with it, with the fix. `has_kms`: whether there is an AWS KMS whose keys encrypt."""
    given = members.get("KmsKey")
    if not given:
        return []
    if not has_kms:
        fault = (
            f"KmsKey: {given} can't be used, since this installation has no AWS KMS, and the embedded cloud's encrypts"
            " nothing; leave the field out (everything is sealed under a key of the installation), or set"
            " AWS_ENDPOINT_URL_KMS and AERODROME_AWS_ACCESS_KEY_ID."
        )
        return [fault]
    parts = given.split(":")
    name = parts[-1].removeprefix("key/")
    if name.startswith("alias/"):
        return [f"KmsKey: {given} is an alias; name the key itself, by its id or ARN."]
    if name.startswith(_MULTI_REGION):
        return [f"KmsKey: {given} is a multi-Region key; name one of a single Region."]
    if len(parts) == 6 and parts[3] != region:
        return [f"KmsKey: {given} is a key of {parts[3]}; it must be one of {region}, where the environment is."]
    return []

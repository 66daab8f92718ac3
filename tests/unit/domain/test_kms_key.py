from __future__ import annotations

import pytest

from aerodrome.domain.kms_key import kms_key_faults

ID = "0b1f7e42-7a1c-4a53-9f7e-1d5f3d9b2c11"
ARN = f"arn:aws:kms:eu-west-1:100000000001:key/{ID}"


@pytest.mark.parametrize("given", [None, "", ID, f"key/{ID}", ARN])
def test_what_may_be(given: str | None) -> None:
    assert kms_key_faults({"KmsKey": given}, "eu-west-1", has_kms=True) == []
    assert kms_key_faults({}, "eu-west-1", has_kms=False) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("alias/mine", ["KmsKey: alias/mine is an alias", "ARN"]),
        ("arn:aws:kms:eu-west-1:100000000001:alias/mine", ["is an alias"]),
        (f"mrk-{ID}", ["multi-Region"]),
        (ARN.replace("key/", "key/mrk-"), ["multi-Region"]),
        (ARN.replace("eu-west-1", "us-east-1"), ["a key of us-east-1", "one of eu-west-1"]),
    ],
)
def test_what_may_not(given: str, words: list[str]) -> None:
    (fault,) = kms_key_faults({"KmsKey": given}, "eu-west-1", has_kms=True)
    assert all(word in fault for word in words), fault


def test_without_aws_kms_there_is_no_key_that_encrypts() -> None:
    (fault,) = kms_key_faults({"KmsKey": ARN}, "eu-west-1", has_kms=False)
    assert "embedded cloud's encrypts nothing" in fault
    assert "leave the field out" in fault
    assert "AWS_ENDPOINT_URL_KMS" in fault

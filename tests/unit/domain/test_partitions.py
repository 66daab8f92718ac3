"""Which partition a region is of, and what a caller is there; held against botocore's own data."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import boto3
import pytest

from aerodrome.aws.shim import partitions as shim
from aerodrome.domain.partitions import PREFIXES, moved, partition_of
from aerodrome.domain.policy import decide
from aerodrome.domain.principal import Principal

SESSION = boto3.Session()
REGIONS = [
    (partition, region)
    for partition in SESSION.get_available_partitions()
    for service in ("s3", "ec2", "airflow")
    for region in SESSION.get_available_regions(service, partition_name=partition)
]
POLICY: dict[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": "airflow:GetEnvironment",
            "Resource": "arn:aws:airflow:*:100000000001:environment/demo",
            "Condition": {"ArnLike": {"aws:PrincipalArn": ["arn:aws:iam::100000000001:user/*"]}},
        }
    ],
}
ADA = Principal("arn:aws:iam::100000000001:user/ada", "100000000001", "aws", "AIDA", (POLICY,))


@pytest.mark.parametrize(("partition", "region"), sorted(set(REGIONS)))
def test_every_region_of_the_endpoint_data_is_of_its_partition(partition: str, region: str) -> None:
    assert partition_of(region) == partition
    assert shim.partition_of(region) == partition


def test_every_partition_that_botocore_knows_is_known() -> None:
    known = json.loads(files("botocore").joinpath("data/partitions.json").read_text())["partitions"]
    assert {each["id"] for each in known} == {"aws", *PREFIXES.values()}
    for each in known:
        for region in each["regions"]:
            if not region.endswith("-global"):
                assert partition_of(region) == each["id"]


def test_the_embedded_cloud_has_the_same_table() -> None:
    assert shim.PREFIXES == PREFIXES


@pytest.mark.parametrize(
    ("partition", "region"), [("aws", "eu-west-1"), ("aws-cn", "cn-north-1"), ("aws-us-gov", "us-gov-west-1")]
)
def test_a_caller_is_of_the_regions_partition_and_so_are_its_policies(partition: str, region: str) -> None:
    seen = ADA.seen_in(partition)
    assert (seen.arn, seen.partition) == (f"arn:{partition}:iam::100000000001:user/ada", partition)
    assert decide(
        seen, "airflow:GetEnvironment", f"arn:{partition}:airflow:{region}:100000000001:environment/demo"
    ).allowed
    assert not decide(
        seen, "airflow:GetEnvironment", f"arn:{partition}:airflow:{region}:100000000001:environment/x"
    ).allowed


def test_in_its_own_partition_nothing_is_changed() -> None:
    assert ADA.seen_in("aws") is ADA
    assert ADA.seen_in("aws-cn") is ADA.seen_in("aws-cn")


def test_a_boundary_and_session_policies_move_along() -> None:
    bounded = Principal(ADA.arn, ADA.account, "aws", "AIDA", (POLICY,), boundary=POLICY, session_policies=(POLICY,))
    seen = bounded.seen_in("aws-cn")
    assert seen.boundary == moved(POLICY, "aws-cn")
    assert seen.session_policies == (moved(POLICY, "aws-cn"),)
    assert decide(seen, "airflow:GetEnvironment", "arn:aws-cn:airflow:cn-north-1:100000000001:environment/demo").allowed


def test_only_arns_are_moved() -> None:
    value = {"arn:aws:x": ["arn:aws-us-gov:s3:::b", "say arn:aws:", 7, None, True, "aws"]}
    assert moved(value, "aws-cn") == {"arn:aws:x": ["arn:aws-cn:s3:::b", "say arn:aws:", 7, None, True, "aws"]}


def test_the_embedded_cloud_reads_arns_of_every_partition_in_text_and_in_forms() -> None:
    said = "RoleArn=arn%3Aaws-cn%3Aiam%3A%3A1%3Arole%2Fx&Policy=%7B%22arn:aws-us-gov:s3:::b%22%7D&x=aws-cn:y"
    assert shim.plain(said) == "RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fx&Policy=%7B%22arn:aws:s3:::b%22%7D&x=aws-cn:y"

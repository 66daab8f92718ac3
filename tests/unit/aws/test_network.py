"""What counts as a VPC endpoint of an environment, and what EC2's refusals become."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from aerodrome.aws.network import Network
from aerodrome.domain.environment import EnvironmentKey
from aerodrome.domain.principal import Credentials
from aerodrome.errors import Permanent, Temporary

KEY = EnvironmentKey("aws", "100000000001", "eu-west-1", "demo")
SUBNETS = {  # VPC and availability zone
    "subnet-a": ("vpc-1", "eu-west-1a"),
    "subnet-b": ("vpc-1", "eu-west-1b"),
    "subnet-c": ("vpc-1", "eu-west-1b"),
    "subnet-z": ("vpc-2", "eu-west-1b"),
}
SERVICE = "com.amazonaws.vpce.eu-west-1.vpce-svc-1"
ENDPOINT: dict[str, Any] = {
    "VpcEndpointType": "Interface",
    "VpcId": "vpc-1",
    "ServiceName": SERVICE,
    "State": "available",
    "SubnetIds": ["subnet-a", "subnet-b"],
}


HTTPS = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443}


class Groups:
    """Security groups, one a page, those that weren't asked for too."""

    def paginate(self, Filters: Any) -> Any:  # noqa: N803 - boto3's name
        assert Filters == [{"Name": "group-id", "Values": ["sg-gone", "sg-office"]}]
        everybody = {**HTTPS, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
        yield {"SecurityGroups": [{"GroupId": "sg-foreign", "IpPermissions": [everybody]}]}
        lists = [{"PrefixListId": "pl-office"}, {"PrefixListId": "pl-gone"}]
        yield {"SecurityGroups": [{"GroupId": "sg-office", "IpPermissions": [{**HTTPS, "PrefixListIds": lists}]}]}


class Lists:
    """Entries of prefix lists, one a page."""

    def paginate(self, PrefixListId: str) -> Any:  # noqa: N803
        if PrefixListId == "pl-gone":
            raise refusal("InvalidPrefixListID.NotFound", "gone")
        return [{"Entries": [{"Cidr": "192.0.2.0/28"}]}, {"Entries": [{"Cidr": "198.51.100.0/28"}]}]


GROUPS, LISTS = Groups(), Lists()


class Ec2:
    """EC2, and the factory of its clients. Filters nothing, as the embedded cloud; one endpoint a page."""

    def __init__(self, *endpoints: dict[str, Any], error: Exception | None = None) -> None:
        self.endpoints, self.error, self.made = endpoints, error, list[tuple[str, str, Credentials]]()

    def client(self, service: str, region: str, credentials: Credentials) -> Any:
        self.made.append((service, region, credentials))
        return self

    def describe_subnets(self, SubnetIds: list[str]) -> Any:  # noqa: N803 - boto3's name
        if self.error is not None:
            raise self.error
        found = {name: SUBNETS[name] for name in SubnetIds}
        return {"Subnets": [{"SubnetId": n, "VpcId": v, "AvailabilityZone": z} for n, (v, z) in found.items()]}

    def get_paginator(self, name: str) -> Any:
        return {"describe_vpc_endpoints": self, "describe_security_groups": GROUPS}.get(name, LISTS)

    def paginate(self, **_: Any) -> Any:
        return [{"VpcEndpoints": [endpoint]} for endpoint in self.endpoints]

    def close(self) -> None:
        pass


class Identity:
    """Credentials of the service that live for an hour."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, key: EnvironmentKey) -> Credentials:
        self.asked += 1
        return Credentials(f"key-{self.asked}", "secret", "token", datetime.now(UTC) + timedelta(hours=1))


def network(*endpoints: dict[str, Any], error: Exception | None = None) -> Network:
    return Network(Ec2(*endpoints, error=error), Identity())  # type: ignore[arg-type]


async def lacking(*endpoints: dict[str, Any]) -> Any:
    return await network(*endpoints).lacking(KEY, ["subnet-b", "subnet-a"], [SERVICE])


async def test_an_available_interface_endpoint_in_both_subnets_is_one() -> None:
    assert await lacking({**ENDPOINT, "ServiceName": "another"}, ENDPOINT) == {}


async def test_several_endpoints_count_together() -> None:
    one, two = ({**ENDPOINT, "SubnetIds": [subnet]} for subnet in ("subnet-a", "subnet-b"))
    assert await lacking(one) == {SERVICE: ["subnet-b"]}
    assert await lacking(one, two) == {}


@pytest.mark.parametrize(
    "other",
    [
        {"VpcEndpointType": "Gateway"},
        {"VpcId": "vpc-2"},
        {"ServiceName": SERVICE + "1"},
        {"State": "pendingAcceptance"},
        {"State": "deleting"},
        {"SubnetIds": []},
    ],
)
async def test_anything_else_is_none(other: dict[str, Any]) -> None:
    assert await lacking({**ENDPOINT, **other}) == {SERVICE: ["subnet-a", "subnet-b"]}


async def test_a_state_is_read_in_either_spelling() -> None:
    """EC2's model says `Available`, EC2 says `available`."""
    assert await lacking({**ENDPOINT, "State": "Available"}) == {}


async def test_subnets_of_one_vpc_and_two_zones_are_right() -> None:
    await network().check_subnets(KEY, ["subnet-a", "subnet-b"])


@pytest.mark.parametrize(
    ("subnets", "words"),
    [(["subnet-a", "subnet-z"], "in different VPCs"), (["subnet-b", "subnet-c"], "in the same availability zone")],
)
async def test_other_subnets_are_not(subnets: list[str], words: str) -> None:
    with pytest.raises(Permanent, match=words):
        await network().check_subnets(KEY, subnets)


def refusal(code: str, message: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "DescribeSubnets")


async def test_a_subnet_that_is_not_there_is_named() -> None:
    gone = refusal("InvalidSubnetID.NotFound", "The subnet ID 'subnet-x' does not exist.")
    with pytest.raises(Permanent, match=r"The subnet ID 'subnet-x' does not exist in eu-west-1; name"):
        await network(error=gone).check_subnets(KEY, ["subnet-x"])


@pytest.mark.parametrize(
    "error",
    [
        refusal("UnauthorizedOperation", "You are not authorized"),
        refusal("RequestLimitExceeded", "Slow down"),
        EndpointConnectionError(endpoint_url="http://127.0.0.1:1"),
    ],
)
async def test_every_other_refusal_may_pass(error: Exception) -> None:
    with pytest.raises(Temporary, match="EC2"):
        await network(error=error).lacking(KEY, ["subnet-a"], [SERVICE])


async def test_a_client_is_kept_per_account_and_region_while_its_credentials_live() -> None:
    ec2, identity = Ec2(), Identity()
    asked = Network(ec2, identity)  # type: ignore[arg-type]
    for region in ("eu-west-1", "eu-west-1", "eu-west-2"):
        await asked.check_subnets(EnvironmentKey("aws", "100000000001", region, "demo"), ["subnet-a"])
    assert [(service, region) for service, region, _ in ec2.made] == [("ec2", "eu-west-1"), ("ec2", "eu-west-2")]


async def test_credentials_that_end_soon_are_replaced() -> None:
    ec2 = Ec2()

    async def identity(key: EnvironmentKey) -> Credentials:
        return Credentials("key", "secret", "token", datetime.now(UTC) + timedelta(minutes=4))

    asked = Network(ec2, identity)  # type: ignore[arg-type]
    for _ in range(2):
        await asked.check_subnets(KEY, ["subnet-a"])
    assert len(ec2.made) == 2


async def test_inbound_rules_of_a_group_and_its_prefix_lists() -> None:
    found = await network().ingress(KEY, ["sg-office", "sg-gone"])
    assert found.missing == ("sg-gone",)
    for client, let_in in (("192.0.2.1", True), ("198.51.100.1", True), ("203.0.113.1", False)):
        assert found.admits(client, 8444) is let_in, client

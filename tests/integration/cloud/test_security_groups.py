"""Security groups of the real embedded cloud: their rules are read as our service's own role, again and again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from aerodrome.cli import account
from aerodrome.domain.environment import Environment, EnvironmentKey
from aerodrome.server.security_groups import SecurityGroups
from aerodrome.store.database import Pool
from aerodrome.store.ingress import IngressStore
from support.world import environment

from .conftest import ACCOUNT, RunningCloud
from .test_network import network_of

REGION = "eu-west-1"
KEY = EnvironmentKey("aws", ACCOUNT, REGION, "demo")


def asking_for(*groups: str) -> Environment:
    return replace(environment(), desired={"NetworkConfiguration": {"SecurityGroupIds": list(groups)}})


def default_group(ec2: Any) -> str:
    (group,) = (each for each in ec2.describe_security_groups()["SecurityGroups"] if each["GroupName"] == "default")
    return str(group["GroupId"])


@dataclass
class Connection:
    """The command line's, as far as the network goes."""

    cloud: RunningCloud
    region: str = REGION

    def client(self, service: str) -> Any:
        return self.cloud.client(service, region=self.region)


async def test_the_command_lines_network_lets_this_machine_in_and_nobody_else(shared_cloud: RunningCloud) -> None:
    connection: Any = Connection(shared_cloud)
    given = account.network(connection)
    assert account.network(connection) == given, "made once"
    network = network_of(shared_cloud)
    await network.check_subnets(KEY, given["SubnetIds"])
    found = await network.ingress(KEY, given["SecurityGroupIds"])
    assert found.missing == ()
    assert found.admits("127.0.0.1", 8444)
    assert found.admits("::1", 8444)
    assert not found.admits("10.0.0.1", 8444)


async def test_the_default_group_of_the_embedded_cloud_has_no_inbound_rule(shared_cloud: RunningCloud) -> None:
    """AWS's lets its members in."""
    group = default_group(shared_cloud.client("ec2", region=REGION))
    assert (await network_of(shared_cloud).ingress(KEY, [group])).rules == ()


async def test_rules_of_every_kind_are_read(shared_cloud: RunningCloud) -> None:
    ec2 = shared_cloud.client("ec2", region=REGION)
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    own = default_group(ec2)
    group = ec2.create_security_group(GroupName="kinds", Description="of rules", VpcId=vpc)["GroupId"]
    https = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443}
    ec2.authorize_security_group_ingress(
        GroupId=group,
        IpPermissions=[
            {**https, "IpRanges": [{"CidrIp": "127.0.0.7/32"}]},
            {**https, "Ipv6Ranges": [{"CidrIpv6": "2001:db8::/32"}]},
            {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": own}]},
            {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
        ],
    )
    network = network_of(shared_cloud)
    found = await network.ingress(KEY, [group, "sg-0123456789abcdef0"])
    assert found.missing == ("sg-0123456789abcdef0",)
    assert found.admits("127.0.0.7", 8444)
    assert found.admits("2001:db8::1", 8444)
    assert not found.admits("127.0.0.8", 8444), "neither the rule of SSH nor the group that isn't the environment's"
    assert (await network.ingress(KEY, [group, own])).admits("127.0.0.8", 8444), "a member is on this machine"
    ec2.revoke_security_group_ingress(
        GroupId=group, IpPermissions=[{**https, "IpRanges": [{"CidrIp": "127.0.0.7/32"}]}]
    )
    assert not (await network.ingress(KEY, [group])).admits("127.0.0.7", 8444)


async def test_rules_outlive_the_control_plane_while_ec2_is_away(cloud: RunningCloud, pool: Pool) -> None:
    connection: Any = Connection(cloud, "us-east-1")
    (group,) = account.network(connection)["SecurityGroupIds"]
    asked = replace(asking_for(group), key=replace(KEY, region="us-east-1"))
    store = IngressStore(pool)
    first = SecurityGroups(network_of(cloud), store, port=8444, interval=0.0)
    assert await first.ensure(asked) == ""
    cloud.kill()
    second = SecurityGroups(network_of(cloud), store, port=8444, interval=0.0)
    assert not second.admits(asked.id, "127.0.0.1"), "nothing is known yet: nobody gets in"
    assert await second.ensure(asked) == ""
    assert second.admits(asked.id, "127.0.0.1")
    assert not second.admits(asked.id, "192.0.2.1")
    await second.close()
    await second.drop(asked.id)
    assert await store.all() == {}

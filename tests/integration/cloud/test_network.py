"""PENDING with the real embedded cloud: its IAM, its EC2, and the reconciler with everything else faked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from aerodrome.aws.clients import AwsClients
from aerodrome.aws.network import Network
from aerodrome.domain.endpoints import endpoint_services
from aerodrome.domain.environment import Environment, EnvironmentKey, Status
from aerodrome.errors import Permanent
from aerodrome.server.world import CustomerEndpoints
from aerodrome.store.database import Pool
from aerodrome.store.environments import EnvironmentStore
from aerodrome.store.vault import Vault
from support.reconciling import control_plane, settle, status
from support.world import SECRETS, World, environment

from .conftest import ACCOUNT, RunningCloud


def network_of(cloud: RunningCloud) -> Network:
    async def identity(key: EnvironmentKey) -> Any:
        return await cloud.socket.assume_service_role(key.account)

    return Network(AwsClients({"": cloud.url}), identity)


def subnets_of(ec2: Any, count: int = 2) -> tuple[str, list[str]]:
    """The embedded cloud's default VPC and some of its subnets."""
    found = ec2.describe_subnets()["Subnets"][:count]
    return str(found[0]["VpcId"]), [subnet["SubnetId"] for subnet in found]


async def test_an_environment_is_pending_until_its_endpoints_are_made(shared_cloud: RunningCloud, pool: Pool) -> None:
    ec2 = shared_cloud.client("ec2", region="eu-west-1")
    vpc, subnets = subnets_of(ec2)
    desired = {
        **environment().desired,
        "EndpointManagement": "CUSTOMER",
        "WebserverAccessMode": "PRIVATE_ONLY",
        "NetworkConfiguration": {"SubnetIds": subnets, "SecurityGroupIds": ["sg-00000001"]},
    }
    asked: Environment = replace(environment(), desired=desired)
    store, world = EnvironmentStore(pool, Vault(b"k" * 32)), World()
    world.endpoints = CustomerEndpoints(network_of(shared_cloud))
    await store.insert(asked, "127.83.1.1", SECRETS)
    for _ in range(12):
        await control_plane(store, world).reconcile(asked.id)
    assert await status(store, asked.id) is Status.PENDING
    for number, service in enumerate(endpoint_services(asked.id, asked.key, desired).values()):
        given = {"VpcEndpointType": "Interface", "VpcId": vpc, "ServiceName": service}
        ec2.create_vpc_endpoint(**given, SubnetIds=subnets[:1])
        await control_plane(store, world).reconcile(asked.id)
        assert await status(store, asked.id) is Status.PENDING, f"endpoint {number} is in one subnet of two"
        ec2.create_vpc_endpoint(**given, SubnetIds=subnets[1:])
    await settle(control_plane(store, world), asked.id)
    assert await status(store, asked.id) is Status.AVAILABLE


async def test_the_service_linked_role_may_look_and_nothing_else(shared_cloud: RunningCloud) -> None:
    found = await shared_cloud.socket.assume_service_role(ACCOUNT)
    keys = (found.access_key_id, found.secret_access_key, found.session_token)
    name = "AWSServiceRoleForAmazonMWAA"
    arn = shared_cloud.client("sts", *keys).get_caller_identity()["Arn"]
    assert arn.startswith(f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/")
    role = shared_cloud.client("iam").get_role(RoleName=name)["Role"]
    assert role["Arn"] == f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/airflow.amazonaws.com/{name}"
    assert shared_cloud.client("ec2", *keys).describe_vpc_endpoints()["VpcEndpoints"] is not None
    for refused in (
        lambda: shared_cloud.client("ec2", *keys).create_vpc(CidrBlock="10.0.0.0/16"),
        lambda: shared_cloud.client("s3", *keys).list_buckets(),
        lambda: shared_cloud.client("iam", *keys).list_users(),
    ):
        with pytest.raises(Exception, match=r"not authorized|AccessDenied|UnauthorizedOperation"):
            refused()


async def test_a_role_that_somebody_removed_is_made_again(cloud: RunningCloud) -> None:
    assert not await cloud.socket.has_service_role(ACCOUNT)
    await cloud.socket.assume_service_role(ACCOUNT)
    assert await cloud.socket.has_service_role(ACCOUNT)
    assert not await cloud.socket.has_service_role("200000000002")
    iam = cloud.client("iam")
    iam.delete_service_linked_role(RoleName="AWSServiceRoleForAmazonMWAA")
    assert not await cloud.socket.has_service_role(ACCOUNT)
    found = await cloud.socket.assume_service_role(ACCOUNT)
    cloud.kill()
    cloud.start()
    keys = (found.access_key_id, found.secret_access_key, found.session_token)
    assert cloud.client("ec2", *keys).describe_subnets()["Subnets"], "role and session outlive a kill"


async def test_what_is_wrong_with_subnets_is_told(shared_cloud: RunningCloud) -> None:
    ec2, key = shared_cloud.client("ec2", region="eu-west-1"), EnvironmentKey("aws", ACCOUNT, "eu-west-1", "demo")
    _, subnets = subnets_of(ec2)
    network = network_of(shared_cloud)
    await network.check_subnets(key, subnets)
    with pytest.raises(Permanent, match=r"subnet-0123456789abcdef0.* does not exist in eu-west-1"):
        await network.check_subnets(key, [subnets[0], "subnet-0123456789abcdef0"])
    other = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    far = ec2.create_subnet(VpcId=other, CidrBlock="10.1.0.0/24", AvailabilityZone="eu-west-1b")["Subnet"]["SubnetId"]
    with pytest.raises(Permanent, match="different VPCs"):
        await network.check_subnets(key, [subnets[0], far])

"""CreateEnvironment: what it asks of role, bucket and place, before anything is made (mwaa-spec 1.5, 1.6)."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest

from aerodrome.errors import Permanent, Temporary
from support.asgi import ask
from support.mwaa import ACCOUNT, ALL, GIVEN, ROLE, House
from support.signing import signed

SESSION = boto3.Session()
PLACES = [
    (partition, region)
    for partition in SESSION.get_available_partitions()
    for region in SESSION.get_available_regions("s3", partition_name=partition)
]


async def refused(house: House, key: str = "admin", **members: Any) -> str:
    """The message of a refusal that changed nothing."""
    before = await house.store.all()
    refusal = await house.refused("create_environment", key=key, Name="demo", **{**GIVEN, **members})
    assert refusal["Error"]["Code"] in ("ValidationException", "AccessDeniedException")
    assert (await house.store.all(), house.poked) == (before, [])
    return str(refusal["Error"]["Message"])


async def test_a_role_that_trusts_somebody_else_is_refused(house: House) -> None:
    house.account.untrusting = {ROLE}
    assert f"ExecutionRoleArn: The role {ROLE} doesn't trust" in await refused(house)


async def test_a_role_of_another_account_or_partition_is_refused(house: House) -> None:
    elsewhere = ROLE.replace(ACCOUNT, "200000000002")
    assert f"iam:PassRole on resource: {elsewhere}" in await refused(house, ExecutionRoleArn=elsewhere)
    china = ROLE.replace("arn:aws", "arn:aws-cn")
    assert f"ExecutionRoleArn: There is no role {china}" in await refused(house, ExecutionRoleArn=china)


async def test_a_dag_folder_without_anything_in_it_is_accepted(house: House) -> None:
    """As on MWAA, whose quick start makes the bucket and the environment first and uploads DAGs later."""
    await house.create("empty", DagS3Path="dags")
    await house.create("root", DagS3Path="")


async def test_rules_beyond_the_model_are_held_in_the_call(house: House) -> None:
    for member, value in {
        "AirflowVersion": "1.10.12",
        "EnvironmentClass": "mw1.tiny",
        "MinWorkers": 11,
        "PluginsS3Path": "nowhere.zip",
        "RequirementsS3ObjectVersion": "v",
        "AirflowConfigurationOptions": {"core.executor": "LocalExecutor"},
        "NetworkConfiguration": {"SubnetIds": ["subnet-1"] * 2, "SecurityGroupIds": ["sg-1"]},
        "Teams": {"alpha": {"SourceBucketArn": "arn:aws:s3:::good", "DagS3Path": "dags/alpha"}},
        "Tags": {"aws:x": "y"},
    }.items():
        assert f"{member}: " in await refused(house, **{"MaxWorkers": 10, member: value})


async def test_subnets_are_looked_at_where_their_owner_makes_the_endpoints(house: House) -> None:
    house.subnets.wrong = {"subnet-2": Permanent("The subnet ID 'subnet-2' does not exist in eu-west-1; name others.")}
    refusal = await refused(house, EndpointManagement="CUSTOMER")
    assert refusal.startswith("Invalid request provided: NetworkConfiguration: SubnetIds: The subnet ID 'subnet-2'")
    house.subnets.asked.clear()
    await house.create()
    assert house.subnets.asked == []


async def test_an_ec2_that_is_away_refuses_no_subnet(house: House) -> None:
    house.subnets.wrong = {"subnet-1": Temporary("EC2 can't be asked")}
    refusal = await house.refused("create_environment", Name="demo", **GIVEN, EndpointManagement="CUSTOMER")
    assert refusal["Error"]["Code"] == "ServiceUnavailableException"
    assert await house.store.all() == []


@pytest.mark.parametrize(
    ("mode", "members"),
    [
        ("PRIVATE_ONLY", {"DatabaseVpcEndpointService", "WebserverVpcEndpointService"}),
        ("PUBLIC_AND_PRIVATE", {"DatabaseVpcEndpointService", "WebserverVpcEndpointService"}),
        ("PUBLIC_ONLY", {"DatabaseVpcEndpointService"}),
    ],
)
async def test_the_services_to_make_endpoints_for_are_shown(house: House, mode: str, members: set[str]) -> None:
    """Each environment has its own, and keeps them; whose endpoints nobody makes has none."""
    seen = set[str]()
    for region in ("eu-west-1", "eu-west-2"):
        await house.create(region=region, EndpointManagement="CUSTOMER", WebserverAccessMode=mode)
        shown = (await house.call("get_environment", region=region, Name="demo"))["Environment"]
        services = {name: value for name, value in shown.items() if name.endswith("VpcEndpointService")}
        assert services.keys() == members
        assert all(value.startswith(f"com.amazonaws.vpce.{region}.vpce-svc-") for value in services.values())
        seen |= set(services.values())
    assert len(seen) == 2 * len(members)
    await house.create("other", WebserverAccessMode=mode)
    shown = (await house.call("get_environment", Name="other"))["Environment"]
    assert not [name for name in shown if name.endswith("VpcEndpointService")]


async def test_every_region_of_every_partition_is_served_with_its_own_environments(house: House) -> None:
    """The same name, once in each."""
    assert {"aws", "aws-cn", "aws-us-gov"} <= {partition for partition, _ in PLACES}
    path = b"/environments/demo"
    for partition, region in PLACES:
        role = ROLE.replace("arn:aws", f"arn:{partition}")
        house.account.policies[partition], house.account.places[partition] = [ALL], (partition, ACCOUNT)
        house.account.roles.add(role)
        body = json.dumps({**GIVEN, "ExecutionRoleArn": role, "SourceBucketArn": f"arn:{partition}:s3:::good"}).encode()
        headers = signed("PUT", path, b"", body, key=partition, region=region)
        made = await ask(house.door, "PUT", path, b"", headers, body)
        arn = f"arn:{partition}:airflow:{region}:{ACCOUNT}:environment/demo"
        assert json.loads(made.body) == {"Arn": arn}
        tags = f"/tags/{arn}".encode()
        listed = await ask(house.door, "GET", tags, b"", signed("GET", tags, key=partition, region=region))
        assert json.loads(listed.body) == {"Tags": {}}
    assert len({row.key for row in await house.store.all()}) == len(PLACES)


async def test_the_region_says_the_partition_of_caller_policies_and_environment(house: House) -> None:
    """An account of the embedded cloud has one IAM for all: what it keeps says `aws`."""
    resource = "arn:aws:airflow:cn-north-1:100000000001:environment/*"
    house.account.policies["ada"] = [
        {"Effect": "Allow", "Action": "airflow:*", "Resource": resource},
        {"Effect": "Allow", "Action": "iam:PassRole", "Resource": ROLE},
    ]
    role = ROLE.replace("arn:aws", "arn:aws-cn")
    house.account.roles.add(role)
    given = {**GIVEN, "ExecutionRoleArn": role}
    made = await house.call("create_environment", key="ada", region="cn-north-1", Name="demo", **given)
    assert made["Arn"] == "arn:aws-cn:airflow:cn-north-1:100000000001:environment/demo"
    shown = await house.call("get_environment", key="ada", region="cn-north-1", Name="demo")
    assert shown["Environment"]["Arn"] == made["Arn"]
    assert await house.call("list_tags_for_resource", key="ada", region="cn-north-1", ResourceArn=made["Arn"])
    refusal = await house.refused("get_environment", key="ada", region="cn-northwest-1", Name="demo")
    assert "arn:aws-cn:iam::100000000001:user/ada is not authorized to perform" in refusal["Error"]["Message"]
    refusal = await house.refused("create_environment", region="cn-north-1", Name="other", **GIVEN)
    assert f"ExecutionRoleArn: There is no role {ROLE} in cn-north-1" in refusal["Error"]["Message"]


@pytest.mark.parametrize("partition", ["aws-cn", "aws-us-gov"])
async def test_an_environment_shows_arns_of_its_partition(house: House, partition: str) -> None:
    role = ROLE.replace("arn:aws", f"arn:{partition}")
    house.account.policies["there"], house.account.places["there"] = [ALL], (partition, ACCOUNT)
    house.account.roles.add(role)
    region = SESSION.get_available_regions("s3", partition_name=partition)[0]
    given = {**GIVEN, "ExecutionRoleArn": role, "SourceBucketArn": f"arn:{partition}:s3:::good"}
    await house.call("create_environment", key="there", region=region, Name="demo", **given)
    shown = (await house.call("get_environment", key="there", region=region, Name="demo"))["Environment"]
    for member in ("Arn", "ExecutionRoleArn", "SourceBucketArn", "ServiceRoleArn"):
        assert shown[member].startswith(f"arn:{partition}:"), member

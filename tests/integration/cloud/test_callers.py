"""`aws iam` and `aws sts` of the real embedded cloud, as the MWAA API sees them: how permissions come and go."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from aerodrome.aws.cloud import CloudSocket
from aerodrome.domain.policy import decide
from aerodrome.domain.principal import PrincipalReference
from aerodrome.store.database import Pool
from support.identities import policy
from support.mwaa import open_house

from .conftest import ACCOUNT, RunningCloud

LIST, GET = "airflow:ListEnvironments", "airflow:GetEnvironment"
MAY, MAY_NOT, LESS = policy(LIST), policy(LIST, effect="Deny"), policy(GET)


@dataclass
class Key:
    id: str
    secret: str
    token: str | None = None


def of(answer: dict[str, Any]) -> Key:
    """From what STS answers."""
    made = answer["Credentials"]
    return Key(made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"])


def trust(principal: str, **condition: Any) -> str:
    statement = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole", **condition}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


class Stage:
    """A user `name` with a key, in a group of that name; a managed policy and a role of that name, which trusts it."""

    def __init__(self, cloud: RunningCloud, url: str, socket: CloudSocket, name: str) -> None:
        self.cloud, self.socket, self.name, self._url = cloud, socket, name, url
        self.iam = iam = cloud.client("iam")
        self.user_arn = iam.create_user(UserName=name)["User"]["Arn"]
        made = iam.create_access_key(UserName=name)["AccessKey"]
        self.key = Key(made["AccessKeyId"], made["SecretAccessKey"])
        iam.create_group(GroupName=name)
        iam.add_user_to_group(UserName=name, GroupName=name)
        self.policy_arn = iam.create_policy(PolicyName=name, PolicyDocument=MAY)["Policy"]["Arn"]
        self.make_role()

    def make_role(self) -> None:
        made = self.iam.create_role(RoleName=self.name, AssumeRolePolicyDocument=trust(self.user_arn))
        self.role_arn = made["Role"]["Arn"]
        self.iam.put_user_policy(UserName=self.name, PolicyName="assume", PolicyDocument=policy("sts:*", resource="*"))

    def sts(self, key: Key | None = None) -> Any:
        key = key or self.key
        return self.cloud.client("sts", key.id, key.secret, key.token)

    def assume(self, **given: Any) -> Key:
        return of(self.sts().assume_role(RoleArn=self.role_arn, RoleSessionName="night", **given))

    async def may(self, key: Key | None = None) -> bool:
        """Whether ListEnvironments is answered, or refused for the policies' sake."""
        try:
            await self.call(key or self.key)
        except ClientError as error:
            if error.response["Error"]["Code"] != "AccessDeniedException" or LIST not in str(error):
                raise
            return False
        return True

    async def refusal(self, key: Key | None = None) -> str:
        with pytest.raises(ClientError) as refused:
            await self.call(key or self.key)
        return str(refused.value.response["Error"]["Code"])

    async def call(self, key: Key) -> None:
        client = boto3.client(
            "mwaa",
            endpoint_url=self._url,
            region_name="eu-west-1",
            aws_access_key_id=key.id,
            aws_secret_access_key=key.secret,
            aws_session_token=key.token,
            config=Config(inject_host_prefix=False, retries={"total_max_attempts": 1}),
        )
        await asyncio.to_thread(client.list_environments)

    async def reference(self, key: Key | None = None) -> PrincipalReference:
        key = key or self.key
        found = await self.socket.resolve(key.id, key.token)
        assert found is not None
        assert found.principal is not None
        assert found.principal.reference is not None
        return PrincipalReference.from_json(json.loads(json.dumps(found.principal.reference.to_json())))


@pytest.fixture
async def stage(shared_cloud: RunningCloud, pool: Pool, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """Asks the embedded cloud anew for every call."""
    socket = CloudSocket(shared_cloud.cloud.socket, cache_seconds=0)
    async with open_house(pool, source=socket) as house:
        yield Stage(shared_cloud, house.url, socket, f"u{abs(hash(request.node.name))}")


Change = Callable[[Any, str, str], Any]
WAYS: dict[str, tuple[Change, Change]] = {
    "inline": (
        lambda iam, name, _: iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=MAY),
        lambda iam, name, _: iam.delete_user_policy(UserName=name, PolicyName="p"),
    ),
    "managed": (
        lambda iam, name, arn: iam.attach_user_policy(UserName=name, PolicyArn=arn),
        lambda iam, name, arn: iam.detach_user_policy(UserName=name, PolicyArn=arn),
    ),
    "group inline": (
        lambda iam, name, _: iam.put_group_policy(GroupName=name, PolicyName="p", PolicyDocument=MAY),
        lambda iam, name, _: iam.delete_group_policy(GroupName=name, PolicyName="p"),
    ),
    "group managed": (
        lambda iam, name, arn: iam.attach_group_policy(GroupName=name, PolicyArn=arn),
        lambda iam, name, arn: iam.detach_group_policy(GroupName=name, PolicyArn=arn),
    ),
    "membership": (
        lambda iam, name, arn: iam.attach_group_policy(GroupName=name, PolicyArn=arn),
        lambda iam, name, _: iam.remove_user_from_group(GroupName=name, UserName=name),
    ),
    "explicit deny": (
        lambda iam, name, arn: iam.attach_user_policy(UserName=name, PolicyArn=arn),
        lambda iam, name, _: iam.put_group_policy(GroupName=name, PolicyName="d", PolicyDocument=MAY_NOT),
    ),
    "another version of the policy": (
        lambda iam, name, arn: iam.attach_user_policy(UserName=name, PolicyArn=arn),
        lambda iam, _, arn: iam.create_policy_version(PolicyArn=arn, PolicyDocument=LESS, SetAsDefault=True),
    ),
    "boundary": (
        lambda iam, name, _: iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=policy("airflow:*")),
        lambda iam, name, _: iam.put_user_permissions_boundary(
            UserName=name,
            PermissionsBoundary=iam.create_policy(PolicyName=f"{name}b", PolicyDocument=LESS)["Policy"]["Arn"],
        ),
    ),
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_users_permission_comes_and_goes(stage: Stage, way: str) -> None:
    give, take = WAYS[way]
    assert not await stage.may()
    give(stage.iam, stage.name, stage.policy_arn)
    assert await stage.may()
    session = of(stage.sts().get_session_token())
    assert await stage.may(session), "a session of the user may what the user may"
    reference = await stage.reference()
    take(stage.iam, stage.name, stage.policy_arn)
    assert not await stage.may()
    assert not await stage.may(session)
    standing = await stage.socket.principal_of(reference)
    assert standing is not None
    assert not decide(standing, LIST, "*").allowed


async def test_a_boundary_that_goes_limits_no_more(stage: Stage) -> None:
    stage.iam.attach_user_policy(UserName=stage.name, PolicyArn=stage.policy_arn)
    made = stage.iam.create_policy(PolicyName=f"{stage.name}b", PolicyDocument=LESS)["Policy"]["Arn"]
    stage.iam.put_user_permissions_boundary(UserName=stage.name, PermissionsBoundary=made)
    assert not await stage.may()
    stage.iam.delete_user_permissions_boundary(UserName=stage.name)
    assert await stage.may()


async def test_a_key_goes(stage: Stage) -> None:
    stage.iam.attach_user_policy(UserName=stage.name, PolicyArn=stage.policy_arn)
    reference = await stage.reference()
    assert await stage.may()
    assert await stage.socket.principal_of(reference) is not None
    stage.iam.update_access_key(UserName=stage.name, AccessKeyId=stage.key.id, Status="Inactive")
    assert await stage.refusal() == "UnrecognizedClientException"
    assert await stage.socket.principal_of(reference) is None
    stage.iam.update_access_key(UserName=stage.name, AccessKeyId=stage.key.id, Status="Active")
    assert await stage.may()
    assert await stage.socket.principal_of(reference) is not None
    stage.iam.delete_access_key(UserName=stage.name, AccessKeyId=stage.key.id)
    assert await stage.refusal() == "UnrecognizedClientException"
    assert await stage.socket.principal_of(reference) is None


async def test_a_user_goes_with_key_and_session_and_comes_back_as_another(stage: Stage) -> None:
    iam, name = stage.iam, stage.name
    iam.attach_user_policy(UserName=name, PolicyArn=stage.policy_arn)
    session = of(stage.sts().get_session_token())
    user, temporary = await stage.reference(), await stage.reference(session)
    iam.delete_access_key(UserName=name, AccessKeyId=stage.key.id)
    iam.detach_user_policy(UserName=name, PolicyArn=stage.policy_arn)
    iam.delete_user_policy(UserName=name, PolicyName="assume")
    iam.remove_user_from_group(GroupName=name, UserName=name)
    iam.delete_user(UserName=name)
    for again in (False, True):
        if again:
            iam.create_user(UserName=name)
            iam.attach_user_policy(UserName=name, PolicyArn=stage.policy_arn)
        assert await stage.refusal() == "UnrecognizedClientException"
        assert await stage.refusal(session) == "UnrecognizedClientException"
        assert await stage.socket.principal_of(user) is None
        assert await stage.socket.principal_of(temporary) is None


async def test_a_roles_session(stage: Stage) -> None:
    iam, name = stage.iam, stage.name
    key = stage.assume()
    assert not await stage.may(key)
    iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=MAY)
    assert await stage.may(key)
    assert not await stage.may(), "the user is not the role"
    iam.delete_role_policy(RoleName=name, PolicyName="p")
    assert not await stage.may(key)
    iam.attach_role_policy(RoleName=name, PolicyArn=stage.policy_arn)
    assert await stage.may(key)
    less = iam.create_policy(PolicyName=f"{name}b", PolicyDocument=LESS)["Policy"]["Arn"]
    iam.put_role_permissions_boundary(RoleName=name, PermissionsBoundary=less)
    assert not await stage.may(key)
    iam.delete_role_permissions_boundary(RoleName=name)
    assert await stage.may(key)
    reference = await stage.reference(key)
    assert (await stage.socket.principal_of(reference)) is not None
    assert reference.issuer_arn == stage.role_arn
    iam.detach_role_policy(RoleName=name, PolicyArn=stage.policy_arn)
    iam.delete_role(RoleName=name)
    for again in (False, True):
        if again:
            stage.make_role()
            iam.attach_role_policy(RoleName=name, PolicyArn=stage.policy_arn)
        assert await stage.refusal(key) == "UnrecognizedClientException"
        assert await stage.socket.principal_of(reference) is None
    assert await stage.may(stage.assume())


async def test_session_policies_limit(stage: Stage) -> None:
    stage.iam.put_role_policy(RoleName=stage.name, PolicyName="p", PolicyDocument=policy("airflow:*"))
    assert await stage.may(stage.assume(Policy=MAY))
    assert await stage.may(stage.assume(PolicyArns=[{"arn": stage.policy_arn}]))
    limited = stage.assume(Policy=LESS)
    assert not await stage.may(limited)
    standing = await stage.socket.principal_of(await stage.reference(limited))
    assert standing is not None
    assert not decide(standing, LIST, "*").allowed, "also when it is asked again later"
    assert decide(standing, GET, "*").allowed


async def test_an_external_id_and_how_long(stage: Stage) -> None:
    stage.iam.update_assume_role_policy(
        RoleName=stage.name,
        PolicyDocument=trust(stage.user_arn, Condition={"StringEquals": {"sts:ExternalId": "word"}}),
    )
    for given in ({}, {"ExternalId": "other"}):
        with pytest.raises(ClientError, match="AccessDenied"):
            stage.assume(**given)
    began = time.time()
    key = stage.assume(ExternalId="word", DurationSeconds=900)
    found = await stage.socket.resolve(key.id, key.token)
    assert found is not None
    assert found.expires_at is not None
    assert 890 < found.expires_at.timestamp() - began < 910


async def test_a_role_that_trusts_others_is_not_to_be_had(stage: Stage) -> None:
    other = trust(f"arn:aws:iam::{ACCOUNT}:user/admin")
    stage.iam.update_assume_role_policy(RoleName=stage.name, PolicyDocument=other)
    with pytest.raises(ClientError, match="AccessDenied"):
        stage.assume()


async def test_a_token_belongs_to_its_key(stage: Stage) -> None:
    stage.iam.attach_role_policy(RoleName=stage.name, PolicyArn=stage.policy_arn)
    one, two = stage.assume(), stage.assume()
    for token in (None, two.token, "x"):
        assert await stage.refusal(Key(one.id, one.secret, token)) == "UnrecognizedClientException"
    assert await stage.refusal(Key(stage.key.id, stage.key.secret, one.token)) == "UnrecognizedClientException"


async def test_what_is_remembered_is_forgotten_within_two_seconds(shared_cloud: RunningCloud, pool: Pool) -> None:
    """As the product has it: the promise of docs/explanation/security.md."""
    socket = CloudSocket(shared_cloud.cloud.socket)
    async with open_house(pool, source=socket) as house:
        stage = Stage(shared_cloud, house.url, socket, "remembered")
        stage.iam.attach_user_policy(UserName=stage.name, PolicyArn=stage.policy_arn)
        reference = await stage.reference()
        assert await stage.may()
        assert await socket.principal_of(reference) is not None
        stage.iam.delete_access_key(UserName=stage.name, AccessKeyId=stage.key.id)
        await asyncio.sleep(2.05)
        assert await stage.refusal() == "UnrecognizedClientException"
        assert await socket.principal_of(reference) is None

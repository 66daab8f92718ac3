"""Who gets in, who doesn't, and what the private socket says about them."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from botocore import UNSIGNED
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from aerodrome.aws.cloud import CloudSocket
from aerodrome.errors import Permanent, Temporary

from .conftest import ACCOUNT, ADMIN_KEY, ADMIN_SECRET, TRUST, RunningCloud, fetch

CALLS: dict[str, Callable[[Any], Any]] = {
    "s3": lambda client: client.list_buckets(),
    "sts": lambda client: client.get_caller_identity(),
    "iam": lambda client: client.list_users(),
    "secretsmanager": lambda client: client.list_secrets(),
    "sqs": lambda client: client.list_queues(),
    "dynamodb": lambda client: client.list_tables(),
}


@pytest.mark.parametrize("service", CALLS)
@pytest.mark.parametrize(
    ("key", "secret"),
    [
        (ADMIN_KEY, "wrong"),
        ("AKIANOBODYKNOWSTHIS0", ADMIN_SECRET),
        ("test", "test"),
        ("test", ADMIN_SECRET),
        (ACCOUNT, "test"),
        ("000000000000", "test"),
    ],
)
def test_wrong_keys_are_refused(shared_cloud: RunningCloud, service: str, key: str, secret: str) -> None:
    with pytest.raises(ClientError) as refused:
        CALLS[service](shared_cloud.client(service, key, secret))
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 403)
    expected = "SignatureDoesNotMatch|InvalidSignature" if key == ADMIN_KEY else "Invalid|UnrecognizedClient"
    assert any(code in refused.value.response["Error"]["Code"] for code in expected.split("|"))


@pytest.mark.parametrize("service", CALLS)
def test_the_right_key_is_not(shared_cloud: RunningCloud, service: str) -> None:
    assert CALLS[service](shared_cloud.client(service))["ResponseMetadata"]["HTTPStatusCode"] == 200


@pytest.mark.parametrize("service", CALLS)
def test_unsigned_requests_are_refused(shared_cloud: RunningCloud, service: str) -> None:
    with pytest.raises(ClientError, match=r"AccessDenied|MissingAuthenticationToken|UnrecognizedClient"):
        CALLS[service](shared_cloud.client(service, signature_version=UNSIGNED))


def test_a_public_bucket_is_not_public(shared_cloud: RunningCloud) -> None:
    s3 = shared_cloud.client("s3")
    s3.create_bucket(Bucket="public")
    s3.delete_public_access_block(Bucket="public")
    everyone = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::public/*"}
    s3.put_bucket_policy(Bucket="public", Policy=json.dumps({"Version": "2012-10-17", "Statement": [everyone]}))
    s3.put_object(Bucket="public", Key="k", Body=b"x")
    assert fetch(f"{shared_cloud.url}/public/k")[0] == 403


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"])
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/health",
        "/_ministack/health",
        "/_ministack/reset",
        "/_ministack/config",
        "/_ministack/sqs/messages",
        "/_ministack/rds/iam-auth",
        "/_ministack/eks-auth/x",
        "/_localstack/health",
        "/_aws/execute-api/x",
        "/oauth2/token",
        "/login",
        "/pool/.well-known/jwks.json",
        "/latest/meta-data/",
        "/v2/",
        "/WriteGetObjectResponse",
    ],
)
def test_no_side_door(shared_cloud: RunningCloud, method: str, path: str) -> None:
    assert fetch(f"{shared_cloud.url}{path}", method)[0] in (400, 403)


@pytest.mark.parametrize("path", ["/_ministack/reset", "/_ministack/config", "/_ministack/sqs/messages"])
def test_not_even_for_the_administrator(shared_cloud: RunningCloud, path: str) -> None:
    """A presigned URL of S3 signs any path."""
    s3 = shared_cloud.client("s3", signature_version="s3v4")
    bucket, _, key = path.lstrip("/").partition("/")
    for operation, method in (("put_object", "PUT"), ("get_object", "GET"), ("head_object", "HEAD")):
        url = s3.generate_presigned_url(operation, Params={"Bucket": bucket, "Key": key})
        assert fetch(url, method)[0] == 403


def test_a_changed_body_is_refused(shared_cloud: RunningCloud) -> None:
    s3 = shared_cloud.client("s3")
    s3.create_bucket(Bucket="bodies")

    def change(request: Any, **_: Any) -> None:
        request.body = b"changed!"

    s3.meta.events.register("before-send.s3.PutObject", change)
    with pytest.raises(ClientError, match="XAmzContentSHA256Mismatch"):
        s3.put_object(Bucket="bodies", Key="k", Body=b"original")


def test_policies_are_enforced(shared_cloud: RunningCloud) -> None:
    shared_cloud.client("s3").create_bucket(Bucket="narrow")
    shared_cloud.client("s3").put_object(Bucket="narrow", Key="k", Body=b"x")
    allowed = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::narrow/*"}
    s3 = shared_cloud.client("s3", *shared_cloud.user("narrow", allowed))
    assert s3.get_object(Bucket="narrow", Key="k")["Body"].read() == b"x"
    for call in (
        lambda: s3.put_object(Bucket="narrow", Key="k", Body=b"y"),
        lambda: s3.delete_object(Bucket="narrow", Key="k"),
        lambda: s3.list_buckets(),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            call()


@pytest.mark.parametrize(
    ("query", "body", "headers"),
    [
        ("Action=CreateAccessKey&UserName=modest", "UserName=boss", {}),
        ("Action=GetUser&UserName=modest", "Action=CreateAccessKey&UserName=boss", {}),
        ("UserName=modest", "Action=CreateAccessKey&UserName=boss&Version=2010-05-08", {}),
        ("", "Action=GetUser&Action=CreateAccessKey&UserName=boss", {}),
        ("", "Action=CreateAccessKey&UserName=boss", {"Content-Type": "text/plain"}),
        ("", "Action=CreateAccessKey&UserName=boss", {"X-Amz-Target": "IAM.GetUser"}),
    ],
)
def test_what_is_authorised_is_what_is_done(
    shared_cloud: RunningCloud, query: str, body: str, headers: dict[str, str]
) -> None:
    """A request must not be read in two ways: once for the policies, once for the deed."""
    iam = shared_cloud.client("iam")
    own = {
        "Effect": "Allow",
        "Action": ["iam:CreateAccessKey", "iam:GetUser"],
        "Resource": f"arn:aws:iam::{ACCOUNT}:user/modest",
    }
    if "modest" not in [user["UserName"] for user in iam.list_users()["Users"]]:
        iam.create_user(UserName="boss")
        _modest.append(shared_cloud.user("modest", own))
    key, secret = _modest[0]
    given = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8", **headers}
    request = AWSRequest("POST", f"{shared_cloud.url}/?{query}", data=body, headers=given)
    SigV4Auth(Credentials(key, secret), "iam", "us-east-1").add_auth(request)
    answer = httpx.post(str(request.url), content=body, headers=dict(request.headers), trust_env=False)
    assert answer.status_code in (400, 403)
    assert iam.list_access_keys(UserName="boss")["AccessKeyMetadata"] == []


_modest: list[tuple[str, str]] = []


def test_services_that_run_code_are_not_there(shared_cloud: RunningCloud) -> None:
    with pytest.raises(ClientError) as refused:
        shared_cloud.client("lambda").list_functions()
    assert (
        "Unsupported service" in str(refused.value)
        or refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    )


async def test_resolve_a_user(shared_cloud: RunningCloud) -> None:
    iam, cloud = shared_cloud.client("iam"), shared_cloud.socket
    statement = {"Effect": "Allow", "Action": "airflow:*", "Resource": "*"}
    key_id, secret = shared_cloud.user("resolved", statement)
    managed = iam.create_policy(
        PolicyName="managed",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [{"Sid": "managed"} | statement]}),
    )["Policy"]["Arn"]
    iam.attach_user_policy(UserName="resolved", PolicyArn=managed)
    iam.create_group(GroupName="people")
    iam.attach_group_policy(GroupName="people", PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
    iam.add_user_to_group(GroupName="people", UserName="resolved")
    iam.put_user_permissions_boundary(UserName="resolved", PermissionsBoundary=managed)
    iam.tag_user(UserName="resolved", Tags=[{"Key": "team", "Value": "data"}])

    found = await cloud.resolve(key_id, None)

    assert found is not None
    assert found.principal is not None
    assert (found.secret, found.active, found.expires_at) == (secret, True, None)
    assert found.principal.arn == f"arn:aws:iam::{ACCOUNT}:user/resolved"
    assert (found.principal.account, found.principal.partition) == (ACCOUNT, "aws")
    assert found.principal.entity_arn == found.principal.arn
    assert found.principal.user_id.startswith("AIDA")
    assert found.principal.tags == {"team": "data"}
    sids = [policy["Statement"][0].get("Sid") for policy in found.principal.policies]
    actions = [policy["Statement"][0]["Action"] for policy in found.principal.policies]
    assert sids == [None, "managed", None]
    assert actions == ["airflow:*", "airflow:*", "*"]
    assert found.principal.boundary is not None
    assert found.principal.boundary["Statement"][0]["Sid"] == "managed"
    assert found.principal.session_policies is None
    assert secret not in repr(found)


async def test_resolve_knows_no_strangers(shared_cloud: RunningCloud) -> None:
    cloud = shared_cloud.socket
    assert await cloud.resolve("AKIANOBODYKNOWSTHIS0", None) is None
    assert await cloud.resolve("test", None) is None
    assert await cloud.resolve(ACCOUNT, None) is None
    assert await cloud.resolve(ADMIN_KEY, "a token that it hasn't got") is None
    assert await cloud.resolve("", None) is None


async def test_a_revoked_key_is_revoked(shared_cloud: RunningCloud) -> None:
    iam = shared_cloud.client("iam")
    key_id, secret = shared_cloud.user("leaver")
    cached = CloudSocket(shared_cloud.cloud.socket, cache_seconds=0.2)
    first = await cached.resolve(key_id, None)
    assert first is not None
    assert first.active
    iam.update_access_key(UserName="leaver", AccessKeyId=key_id, Status="Inactive")
    with pytest.raises(ClientError):
        shared_cloud.client("sts", key_id, secret).get_caller_identity()
    inactive = await shared_cloud.socket.resolve(key_id, None)
    assert inactive is not None
    assert not inactive.active
    iam.delete_access_key(UserName="leaver", AccessKeyId=key_id)
    assert await shared_cloud.socket.resolve(key_id, None) is None


async def test_assume_role(shared_cloud: RunningCloud) -> None:
    iam, cloud = shared_cloud.client("iam"), shared_cloud.socket
    made_role = iam.create_role(RoleName="execution", Path="/tasks/", AssumeRolePolicyDocument=json.dumps(TRUST))
    role = made_role["Role"]["Arn"]
    allowed = {"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}
    iam.put_role_policy(
        RoleName="execution",
        PolicyName="p",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allowed]}),
    )
    made = await cloud.assume_role(role, "task-7")
    client = shared_cloud.client("s3", made.access_key_id, made.secret_access_key, made.session_token)
    assert client.list_buckets()["ResponseMetadata"]["HTTPStatusCode"] == 200
    with pytest.raises(ClientError, match="AccessDenied"):
        client.create_bucket(Bucket="not-allowed")
    for token in ("wrong", None):
        with pytest.raises(ClientError):
            shared_cloud.client("s3", made.access_key_id, made.secret_access_key, token).list_buckets()

    found = await cloud.resolve(made.access_key_id, made.session_token)
    assert found is not None
    assert found.principal is not None
    assert found.principal.arn == f"arn:aws:sts::{ACCOUNT}:assumed-role/execution/task-7"
    assert found.principal.entity_arn == role == f"arn:aws:iam::{ACCOUNT}:role/tasks/execution"
    assert found.principal.policies == ({"Version": "2012-10-17", "Statement": [allowed]},)
    assert found.expires_at == made.expires_at
    assert await cloud.resolve(made.access_key_id, "wrong") is None
    assert await cloud.resolve(made.access_key_id, None) is None


def trust(**changes: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{**TRUST["Statement"][0], **changes}]})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "document",
    [
        trust(Principal={"Service": "ec2.amazonaws.com"}),
        trust(Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:root"}),
        trust(Action="sts:TagSession"),
        trust(Effect="Deny"),
        trust(Condition={"StringEquals": {"aws:SourceAccount": "999999999999"}}),
        trust(Condition={"ArnLike": {"aws:SourceArn": "arn:aws:airflow:us-east-1:999999999999:environment/*"}}),
    ],
)
async def test_a_role_that_does_not_trust_us(
    shared_cloud: RunningCloud, document: str, request: pytest.FixtureRequest
) -> None:
    name = "distrust-" + str(abs(hash(request.node.name)))
    role = shared_cloud.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]
    source = f"arn:aws:airflow:us-east-1:{ACCOUNT}:environment/e"
    with pytest.raises(Permanent, match="doesn't trust"):
        await shared_cloud.socket.assume_role(role, "task", source_arn=source)


async def test_conditions_that_hold(shared_cloud: RunningCloud) -> None:
    source = f"arn:aws:airflow:us-east-1:{ACCOUNT}:environment/e"
    document = trust(
        Condition={"StringEquals": {"aws:SourceAccount": ACCOUNT}, "ArnLike": {"aws:SourceArn": source[:-1] + "*"}}
    )
    role = shared_cloud.client("iam").create_role(RoleName="conditions", AssumeRolePolicyDocument=document)["Role"][
        "Arn"
    ]
    assert await shared_cloud.socket.assume_role(role, "task", source_arn=source)
    with pytest.raises(Permanent, match="doesn't trust"):
        await shared_cloud.socket.assume_role(role, "task")


async def test_no_such_role(shared_cloud: RunningCloud) -> None:
    with pytest.raises(Permanent, match="no role"):
        await shared_cloud.socket.assume_role(f"arn:aws:iam::{ACCOUNT}:role/nobody", "task")
    with pytest.raises(Permanent, match="not the ARN"):
        await shared_cloud.socket.assume_role("nonsense", "task")


async def test_an_absent_cloud_is_temporary(stopped_cloud: RunningCloud) -> None:
    with pytest.raises(Temporary, match="doesn't answer"):
        await stopped_cloud.socket.ping()


def test_the_private_socket_is_private(shared_cloud: RunningCloud) -> None:
    assert shared_cloud.cloud.socket.stat().st_mode & 0o777 == 0o600
    assert shared_cloud.layout.cloud.stat().st_mode & 0o777 == 0o700
    assert shared_cloud.ask(verb="nonsense")["error"] == "Invalid"
    assert shared_cloud.ask(verb="resolve")["error"] == "Invalid"


def test_the_private_socket_checks_its_peer(stopped_cloud: RunningCloud) -> None:
    configuration = stopped_cloud.layout.run / "cloud.json"
    stopped_cloud.start()
    stopped_cloud.stop()
    content = json.loads(configuration.read_text())
    configuration.write_text(json.dumps({**content, "allowed_uids": [os.getuid() + 1]}))
    with pytest.raises((ValueError, AssertionError, ConnectionError)):
        stopped_cloud.start()  # asks for an administrator over the socket
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(stopped_cloud.cloud.socket))
        assert connection.recv(1) == b""

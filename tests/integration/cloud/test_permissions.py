"""The embedded cloud lets nobody do what no policy allows: every operation of every service that it has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from aerodrome.aws.shim.config import SERVICES

from .conftest import ACCOUNT, RunningCloud

# Where botocore has another name for a service, or two.
CLIENTS = {
    "elasticloadbalancing": ["elbv2"],
    "monitoring": ["cloudwatch"],
    "s3": ["s3", "s3control"],
    "ses": ["ses", "sesv2"],
    "states": ["stepfunctions"],
    "tagging": ["resourcegroupstaggingapi"],
}
# 403 is all that a HEAD can say, InvalidURI what S3 Control says of paths that aren't served.
DENIALS = (
    "AccessDenied",
    "UnauthorizedOperation",
    "AuthorizationError",
    "MissingAuthenticationToken",
    "403",
    "InvalidURI",
)
# Which AWS allows everybody too: (client, operation).
FOR_ALL = {("sts", "GetCallerIdentity"), ("sts", "GetSessionToken")}
FORM = "application/x-www-form-urlencoded"
ARN = f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:swept"


@pytest.fixture(scope="module")
def nobody(shared_cloud: RunningCloud) -> tuple[str, str]:
    """Keys of a user whom no policy allows anything."""
    s3 = shared_cloud.client("s3")
    s3.create_bucket(Bucket="swept")
    s3.put_object(Bucket="swept", Key="key", Body=b"x")
    return shared_cloud.user("nobody")


def least(shape: Any, depth: int = 0) -> Any:
    """The smallest input of that shape that a client can send: required members alone."""
    match shape.type_name:
        case "structure":
            wanted = shape.required_members if depth < 4 else []
            return {name: least(shape.members[name], depth + 1) for name in wanted}
        case "list":
            return [least(shape.member, depth + 1)] if depth < 4 else []
        case "map":
            return {}
        case "string":
            if shape.enum:
                return shape.enum[0]
            name = shape.name.lower()
            return (
                "swept"
                if name.endswith("bucketname")
                else ARN
                if "arn" in name or name.endswith("resourcename")
                else "key"
            )
        case "integer" | "long" | "float" | "double":
            return 1
        case "boolean":
            return True
        case "blob":
            return b"x"
        case "timestamp":
            return 0
    raise AssertionError(shape.type_name)


def answers(client: Any) -> Iterator[tuple[str, str]]:
    """Each operation, and the code that it was refused with; empty for what was answered."""
    for operation in client.meta.service_model.operation_names:
        shape = client.meta.service_model.operation_model(operation).input_shape
        given = least(shape) if shape else {}
        if "AccountId" in given:
            given["AccountId"] = ACCOUNT
        try:
            client._make_api_call(operation, given)
            yield operation, ""
        except ClientError as refused:
            yield operation, refused.response["Error"]["Code"]


def to_the_cloud(request: Any, **_: Any) -> None:
    """S3 Control has the account in its host's name, whatever it is told."""
    request.url = request.url.replace(f"//{ACCOUNT}.", "//")


@pytest.mark.parametrize("service", [name for each in SERVICES for name in CLIENTS.get(each, [each])])
def test_who_is_allowed_nothing_can_do_nothing(
    shared_cloud: RunningCloud, nobody: tuple[str, str], service: str
) -> None:
    client = shared_cloud.client(service, *nobody, parameter_validation=False, inject_host_prefix=False)
    client.meta.events.register("before-sign.s3-control", to_the_cloud)
    found = dict(answers(client))
    assert len(found) > 1
    let_through = {
        name: code
        for name, code in found.items()
        if not any(word in code for word in DENIALS) and (service, name) not in FOR_ALL
    }
    assert let_through == {}


def allow(*actions: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": "*"}


@pytest.fixture(scope="module")
def reader(shared_cloud: RunningCloud) -> tuple[str, str]:
    shared_cloud.client("s3").create_bucket(Bucket="readable")
    return shared_cloud.user("reader", allow("s3:GetObject", "s3:GetObjectAcl", "s3:PutObjectAcl"))


@pytest.fixture(scope="module")
def lister(shared_cloud: RunningCloud) -> tuple[str, str]:
    return shared_cloud.user("lister", allow("route53:ListHostedZones"))


@pytest.fixture(scope="module")
def metrics(shared_cloud: RunningCloud) -> tuple[str, str]:
    return shared_cloud.user("metrics", allow("cloudwatch:ListMetrics"))


def send(
    cloud: RunningCloud, keys: tuple[str, str], service: str, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, str]:
    """A signed request as no SDK would send it; `_` stands for the hyphen of a header."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = AWSRequest(method, f"{cloud.url}{path}", data=body, headers=named)
    signer = S3SigV4Auth if service == "s3" else SigV4Auth
    signer(Credentials(*keys), service, "us-east-1").add_auth(request)
    answer = httpx.request(method, request.url, content=body, headers=dict(request.headers), trust_env=False)
    return answer.status_code, answer.text


@pytest.mark.parametrize(
    ("query", "body", "headers"),
    [
        ("?Action=GetObject", b"theirs", {}),
        ("", b"Action=GetObject", {"Content_Type": FORM}),
        ("", b"theirs", {"X_Amz_Target": "S3.GetObject"}),
        ("", b"acl=", {"Content_Type": FORM}),
        ("?Action=GetObject", b"", {}),
    ],
)
def test_who_may_read_an_object_cannot_write_it(
    shared_cloud: RunningCloud, reader: tuple[str, str], query: str, body: bytes, headers: dict[str, str]
) -> None:
    """S3 goes by method and path, whatever else names an operation."""
    s3 = shared_cloud.client("s3")
    s3.put_object(Bucket="readable", Key="k", Body=b"ours")
    for method in ("PUT", "DELETE"):
        status, _ = send(shared_cloud, reader, "s3", method, f"/readable/k{query}", body, **headers)
        assert status in (400, 403), method
    assert s3.get_object(Bucket="readable", Key="k")["Body"].read() == b"ours"
    assert send(shared_cloud, reader, "s3", "GET", "/readable/k") == (200, "ours")


def test_a_form_is_what_an_object_may_hold(shared_cloud: RunningCloud) -> None:
    """curl says so of all that it uploads."""
    s3 = shared_cloud.client("s3")
    s3.create_bucket(Bucket="forms")
    keys = shared_cloud.user("writer", allow("s3:PutObject"))
    assert send(shared_cloud, keys, "s3", "PUT", "/forms/k", b"Action=GetObject&acl=", Content_Type=FORM)[0] == 200
    found = s3.get_object(Bucket="forms", Key="k")
    assert (found["Body"].read(), found["ContentType"]) == (b"Action=GetObject&acl=", FORM)


@pytest.mark.parametrize(
    ("headers", "body"),
    [({}, b""), ({"X_Amz_Target": "X.ListHostedZones"}, b""), ({"Content_Type": FORM}, b"Action=ListHostedZones")],
)
def test_who_may_list_zones_cannot_delete_one(
    shared_cloud: RunningCloud, lister: tuple[str, str], headers: dict[str, str], body: bytes
) -> None:
    route53 = shared_cloud.client("route53")
    zone = route53.create_hosted_zone(Name="x.example", CallerReference=f"{headers}")["HostedZone"]["Id"]
    path = f"/2013-04-01/hostedzone/{zone.rpartition('/')[2]}"
    assert send(shared_cloud, lister, "route53", "DELETE", path, body, **headers)[0] in (400, 403)
    assert route53.get_hosted_zone(Id=zone)["HostedZone"]["Id"] == zone
    assert send(shared_cloud, lister, "route53", "GET", "/2013-04-01/hostedzone")[0] == 200


RPC = "/service/GraniteServiceVersion20100801/operation/"


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        (f"{RPC}DeleteAlarms", b"{}", {"Content_Type": "application/json"}),
        (f"{RPC}DeleteAlarms", b"Action=ListMetrics", {"Content_Type": FORM}),
        (f"{RPC}DeleteAlarms", b"{}", {"X_Amz_Target": "GraniteServiceVersion20100801.ListMetrics"}),
        (f"{RPC}ListMetrics", b"{}", {"X_Amz_Target": "GraniteServiceVersion20100801.DeleteAlarms"}),
        (f"{RPC}DeleteAlarms{RPC}ListMetrics", b"{}", {"Content_Type": "application/json"}),
        (f"{RPC}ListMetrics?Action=DeleteAlarms", b"", {}),
    ],
)
def test_who_may_list_metrics_cannot_delete_alarms(
    shared_cloud: RunningCloud, metrics: tuple[str, str], path: str, body: bytes, headers: dict[str, str]
) -> None:
    """CloudWatch speaks three protocols, each of which names the operation elsewhere."""
    assert send(shared_cloud, metrics, "monitoring", "POST", path, body, **headers)[0] in (400, 403)
    listed = {"Content_Type": "application/json"}
    assert send(shared_cloud, metrics, "monitoring", "POST", f"{RPC}ListMetrics", b"{}", **listed)[0] == 200


def test_account_management_is_told_apart_by_its_paths(shared_cloud: RunningCloud) -> None:
    assert shared_cloud.client("account").get_account_information()["AccountId"] == ACCOUNT
    theirs = shared_cloud.client("account", *shared_cloud.user("contact", allow("account:GetContactInformation")))
    assert theirs.get_contact_information()["ContactInformation"]
    with pytest.raises(ClientError, match="AccessDenied"):
        theirs.get_account_information()


def test_a_batch_needs_the_permission_of_what_it_does(shared_cloud: RunningCloud) -> None:
    """There is no permission of its name on AWS, so no policy has one."""
    url = shared_cloud.client("sqs").create_queue(QueueName="batches")["QueueUrl"]
    topic = shared_cloud.client("sns").create_topic(Name="batches")["TopicArn"]
    one = {"Id": "1", "MessageBody": "x"}
    may = shared_cloud.user(
        "batcher", allow("sqs:SendMessage", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sns:Publish")
    )
    sqs = shared_cloud.client("sqs", *may)
    assert sqs.send_message_batch(QueueUrl=url, Entries=[one])["Successful"]
    (got,) = sqs.receive_message(QueueUrl=url)["Messages"]
    entries = [{"Id": "1", "ReceiptHandle": got["ReceiptHandle"]}]
    assert sqs.delete_message_batch(QueueUrl=url, Entries=entries)["Successful"]
    sns = shared_cloud.client("sns", *may)
    assert sns.publish_batch(TopicArn=topic, PublishBatchRequestEntries=[{"Id": "1", "Message": "x"}])["Successful"]
    with pytest.raises(ClientError, match=r"sqs:ChangeMessageVisibility\b"):
        sqs.change_message_visibility_batch(QueueUrl=url, Entries=[{**entries[0], "VisibilityTimeout": 1}])


def test_a_denial_names_the_action(shared_cloud: RunningCloud, nobody: tuple[str, str]) -> None:
    """What a task's log shows."""
    denied = {
        "s3:PutObject": lambda: shared_cloud.client("s3", *nobody).put_object(Bucket="swept", Key="k", Body=b"x"),
        "sqs:SendMessage": lambda: shared_cloud.client("sqs", *nobody).send_message(
            QueueUrl=f"{shared_cloud.url}/{ACCOUNT}/q", MessageBody="x"
        ),
        "secretsmanager:GetSecretValue": lambda: shared_cloud.client("secretsmanager", *nobody).get_secret_value(
            SecretId="s"
        ),
        "ssm:GetParameter": lambda: shared_cloud.client("ssm", *nobody).get_parameter(Name="p"),
    }
    for action, call in denied.items():
        with pytest.raises(ClientError, match=f"is not authorized to perform: {action}"):
            call()

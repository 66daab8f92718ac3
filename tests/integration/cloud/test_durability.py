"""What was acknowledged is there after `kill -9`; what can't be trusted is not started from."""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from aerodrome.aws.shim.config import KEY_VARIABLE

from .conftest import ACCOUNT, TRUST, RunningCloud

MARK = "plain-text-that-must-not-be-found-on-disk"


class Writer(threading.Thread):
    """Writes until the cloud dies, and remembers what was acknowledged."""

    def __init__(self, write: Callable[[int], Any]) -> None:
        super().__init__()
        self._write = write
        self.acknowledged: dict[int, Any] = {}
        self.problem: ClientError | None = None

    def run(self) -> None:
        for number in itertools.count():
            try:
                result = self._write(number)
            except BotoCoreError:  # the connection broke: not acknowledged
                return
            except ClientError as error:
                self.problem = error
                return
            self.acknowledged[number] = result


def test_kill_at_any_instant_loses_nothing_acknowledged(cloud: RunningCloud) -> None:
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="kill")
    s3.put_bucket_versioning(Bucket="kill", VersioningConfiguration={"Status": "Enabled"})
    for round_ in range(4):
        writers = start_writers(cloud, round_)
        enough = time.monotonic() + 30
        while any(len(writer.acknowledged) < 3 + 2 * round_ for writer in writers.values()):
            assert time.monotonic() < enough, {name: len(w.acknowledged) for name, w in writers.items()}
            assert not any(writer.problem for writer in writers.values())
            time.sleep(0.01)
        cloud.kill()
        for writer in writers.values():
            writer.join(60)
            assert not writer.is_alive()
            assert writer.problem is None
        cloud.start()
        check(cloud, round_, {name: writer.acknowledged for name, writer in writers.items()})


def start_writers(cloud: RunningCloud, round_: int) -> dict[str, Writer]:
    s3, iam, sm = cloud.client("s3"), cloud.client("iam"), cloud.client("secretsmanager")
    ssm, sqs, db = cloud.client("ssm"), cloud.client("sqs"), cloud.client("dynamodb")
    queue = sqs.create_queue(QueueName=f"q{round_}")["QueueUrl"]
    db.create_table(
        TableName=f"table{round_}",
        KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )

    def user(number: int) -> Any:
        iam.create_user(UserName=f"u{round_}-{number}")
        return iam.create_access_key(UserName=f"u{round_}-{number}")["AccessKey"]

    def big(number: int) -> bytes:
        content = os.urandom(100_000 + number)
        s3.put_object(Bucket="kill", Key=f"big{round_}-{number}", Body=content)
        return content

    writers = {
        # every write is a new version of one key
        "version": lambda n: s3.put_object(Bucket="kill", Key=f"v{round_}", Body=b"%d" % n)["VersionId"],
        "big": big,
        "user": user,
        "secret": lambda n: sm.create_secret(Name=f"s{round_}-{n}", SecretString=f"{MARK}-{n}")["ARN"],
        "parameter": lambda n: ssm.put_parameter(Name=f"/p{round_}/{n}", Value=str(n), Type="String"),
        "message": lambda n: sqs.send_message(QueueUrl=queue, MessageBody=str(n))["MessageId"],
        "item": lambda n: db.put_item(TableName=f"table{round_}", Item={"k": {"S": str(n)}}),
    }
    started = {name: Writer(write) for name, write in writers.items()}
    for writer in started.values():
        writer.start()
    return started


def check(cloud: RunningCloud, round_: int, acknowledged: dict[str, dict[int, Any]]) -> None:
    s3, sm, ssm, sqs = (cloud.client(name) for name in ("s3", "secretsmanager", "ssm", "sqs"))
    for number, version in acknowledged["version"].items():
        found = s3.get_object(Bucket="kill", Key=f"v{round_}", VersionId=version)["Body"].read()
        assert found == b"%d" % number
    for number, content in acknowledged["big"].items():
        assert s3.get_object(Bucket="kill", Key=f"big{round_}-{number}")["Body"].read() == content
    for number, key in acknowledged["user"].items():
        sts = cloud.client("sts", key["AccessKeyId"], key["SecretAccessKey"])
        assert sts.get_caller_identity()["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/u{round_}-{number}"
    for number in acknowledged["secret"]:
        assert sm.get_secret_value(SecretId=f"s{round_}-{number}")["SecretString"] == f"{MARK}-{number}"
    for number in acknowledged["parameter"]:
        assert ssm.get_parameter(Name=f"/p{round_}/{number}")["Parameter"]["Value"] == str(number)
    queue = sqs.get_queue_url(QueueName=f"q{round_}")["QueueUrl"]
    counted = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["ApproximateNumberOfMessages"])["Attributes"]
    assert int(counted["ApproximateNumberOfMessages"]) >= len(acknowledged["message"])
    for number in acknowledged["item"]:
        assert cloud.client("dynamodb").get_item(TableName=f"table{round_}", Key={"k": {"S": str(number)}})["Item"]


def test_everything_else_survives_too(cloud: RunningCloud) -> None:
    """What the storm above doesn't write: sessions, tags, deletions, uploads under way, keys, topics, empty buckets."""
    s3, iam, kms = cloud.client("s3"), cloud.client("iam"), cloud.client("kms")
    s3.create_bucket(Bucket="empty")
    s3.create_bucket(Bucket="full")
    s3.put_object(Bucket="full", Key="tagged", Body=b"x", Tagging="a=b")
    s3.put_object(Bucket="full", Key="gone", Body=b"x")
    s3.delete_object(Bucket="full", Key="gone")
    upload = s3.create_multipart_upload(Bucket="full", Key="parts")["UploadId"]
    part = s3.upload_part(Bucket="full", Key="parts", UploadId=upload, PartNumber=1, Body=b"part")["ETag"]
    iam.create_role(RoleName="task", AssumeRolePolicyDocument=json.dumps(TRUST))
    iam.attach_role_policy(RoleName="task", PolicyArn="arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess")
    role = f"arn:aws:iam::{ACCOUNT}:role/task"
    session = cloud.ask(verb="assume_role", role_arn=role, session_name="task-1")["credentials"]
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    sealed = kms.encrypt(KeyId=key, Plaintext=b"data")["CiphertextBlob"]
    topic = cloud.client("sns", region="eu-west-1").create_topic(Name="news")["TopicArn"]

    sqs, sns = cloud.client("sqs"), cloud.client("sns")
    queue = sqs.create_queue(QueueName="inbox")["QueueUrl"]
    inbox = f"arn:aws:sqs:us-east-1:{ACCOUNT}:inbox"
    letters = sns.create_topic(Name="letters")["TopicArn"]
    anyone = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": inbox}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [anyone]})
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
    sns.subscribe(TopicArn=letters, Protocol="sqs", Endpoint=inbox)
    sns.publish(TopicArn=letters, Message="one service's call, another one's state")

    cloud.kill()
    cloud.start()

    assert "one service's call" in sqs.receive_message(QueueUrl=queue)["Messages"][0]["Body"]
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["empty", "full"]
    assert s3.get_object_tagging(Bucket="full", Key="tagged")["TagSet"] == [{"Key": "a", "Value": "b"}]
    with pytest.raises(ClientError, match="NoSuchKey"):
        s3.get_object(Bucket="full", Key="gone")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part}]}
    s3.complete_multipart_upload(Bucket="full", Key="parts", UploadId=upload, MultipartUpload=parts)
    task = cloud.client("s3", session["key_id"], session["secret"], session["session_token"])
    assert task.get_object(Bucket="full", Key="parts")["Body"].read() == b"part"
    assert kms.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"data"
    topics = cloud.client("sns", region="eu-west-1").list_topics()["Topics"]
    assert [found["TopicArn"] for found in topics] == [topic]
    assert [found["TopicArn"] for found in sns.list_topics()["Topics"]] == [letters]


def test_a_clean_stop_keeps_everything(cloud: RunningCloud) -> None:
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="clean")
    s3.put_object(Bucket="clean", Key="k", Body=b"kept")
    assert cloud.stop() == 0
    cloud.start()
    assert s3.get_object(Bucket="clean", Key="k")["Body"].read() == b"kept"


def test_nothing_on_disk_can_be_read(cloud: RunningCloud) -> None:
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket=f"bucket-{MARK}")
    for size in (1, 5000):
        s3.put_object(Bucket=f"bucket-{MARK}", Key=f"key-{MARK}-{size}", Body=MARK.encode() * size)
    cloud.client("secretsmanager").create_secret(Name="s", SecretString=f"secret-{MARK}")
    secret = cloud.user(f"user-{MARK}")[1]
    cloud.kill()
    files = [path for path in cloud.layout.cloud.rglob("*") if path.is_file()]
    assert len(files) >= 5
    for path in files:
        content = path.read_bytes()
        assert MARK.encode() not in content, path
        assert secret.encode() not in content, path
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.fixture
def filled(cloud: RunningCloud) -> RunningCloud:
    """A stopped cloud with something in it, checkpointed into its main file."""
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="kept")
    for number in range(30):
        s3.put_object(Bucket="kept", Key=str(number), Body=b"small")
    s3.put_object(Bucket="kept", Key="large", Body=os.urandom(200_000))
    assert cloud.stop() == 0
    return cloud


def snapshot(directory: Path) -> dict[str, bytes]:
    """The content that must not change (SQLite's own scratch files may come and go)."""
    scratch = ("-wal", "-shm")
    return {str(p): p.read_bytes() for p in directory.rglob("*") if p.is_file() and not p.name.endswith(scratch)}


def test_another_key_is_refused(filled: RunningCloud) -> None:
    right, before = filled.cloud, snapshot(filled.layout.cloud)
    filled.cloud = replace(right, variables={KEY_VARIABLE: os.urandom(32).hex()})
    assert "the key doesn't fit" in filled.start_refused()
    assert snapshot(filled.layout.cloud) == before
    filled.cloud = right
    filled.start()
    assert len(filled.client("s3").list_objects_v2(Bucket="kept")["Contents"]) == 31


def truncate(state: Path) -> None:
    os.truncate(state / "state.db", (state / "state.db").stat().st_size // 2)


def overwrite(state: Path) -> None:
    with (state / "state.db").open("r+b") as file:
        file.seek((state / "state.db").stat().st_size // 2)
        file.write(os.urandom(4096))


def empty(state: Path) -> None:
    os.truncate(state / "state.db", 0)


def lose(state: Path) -> None:
    (state / "state.db").unlink()


def lose_body(state: Path) -> None:
    next((state / "bodies").glob("*/*")).unlink()


@pytest.mark.parametrize("damage", [truncate, overwrite, empty, lose, lose_body])
def test_damaged_state_is_refused(filled: RunningCloud, damage: Callable[[Path], None]) -> None:
    damage(filled.layout.cloud)
    before = snapshot(filled.layout.cloud)
    message = filled.start_refused()
    assert "damaged" in message
    assert "backup" in message
    assert snapshot(filled.layout.cloud) == before


def test_a_second_cloud_on_the_same_state_is_refused(cloud: RunningCloud) -> None:
    assert "can't listen" in cloud.start_refused()
    configuration = cloud.layout.run / "cloud.json"
    content = json.loads(configuration.read_text())
    configuration.write_text(json.dumps({**content, "port": 0, "socket": f"{content['socket']}2"}))
    assert "another embedded cloud is using" in cloud.start_refused()
    assert cloud.ask(verb="ping")["ok"]

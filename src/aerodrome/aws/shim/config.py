"""The configuration file, the key, and the identity of the process."""

from __future__ import annotations

import ctypes
import json
import os
import pwd
import secrets
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

KEY_BYTES = 32
KEY_VARIABLE = "AERODROME_CLOUD_KEY"  # in hexadecimal
_PR_SET_PDEATHSIG = 1
_PR_GET_PDEATHSIG = 2

# What the embedded cloud serves. Everything that runs code, containers or listeners of its own stays out, and so
# does ministack's own `airflow`: that is us.
# fmt: off
SERVICES = (
    "account", "acm", "appconfig", "appconfigdata", "athena", "autoscaling", "backup", "budgets", "cloudcontrol",
    "cloudformation", "cloudtrail", "config", "cur", "dynamodb", "dynamodbstreams", "ec2", "ecr",
    "elasticloadbalancing", "events", "firehose", "glue", "iam", "kinesis", "kms", "logs", "monitoring",
    "organizations", "resource-groups", "route53", "s3", "scheduler", "secretsmanager", "ses", "sns", "sqs", "ssm",
    "states", "sts", "tagging",
)
# fmt: on


class Refusal(Exception):
    """The cloud can't start, and starting it again changes nothing; the message says what would."""


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the process is told but its key."""

    host: str
    port: int
    state_dir: Path
    socket: Path
    allowed_uids: tuple[int, ...]
    account: str
    region: str
    user: str | None = None
    log_level: str = "WARNING"


def load(path: Path) -> Config:
    """Read the configuration.

    Raises:
        Refusal: unreadable, not ours, or a value that can't be right.
    """
    try:
        raw: dict[str, Any] = json.loads(path.read_text())
        config = Config(
            host=str(raw["host"]),
            port=int(raw["port"]),
            state_dir=Path(raw["state_dir"]),
            socket=Path(raw["socket"]),
            allowed_uids=tuple(int(uid) for uid in raw["allowed_uids"]),
            account=str(raw["account"]),
            region=str(raw["region"]),
            user=raw.get("user"),
            log_level=str(raw.get("log_level", "WARNING")),
        )
    except OSError as error:
        raise Refusal(f"can't read the configuration {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise Refusal(
            f"the configuration {path} is damaged ({error!r}); run `aerodrome up` to write it again"
        ) from error
    if config.host not in ("127.0.0.1", "::1"):
        raise Refusal(f"host {config.host!r} is not a loopback address; the embedded cloud serves loopback only")
    if not (len(config.account) == 12 and config.account.isdigit()):
        raise Refusal(f"account {config.account!r} is not 12 digits")
    return config


def take_key() -> bytes:
    """The 32 bytes that everything at rest is encrypted under; they lie sealed, and come with the start alone.

    Raises:
        Refusal: it isn't there, or isn't one.
    """
    try:
        key = bytes.fromhex(os.environ.pop(KEY_VARIABLE, ""))
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise Refusal(f"{KEY_VARIABLE} doesn't hold a key; start the embedded cloud with `aerodrome up`")
    return key


def drop_privileges(user: str | None) -> None:
    """Become `user` for good. The signal at the parent's death is lost with a change of user, so it is set again."""
    if user is None or os.geteuid() != 0:
        return
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise Refusal(f"there is no system user {user!r}; run `aerodrome up` to make it") from None
    libc = ctypes.CDLL(None, use_errno=True)
    death_signal = ctypes.c_int(0)
    libc.prctl(_PR_GET_PDEATHSIG, ctypes.byref(death_signal), 0, 0, 0)
    parent = os.getppid()
    os.setgroups([])
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    if death_signal.value:
        libc.prctl(_PR_SET_PDEATHSIG, death_signal.value, 0, 0, 0)
        if os.getppid() != parent:  # it died in between
            os.kill(os.getpid(), signal.SIGTERM)


def ministack_environment(config: Config) -> Mapping[str, str]:
    """What ministack reads when it is imported; our whole environment.

    Its root keys are random and refused at the gate all the same. Nothing that it could write goes to a shared place.
    """
    nowhere = str(config.state_dir / "nowhere")
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": nowhere,
        "TMPDIR": str(config.state_dir / "tmp"),
        "AUTH": "true",
        "AWS_ACCESS_KEY_ID": secrets.token_hex(16),
        "AWS_SECRET_ACCESS_KEY": secrets.token_hex(32),
        "AWS_EC2_METADATA_DISABLED": "true",
        "BIND_HOST": config.host,
        "GATEWAY_PORT": str(config.port),
        "CLOUDTRAIL_RECORDING": "0",
        "DOCKER_HOST": f"unix://{nowhere}/docker.sock",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "LOG_LEVEL": config.log_level,
        "MINISTACK_ACCOUNT_ID": config.account,
        "MINISTACK_REGION": config.region,
        "MINISTACK_WORKER_THREADS": "8",
        "PERSIST_STATE": "0",
        "S3_PERSIST": "0",
        "S3_DATA_DIR": nowhere,
        "STATE_DIR": nowhere,
        "SERVICES": ",".join(SERVICES),
    }


def take_environment(config: Config) -> None:
    os.environ.clear()
    os.environ.update(ministack_environment(config))


def refuse(message: str) -> NoReturn:
    """End the process with the code that says: starting me again won't help."""
    os.write(2, f"aerodrome-cloud: {message}\n".encode())
    raise SystemExit(2)

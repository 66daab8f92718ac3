"""The making of objects' products on a real disk: S3, roles and what uv does are stand-ins."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from botocore.exceptions import ClientError

from aerodrome.content.credentials import RoleCredentials
from aerodrome.domain import products
from aerodrome.domain.environment import Environment
from aerodrome.domain.principal import Credentials, ExecutionRole
from aerodrome.domain.products import Part
from aerodrome.layout import Layout
from aerodrome.reconcile.ports import Made, Making
from aerodrome.runtimes import inventory
from aerodrome.runtimes.extend import Extension, Reader
from aerodrome.runtimes.requirements import Requirements
from aerodrome.runtimes.resolve import Resolution
from aerodrome.server.objects import BucketObjects
from support.world import SECRETS

BASE = "3.3.1-py3.11-0123456789ab"
ROLE = "arn:aws:iam::100000000001:role/mwaa"
TOKEN = "the-credentials-token"


def zipped(files: Mapping[str, str]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)  # of no date: equal files make equal archives
    return data.getvalue()


@dataclass
class Bucket:
    """S3, as far as it is asked: (key, version) -> content, or the code it answers with."""

    objects: dict[tuple[str, str], bytes | str] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    open: int = 0
    length: int | None = None  # that it says an object has

    def get_object(self, **arguments: Any) -> dict[str, Any]:
        assert arguments["Bucket"] == "bucket"
        key, version = arguments["Key"], arguments["VersionId"]
        self.asked.append((key, version))
        found = self.objects.get((key, version), "NoSuchVersion")
        if isinstance(found, str):
            raise ClientError({"Error": {"Code": found, "Message": found}}, "GetObject")  # type: ignore[arg-type]
        return {"Body": io.BytesIO(found), "ContentLength": len(found) if self.length is None else self.length}

    def list_objects_v2(self, **_: Any) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        self.open -= 1


class Roles:
    async def confirm(self, role_arn: str, *, source_arn: str | None = None) -> ExecutionRole:
        return ExecutionRole("AROA1", None)

    async def assume_role(
        self, role_arn: str, session_name: str, duration: int = 3600, *, source_arn: str | None = None
    ) -> Credentials:
        assert role_arn == ROLE
        return Credentials("key", "secret", "token", datetime.now(UTC) + timedelta(hours=1))


class Planner:
    def runtime(self, version: str) -> str:
        return BASE

    def script_variables(self, environment: Environment, secrets: object) -> dict[str, str]:
        return {"AWS_REGION": "eu-west-1", "AIRFLOW_ENV_NAME": "demo", "AWS_CONTAINER_AUTHORIZATION_TOKEN": TOKEN}


@dataclass
class House:
    layout: Layout
    bucket: Bucket = field(default_factory=Bucket)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """A control plane that knows nothing of the one before."""
        credentials = RoleCredentials(Roles())
        self.objects = BucketObjects(
            self.layout, "test", cast("Any", Planner()), credentials, self.client, lambda: self.seconds
        )

    def client(self, credentials: Credentials, region: str) -> Bucket:
        assert (credentials.access_key_id, region) == ("key", "eu-west-1")
        self.bucket.open += 1
        return self.bucket

    def put(self, part: Part, content: bytes | str, version: str = "1") -> None:
        self.bucket.objects[part.value, version] = content

    async def make(self, made: Environment, part: Part, **options: Any) -> Made:
        while isinstance(found := await self.objects.make(made, SECRETS, part, **options), Making):
            assert found.why
            await asyncio.sleep(0.01)
        return found

    async def kept(self, made: Environment, part: Part) -> Environment:
        """With the product in the row."""
        recipe = products.recipe(made, part, BASE)
        assert recipe is not None
        product = (await self.make(made, part)).product
        return replace(made, made={**made.made, recipe: product})

    def files(self, made: Environment, folder: str) -> list[str]:
        place = self.layout.content(made.id) / folder
        return sorted(path.name for path in place.iterdir()) if place.is_dir() else []


def versioned(made: Environment, part: Part, version: str) -> Environment:
    return replace(made, desired={**made.desired, f"{part}S3ObjectVersion": version})


@dataclass
class Uv:
    """What resolving and installing come to."""

    layout: Layout
    asked: list[tuple[Requirements, Mapping[str, Path]]] = field(default_factory=list)
    installed: list[str] = field(default_factory=list)
    failure: Exception | None = None
    resolution: Resolution = field(default_factory=lambda: Resolution({"cowsay": "6.1"}, {}, "cowsay==6.1\n"))
    seen: Callable[[], None] = lambda: None

    def resolve(self, layout: Layout, base: str, wanted: Requirements, folders: Mapping[str, Path]) -> Resolution:
        assert base == BASE
        self.asked.append((wanted, folders))
        if self.failure is not None:
            raise self.failure
        return self.resolution

    async def ensure(self, layout: Layout, extension: Extension, reader: Reader) -> str:
        self.seen()
        if not layout.runtime(extension.key).exists():
            self.installed.append(extension.key)
            (layout.runtime(extension.key) / "bin").mkdir(parents=True)
            (layout.runtime(extension.key) / "bin" / "python").symlink_to("/bin/sh")
            inventory.complete(layout.runtime(extension.key), extension.key)
        return extension.key

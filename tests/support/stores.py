"""What a machine room acknowledged, in each of its stores."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import boto3
import psycopg
import redis
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from support.house import House

_ERRORS = (psycopg.Error, redis.RedisError, BotoCoreError, ClientError, OSError)
_QUICK = Config(connect_timeout=3, read_timeout=10, retries={"total_max_attempts": 1})


class Stores:
    """PostgreSQL, Valkey and S3. `acknowledged` is what each said it has."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.acknowledged: dict[str, set[str]] = {"postgres": set(), "valkey": set(), "s3": set()}

    def write(self, value: str) -> set[str]:
        """Try to write it to each; the names of those that took it."""
        took = set()
        for name, acknowledged in self.acknowledged.items():
            with suppress(*_ERRORS):
                getattr(self, f"_write_{name}")(value)
                acknowledged.add(value)
                took.add(name)
        return took

    def lost(self) -> dict[str, set[str]]:
        """What was acknowledged and isn't there. Raises one of a client's errors when a store doesn't answer."""
        there = {name: getattr(self, f"_read_{name}")() for name in self.acknowledged}
        return {name: values - there[name] for name, values in self.acknowledged.items() if values - there[name]}

    def _postgres(self) -> psycopg.Connection[Any]:
        url = f"{self._house.installation.postgres_url}/postgres"
        return psycopg.connect(url, autocommit=True, connect_timeout=3)

    def _valkey(self) -> redis.Redis:
        return redis.from_url(self._house.installation.valkey_url, socket_timeout=5)

    def _s3(self) -> Any:
        installation = self._house.installation
        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{installation.cloud_port}",
            aws_access_key_id=installation.admin_access_key,
            aws_secret_access_key=installation.admin_secret_key,
            region_name=installation.region,
            config=_QUICK,
        )

    def _write_postgres(self, value: str) -> None:
        with self._postgres() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS acknowledged (value text)")
            connection.execute("INSERT INTO acknowledged VALUES (%s)", (value,))

    def _write_valkey(self, value: str) -> None:
        with self._valkey() as client:
            client.sadd("acknowledged", value)

    def _write_s3(self, value: str) -> None:
        client = self._s3()
        client.create_bucket(Bucket="acknowledged")
        client.put_object(Bucket="acknowledged", Key=value, Body=value.encode() * 10_000)

    def _read_postgres(self) -> set[str]:
        with self._postgres() as connection:
            return {row[0] for row in connection.execute("SELECT value FROM acknowledged").fetchall()}

    def _read_valkey(self) -> set[str]:
        with self._valkey() as client:
            return {value.decode() for value in client.smembers("acknowledged")}

    def _read_s3(self) -> set[str]:
        client = self._s3()
        keys = [item["Key"] for item in client.list_objects_v2(Bucket="acknowledged").get("Contents", [])]
        return {key for key in keys if client.get_object(Bucket="acknowledged", Key=key)["Body"].read()}

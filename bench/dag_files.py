"""A DAG file that is written, changed and removed: how long until Airflow's REST API says so."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import boto3
import httpx

from bench.measure import until
from support.site import Site

_DAG = """
try:
    from airflow.sdk import DAG
except ImportError:
    from airflow import DAG

with DAG("{name}", schedule=None, description="{text}"):
    pass
"""


class Side(Protocol):
    """Where files are written, and an Airflow that reads them.

    `pause`: seconds before a step at most, at random: whoever polls is met at any point of their interval.
    """

    @property
    def pause(self) -> float: ...

    def write(self, file: str, text: str) -> None: ...

    def remove(self, file: str) -> None: ...

    def listed(self) -> Mapping[str, str]:
        """Description of each DAG, by id."""
        ...


@dataclass(frozen=True, slots=True)
class Bucket:
    """An environment of ours. `s3` is whom the files are given to."""

    name: str
    mwaa: Any
    s3: Any
    bucket: str
    prefix: str
    pause: float

    @classmethod
    def told(cls, site: Site, name: str) -> Bucket:
        """Through the endpoint that everybody uses: the control plane sees the write go by."""
        return cls._of(site, name, site.client("s3"), 1.0)

    @classmethod
    def polled(cls, site: Site, name: str) -> Bucket:
        """Past it, at the embedded cloud's own port: as with an S3 that tells nobody of writes."""
        installation = site.installation
        s3 = boto3.Session().client(
            "s3",
            region_name=installation.region,
            endpoint_url=f"http://127.0.0.1:{installation.cloud_port}",
            aws_access_key_id=installation.admin_access_key,
            aws_secret_access_key=installation.admin_secret_key,
        )
        return cls._of(site, name, s3, 5.0)

    @classmethod
    def _of(cls, site: Site, name: str, s3: Any, pause: float) -> Bucket:
        mwaa = site.client("mwaa")
        prefix = mwaa.get_environment(Name=name)["Environment"]["DagS3Path"].strip("/")
        return cls(name, mwaa, s3, site.bucket_of(name), prefix, pause)

    def write(self, file: str, text: str) -> None:
        self.s3.put_object(Bucket=self.bucket, Key=f"{self.prefix}/{file}", Body=text.encode())

    def remove(self, file: str) -> None:
        self.s3.delete_object(Bucket=self.bucket, Key=f"{self.prefix}/{file}")

    def listed(self) -> Mapping[str, str]:
        answer = self.mwaa.invoke_rest_api(Name=self.name, Path="/dags", Method="GET", QueryParameters={"limit": 100})
        return _descriptions(answer["RestApiResponse"])


@dataclass(frozen=True, slots=True)
class Folder:
    """The peer: files are written where it reads them."""

    dags: Path
    http: httpx.Client
    api: str
    pause: float = 5.0

    def write(self, file: str, text: str) -> None:
        (self.dags / file).write_text(text)

    def remove(self, file: str) -> None:
        (self.dags / file).unlink()

    def listed(self) -> Mapping[str, str]:
        return _descriptions(self.http.get(f"{self.api}/dags", params={"limit": 100}).raise_for_status().json())


def _descriptions(answer: Mapping[str, Any]) -> Mapping[str, str]:
    return {dag["dag_id"]: dag["description"] or "" for dag in answer["dags"]}


@dataclass(slots=True)
class Latencies:
    """Seconds from the beginning of a write until the list of DAGs shows it, once a round."""

    new: list[float] = field(default_factory=list)
    changed: list[float] = field(default_factory=list)
    deleted: list[float] = field(default_factory=list)


def measure(side: Side, rounds: int) -> Latencies:
    """A new file, a change of it and its removal, `rounds` times; files of another name each time."""
    found, chance = Latencies(), random.Random(rounds)  # noqa: S311

    def step(text: str | None, name: str) -> float:
        time.sleep(chance.uniform(0, side.pause))
        started = time.monotonic()
        if text is None:
            side.remove(f"{name}.py")
        else:
            side.write(f"{name}.py", _DAG.format(name=name, text=text))
        until(f"{name}: {text}", lambda: side.listed().get(name) == text)
        return time.monotonic() - started

    for number in range(rounds):
        name = f"bench_{number:03}"
        found.new.append(step("new", name))
        found.changed.append(step("changed", name))
        found.deleted.append(step(None, name))
    return found

"""IAM users of an installation under test, and the ways in which each gets into an environment."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx
from botocore.exceptions import ClientError

from aerodrome.domain.secrets import EnvironmentSecrets, gateway_proof
from aerodrome.domain.versions import PROOF_HEADER
from aerodrome.store.database import DATABASE, open_pool
from aerodrome.store.environments import EnvironmentStore
from aerodrome.store.vault import Vault
from support import traces
from support.site import Demo, Site

WEB, REST = "airflow:CreateWebLoginToken", "airflow:InvokeRestApi"


def role_arn(demo: Demo, role: str) -> str:
    installation = demo.site.installation
    return f"arn:aws:airflow:{installation.region}:{installation.account}:role/{demo.name}/{role}"


def allowing(actions: Sequence[str], resource: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": resource}


@dataclass
class Person:
    """A user with one access key and one inline policy."""

    site: Site
    name: str
    key: str
    secret: str

    @property
    def keys(self) -> dict[str, str]:
        return {"key": self.key, "secret": self.secret}

    def mwaa(self, region: str | None = None) -> Any:
        return self.site.client("mwaa", region, **self.keys)

    def may(self, *statements: Mapping[str, Any]) -> None:
        """From now on exactly this."""
        policy = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        self.site.client("iam").put_user_policy(UserName=self.name, PolicyName="test", PolicyDocument=policy)

    def token(self, demo: Demo) -> str:
        return str(self.mwaa().create_web_login_token(Name=demo.name)["WebToken"])

    def sign_in(self, demo: Demo) -> str:
        """The value of Airflow's own cookie."""
        with browser(demo) as client:
            answer = client.post(f"{demo.version.sso_prefix}/login", data={"token": self.token(demo)})
            assert answer.status_code == 200, answer.text
            return str(answer.cookies[demo.version.cookie])

    def invoke(self, demo: Demo, method: str, path: str, body: Any = None) -> int:
        """The status that Airflow answers to InvokeRestApi."""
        mwaa, members = self.mwaa(), {} if body is None else {"Body": body}
        try:
            return int(mwaa.invoke_rest_api(Name=demo.name, Method=method, Path=path, **members)["RestApiStatusCode"])
        except mwaa.exceptions.RestApiClientException as error:
            return int(error.response["RestApiStatusCode"])


@contextmanager
def person(site: Site, name: str, *statements: Mapping[str, Any]) -> Iterator[Person]:
    """A user that there is for the length of the block."""
    iam = site.client("iam")
    iam.create_user(UserName=name)
    try:
        key = iam.create_access_key(UserName=name)["AccessKey"]
        made = Person(site, name, key["AccessKeyId"], key["SecretAccessKey"])
        made.may(*statements or [allowing(["airflow:GetEnvironment"], "*")])
        yield made
    finally:
        with suppress(ClientError):  # the test did it
            for each in iam.list_access_keys(UserName=name)["AccessKeyMetadata"]:
                iam.delete_access_key(UserName=name, AccessKeyId=each["AccessKeyId"])
            iam.delete_user_policy(UserName=name, PolicyName="test")
        with suppress(ClientError):
            iam.delete_user(UserName=name)


def trust(site: Site) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=site.layout.ca_bundle)


def browser(demo: Demo, **shown: str) -> httpx.Client:
    """A client of the environment's web server; `cookie` or `bearer` is what it shows."""
    headers = {}
    if "cookie" in shown:
        headers["Cookie"] = f"{demo.version.cookie}={shown['cookie']}"
    if "bearer" in shown:
        headers["Authorization"] = f"Bearer {shown['bearer']}"
    verify = trust(demo.site)
    return httpx.Client(base_url=f"https://{demo.host}", headers=headers, verify=verify, timeout=60, trust_env=False)


def port_of(demo: Demo, name: str = "web") -> int:
    """Where the environment's web server itself listens: `web`, or `*` for what tasks report to."""
    book = json.loads((demo.site.layout.environments / "ports.json").read_text())
    return int(book["slots"][traces.id_of(demo.site, demo.name)]["webserver-1"][name])


def proof_of(site: Site, environment_id: str) -> dict[str, str]:
    """What the gateway shows to the environment's web server."""
    return {PROOF_HEADER: gateway_proof(secrets_of(site, environment_id).identity_secret, environment_id)}


def secrets_of(site: Site, environment_id: str) -> EnvironmentSecrets:
    """From the sealed row, as the control plane reads it."""

    async def read() -> EnvironmentSecrets:
        url = f"{site.installation.postgres_url}/{DATABASE}"
        async with open_pool(url, size=1, read_soon=False) as pool:
            secrets = await EnvironmentStore(pool, Vault(site.layout.master_key.read_bytes())).secrets(environment_id)
        assert secrets is not None
        return secrets

    return asyncio.run(read())

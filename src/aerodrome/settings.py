"""All settings, each read from `AERODROME_<NAME>`; the only reader of the process environment.

Read by `server` and `cli` alone; everything else is handed plain values.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from aerodrome.errors import Permanent
from aerodrome.identity.oidc import config as oidc


def default_home() -> Path:
    """`~/.aerodrome`; for root `/var/lib/aerodrome`, since the system users of components can't enter root's home."""
    return Path("/var/lib/aerodrome") if os.geteuid() == 0 else Path.home() / ".aerodrome"


# What the control plane needs of the environment of the `up` that starts it, besides our own settings: endpoints
# of real services, trust, and the ways to the package registry.
_HANDED_OVER = ("AERODROME_", "AWS_ENDPOINT_URL_", "UV_")
_HANDED_OVER_WHOLE = ("PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "NETRC", "XDG_CONFIG_HOME")


def surroundings() -> dict[str, str]:
    """The part of our environment that the control plane is handed, by name; nothing else reaches it."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(_HANDED_OVER) or name in _HANDED_OVER_WHOLE or name.upper().endswith("_PROXY")
    }


def service_endpoints() -> dict[str, str]:
    """`AWS_ENDPOINT_URL_<SERVICE>`: service in upper case -> URL of the one to use instead of the embedded one."""
    prefix = "AWS_ENDPOINT_URL_"
    return {name[len(prefix) :]: url for name, url in os.environ.items() if name.startswith(prefix) and url}


def registry_variables() -> dict[str, str]:
    """What a job that installs packages needs: trust, proxies, uv's own settings."""
    ours = ("AERODROME_", "AWS_ENDPOINT_URL_")
    return {name: value for name, value in surroundings().items() if not name.startswith(ours)}


class Settings(BaseSettings):
    """The installation's settings. A port left at None is chosen: the usual one, or a free one when that is taken."""

    model_config = SettingsConfigDict(env_prefix="AERODROME_", extra="ignore")

    home: Path = Field(default_factory=default_home, description="Where all state of the installation lies.")
    bind: str = Field(
        "127.0.0.1", description="Address that the front door listens on. Anything but loopback opens it to others."
    )
    port: int | None = Field(
        None, ge=1, le=65535, description="Port of the front door (API and embedded cloud). Usual: 4610."
    )
    gateway_port: int | None = Field(
        None, ge=1, le=65535, description="Port of the web servers' gateway. Usual: 443, else 8443."
    )
    gateway_bind: str = Field(
        "127.0.0.1",
        description="Address that public web servers are reached at, where they have names "
        "(AERODROME_WEB_HOST=name). Anything but loopback opens them to others.",
    )
    private_gateway_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Port of private web servers. Usual: 8444; where web servers have addresses of their own, that of "
        "the public ones.",
    )
    private_gateway_bind: str = Field(
        "127.0.0.1",
        description="Address that private web servers are reached at, where they have names. Security groups say who "
        "gets in.",
    )
    security_group_interval: float = Field(
        10.0, ge=1, description="Seconds between two looks at the inbound rules of an environment's security groups."
    )
    web_domain: str = Field(
        "airflow.localhost",
        pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$",
        description="What the names of web servers end with: ID.REGION.DOMAIN, private ID-vpce.REGION.DOMAIN. Names of "
        "environments that are there stay.",
    )
    tls_certificate: Path | None = Field(
        None,
        description="Your own certificate for web servers: a PEM file with its chain, or a folder of NAME.crt beside "
        "NAME.key. Hosts that none of them is for have one of the local CA.",
    )
    tls_key: Path | None = Field(None, description="The key of that certificate, a PEM file.")
    postgres_port: int | None = Field(None, ge=1, le=65535, description="Port of the embedded PostgreSQL. Usual: 4611.")
    valkey_port: int | None = Field(None, ge=1, le=65535, description="Port of the embedded Valkey. Usual: 4612.")
    cloud_port: int | None = Field(None, ge=1, le=65535, description="Private port of the embedded cloud. Usual: 4613.")
    region: str = Field(
        "us-east-1",
        pattern=r"^[a-z]{2}(-[a-z]+)+-\d+$",
        description="Region that the printed shell settings and the demo use.",
    )
    account: str = Field(
        "100000000001", pattern=r"^\d{12}$", description="Account of the embedded cloud and of its administrator."
    )
    identity: Literal["embedded", "table"] | None = Field(
        None,
        description="Where callers of the MWAA API come from: `embedded` (IAM of the embedded cloud; so at first) or "
        "`table` (users, keys and roles of `aerodrome iam`). Not set: as it was.",
    )
    web_host: str = Field(
        "auto",
        pattern=r"^(auto|name|address)$",
        description="How web servers are named: `name` (ID.REGION.airflow.localhost), `address` (127.83.x.y), "
        "`auto` (`name` if such names resolve here, else `address`).",
    )
    strict: bool = Field(
        False,
        description="MWAA's own defaults and refusals: two schedulers and two web servers at least, 64 characters of "
        "`Path` in InvokeRestApi, updates are FORCED unless they say otherwise.",
    )
    list_readable_only: bool = Field(
        False,
        description="Whether ListEnvironments names only what the caller may also GetEnvironment. MWAA names all of "
        "the account and region to everybody who may list.",
    )
    rest_api_path_limit: int | None = Field(
        None,
        ge=1,
        le=8192,
        description="Longest `Path` of InvokeRestApi, in characters. Usual: 2048; with AERODROME_STRICT MWAA's 64.",
    )
    rest_api_rate: float | None = Field(
        None,
        gt=0,
        description="Calls of InvokeRestApi per second that an environment answers (MWAA: 10). Not set: no limit.",
    )
    sandbox: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Whether components see the files and processes of their own environment alone, and "
        "`/usr/local/airflow` as on MWAA: `auto` (where bubblewrap works), `on` (nothing starts where it doesn't) or "
        "`off`.",
    )
    postgres_url: str | None = Field(
        None, description="A PostgreSQL to use instead of the embedded one (superuser URL)."
    )
    valkey_url: str | None = Field(
        None, description="A Valkey or Redis to use instead of the embedded one (administrator's URL)."
    )
    server_tls: Literal["verify", "require", "off"] = Field(
        "verify",
        description="How a PostgreSQL or Valkey of yours that isn't on this machine is spoken to: `verify` (TLS, and "
        "its certificate must be believed), `require` (PostgreSQL: TLS, whoever answers), `off` (as it comes: "
        "passwords and data may cross the network in plain text).",
    )
    server_ca_file: Path | None = Field(
        None,
        description="PEM file, readable by all, of the authorities that your PostgreSQL's certificate is believed by. "
        "Not set: the public ones.",
    )
    aws_access_key_id: str | None = Field(
        None, description="Key of the control plane itself, to assume execution roles with when STS is a real one."
    )
    aws_secret_access_key: SecretStr | None = Field(None, description="The secret of that key.")
    sync_interval: float = Field(
        5.0,
        ge=1,
        description="Seconds between two looks at an environment's bucket; more, but 30 at most, if its folder takes "
        "long to list.",
    )
    scan_interval: float = Field(10.0, ge=1, description="Seconds between two unprompted looks at every environment.")
    keep_logs: bool = Field(
        True,
        description="Whether the logs of a deleted environment stay, below `kept-logs` of the home; "
        "MWAA's log groups do.",
    )
    create_timeout: float = Field(
        1800.0,
        ge=30,
        description="Seconds after which an environment that will not start is CREATE_FAILED, an update rolled back.",
    )

    oidc_issuer: str | None = Field(
        None,
        description="Identity provider that people sign in through: the https URL that it calls its issuer, "
        "and that environments name as `StartUrl` of `IdentityCenterConfiguration`.",
    )
    oidc_client_id: str | None = Field(
        None, validate_default=True, description="What the provider knows this installation by."
    )
    oidc_client_secret_file: Path | None = Field(
        None, description="File (mode 0600) with the client's secret alone. Not set: a public client, with PKCE alone."
    )
    oidc_roles: str | None = Field(
        None,
        validate_default=True,
        description="JSON list of the groups that may sign in, each with its Airflow role and, unless it is for all, "
        'the environments: `[{"group": "data-eng", "role": "User", "environments": ["team-a-*"]}]`.',
    )
    oidc_groups_claim: str = Field("groups", min_length=1, description="Claim that holds a person's groups.")
    oidc_user_claim: str | None = Field(
        None,
        min_length=1,
        description="Claim that people are named by in Airflow. Not set: `preferred_username`, else `email`, else "
        "`sub`. It should be one that they can't change themselves.",
    )
    oidc_scopes: str = Field(
        "openid profile email", description="Scopes that are asked for; some providers want `groups` among them."
    )
    oidc_ca_file: Path | None = Field(
        None, description="PEM file of further certificate authorities that the provider's hosts are believed by."
    )

    @property
    def longest_rest_api_path(self) -> int:
        return self.rest_api_path_limit or (64 if self.strict else 2048)

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.expanduser().absolute()

    @field_validator("oidc_issuer")
    @classmethod
    def _issuer(cls, issuer: str | None) -> str | None:
        return issuer and oidc.issuer_of(issuer)

    @field_validator("oidc_client_id", "oidc_roles")
    @classmethod
    def _with_issuer(cls, value: str | None, info: ValidationInfo) -> str | None:
        if "oidc_issuer" not in info.data:  # it is wrong itself, and told so
            return value
        if info.data["oidc_issuer"] and not value:
            raise ValueError("it must be set, since AERODROME_OIDC_ISSUER is.")
        if value and not info.data["oidc_issuer"]:
            raise ValueError("it means nothing without AERODROME_OIDC_ISSUER; set that too.")
        return value or None

    @field_validator("oidc_client_secret_file", "oidc_ca_file", "server_ca_file")
    @classmethod
    def _complete(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_absolute():
            raise ValueError(f"{path} is not a whole path: the control plane has another working folder. Begin with /.")
        return path

    @field_validator("oidc_roles")
    @classmethod
    def _roles(cls, roles: str | None) -> str | None:
        if roles:
            oidc.mappings_of(roles)
        return roles

    @field_validator("oidc_scopes")
    @classmethod
    def _scopes(cls, scopes: str) -> str:
        return " ".join(oidc.scopes_of(scopes))

    def identity_provider(self) -> oidc.OidcConfig | None:
        """The provider that people sign in through, if there is one. Reads the files that its settings name.

        Raises:
            Permanent: one of them isn't as it must be; the message names the setting.
        """
        if self.oidc_issuer is None or self.oidc_client_id is None or self.oidc_roles is None:
            return None
        secret, name = None, "AERODROME_OIDC_CLIENT_SECRET_FILE"
        try:
            if self.oidc_client_secret_file is not None:
                secret = oidc.read_secret(self.oidc_client_secret_file)
            name = "AERODROME_OIDC_CA_FILE"
            if self.oidc_ca_file is not None:
                oidc.check_authorities(self.oidc_ca_file)
        except ValueError as error:
            raise Permanent(f"{name}: {error}") from error
        return oidc.OidcConfig(
            issuer=self.oidc_issuer,
            client_id=self.oidc_client_id,
            mappings=oidc.mappings_of(self.oidc_roles),
            client_secret=secret,
            groups_claim=self.oidc_groups_claim,
            user_claim=self.oidc_user_claim,
            scopes=oidc.scopes_of(self.oidc_scopes),
            ca_file=self.oidc_ca_file,
        )

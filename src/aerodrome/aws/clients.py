"""Clients of AWS services with exactly the credentials and endpoints that they are given.

No credentials, region or endpoint is read from the process environment, a shared configuration file or instance
metadata: the control plane must never act with credentials that somebody left lying about.
"""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES
from botocore.loaders import JSONFileLoader, Loader

from aerodrome.domain.principal import Credentials

_CONFIG = Config(
    connect_timeout=5,
    read_timeout=60,
    retries={"mode": "standard", "total_max_attempts": 4},
    inject_host_prefix=False,
    user_agent_extra="aerodrome",
    max_pool_connections=20,
)
# To an endpoint that was named, we go straight: no proxy of the environment, no bucket in the host name.
_NAMED = Config(proxies={}, s3={"addressing_style": "path"})


class AwsClients:
    """Makes botocore clients.

    `endpoints` maps a service to a URL, as `AWS_ENDPOINT_URL_<SERVICE>` names it (`S3`, `SECRETS_MANAGER`, in any
    case) or as botocore does (`s3`, `secretsmanager`). The entry under the empty name serves every service without
    one of its own; a service with neither is AWS's own. `ca_bundle` None: the public roots.
    """

    def __init__(self, endpoints: Mapping[str, str], ca_bundle: Path | None = None) -> None:
        self._endpoints = {name.lower().replace("_", "-"): url for name, url in endpoints.items() if url}
        self._verify = str(ca_bundle) if ca_bundle else None
        self._lock = threading.Lock()  # a session is not safe to share between threads, its clients are
        self._session = botocore.session.Session(session_vars=_deaf_variables())
        models = Loader(
            file_loader=_LeanModels(),
            extra_search_paths=[Loader.BUILTIN_DATA_PATH],
            include_default_search_paths=False,  # no model of ~/.aws either
        )
        self._session.register_component("data_loader", models)

    def endpoint(self, service: str) -> str | None:
        """The URL that clients of the service (botocore's name) are sent to; None is AWS's own."""
        service_id = self._session.get_service_model(service).service_id.hyphenize()
        for name in (service, service_id, ""):
            if name in self._endpoints:
                return self._endpoints[name]
        return None

    def client(self, service: str, region: str, credentials: Credentials | None) -> Any:
        """A client; without credentials its requests are unsigned.

        Clients may be used from several threads. Their calls block: make them through `asyncio.to_thread`.
        """
        with self._lock:
            endpoint = self.endpoint(service)
            config = _CONFIG.merge(_NAMED) if endpoint else _CONFIG
            if credentials is None:
                config = config.merge(Config(signature_version=UNSIGNED))
            return self._session.create_client(
                service,
                region_name=region,
                endpoint_url=endpoint,
                verify=self._verify,
                config=config,
                aws_access_key_id=credentials.access_key_id if credentials else None,
                aws_secret_access_key=credentials.secret_access_key if credentials else None,
                aws_session_token=(credentials.session_token or None) if credentials else None,
            )


class _LeanModels(JSONFileLoader):
    """botocore's data as plain dictionaries, without documentation: half of the memory, which for S3 is 7 MB."""

    def load_file(self, file_path: str) -> Any:
        """None when it isn't there."""
        for suffix, opened in ((".json", open), (".json.gz", gzip.open)):
            try:
                with opened(file_path + suffix, "rb") as file:
                    return json.load(file, object_hook=_without_documentation)
            except FileNotFoundError:
                continue
        return None


def _without_documentation(part: dict[str, Any]) -> dict[str, Any]:
    if isinstance(part.get("documentation"), str):  # else it is a member of that name
        part["documentation"] = ""
    return part


def _deaf_variables() -> dict[str, Any]:
    """botocore's session variables, each with its default and none that listens to the environment or to files."""
    deaf: dict[str, Any] = {
        name: (None, None, default, convert)
        for name, (_, _, default, convert) in BOTOCORE_DEFAUT_SESSION_VARIABLES.items()
    }
    for name in ("config_file", "credentials_file"):
        deaf[name] = (None, None, "/dev/null", None)
    deaf["ignore_configured_endpoint_urls"] = (None, None, True, None)
    return deaf

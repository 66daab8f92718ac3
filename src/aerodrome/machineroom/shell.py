"""What `aws`, boto3 and other SDKs need in a shell to talk to an installation."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from aerodrome.layout import Layout
from aerodrome.machineroom.installation import Installation

_BUNDLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
_IN_THE_WAY = ("AWS_PROFILE", "AWS_SESSION_TOKEN")


def variables(layout: Layout, installation: Installation, region: str | None = None) -> dict[str, str]:
    """The administrator's environment variables. `region` replaces the one of the installation."""
    region = region or installation.region
    return {
        "AWS_ENDPOINT_URL": installation.endpoint,
        "AWS_ACCESS_KEY_ID": installation.admin_access_key,
        "AWS_SECRET_ACCESS_KEY": installation.admin_secret_key,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        # SDKs put "api." and "env." before the host, which a bare machine can't resolve.
        "AWS_DISABLE_HOST_PREFIX_INJECTION": "true",
        **{name: str(layout.ca_bundle) for name in _BUNDLES},
    }


def script(values: Mapping[str, str]) -> str:
    """Lines for `eval` in a POSIX shell."""
    lines = [f"unset {' '.join(_IN_THE_WAY)}"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in values.items()]
    return "\n".join(lines) + "\n"

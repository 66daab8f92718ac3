"""The signed header by which the gateway and InvokeRestApi tell an Airflow web server who is calling.

The other side is `aerodrome_airflow.webserver_config`; both must agree on the form.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence

LIFETIME = 30  # seconds: long enough for one login request, too short to be worth stealing


def sign(secret: str, environment_id: str, username: str, first_name: str, roles: Sequence[str], now: float) -> str:
    """`base64url(json) "." hex(hmac-sha256)`; `now` in seconds since the epoch."""
    claims = {
        "user": username,
        "first_name": first_name,
        "roles": list(roles),
        "exp": int(now) + LIFETIME,
        "env": environment_id,
    }
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=")
    return payload.decode() + "." + hmac.new(secret.encode(), payload, hashlib.sha256).hexdigest()

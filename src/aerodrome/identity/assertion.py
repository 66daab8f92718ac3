"""The identity header: how the gateway and InvokeRestApi tell an environment's Airflow who is calling.

    X-Aerodrome-Identity: BASE64URL(JSON) "." HEX(HMAC-SHA256(key, BASE64URL(JSON)))

JSON: {"env": environment id, "user": name, "first_name": IAM identity, "roles": [names], "exp": Unix seconds}. The
base64url is unpadded; the MAC is over that text itself. Sent to Airflow's login path alone, good for 30 seconds.
`aerodrome_airflow.identity` is the other side.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from datetime import datetime, timedelta

LIFETIME = timedelta(seconds=30)  # enough for one login request, too short to be worth stealing


def sign(
    secret: bytes, environment_id: str, user: str, iam_identity: str, roles: Sequence[str], now: datetime
) -> bytes:
    """The header's value."""
    claims = {
        "env": environment_id,
        "user": user,
        "first_name": iam_identity,
        "roles": list(roles),
        "exp": int((now + LIFETIME).timestamp()),
    }
    text = base64.urlsafe_b64encode(json.dumps(claims, separators=(",", ":")).encode()).rstrip(b"=")
    return text + b"." + hmac.new(secret, text, hashlib.sha256).hexdigest().encode()

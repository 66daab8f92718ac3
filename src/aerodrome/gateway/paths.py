"""Which paths the gateway answers itself, and which must never reach a web server. Pure."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import unquote_to_bytes

PREFIXES = ("/aws_mwaa", "/pluginsv2/aws_mwaa")
"""Sign-in prefixes of Airflow 2 and 3; both answer on both (design: 'Open the UI')."""

SSO, LOGIN, CLI = "aws-console-sso", "login", "cli"
OIDC_START, OIDC_CALLBACK = "oidc/start", "oidc/callback"
_OWN = frozenset({SSO, LOGIN, CLI, OIDC_START, OIDC_CALLBACK})
_DECODINGS = 8  # a path that is still encoded after so many rounds is refused


def prefix(airflow_major: int) -> str:
    """The prefix that MWAA's documentation names for the version (mwaa-spec 7.2)."""
    return PREFIXES[0] if airflow_major < 3 else PREFIXES[1]


def sso_url(host: str, airflow_major: int, token: str) -> str:
    """What a browser is sent to; the token is in the fragment, so no server log ever holds it."""
    return f"https://{host}{prefix(airflow_major)}/{SSO}?login=true#{token}"


def oidc_url(host: str, page: str) -> str:
    """One of our addresses for an identity provider: the same on all versions, since it is registered there."""
    return f"https://{host}{PREFIXES[0]}/{page}"


def own_page(raw_path: bytes) -> str | None:
    """One of the names above; `""` for any other path below a sign-in prefix; None elsewhere.

    Compared byte for byte: an encoded spelling is an ordinary path, which needs a session.
    """
    path = raw_path.decode("latin-1")
    for each in PREFIXES:
        if path == each or path.startswith(each + "/"):
            name = path[len(each) :].strip("/")
            return name if name in _OWN else ""
    return None


def is_execution(raw_path: bytes) -> bool:
    """Whether any reading of the path by any server leads to `/execution`, Airflow 3's API for tasks.

    It trusts bearer tokens of workers alone, so it must not be reachable from outside. Errs towards refusing:
    decodes until nothing changes, folds case and Unicode look-alikes, ignores path parameters, control
    characters and white space, takes backslashes for slashes, reads dot segments both ways.
    """
    path = raw_path
    for _ in range(_DECODINGS):
        decoded = unquote_to_bytes(path)
        if decoded == path:
            break
        if _leads_to_execution(path):
            return True
        path = decoded
    else:
        return True
    return _leads_to_execution(path)


def _leads_to_execution(path: bytes) -> bool:
    text = unicodedata.normalize("NFKC", path.decode("utf-8", "ignore")).casefold().replace("\\", "/")
    names = [_bare(segment) for segment in text.partition("?")[0].partition("#")[0].split("/")]
    written = [name for name in names if name not in ("", ".", "..")]
    resolved: list[str] = []
    for name in names:
        if name == "..":
            del resolved[-1:]
        elif name not in ("", "."):
            resolved.append(name)
    return "execution" in (written[:1] + resolved[:1])


def _bare(segment: str) -> str:
    return "".join(char for char in segment.partition(";")[0] if char.isprintable() and not char.isspace())


def is_login(raw_path: bytes, login_path: str) -> bool:
    """Airflow's own login page: answered by us, since it redirects to itself for ever without an identity."""
    return raw_path.decode("latin-1").rstrip("/") == login_path.rstrip("/")


_LOCAL = re.compile(r"/(?![/\\])[!-\[\]-~]*")  # printable ASCII but the backslash, which browsers take for a slash
_LONGEST = 1024


def is_local(target: str) -> bool:
    """Whether a browser that is sent to the target stays on this host."""
    return len(target) <= _LONGEST and _LOCAL.fullmatch(target) is not None


_LOGOUT = frozenset({"/logout", "/auth/logout", "/api/v2/auth/logout"})


def is_logout(raw_path: bytes) -> bool:
    """Airflow's own ways out: `/logout/` (2), `/auth/logout` and `/api/v2/auth/logout` (3)."""
    return raw_path.decode("latin-1").rstrip("/") in _LOGOUT

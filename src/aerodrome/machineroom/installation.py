"""Who this installation is: its id, ports and generated credentials, kept in one 0600 file and in a copy of it.

Passwords and keys among it lie sealed under the master key, as one text.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aerodrome.errors import Permanent
from aerodrome.files import write_file
from aerodrome.layout import Layout
from aerodrome.vault import vault_of

_SECRET = (
    *("postgres_password", "valkey_password", "admin_secret_key", "supervisor_password"),
    *("external_postgres_url", "external_valkey_url"),
)
_SEALED = "sealed"  # the member that holds them
_CONTEXT = "installation"


@dataclass(frozen=True, slots=True)
class Installation:
    """Facts fixed at the first `up`. Everything else is derived."""

    id: str  # 6 lower-case letters and digits: part of system user names, so that two installations never collide
    account: str  # 12 digits: the embedded cloud's account
    region: str
    front_port: int  # API and embedded cloud
    gateway_port: int
    postgres_port: int
    valkey_port: int
    cloud_port: int
    web_host: str  # "name" or "address", never "auto": decided at the first `up`
    postgres_password: str
    valkey_password: str
    admin_access_key: str  # of the generated administrator (`administrator`)
    admin_secret_key: str
    supervisor_password: str
    external_postgres_url: str | None = None
    external_valkey_url: str | None = None
    identity: str = "embedded"  # where callers of the MWAA API come from: "embedded" or "table"
    bind: str = "127.0.0.1"  # address that the front door listens on; may change from one `up` to the next
    private_port: int = 0  # of private web servers; 0: not chosen yet, the record is of an earlier release
    gateway_bind: str = "127.0.0.1"  # of public web servers, where they have names; may change like `bind`
    private_bind: str = "127.0.0.1"  # of private ones
    postgres_sslmode: str = ""  # libpq's, for a PostgreSQL that isn't on this machine
    postgres_ca: str = ""  # file of the authorities that its certificate is believed by

    @property
    def endpoint(self) -> str:
        """What a user sets as `AWS_ENDPOINT_URL`."""
        # Who listens everywhere, listens on loopback.
        address = "127.0.0.1" if self.bind in ("0.0.0.0", "::", "localhost") else self.bind  # noqa: S104
        return f"http://[{address}]:{self.front_port}" if ":" in address else f"http://{address}:{self.front_port}"

    @property
    def postgres_url(self) -> str:
        """Superuser URL of the server that holds our own database and every environment's; no database in it."""
        return (
            self.external_postgres_url
            or f"postgresql://aerodrome:{self.postgres_password}@127.0.0.1:{self.postgres_port}"
        )

    @property
    def postgres_variables(self) -> dict[str, str]:
        """For clients of our own server: libpq then never sends the password itself, whoever answers on the port. For
        those of a server elsewhere: that it must speak TLS.
        """
        return {f"PG{name.replace('_', '').upper()}": value for name, value in self.postgres_options.items()}

    @property
    def postgres_options(self) -> dict[str, str]:
        """The same, as an argument of `connect`."""
        if not self.external_postgres_url:
            return {"require_auth": "scram-sha-256"}
        found = {"sslmode": self.postgres_sslmode, "sslrootcert": self.postgres_ca}
        return {name: value for name, value in found.items() if value}

    @property
    def valkey_url(self) -> str:
        """Administrator's URL of the broker; no database number in it."""
        return self.external_valkey_url or f"redis://default:{self.valkey_password}@127.0.0.1:{self.valkey_port}"


class _Damaged(Permanent):
    """The file isn't what we wrote."""


def load(layout: Layout) -> Installation:
    """Read the installation; from its copy when the file was damaged.

    Raises:
        Permanent: there is none yet, or neither can be read.
    """
    try:
        return _read(layout, layout.installation_file)
    except FileNotFoundError:
        raise Permanent(f"There is no installation at {layout.home}. Run `aerodrome up` first.") from None
    except _Damaged as damaged:
        try:
            return _read(layout, layout.installation_copy)
        except (FileNotFoundError, Permanent):
            raise damaged from None


def save(layout: Layout, installation: Installation) -> bool:
    """Write it and its copy, each unless it is there already; whether what we replaced was damaged.

    Raises:
        OSError: the disk is full.
    """
    mended, wrong, text = False, [], ""
    for path in (layout.installation_file, layout.installation_copy):
        try:
            content = path.read_text()
            if _read(layout, path) == installation and _SEALED in json.loads(content):
                text = content
                continue
        except (_Damaged, UnicodeDecodeError):
            mended = True
        except (FileNotFoundError, Permanent):
            pass
        wrong.append(path)
    for path in wrong:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        text = text or _sealed(layout, installation)
        write_file(path, text, 0o600)
    return mended


def rewrap(layout: Layout) -> None:
    """What is sealed of it lies under the newest master key afterwards."""
    vault = vault_of(layout)
    for path in (layout.installation_file, layout.installation_copy):
        try:
            raw = json.loads(path.read_text())
            again = vault.rewrapped(base64.b64decode(raw[_SEALED]), _CONTEXT)
        except (FileNotFoundError, ValueError, KeyError, TypeError, Permanent):  # the next `up` mends it from the other
            continue
        if again is not None:
            write_file(path, _text({**raw, _SEALED: base64.b64encode(again).decode()}), 0o600)


def id_of(layout: Layout) -> str:
    """The installation's id, whether the rest can be read or not.

    Raises:
        Permanent: there is no installation.
    """
    try:
        return str(json.loads(layout.installation_file.read_text())["id"])
    except FileNotFoundError:
        raise Permanent(f"There is no installation at {layout.home}. Run `aerodrome up` first.") from None
    except (ValueError, KeyError, TypeError):
        return load(layout).id


def _read(layout: Layout, path: Path) -> Installation:
    try:
        raw: dict[str, Any] = json.loads(path.read_text())
        if _SEALED in raw:  # not that of an earlier release
            raw |= _opened(layout, path, raw.pop(_SEALED))
    except PermissionError:
        raise Permanent(f"{path} belongs to another user; run this command as its owner.") from None
    except ValueError as error:
        raise _Damaged(f"{path} is damaged ({error}); restore it from a backup.") from error
    try:
        return Installation(**raw)
    except TypeError as error:
        raise Permanent(
            f"{path} doesn't suit this version of Aerodrome ({error}); use the one that wrote it."
        ) from error


def _opened(layout: Layout, path: Path, sealed: str) -> dict[str, Any]:
    vault = vault_of(layout)
    try:
        opened: dict[str, Any] = json.loads(vault.open(base64.b64decode(sealed), _CONTEXT))
    except Permanent as error:
        raise _Damaged(f"{path} is damaged ({error}); restore it from a backup.") from error
    return opened


def _sealed(layout: Layout, installation: Installation) -> str:
    members = asdict(installation)
    secrets = json.dumps({name: members.pop(name) for name in _SECRET})
    sealed = vault_of(layout).seal(secrets.encode(), _CONTEXT)
    return _text({**members, _SEALED: base64.b64encode(sealed).decode()})


def dump(installation: Installation) -> str:
    """In plain text, as earlier releases wrote it."""
    return _text(asdict(installation))


def _text(members: dict[str, Any]) -> str:
    return json.dumps(members, indent=2) + "\n"

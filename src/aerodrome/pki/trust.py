"""The local authority in the stores of trusted authorities: the system's, and those of browsers (NSS)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from aerodrome.errors import Permanent
from aerodrome.layout import Layout

_TIMEOUT = 120  # seconds
_KEYCHAIN = "/Library/Keychains/System.keychain"


@dataclass(frozen=True, slots=True)
class Store:
    """A folder of trusted authorities, and the program that makes a bundle of them."""

    systems: str  # for people
    folder: Path
    suffix: str
    program: tuple[str, ...]

    def is_here(self) -> bool:
        return self.folder.is_dir() and shutil.which(self.program[0]) is not None


STORES = (
    Store("Fedora, RHEL", Path("/etc/pki/ca-trust/source/anchors"), ".pem", ("update-ca-trust", "extract")),
    Store("Arch", Path("/etc/ca-certificates/trust-source/anchors"), ".crt", ("trust", "extract-compat")),
    Store("SUSE", Path("/etc/pki/trust/anchors"), ".pem", ("update-ca-certificates",)),
    Store("Debian, Ubuntu", Path("/usr/local/share/ca-certificates"), ".crt", ("update-ca-certificates",)),
)


def authority(layout: Layout) -> x509.Certificate:
    """The authority's certificate.

    Raises:
        Permanent: there is none yet.
    """
    try:
        return x509.load_pem_x509_certificate(layout.ca_certificate.read_bytes())
    except (OSError, ValueError):
        raise Permanent(f"{layout.home} has no certificate authority yet. Run `aerodrome up` first.") from None


def name_of(certificate: x509.Certificate) -> str:
    """The common name, which no other installation's authority has."""
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256, as browsers show it."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def install(layout: Layout, stores: Sequence[Store] = STORES, home: Path | None = None) -> list[str]:
    """Put the authority into the system's store and into browsers'; returns where. May be repeated.

    Raises:
        Permanent: the system's store is unknown, or not ours to write.
    """
    certificate = authority(layout)
    name = name_of(certificate)
    if sys.platform == "darwin":
        _run("security", "add-trusted-cert", "-d", "-r", "trustRoot", "-k", _KEYCHAIN, str(layout.ca_certificate))
        return [_KEYCHAIN, *_nss(layout, name, home, add=True)]
    store = _store(stores)
    place = store.folder / f"{_file_name(name)}{store.suffix}"
    try:
        shutil.copyfile(layout.ca_certificate, place)
        place.chmod(0o644)
    except PermissionError:
        raise _not_ours(layout, store.folder, "--install") from None
    _run(*store.program)
    return [str(place), *_nss(layout, name, home, add=True)]


def remove(layout: Layout, stores: Sequence[Store] = STORES, home: Path | None = None) -> list[str]:
    """Take the authority out again; returns from where. What isn't there is no error.

    Raises:
        Permanent: the system's store is unknown, or not ours to write.
    """
    certificate = authority(layout)
    name = name_of(certificate)
    if sys.platform == "darwin":
        _run("security", "remove-trusted-cert", "-d", str(layout.ca_certificate))
        return [_KEYCHAIN, *_nss(layout, name, home, add=False)]
    store, removed = _store(stores), list[str]()
    place = store.folder / f"{_file_name(name)}{store.suffix}"
    if place.exists():
        try:
            place.unlink()
        except PermissionError:
            raise _not_ours(layout, store.folder, "--remove") from None
        _run(*store.program)
        removed.append(str(place))
    return [*removed, *_nss(layout, name, home, add=False)]


def _store(stores: Sequence[Store]) -> Store:
    for store in stores:
        if store.is_here():
            return store
    raise Permanent(
        "No store of trusted authorities was found here (known: "
        + "; ".join(f"{store.systems}: {store.folder}" for store in stores)
        + "). Add the certificate by hand; `aerodrome tls trust` prints it. On Debian, `apt install ca-certificates`."
    )


def _not_ours(layout: Layout, folder: Path, option: str) -> Permanent:
    return Permanent(f"{folder} is root's. Run as root: AERODROME_HOME={layout.home} {sys.argv[0]} tls trust {option}")


def _nss(layout: Layout, name: str, home: Path | None, *, add: bool) -> list[str]:
    """Databases of Chrome and Firefox that were changed; none without `certutil` (libnss3-tools)."""
    certutil = shutil.which("certutil")
    if certutil is None:
        return []
    home, changed = home or Path(os.path.expanduser("~")), list[str]()
    found = [home / ".pki/nssdb", *(home / ".mozilla/firefox").glob("*"), *(home / "snap/firefox").glob("*/*/*/*/*")]
    for folder in found:
        if not (folder / "cert9.db").exists():
            continue
        words = ["-A", "-t", "C,,", "-i", str(layout.ca_certificate)] if add else ["-D"]
        done = subprocess.run(
            [certutil, "-d", f"sql:{folder}", *words, "-n", name], capture_output=True, check=False, timeout=_TIMEOUT
        )
        if done.returncode == 0:
            changed.append(str(folder))
    return changed


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=_TIMEOUT)
    if done.returncode != 0:
        raise Permanent(f"{' '.join(argv)} failed.", (done.stdout + done.stderr)[-2000:])


def _file_name(name: str) -> str:
    return "-".join(name.lower().split())

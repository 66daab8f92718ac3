"""Server certificates, signed by the installation's authority."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from aerodrome.errors import Permanent
from aerodrome.files import ensure_directory, write_file
from aerodrome.layout import Layout
from aerodrome.pki.authority import (
    BACKDATED,
    ENCRYPTED,
    Authority,
    current_certificate,
    ensure_authority,
    key_usage,
    password,
    private_pem,
)

LIFETIME = timedelta(days=397)  # browsers refuse server certificates that live longer than 398 days
RENEW_BEFORE = timedelta(days=30)
_COMMON_NAME_LENGTH = 64  # of X.520; longer names stand in the alternative names alone


class Served(NamedTuple):
    """What `SSLContext.load_cert_chain` takes."""

    chain: Path
    key: Path
    password: bytes


def issue(layout: Layout, names: Sequence[str], addresses: Sequence[str] = (), now: datetime | None = None) -> Served:
    """A certificate for these DNS names and IP addresses. Blocking.

    Chain and key are the same 0600 PEM file, so that they can't be torn apart by a crash. It is used again while it is
    valid for more than 30 days and signed by the authority of now; ask again daily, and load what comes back.

    Raises:
        Permanent: no name and no address, or one that isn't one; the authority is damaged.
    """
    names, addresses = sorted(set(names)), sorted(set(addresses))
    if not names and not addresses:
        raise Permanent("A server certificate needs at least one host name or IP address.")
    alternatives = _alternative_names(names, addresses)
    current = current_certificate(layout) or ensure_authority(layout).certificate
    secret = password(layout)
    folder = layout.pki / "issued"
    ensure_directory(layout.pki, 0o711)
    ensure_directory(folder, 0o700)
    path = folder / f"{hashlib.sha256(repr((names, addresses)).encode()).hexdigest()[:24]}.pem"
    now = now or datetime.now(UTC)
    if not _usable(path, current, now):
        authority = ensure_authority(layout)
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = _sign(authority, key.public_key(), alternatives, (names or addresses)[0], now)
        chain = [leaf, authority.certificate]
        text = b"".join(each.public_bytes(serialization.Encoding.PEM) for each in chain)
        write_file(path, private_pem(key, secret) + text, 0o600)
    return Served(path, path, secret)


def _alternative_names(names: Sequence[str], addresses: Sequence[str]) -> x509.SubjectAlternativeName:
    try:
        return x509.SubjectAlternativeName(
            [*(x509.DNSName(name) for name in names), *(x509.IPAddress(ipaddress.ip_address(a)) for a in addresses)]
        )
    except ValueError as error:
        raise Permanent(f"No certificate can be made for {[*names, *addresses]}: {error}.") from error


def _usable(path: Path, authority: x509.Certificate, now: datetime) -> bool:
    """Also whether it is whole: one that was cut short may lack the end of its chain, and no server would load it. One
    whose key lies in plain text, of an earlier release, is made anew.
    """
    try:
        text = path.read_bytes()
        leaf, issuer = x509.load_pem_x509_certificates(text)
        if issuer != authority or not text.startswith(ENCRYPTED):
            return False
        leaf.verify_directly_issued_by(issuer)
    except (OSError, ValueError, TypeError, InvalidSignature):
        return False
    return leaf.not_valid_after_utc - RENEW_BEFORE > now


def _sign(
    authority: Authority,
    key: ec.EllipticCurvePublicKey,
    alternatives: x509.SubjectAlternativeName,
    first: str,
    now: datetime,
) -> x509.Certificate:
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, first)] if len(first) <= _COMMON_NAME_LENGTH else []
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(authority.certificate.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + LIFETIME)
        .add_extension(alternatives, critical=not subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(certificate_sign=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .sign(authority.key, hashes.SHA256())
    )

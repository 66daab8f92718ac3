"""The local certificate authority: made once, its key never leaves the home.

Private keys lie encrypted (PKCS#8), with a password that is sealed under the master key.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import certifi
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import NameOID

from aerodrome import sealed_files
from aerodrome.errors import Permanent
from aerodrome.files import ensure_directory, write_file
from aerodrome.layout import Layout

ENCRYPTED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"
LIFETIME = timedelta(days=3650)
RENEW_BEFORE = timedelta(days=400)  # longer than any certificate that it issues lives
BACKDATED = timedelta(hours=1)  # clients whose clock is a little slow


@dataclass(frozen=True, slots=True)
class Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def key_file(layout: Layout) -> Path:
    return layout.pki / "ca.key"


def password(layout: Layout) -> bytes:
    """What private keys in the home are encrypted with.

    Raises:
        Permanent: it is damaged, or gone while there is what it encrypts: a new one would hide that; or the master key
        is gone.
    """
    file, authority = sealed_files.path(layout, sealed_files.PKI), key_file(layout)
    if not file.exists() and authority.exists() and ENCRYPTED in authority.read_bytes():
        raise Permanent(
            f"{file} is gone, and {authority} can't be read without it. Restore it from a backup, or remove "
            f"{authority} and {layout.ca_certificate}: new ones are made at the next `aerodrome up`, and clients must "
            "trust them anew."
        )
    return sealed_files.keep(layout, sealed_files.PKI).hex().encode()


def current_certificate(layout: Layout) -> x509.Certificate | None:
    """The authority's, without a look at its key; None: `ensure_authority` has to make one."""
    found = _load_certificate(layout)
    if found is None or _is_old(found) or not key_file(layout).exists():
        return None
    _write_bundle(layout, found)
    return found


def ensure_authority(layout: Layout) -> Authority:
    """Load the authority, making what is missing, and write the bundle handed to clients. Blocking; idempotent.

    Raises:
        Permanent: the certificate is there without its key, or the key is damaged.
    """
    ensure_directory(layout.pki, 0o711)
    key = _ensure_key(layout)
    certificate = _load_certificate(layout)
    if certificate is None or _is_old(certificate):
        certificate = _self_signed(key, datetime.now(UTC))
        write_file(layout.ca_certificate, _pem(certificate), 0o644)
    elif certificate.public_key() != key.public_key():
        raise Permanent(
            f"{layout.ca_certificate} and {key_file(layout)} don't belong together. Restore both from one backup, "
            "or remove both: new ones are made at the next `aerodrome up`, and clients must trust them anew."
        )
    _write_bundle(layout, certificate)
    return Authority(certificate, key)


def _ensure_key(layout: Layout) -> ec.EllipticCurvePrivateKey:
    path, secret = key_file(layout), password(layout)
    if path.exists():
        try:
            key, was_plain = read_key(path.read_bytes(), secret)
        except ValueError as error:
            raise Permanent(
                f"{path} is damaged. Restore it from a backup, or remove it and {layout.ca_certificate}: new ones are "
                "made at the next `aerodrome up`, and clients must trust them anew."
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise Permanent(f"{path} doesn't hold an elliptic-curve key; restore it from a backup.")
        if was_plain:
            write_file(path, private_pem(key, secret), 0o600)
        return key
    if layout.ca_certificate.exists():
        raise Permanent(f"{layout.ca_certificate} is there, its key {path} is gone: restore it, or remove both.")
    key = ec.generate_private_key(ec.SECP256R1())
    write_file(path, private_pem(key, secret), 0o600)
    return key


def _load_certificate(layout: Layout) -> x509.Certificate | None:
    """None: there is none, or it was damaged. One made of the same key is the same authority to those who trust it."""
    try:
        return x509.load_pem_x509_certificate(layout.ca_certificate.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _self_signed(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    subject_key = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    # The name carries part of the key: two installations trusted by one browser stay apart.
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Aerodrome"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"Aerodrome local CA {subject_key.digest.hex()[:8]}"),
        ]
    )
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(certificate_sign=True), critical=True)
        .add_extension(subject_key, critical=False)
        .sign(key, hashes.SHA256())
    )


def key_usage(*, certificate_sign: bool) -> x509.KeyUsage:
    """An authority signs certificates, a server signs handshakes, neither does the other's work."""
    return x509.KeyUsage(
        digital_signature=not certificate_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificate_sign,
        crl_sign=certificate_sign,
        encipher_only=False,
        decipher_only=False,
    )


def private_pem(key: PrivateKeyTypes, secret: bytes) -> bytes:
    encryption = serialization.BestAvailableEncryption(secret)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def read_key(pem: bytes, secret: bytes) -> tuple[PrivateKeyTypes, bool]:
    """The first private key in the text, and whether it lies there in plain text, as earlier releases wrote it.

    Raises:
        ValueError: there is none, or another password encrypts it.
    """
    try:
        return serialization.load_pem_private_key(pem, secret), False
    except TypeError:  # a password was given, but it isn't encrypted
        return serialization.load_pem_private_key(pem, None), True


def _is_old(certificate: x509.Certificate) -> bool:
    return certificate.not_valid_after_utc - RENEW_BEFORE < datetime.now(UTC)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write_bundle(layout: Layout, certificate: x509.Certificate) -> None:
    """Public roots and our CA: a client that is pointed at this file still reaches everything else."""
    wanted = Path(certifi.where()).read_bytes().rstrip() + b"\n\n# Aerodrome local CA\n" + _pem(certificate)
    if not layout.ca_bundle.exists() or layout.ca_bundle.read_bytes() != wanted:
        write_file(layout.ca_bundle, wanted, 0o644)

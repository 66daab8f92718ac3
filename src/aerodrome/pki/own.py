"""Your own certificates: taken over when they are whole, kept when what replaces them isn't."""

from __future__ import annotations

import hashlib
import logging
import ssl
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from aerodrome.errors import Permanent
from aerodrome.files import ensure_directory, write_file
from aerodrome.layout import Layout
from aerodrome.pki.authority import ENCRYPTED, password, private_pem, read_key
from aerodrome.pki.leaf import Served, issue

log = logging.getLogger(__name__)

_Stamp = tuple[int, ...]

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Pair:
    """Where a certificate's chain and its key are; both may be one file."""

    chain: Path
    key: Path

    def stamp(self) -> _Stamp:
        """Raises OSError."""
        return tuple(
            value
            for status in (self.chain.stat(), self.key.stat())
            for value in (status.st_ino, status.st_mtime_ns, status.st_size)
        )

    def read(self, now: datetime, secret: bytes = b"") -> tuple[bytes, x509.Certificate]:
        """Key, in plain text, and chain as one PEM text, and the server's certificate.

        `secret`: the password of a key that is ours and encrypted.

        Raises:
            Permanent: names the file and what is wrong with it.
        """
        try:
            chain, private = self.chain.read_bytes(), self.key.read_bytes()
        except OSError as error:
            raise Permanent(f"{error.filename} can't be read: {error.strerror}.") from error
        try:
            certificates = x509.load_pem_x509_certificates(chain)
        except ValueError as error:
            raise Permanent(f"{self.chain} holds no certificate in PEM form ({error}).") from error
        try:
            key = read_key(private, secret)[0] if secret else serialization.load_pem_private_key(private, None)
        except (ValueError, TypeError) as error:
            raise Permanent(f"{self.key} holds no private key in PEM form without a password ({error}).") from error
        leaf = certificates[0]
        if leaf.public_key() != key.public_key():
            raise Permanent(f"{self.key} is not the key of the first certificate in {self.chain}.")
        begin, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
        if not begin <= now < end:
            raise Permanent(f"{self.chain} is valid from {begin:%Y-%m-%d} to {end:%Y-%m-%d}, not on {now:%Y-%m-%d}.")
        if not names_in(leaf):
            raise Permanent(f"{self.chain} names no host: it needs subject alternative names.")
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.chain, self.key, secret)
        except ssl.SSLError as error:
            raise Permanent(f"{self.chain} and {self.key} can't be used for TLS: {error}.") from error
        plain = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return plain + b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates), leaf


def pairs(certificate: Path, key: Path | None) -> list[Pair]:
    """The pair of two files, of one that holds both, or all NAME.crt and NAME.key of a folder."""
    if certificate.is_dir():
        return [Pair(each, each.with_suffix(".key")) for each in sorted(certificate.glob("*.crt"))]
    return [Pair(certificate, key or certificate)]


def names_in(certificate: x509.Certificate) -> frozenset[str]:
    """Host names, wildcards and addresses that a certificate is for."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    names = found.get_values_for_type(x509.DNSName)
    return frozenset([*map(str.lower, names), *map(str, found.get_values_for_type(x509.IPAddress))])


def covers(names: frozenset[str], wanted: Iterable[str]) -> bool:
    """Whether each of the hosts is named; a wildcard stands for one label (RFC 6125)."""
    return all(each in names or f"*.{each.partition('.')[2]}" in names for each in wanted)


@dataclass(frozen=True, slots=True)
class _Kept:
    file: Path  # of ours, with key and chain
    names: frozenset[str]


class Certificates:
    """The gateway's `Certificate`: one of yours where it is for the host, else one of the local authority.

    What is taken over is copied into the home (0600, its key encrypted as our own are), so that a pair which is
    replaced file by file, or by a bad one, leaves the one before in use, over a restart too. Blocking, for one thread
    at a time.
    """

    def __init__(
        self, layout: Layout, certificate: Path | None, key: Path | None, now: Callable[[], datetime] = _now
    ) -> None:
        self._layout = layout
        self._certificate = certificate
        self._key = key
        self._now = now
        self._seen: dict[Pair, _Stamp] = {}
        self._kept: dict[Pair, _Kept] = {}

    def __call__(self, names: Sequence[str], addresses: Sequence[str]) -> Served:
        wanted = [*names, *addresses]
        for kept in self.own():
            if covers(kept.names, wanted):
                return Served(kept.file, kept.file, password(self._layout))
        return issue(self._layout, names, addresses, self._now())

    def own(self) -> list[_Kept]:
        """Yours, as they are now."""
        if self._certificate is None:
            return []
        found = pairs(self._certificate, self._key)
        for pair in found:
            self._look(pair)
        return [self._kept[pair] for pair in found if pair in self._kept]

    def check(self) -> list[str]:
        """What is wrong with yours, a line for each pair that can't be used: the one before is, if there was one.

        Raises:
            Permanent: a pair can't be used, and there was none before.
        """
        if self._certificate is None:
            if self._key is not None:
                raise Permanent("AERODROME_TLS_KEY is set and AERODROME_TLS_CERTIFICATE is not; set both or neither.")
            return []
        found, lines = pairs(self._certificate, self._key), list[str]()
        if not found:
            raise Permanent(f"{self._certificate} (AERODROME_TLS_CERTIFICATE) has no NAME.crt in it.")
        for pair in found:
            try:
                pair.read(self._now())
            except Permanent as error:
                if self._before(pair) is None:
                    raise Permanent(f"AERODROME_TLS_CERTIFICATE: {error} Mend it, or unset the setting.") from error
                lines.append(f"AERODROME_TLS_CERTIFICATE: {error} The one before stays in use.")
        return lines

    def _look(self, pair: Pair) -> None:
        """Take the pair over if it changed."""
        try:
            stamp: _Stamp = pair.stamp()
        except OSError:
            stamp = ()
        if self._seen.get(pair) == stamp:
            return
        self._seen[pair] = stamp
        try:
            text, leaf = pair.read(self._now())
        except Permanent as error:
            before = self._kept.get(pair) or self._before(pair)
            if before is not None:
                self._kept[pair] = before
            log.error("%s %s", error, "The one before stays in use." if before else "One of the local CA is used.")
            return
        file = self._file(pair)
        ensure_directory(self._layout.pki, 0o711)
        ensure_directory(file.parent, 0o700)
        self._take_over(file, text)
        self._kept[pair] = _Kept(file, names_in(leaf))
        log.info("certificate %s for %s", pair.chain, ", ".join(sorted(names_in(leaf))))

    def _take_over(self, file: Path, text: bytes) -> None:
        """Write the pair with its key encrypted, unless it is there."""
        secret = password(self._layout)
        if file.exists() and file.read_bytes().startswith(ENCRYPTED):
            with suppress(Permanent):
                if Pair(file, file).read(self._now(), secret)[0] == text:
                    return
        key, _ = read_key(text, secret)
        write_file(file, private_pem(key, secret) + text[text.index(_CERTIFICATE) :], 0o600)

    def _before(self, pair: Pair) -> _Kept | None:
        """What was taken over from these files earlier."""
        file = self._file(pair)
        if not file.exists():
            return None
        try:
            _, leaf = Pair(file, file).read(self._now(), password(self._layout))
        except Permanent:
            return None
        return _Kept(file, names_in(leaf))

    def _file(self, pair: Pair) -> Path:
        name = hashlib.sha256(f"{pair.chain}\n{pair.key}".encode()).hexdigest()[:24]
        return self._layout.pki / "own" / f"{name}.pem"

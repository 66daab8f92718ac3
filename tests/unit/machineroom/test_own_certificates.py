"""Certificates of web servers: renewed in time, and your own ones in their place."""

from __future__ import annotations

import logging
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from aerodrome import pki
from aerodrome.errors import Permanent
from aerodrome.layout import Layout
from support import pairs
from support.homes import home_with_key

HOST = "0123456789ab.us-east-1.example.com"
WILD = "*.us-east-1.example.com"
NOW = datetime.now(UTC)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return home_with_key(tmp_path / "home")


class Issuer:
    """Somebody else's authority, which writes its pairs where it is told."""

    def __init__(self, folder: Path) -> None:
        self._layout = home_with_key(folder)
        self._days = 0

    def write(self, chain: Path, key: Path, *names: str) -> x509.Certificate:
        """Another one every time."""
        self._days += 1
        for old in self._layout.pki.glob("issued/*"):
            old.unlink()
        served = pki.issue(self._layout, names)
        key.write_bytes(pairs.plain_key(served))
        chain.write_bytes(pairs.chain(served))
        return leaf_of(chain)


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path / "issuer")


def leaf_of(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificates(path.read_bytes())[0]


def served(certificates: pki.Certificates, *names: str, addresses: tuple[str, ...] = ()) -> x509.Certificate:
    chain, key, password = certificates(list(names), list(addresses))
    assert chain == key
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, key, password)
    assert b"BEGIN PRIVATE" not in key.read_bytes()
    assert stat.S_IMODE(chain.stat().st_mode) == 0o600
    return leaf_of(chain)


def test_a_certificate_is_renewed_a_month_before_it_ends_and_not_earlier(layout: Layout) -> None:
    clock = [NOW]
    certificates = pki.Certificates(layout, None, None, lambda: clock[0])
    first = served(certificates, HOST)
    assert first.issuer == leaf_of(layout.ca_certificate).subject
    clock[0] = first.not_valid_after_utc - timedelta(days=31)
    assert served(certificates, HOST) == first
    clock[0] = first.not_valid_after_utc - timedelta(days=30)
    second = served(certificates, HOST)
    assert second.serial_number != first.serial_number
    assert second.not_valid_after_utc > clock[0] + timedelta(days=390)
    assert served(certificates, HOST) == second


def test_your_own_is_served_where_it_is_for_the_host_and_ours_elsewhere(
    layout: Layout, issuer: Issuer, tmp_path: Path
) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    own = issuer.write(chain, key, WILD, "other.example.com")
    certificates = pki.Certificates(layout, chain, key)
    assert certificates.check() == []
    for name in (HOST, HOST.replace(".", "-vpce.", 1), "other.example.com"):
        assert served(certificates, name) == own
    for name in ("us-east-1.example.com", f"a.{HOST}", "localhost", "OTHER.example.org"):
        assert served(certificates, name).issuer == leaf_of(layout.ca_certificate).subject
    assert served(certificates, HOST, addresses=("127.83.0.1",)) != own, "it isn't for the address"
    (copy,) = (layout.pki / "own").iterdir()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600


def test_one_file_may_hold_both_and_a_folder_many(layout: Layout, issuer: Issuer, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    one = issuer.write(folder / "one.crt", folder / "one.key", "one.example.com")
    two = issuer.write(folder / "two.crt", folder / "two.key", "two.example.com")
    several = pki.Certificates(layout, folder, None)
    assert (served(several, "one.example.com"), served(several, "two.example.com")) == (one, two)
    both = tmp_path / "both.pem"
    both.write_bytes((folder / "one.key").read_bytes() + (folder / "one.crt").read_bytes())
    assert served(pki.Certificates(layout, both, None), "one.example.com") == one


def test_changed_files_are_taken_over_without_a_restart(layout: Layout, issuer: Issuer, tmp_path: Path) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    first = issuer.write(chain, key, HOST)
    certificates = pki.Certificates(layout, chain, key)
    assert served(certificates, HOST) == first
    before = key.read_bytes()
    second = issuer.write(chain, key, HOST)
    after = key.read_bytes()
    key.write_bytes(before)  # whoever replaces them has come to the first file
    assert served(certificates, HOST) == first
    key.write_bytes(after)
    assert served(certificates, HOST) == second


def spoil(kind: str, chain: Path, key: Path, issuer: Issuer) -> None:
    match kind:
        case "torn":
            chain.write_bytes(chain.read_bytes()[:200])
        case "gone":
            chain.unlink()
        case "no key":
            key.write_text("nothing")
        case "foreign key":
            issuer.write(chain.with_name("other.pem"), key, HOST)
        case "with a password":
            loaded: Any = serialization.load_pem_private_key(key.read_bytes(), None)
            sealed = serialization.BestAvailableEncryption(b"secret")
            key.write_bytes(loaded.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, sealed))


@pytest.mark.parametrize("kind", ["torn", "gone", "no key", "foreign key", "with a password"])
def test_a_bad_pair_is_told_by_name_and_the_one_before_stays(
    layout: Layout, issuer: Issuer, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    good = issuer.write(chain, key, HOST)
    fresh = home_with_key(tmp_path / "fresh")
    certificates = pki.Certificates(layout, chain, key)
    assert served(certificates, HOST) == good
    spoil(kind, chain, key, issuer)
    named = str(chain if kind in ("torn", "gone") else key)
    with caplog.at_level(logging.ERROR):
        assert served(certificates, HOST) == good
        assert served(certificates, HOST) == good
    assert [named in record.getMessage() for record in caplog.records] == [True], "told once"
    after_a_restart = pki.Certificates(layout, chain, key)
    (line,) = after_a_restart.check()
    assert kind != "foreign key" or "is not the key of" in line
    assert named in line
    assert served(after_a_restart, HOST) == good
    with pytest.raises(Permanent, match="AERODROME_TLS_CERTIFICATE") as refused:
        pki.Certificates(fresh, chain, key).check()
    assert named in str(refused.value)


def test_one_that_has_ended_is_refused(layout: Layout, issuer: Issuer, tmp_path: Path) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    own = issuer.write(chain, key, HOST)
    late = own.not_valid_after_utc
    with pytest.raises(Permanent, match=r"chain\.pem is valid from .* to .*, not on"):
        pki.Certificates(layout, chain, key, lambda: late).check()


def test_settings_that_make_no_sense_are_refused(layout: Layout, tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="AERODROME_TLS_CERTIFICATE is not"):
        pki.Certificates(layout, None, tmp_path / "key.pem").check()
    (tmp_path / "empty").mkdir()
    with pytest.raises(Permanent, match=r"no NAME\.crt"):
        pki.Certificates(layout, tmp_path / "empty", None).check()

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from aerodrome import pki
from aerodrome.errors import Permanent
from aerodrome.layout import Layout
from aerodrome.pki import leaf
from support.homes import home_with_key
from support.pairs import write_plain

NAME = "0123456789ab.us-east-1.airflow.localhost"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return home_with_key(tmp_path)


def handshake(layout: Layout, served: pki.Served, name: str) -> None:
    """A real TLS handshake, the client trusting the bundle alone."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*served)
    client = ssl.create_default_context(cafile=str(layout.ca_bundle))
    client.verify_flags |= ssl.VERIFY_X509_STRICT  # what Python 3.13 does by itself
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            server.wrap_socket(theirs, server_side=True).close()
        except ssl.SSLError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        client.wrap_socket(ours, server_hostname=name).close()
    finally:
        ours.close()
        thread.join()


@pytest.mark.parametrize("name", [NAME, "127.83.0.1"])
def test_clients_that_trust_the_bundle_accept_names_and_addresses(layout: Layout, name: str) -> None:
    served = pki.issue(layout, [NAME], ["127.83.0.1"])
    assert served.chain == served.key
    handshake(layout, served, name)


def test_other_names_are_refused(layout: Layout) -> None:
    served = pki.issue(layout, [NAME], ["127.83.0.1"])
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(layout, served, "127.83.0.2")


def test_keys_are_private_and_the_bundle_public(layout: Layout) -> None:
    certificate = pki.issue(layout, [NAME]).chain
    assert (layout.pki / "ca.key").stat().st_mode & 0o777 == 0o600
    assert certificate.stat().st_mode & 0o777 == 0o600
    assert layout.ca_bundle.stat().st_mode & 0o777 == 0o644
    assert layout.ca_certificate.stat().st_mode & 0o777 == 0o644
    bundle = layout.ca_bundle.read_text()
    assert layout.ca_certificate.read_text() in bundle
    assert Path(certifi.where()).read_text().rstrip() in bundle


def test_lifetimes(layout: Layout) -> None:
    authority = pki.ensure_authority(layout).certificate
    assert authority.not_valid_after_utc - authority.not_valid_before_utc > timedelta(days=3649)
    found = x509.load_pem_x509_certificates(pki.issue(layout, [NAME])[0].read_bytes())[0]
    assert found.not_valid_after_utc - found.not_valid_before_utc <= timedelta(days=398)


def test_a_certificate_is_used_again_while_it_is_good(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    first = pki.issue(layout, [NAME, "b"], ["127.0.0.1"])[0]
    content = first.read_bytes()
    assert pki.issue(layout, ["b", NAME], ["127.0.0.1"])[0].read_bytes() == content
    assert pki.issue(layout, [NAME], ["127.0.0.1"])[0] != first
    monkeypatch.setattr(leaf, "RENEW_BEFORE", timedelta(days=399))
    assert pki.issue(layout, [NAME, "b"], ["127.0.0.1"])[0].read_bytes() != content


def test_the_authority_is_made_once(layout: Layout) -> None:
    first = pki.ensure_authority(layout).certificate
    assert pki.ensure_authority(layout).certificate == first


def test_a_new_authority_means_new_certificates(layout: Layout) -> None:
    content = pki.issue(layout, [NAME])[0].read_bytes()
    layout.ca_certificate.unlink()
    (layout.pki / "ca.key").unlink()
    served = pki.issue(layout, [NAME])
    assert served.chain.read_bytes() != content
    handshake(layout, served, NAME)


def test_private_keys_lie_encrypted(layout: Layout) -> None:
    served = pki.issue(layout, [NAME])
    for path in (layout.pki / "ca.key", served.key):
        assert b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in path.read_bytes()
        assert b"BEGIN PRIVATE" not in path.read_bytes()
    for file in (each for each in layout.home.rglob("*") if each.is_file()):
        assert served.password not in file.read_bytes()
        assert bytes.fromhex(served.password.decode()) not in file.read_bytes()
    assert pki.issue(layout, [NAME]) == served


def test_what_an_earlier_release_wrote_in_plain_text_is_encrypted(layout: Layout) -> None:
    served = pki.issue(layout, [NAME])
    before = served.chain.read_bytes()
    authority = pki.ensure_authority(layout)
    plain = authority.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (layout.pki / "ca.key").write_bytes(plain)
    write_plain(served, served.key)
    assert pki.ensure_authority(layout).certificate == authority.certificate
    assert b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in (layout.pki / "ca.key").read_bytes()
    again = pki.issue(layout, [NAME])
    assert b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in again.key.read_bytes()
    assert again.chain.read_bytes() != before
    handshake(layout, again, NAME)


def test_a_lost_key_is_not_papered_over(layout: Layout) -> None:
    pki.ensure_authority(layout)
    (layout.pki / "ca.key").unlink()
    with pytest.raises(Permanent, match=r"ca\.key is gone"):
        pki.ensure_authority(layout)


def test_a_lost_password_is_not_papered_over(layout: Layout) -> None:
    pki.issue(layout, [NAME])
    (layout.secrets / "pki.password").unlink()
    for _ in range(2):
        with pytest.raises(Permanent, match=r"pki\.password is gone, and .*ca\.key can't be read without it"):
            pki.issue(layout, [NAME])
        with pytest.raises(Permanent, match=r"pki\.password is gone, and .*ca\.key can't be read without it"):
            pki.ensure_authority(layout)
    layout.ca_certificate.unlink()
    (layout.pki / "ca.key").unlink()
    handshake(layout, pki.issue(layout, [NAME]), NAME)


def test_a_crash_between_key_and_certificate_is_repaired(layout: Layout) -> None:
    pki.ensure_authority(layout)
    layout.ca_certificate.unlink()
    assert pki.ensure_authority(layout).certificate.not_valid_after_utc > datetime.now(UTC)


@pytest.mark.parametrize(("names", "addresses"), [([], []), (["ä"], []), ([], ["not an address"])])
def test_what_is_no_name_is_refused(layout: Layout, names: list[str], addresses: list[str]) -> None:
    with pytest.raises(Permanent):
        pki.issue(layout, names, addresses)

"""`aerodrome tls`: the certificates of web servers, and trust in the local authority."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer
from cryptography import x509
from cryptography.x509.oid import NameOID
from rich.table import Table

from aerodrome import pki
from aerodrome.cli.output import err, out
from aerodrome.domain.web_server import is_private
from aerodrome.errors import Permanent
from aerodrome.gateway.hosts import split_host
from aerodrome.layout import Layout
from aerodrome.machineroom.installation import Installation, load
from aerodrome.pki import trust as stores
from aerodrome.settings import Settings

_PATIENCE = 5.0  # seconds for a handshake
HERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "localhost": "127.0.0.1"}  # noqa: S104 - who listens everywhere, is here

tls_app = typer.Typer(name="tls", help="Certificates of web servers, and trust in the local authority.")


@tls_app.callback(invoke_without_command=True)
def bare(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        show()


@tls_app.command("show")
def show() -> None:
    """Show the local authority, your own certificates, and what every web server answers with."""
    settings = Settings()
    layout = Layout(settings.home)
    installation, authority = load(layout), stores.authority(layout)
    out.print(f"Local authority  {stores.name_of(authority)}, until {authority.not_valid_after_utc:%Y-%m-%d}")
    out.print(f"  {layout.ca_certificate}", markup=False)
    out.print(f"  SHA-256 {stores.fingerprint(authority)}", markup=False, emoji=False, soft_wrap=True)
    for pair in pki.pairs(settings.tls_certificate, settings.tls_key) if settings.tls_certificate else ():
        try:
            _, leaf = pair.read(datetime.now(UTC))
        except Permanent as error:
            err.print(f"Yours  {error}", style="red", markup=False)
            continue
        until = f"until {leaf.not_valid_after_utc:%Y-%m-%d}"
        out.print(f"Yours  {pair.chain}: {', '.join(sorted(pki.names_in(leaf)))}, {until}", markup=False)
    from aerodrome.machineroom import status  # here: it brings the database's client

    found = asyncio.run(status.environments(installation))
    if found is None:
        err.print("It isn't up, so nothing is known of web servers. Run `aerodrome up`.", style="yellow")
        return
    table = Table("environment", "host", "issuer", "until", box=None, pad_edge=False)
    for environment in found:
        for host in environment.hosts:
            table.add_row(environment.name, host, *_answer(installation, host))
    if found:
        out.print()
        out.print(table)


def _answer(installation: Installation, host: str) -> tuple[str, str]:
    """(issuer, last day) of what the host answers with, from here."""
    try:
        certificate = served(installation, host)
    except (OSError, ValueError) as error:
        return f"doesn't answer from here ({error or type(error).__name__})", ""
    issuer = certificate.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(issuer[0].value) if issuer else certificate.issuer.rfc4514_string(), str(
        certificate.not_valid_after_utc.date()
    )


def served(installation: Installation, host: str) -> x509.Certificate:
    """The certificate that a web server answers with now, whoever signed it.

    Raises:
        OSError: no handshake with it from here. ValueError: it is no host.
    """
    parts = split_host(host)
    if parts is None:
        raise ValueError(host)
    name, port = parts
    address = name
    if installation.web_host == "name":
        bind = installation.private_bind if is_private(name) else installation.gateway_bind
        address = HERE.get(bind, bind)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # it is looked at, nothing is sent
    with (
        socket.create_connection((address, port), timeout=_PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname=name) as connection,
    ):
        return x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")


@tls_app.command("trust")
def trust(
    install: Annotated[bool, typer.Option("--install", help="Put it into the store of this system, as root.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take it out of that store again, as root.")] = False,
) -> None:
    """Print the local authority's certificate and how to trust it, or do so: in the system's store, and in those of
    Chrome and Firefox where `certutil` is installed.
    """
    layout = Layout(Settings().home)
    if install and remove:
        raise typer.BadParameter("choose one of them", param_hint="--install, --remove")
    if install or remove:
        changed = stores.install(layout) if install else stores.remove(layout)
        said = "Trusted in" if install else "No longer trusted in"
        out.print(f"{said}: {', '.join(changed)}" if changed else "It was trusted nowhere.", markup=False)
        return
    certificate = stores.authority(layout)
    sys.stdout.write(layout.ca_certificate.read_text())
    sys.stdout.flush()
    place = layout.ca_certificate
    for line in (
        f"{stores.name_of(certificate)}, SHA-256 {stores.fingerprint(certificate)}",
        f"On this machine, as root:  AERODROME_HOME={layout.home} aerodrome tls trust --install",
        f"Debian, Ubuntu:  cp {place} /usr/local/share/ca-certificates/aerodrome.crt && update-ca-certificates",
        f"Fedora, RHEL:  cp {place} /etc/pki/ca-trust/source/anchors/aerodrome.pem && update-ca-trust extract",
        f"macOS:  security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain {place}",
        f"Chrome:  certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n Aerodrome -i {place}",
        'Programs in a shell:  eval "$(aerodrome shell-env)"',
    ):
        err.print(line, markup=False, emoji=False, soft_wrap=True)

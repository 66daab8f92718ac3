"""TLS contexts: one per environment, chosen by SNI on the shared listener, and renewed without a restart."""

from __future__ import annotations

import asyncio
import ssl
import weakref
from dataclasses import dataclass
from pathlib import Path

from aerodrome.errors import Temporary
from aerodrome.gateway.hosts import split_host
from aerodrome.gateway.ports import Certificate, Route

Stamp = tuple[int, int, int]


@dataclass(slots=True)
class _Held:
    context: ssl.SSLContext
    stamp: Stamp


def names_of(route: Route) -> tuple[list[str], list[str]]:
    """(host names, addresses) that the route's certificate carries."""
    wanted = [route.host, *route.aliases, *([route.address] if route.address else [])]
    hosts = sorted({parts[0] for each in wanted if (parts := split_host(each))})
    addresses = [host for host in hosts if _is_address(host)]
    return [host for host in hosts if host not in addresses], addresses


def _is_address(host: str) -> bool:
    parts = host.split(".")
    return len(parts) == 4 and all(part.isdigit() for part in parts)


def server_context() -> ssl.SSLContext:
    """TLS 1.2 at least with forward secrecy and authenticated ciphers, HTTP/1.1; no compression, no renegotiation and
    no session tickets: every connection asks for its name anew.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")  # of TLS 1.2; those of 1.3 are all fine
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    return context


class Contexts:
    """The contexts of all routes; `shared` is for the listener that many environments are behind."""

    def __init__(self, certificate: Certificate) -> None:
        self._certificate = certificate
        self._held: dict[str, _Held] = {}  # by environment id; "" is the shared one
        self._by_name: dict[str, ssl.SSLContext] = {}
        self._asked: weakref.WeakKeyDictionary[ssl.SSLObject | ssl.SSLSocket, str] = weakref.WeakKeyDictionary()

    def asked(self, tls: ssl.SSLObject | ssl.SSLSocket | None) -> str:
        """The host name that the client of a connection asked for in TLS; empty: none."""
        return self._asked.get(tls, "") if tls is not None else ""

    async def shared(self, bind: str) -> ssl.SSLContext:
        """The context that answers before a name is known; it turns into the named environment's by SNI."""
        addresses = [bind] if _is_address(bind) and bind != "0.0.0.0" else ["127.0.0.1"]  # noqa: S104 - compared only
        return await self._ensure("", ["localhost"], addresses)

    async def ensure(self, route: Route) -> ssl.SSLContext:
        """The route's context, with the newest certificate loaded: new handshakes use it, old connections go on.

        Raises:
            Temporary: the certificate can't be issued or read now.
        """
        names, addresses = names_of(route)
        context = await self._ensure(route.environment_id, names, addresses)
        kept = {name: each for name, each in self._by_name.items() if each is not context}
        self._by_name = kept | dict.fromkeys(names, context)
        return context

    def forget(self, environment_id: str) -> None:
        held = self._held.pop(environment_id, None)
        if held:
            self._by_name = {name: each for name, each in self._by_name.items() if each is not held.context}

    def _choose(self, tls: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        asked = (name or "").lower().rstrip(".")
        self._asked[tls] = asked
        chosen = self._by_name.get(asked)
        if chosen:
            tls.context = chosen

    async def _ensure(self, key: str, names: list[str], addresses: list[str]) -> ssl.SSLContext:
        try:
            return self._load(key, *await asyncio.to_thread(self._certificate, names, addresses))
        except OSError as error:  # ssl.SSLError is one
            raise Temporary(
                f"The certificate for {', '.join(names + addresses)} can't be loaded: {error}. "
                "Check the pki directory below AERODROME_HOME."
            ) from error

    def _load(self, key: str, chain: Path, private: Path, password: bytes) -> ssl.SSLContext:
        # On the loop's thread, so that no handshake falls between the new certificate and its key.
        status = chain.stat()
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
        held = self._held.get(key)
        if held is None or held.stamp != stamp:
            context = held.context if held else server_context()
            context.sni_callback = self._choose
            context.load_cert_chain(chain, private, password)
            held = self._held[key] = _Held(context, stamp)
        return held.context

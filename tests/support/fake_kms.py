"""AWS KMS as far as data keys go, over HTTP: its keys encrypt, and can be disabled, deleted and denied."""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


@dataclass
class Refusal(Exception):
    code: str


@dataclass
class Key:
    secret: bytes = field(default_factory=lambda: os.urandom(32))
    state: str = "Enabled"
    spec: str = "SYMMETRIC_DEFAULT"
    multi_region: bool = False
    denied: frozenset[str] = frozenset()  # operations


@dataclass
class FakeKms:
    url: str = ""
    keys: dict[str, Key] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def answer(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((operation, asked))
        key = self.keys.get(asked["KeyId"].rpartition("/")[2])
        if key is None:
            raise Refusal("NotFoundException")
        if operation in key.denied:
            raise Refusal("AccessDeniedException")
        if operation == "DescribeKey":
            return {
                "KeyMetadata": {
                    "KeyId": asked["KeyId"],
                    "KeyState": key.state,
                    "KeySpec": key.spec,
                    "KeyUsage": "ENCRYPT_DECRYPT",
                    "MultiRegion": key.multi_region,
                }
            }
        if key.state != "Enabled":
            raise Refusal("DisabledException" if key.state == "Disabled" else "KMSInvalidStateException")
        context = json.dumps(asked.get("EncryptionContext", {}), sort_keys=True).encode()
        if operation == "GenerateDataKey":
            plain, nonce = os.urandom(asked["NumberOfBytes"]), os.urandom(12)
            return {
                "Plaintext": _text(plain),
                "CiphertextBlob": _text(nonce + _aead(key).encrypt(nonce, plain, context)),
            }
        blob = base64.b64decode(asked["CiphertextBlob"])
        try:
            return {"Plaintext": _text(_aead(key).decrypt(blob[:12], blob[12:], context))}
        except InvalidTag:
            raise Refusal("InvalidCiphertextException") from None


def _aead(key: Key) -> AESGCM:
    return AESGCM(key.secret)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


@contextmanager
def serving_kms() -> Iterator[FakeKms]:
    """One that answers at `url` while the block runs."""
    kms = FakeKms()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, answer = 200, {}
            try:
                answer = kms.answer(self.headers["X-Amz-Target"].rpartition(".")[2], body)
            except Refusal as refusal:
                status, answer = 400, {"__type": refusal.code, "message": "no"}
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    kms.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield kms
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

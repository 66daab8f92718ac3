"""The only way in: every request is authenticated here before ministack sees it, and answered after it is durable.

ministack checks signatures too, but not on every path, and it trusts some keys (`test`, account ids) without looking.
So: no signature, no entry; SigV4 for all, SigV2 for S3 alone (botocore signs its S3 URLs so); those keys never.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
import sys
import uuid
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, quote

from . import actions, strict, tracking
from .journal import Journal, NotDurable
from .pinned import Ministack

log = logging.getLogger("aerodrome.cloud")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

HEALTH_PATH = "/healthz"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_INTERNAL = ("/_ministack", "/_localstack", "/_aws", "/_alb")  # ministack's own pages; no bucket's name has a `_`
_READS = re.compile(r"(Get|List|Describe|Head|BatchGet|Query|Scan|Search|Lookup|Filter|Simulate|Check|Estimate)")
_CHANGES_ALL_THE_SAME = frozenset({"GetSessionToken", "GetFederationToken", "GetWebIdentityToken", "GetShardIterator"})
# A lost metric or log line, or a message seen again, is within these calls' contract.
_SOON = frozenset({"PutMetricData", "PutLogEvents", "ReceiveMessage"})
_BAD = frozenset({"InvalidArgument", "IncompleteBody", "MalformedTrailerError"})  # S3's refusals with 400
_SHORT = 64 * 1024  # bytes of a body that is read for a stranger
_SHORT_SECONDS = 10.0  # for such a body, in all
_IDLE_SECONDS = 60.0  # between two pieces of a body whose key we know
_LONGEST_LIFE = 7 * 24 * 3600  # seconds; S3's limit of a presigned URL


class Gate:
    """The ASGI application."""

    def __init__(self, stack: Ministack, journal: Journal) -> None:
        self._stack = stack
        self._journal = journal
        self.ready = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._stack.app.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(self._stack, scope)
        if request.path == HEALTH_PATH and request.method in ("GET", "HEAD") and not request.signed:
            await _answer(send, 200 if self.ready else 503, {"status": "ok" if self.ready else "starting"})
            return
        failure = request.check_key()
        if failure is not None and request.length <= _SHORT:
            request.body = await _read_short(receive) or b""  # names the operation, and so the protocol of the refusal
        if failure is None:
            body = await _read(receive)
            if body is None:
                return
            request.body = body
            failure = request.check_signature()
        if failure is not None:
            await self._refuse(request, failure, send)
        elif request.path.startswith(_INTERNAL):
            await self._refuse(request, request.error("AccessDenied", "Access Denied"), send)
        elif request.ambiguous:
            what = "Name the operation and its parameters once: in a form body, or in X-Amz-Target with a JSON body."
            await self._refuse(request, request.error("InvalidAction", what), send)
        else:
            await self._serve(request, send)

    async def _refuse(self, request: Request, failure: Any, send: Send) -> None:
        status, headers, body = self._stack.app._credential_failure(
            request.service, "", str(uuid.uuid4()), failure, request.headers
        )
        content = body if isinstance(body, bytes) else str(body).encode()
        status = 400 if failure.code in _BAD else status
        lines = [(name.lower().encode("latin-1"), str(value).encode("latin-1")) for name, value in headers.items()]
        lines = [line for line in lines if line[0] != b"content-length"]
        lines += [(b"content-length", b"%d" % len(content)), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": status, "headers": lines})
        await send({"type": "http.response.body", "body": b"" if request.method == "HEAD" else content})

    async def _serve(self, request: Request, send: Send) -> None:
        if request.method in ("GET", "HEAD"):
            await self._stack.app.app(request.scope, request.replay(), send)
            return
        touch = tracking.Touch(request.service)
        token = tracking.current.set(touch)
        answer = _Answer(send, lambda: self._settle(request, touch))
        try:
            await self._stack.app.app(request.scope, request.replay(), answer)
        finally:
            tracking.current.reset(token)
            if not touch.closed:  # it ended without an answer; what it did is saved all the same
                self._journal.soon(touch)

    async def _settle(self, request: Request, touch: tracking.Touch) -> None:
        if request.changes:
            await self._journal.durable(touch)
        else:
            self._journal.soon(touch)


class _Answer:
    """Holds an answer back until what it promises is durable."""

    def __init__(self, send: Send, settle: Callable[[], Awaitable[None]]) -> None:
        self._send = send
        self._settle = settle
        self._failed = False

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            try:
                await self._settle()
            except NotDurable as error:
                self._failed = True
                await _answer(self._send, 500, {"__type": "InternalFailure", "message": str(error)})
        if not self._failed:
            await self._send(message)


class Request:
    """One HTTP request: who signed it, and whether that is true."""

    def __init__(self, stack: Ministack, scope: Scope) -> None:
        self._stack = stack
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.body = b""
        self.query = parse_qs(scope.get("query_string", b"").decode("utf-8", "replace"), keep_blank_values=True)
        self.headers: dict[str, str] = {}
        for name, value in scope.get("headers", []):
            key, text = name.decode("latin-1").lower(), stack.sigv4.decode_header_value(value)
            self.headers[key] = f"{self.headers[key]},{text}" if key in self.headers else text
        self.authorization = self.headers.get("authorization", "")
        self.in_header = self.authorization.startswith("AWS4-HMAC-SHA256 ")
        self.in_query = not self.authorization and self._value("X-Amz-Algorithm") == "AWS4-HMAC-SHA256"
        self.version2 = self.authorization.startswith("AWS ") or (
            not self.authorization and bool(self._value("AWSAccessKeyId") and self._value("Signature"))
        )
        self._parsed: Any = None

    @property
    def signed(self) -> bool:
        return bool(self.authorization) or self.in_query or self.version2

    @property
    def length(self) -> int:
        """What the body is said to have, in bytes; more than any when it doesn't say."""
        given = self.headers.get("content-length", "0" if "transfer-encoding" not in self.headers else "")
        return int(given) if given.isdigit() else sys.maxsize

    @property
    def service(self) -> str:
        params = self._stack.app._routing_params(self.method, self.path, self.headers, self.body, self.query)
        return str(self._stack.router.detect_service(self.method, self.path, self.headers, params))

    @property
    def action(self) -> str:
        """The operation of a POST: from its target header, its path or its form. Empty for REST services."""
        target = self.headers.get("x-amz-target", "")
        operation = actions.operation_in_path(self.service, self.path)
        if operation is not None:
            return operation
        if target:
            return target.rpartition(".")[2]
        params: Mapping[str, Any] = self._stack.app._routing_params(
            self.method, self.path, self.headers, self.body, self.query
        )
        found = params.get("Action", "")
        return str(found[0] if isinstance(found, list) and found else found or "")

    @property
    def ambiguous(self) -> bool:
        """Whether it could be authorised as one thing and carried out as another.

        ministack authorises by the query string, and by forms that are declared as such; its handlers obey the body.
        """
        if self.service == "s3":
            return False
        target = "x-amz-target" in self.headers
        form = self.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
        if actions.operation_in_path(self.service, self.path) is not None:
            return target or form or "Action" in self.query
        if "Action" in self.query:  # only presigned proofs of identity come so
            return self.method != "GET" or target or self.query["Action"] != ["GetCallerIdentity"]
        posted = parse_qs(self.body.decode("utf-8", "replace"), keep_blank_values=True)
        if target:
            return form or "Action" in posted
        if "Action" not in posted:
            return False
        return not form or len(posted["Action"]) != 1 or bool(self.query.keys() & posted.keys())

    @property
    def changes(self) -> bool:
        action = self.action
        if action in _SOON:
            return False
        return not action or action in _CHANGES_ALL_THE_SAME or _READS.match(action) is None

    def error(self, code: str, message: str) -> Any:
        return self._stack.evaluator.AuthError(code, message)

    def replay(self) -> Receive:
        """The body once more, for ministack; then the connection is over as far as it can see."""
        messages = [{"type": "http.request", "body": self.body, "more_body": False}]

        async def receive() -> MutableMapping[str, Any]:
            return messages.pop() if messages else {"type": "http.disconnect"}

        return receive

    def check_key(self) -> Any:
        """The cheap half, before the body is read: is there a signature of a kind we take, and do we know its key?"""
        if not self.signed:
            return self.error("MissingAuthenticationToken", "Missing Authentication Token")
        if not (self.in_header or self.in_query or self.version2):
            return self.error("UnsupportedSignature", "The request signature does not conform to AWS standards.")
        if self.version2:
            return None if self.service == "s3" else self.error("IncompleteSignature", "Only S3 takes version 2.")
        parse = self._stack.sigv4.parse_header_signature if self.in_header else self._stack.sigv4.parse_query_signature
        self._parsed = parse(self.headers if self.in_header else self.query)
        if isinstance(self._parsed, tuple):
            return self.error(*self._parsed)
        found = strict.find(self.scope.get("headers", []), self.query, self._signed_as, datetime.now(UTC))
        if found is not None:
            return self.error(*found)
        credential = self._credential(self._parsed.access_key_id, self._token())
        return credential if isinstance(credential, self._stack.evaluator.AuthError) else None

    def check_signature(self) -> Any:
        """The whole: None, or why not."""
        found = strict.find_in_body(self.headers, self.body, None if self.version2 else self._signed_as)
        if found is not None:
            return self.error(*found)
        if self.version2:
            return self._check_version2()
        signature, sigv4 = self._parsed, self._stack.sigv4
        if self._stack.router.extract_access_key_id(self.headers, self.query) != signature.access_key_id:
            return self.error("IncompleteSignature", "The request names two access keys.")
        credential = self._credential(signature.access_key_id, self._token())
        if isinstance(credential, self._stack.evaluator.AuthError):
            return credential
        late = self._expired(signature) if self.in_query else sigv4.request_time_failure(signature)
        if late is not None:
            return self.error(*late)
        claimed = self.headers.get("x-amz-content-sha256", "")
        if _SHA256.fullmatch(claimed) and not self.in_query and claimed != hashlib.sha256(self.body).hexdigest():
            return self.error(
                "XAmzContentSHA256Mismatch",
                "The provided 'x-amz-content-sha256' header does not match what was computed.",
            )
        failure = sigv4.header_signature_failure(
            signature,
            credential.secret_access_key,
            self.method,
            self._raw_path,
            self.query,
            self.headers,
            self.body,
            presigned=self.in_query,
        )
        return None if failure is None else self.error(*failure)

    @property
    def _signed_as(self) -> strict.Signed:
        """What the parsed signature says of itself, and what its parser drops."""
        found = re.search(r"Credential=([^,\s]*)", self.authorization)
        credential = (found[1] if found else "") if self.in_header else self._value("X-Amz-Credential")
        names = self._parsed.signed_headers.split(";")
        terminator = credential.rpartition("/")[2]
        return strict.Signed(self._parsed.service, terminator, names, self._parsed.amz_date, self.in_query)

    @property
    def _raw_path(self) -> str:
        raw: bytes = self.scope.get("raw_path") or quote(self.path).encode()
        return raw.decode("latin-1")

    def _value(self, name: str) -> str:
        found: list[str] = self.query.get(name) or self.query.get(name.lower()) or [""]
        return found[0]

    def _token(self) -> str:
        return self._value("X-Amz-Security-Token") if self.in_query else self.headers.get("x-amz-security-token", "")

    def _expired(self, signature: Any) -> tuple[str, str] | None:
        expires = self._value("X-Amz-Expires")
        if not (expires.isascii() and expires.isdecimal()) or len(expires) > 6 or int(expires) > _LONGEST_LIFE:
            return "AuthorizationQueryParametersError", "X-Amz-Expires must be a number of seconds, a week at most."
        try:
            expired = self._stack.sigv4.presigned_request_is_expired(signature.amz_date, expires)
        except ValueError:
            return "AuthorizationQueryParametersError", "X-Amz-Date must be in the ISO8601 format."
        return ("AccessDenied", "Request has expired") if expired else None

    def _credential(self, key_id: str, token: str) -> Any:
        """The key's credential, or the error that AWS answers with."""
        evaluator = self._stack.evaluator
        unknown = self.error("InvalidClientTokenId", "The security token included in the request is invalid.")
        if evaluator.is_root_access_key(key_id):
            return unknown
        try:
            account = self._stack.responses._account_from_sts_session(key_id)
            account = account or evaluator.find_iam_access_key_account(key_id)
        except evaluator.AmbiguousAccessKeyError:
            return unknown
        if not account:
            return unknown
        credential = evaluator.resolve_credential(key_id, account, token)
        if not hasattr(credential, "secret_access_key"):
            return self.error(credential.code, credential.message)
        if credential.principal_type == "Root":
            return unknown
        return credential

    def _check_version2(self) -> Any:
        evaluator = self._stack.evaluator
        key_id = self._stack.router.extract_access_key_id(self.headers, self.query)
        evaluator.pin_signed_request(self.method, self._raw_path, self.query, self.scope.get("headers", []))
        pinned = evaluator._signed_request.get()
        if evaluator.is_root_access_key(key_id) or pinned is None or not pinned.sigv2 or pinned.access_key_id != key_id:
            return self.error("InvalidClientTokenId", "The security token included in the request is invalid.")
        token = self._value("x-amz-security-token") or self.headers.get("x-amz-security-token", "")
        credential = self._credential(key_id, token)
        if isinstance(credential, evaluator.AuthError):
            return credential
        checked = evaluator._sigv2_check(pinned, credential.account_id)
        return checked if isinstance(checked, evaluator.AuthError) else None


async def _read_short(receive: Receive) -> bytes | None:
    try:
        async with asyncio.timeout(_SHORT_SECONDS):
            return await _read(receive)
    except TimeoutError:
        return None


async def _read(receive: Receive) -> bytes | None:
    """The whole body, or None when the client went away, or stopped sending."""
    chunks = []
    while True:
        try:
            async with asyncio.timeout(_IDLE_SECONDS):
                message = await receive()
        except TimeoutError:
            return None
        if message["type"] != "http.request":
            return None
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)


async def _answer(send: Send, status: int, content: Mapping[str, object]) -> None:
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

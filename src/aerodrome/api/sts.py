"""STS for the keys of our own table: GetCallerIdentity and AssumeRole, in the query protocol that SDKs speak to it.

Keys that the table doesn't know go to the embedded cloud, which answers for its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from aerodrome.api.call import Call
from aerodrome.domain import iam
from aerodrome.domain.partitions import moved, partition_of
from aerodrome.domain.policy import request_context
from aerodrome.domain.policy_documents import check_size, identity_policy
from aerodrome.domain.principal import Principal
from aerodrome.domain.trust import authorise_assume_role, not_authorised
from aerodrome.errors import ApiError, Permanent, Temporary
from aerodrome.identity import Verifier
from aerodrome.store.access_keys import AccessKeyStore
from aerodrome.store.callers import TablePrincipals
from aerodrome.wire import Reply

log = logging.getLogger(__name__)

SIGNING_NAME = "sts"
_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
_TAKEN = frozenset({"Action", "Version", "RoleArn", "RoleSessionName", "DurationSeconds", "Policy", "ExternalId"})
_POLICY_ARN = "PolicyArns.member."
_POLICY_ARNS = 10
# The signature check has the words of MWAA's protocol; STS has its own.
_CODES = {
    "UnrecognizedClientException": "InvalidClientTokenId",
    "InvalidSignatureException": "SignatureDoesNotMatch",
    "ExpiredTokenException": "ExpiredToken",
    "IncompleteSignatureException": "IncompleteSignature",
}


class Sts:
    """Answers calls that are signed for `sts`."""

    def __init__(
        self, principals: TablePrincipals, keys: AccessKeyStore, now: Callable[[], datetime], account: str
    ) -> None:
        self._principals = principals
        self._keys = keys
        self._now = now
        self._account = account
        self._verifier = Verifier(principals, now, service=SIGNING_NAME)

    async def knows(self, key_id: str) -> bool:
        """Whether the key is the table's. Raises Temporary: the database is away."""
        return await self._principals.knows(key_id)

    async def __call__(self, call: Call) -> Reply:
        try:
            caller = await self._verifier.verify(call.method, call.raw_path, call.raw_query, call.headers, call.body)
            call.principal, call.region = caller.principal.seen_in(partition_of(caller.region)), caller.region
            action, result = await self._answer(call, _parameters(call))
        except ApiError as error:
            return _error(_CODES.get(error.code, error.code), error.message, error.status, call.request_id)
        except Temporary as error:
            return _error("ServiceUnavailable", f"Try again in a moment: {error}", 503, call.request_id)
        except Permanent as error:
            log.error("%s sts: %s", call.request_id, error)
            return _error("InternalFailure", str(error), 500, call.request_id)
        log.info("%s sts:%s %s", call.request_id, action, call.caller.arn)
        body = f"<{action}Result>{_xml(result)}</{action}Result>"
        return _reply(200, f"{action}Response", f"{body}{_metadata(call.request_id)}")

    async def _answer(self, call: Call, parameters: Mapping[str, str]) -> tuple[str, Mapping[str, Any]]:
        action = parameters.get("Action", "")
        if action == "GetCallerIdentity":
            caller = call.caller
            return action, {"Arn": caller.arn, "UserId": caller.user_id, "Account": caller.account}
        if action == "AssumeRole":
            return action, await self._assume_role(call, parameters)
        raise ApiError("InvalidAction", f"{action or 'No action'}: only GetCallerIdentity and AssumeRole are here.")

    async def _assume_role(self, call: Call, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        _refuse_unknown(parameters)
        caller, arn, session = call.caller, parameters.get("RoleArn", ""), parameters.get("RoleSessionName", "")
        iam.check_session_name(session)
        head, _, name = moved(arn, "aws").partition(":role/")
        role = await self._principals.role(name) if head == f"arn:aws:iam::{self._account}" else None
        if role is None:
            raise not_authorised(caller, arn)
        context = request_context(now=self._now(), region=call.region, source_ip=call.source_ip, secure=False)
        asked = {"sts:ExternalId": parameters.get("ExternalId"), "sts:RoleSessionName": session}
        authorise_assume_role(caller, arn, moved(role.trust, caller.partition), {**context, **asked})
        seconds = _seconds(parameters, caller, role.max_seconds)
        end = self._now() + timedelta(seconds=seconds)
        made = await self._keys.open_session(role.id, session, await self._session_policies(parameters), end)
        return {
            "Credentials": {
                "AccessKeyId": made.access_key_id,
                "SecretAccessKey": made.secret_access_key,
                "SessionToken": made.session_token,
                "Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
            },
            "AssumedRoleUser": {
                "AssumedRoleId": f"{role.id}:{session}",
                "Arn": moved(iam.session_arn(self._account, role.name, session), caller.partition),
            },
        }

    async def _session_policies(self, parameters: Mapping[str, str]) -> list[Mapping[str, Any]] | None:
        """The documents that limit the session; None when none was given.

        Raises:
            ApiError: `MalformedPolicyDocument`, `PackedPolicyTooLarge`, `ValidationError`.
        """
        found: list[Mapping[str, Any]] = []
        text = parameters.get("Policy")
        if text is not None:
            found.append(identity_policy(text, iam.SESSION_POLICY_LIMIT))
        arns = [value for name, value in parameters.items() if name.startswith(_POLICY_ARN)]
        if len(arns) > _POLICY_ARNS:
            raise iam.invalid(f"PolicyArns: {_POLICY_ARNS} policies at most.")
        for arn in arns:
            document = await self._principals.managed(moved(arn, "aws").rpartition(":policy/")[2])
            if document is None:
                raise iam.invalid(f"PolicyArns: there is no policy {arn}.")
            check_size(document, iam.MANAGED_LIMIT)
            found.append(document)
        return found if text is not None or arns else None


def _parameters(call: Call) -> dict[str, str]:
    """The form, from the body; of a presigned request from its query.

    Raises:
        ApiError: `InvalidAction` for one that stands there twice, or here and there.
    """
    body = call.body.decode("utf-8", "replace")
    query = call.raw_query.decode("latin-1")
    pairs = [*parse_qsl(body, keep_blank_values=True), *parse_qsl(query, keep_blank_values=True)]
    found = {name: value for name, value in pairs if not name.startswith("X-Amz-")}
    if len(found) != sum(not name.startswith("X-Amz-") for name, _ in pairs):
        raise ApiError("InvalidAction", "A parameter stands there twice.")
    return found


def _refuse_unknown(parameters: Mapping[str, str]) -> None:
    """What would be left out of account must not seem to hold."""
    for name in parameters:
        if name not in _TAKEN and not name.startswith(_POLICY_ARN):
            raise iam.invalid(f"{name.partition('.')[0]} is not supported here; leave it out.")


def _seconds(parameters: Mapping[str, str], caller: Principal, most: int) -> int:
    text = parameters.get("DurationSeconds", str(min(most, iam.CHAINED_SESSION)))
    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        raise iam.invalid(f"DurationSeconds must be a number of seconds; it is {text[:20]}.")
    if ":assumed-role/" in caller.arn and int(text) > iam.CHAINED_SESSION:
        raise iam.invalid("The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by roles.")
    iam.check_duration(int(text), most)
    return int(text)


def _xml(members: Mapping[str, Any]) -> str:
    return "".join(
        f"<{name}>{_xml(value) if isinstance(value, Mapping) else escape(str(value))}</{name}>"
        for name, value in members.items()
    )


def _metadata(request_id: str) -> str:
    return f"<ResponseMetadata><RequestId>{escape(request_id)}</RequestId></ResponseMetadata>"


def _error(code: str, message: str, status: int, request_id: str) -> Reply:
    kind = "Sender" if status < 500 else "Receiver"
    told = f"<Error><Type>{kind}</Type><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
    return _reply(status, "ErrorResponse", f"{told}<RequestId>{escape(request_id)}</RequestId>")


def _reply(status: int, root: str, content: str) -> Reply:
    text = f'<{root} xmlns="{_NAMESPACE}">{content}</{root}>'
    return Reply(status, {"content-type": "text/xml"}, text.encode())

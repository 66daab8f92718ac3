"""Who a key belongs to and what it may do; credentials of roles; the administrator."""

from __future__ import annotations

import hmac
import json
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

from . import service_role
from .partitions import plain
from .pinned import Ministack

SERVICES = frozenset({"airflow.amazonaws.com", "airflow-env.amazonaws.com"})
ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_IDS = {"user": "UserId", "role": "RoleId"}
_NOTHING: dict[str, Any] = {"Version": "2012-10-17", "Statement": []}


class Denied(Exception):
    """The answer is no; `code` is the protocol's word for why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Principals:
    """Reads and changes ministack's IAM and STS in place; the caller makes changes durable."""

    def __init__(self, stack: Ministack, region: str) -> None:
        self._stack = stack
        self._region = region

    def resolve(self, key_id: str, session_token: str | None) -> dict[str, Any] | None:
        """The key's secret and principal; None for a key that isn't there, or another token than its own."""
        if self._stack.evaluator.is_root_access_key(key_id):
            return None
        session = self._stack.sts._sessions.get(key_id)
        if session is not None:
            return self._of_session(key_id, session, session_token or "")
        try:
            account = self._stack.evaluator.find_iam_access_key_account(key_id)
        except self._stack.evaluator.AmbiguousAccessKeyError:
            return None
        record = account and self._stack.iam._access_keys.get_scoped(account, None, key_id)
        if not record or session_token:
            return None
        user = self._stack.iam._users.get_scoped(account, None, record["UserName"])
        if user is None:
            return None
        return {
            "key_id": key_id,
            "secret": record["SecretAccessKey"],
            "session_token": None,
            "expires_at": None,
            "active": record.get("Status") == "Active",
            "issuer_arn": user["Arn"],
            "issuer_id": user["UserId"],
            "session_policies": None,
            "session_tags": {},
            "principal": self._principal(account, user["Arn"], user["UserId"], "user", user),
        }

    def standing(
        self, key_id: str, arn: str, user_id: str, issuer_arn: str, issuer_id: str, *, temporary: bool
    ) -> dict[str, Any] | None:
        """The principal of a key as it is now; None when the key is gone or off, or its user or role isn't that one.

        Of a temporary key only the user or role is asked: it stands on after the key's time.
        """
        if self._stack.evaluator.is_root_access_key(key_id) or issuer_arn.count(":") != 5:
            return None
        account, kind = issuer_arn.split(":")[4], issuer_arn.split(":")[5].partition("/")[0]
        entity = self._issuer(account, kind, issuer_arn.rsplit("/", 1)[-1])
        if entity is None or entity["Arn"] != issuer_arn or entity[_IDS[kind]] != issuer_id:
            return None
        if not temporary:
            record = self._stack.iam._access_keys.get_scoped(account, None, key_id)
            if not record or record.get("Status") != "Active" or record["UserName"] != entity["UserName"]:
                return None
        return self._principal(account, arn, user_id, kind, entity)

    def _issuer(self, account: str, kind: str, name: str) -> Mapping[str, Any] | None:
        store = {"user": self._stack.iam._users, "role": self._stack.iam._roles}.get(kind)
        found: Mapping[str, Any] | None = None if store is None else store.get_scoped(account, None, name)
        return found

    def role(self, role_arn: str) -> dict[str, Any]:
        """The role as a principal, and its trust policy; whoever asks decides what follows from that.

        Raises:
            Denied: there is no such role.
        """
        account, role = self._role(role_arn)
        trust = role.get("AssumeRolePolicyDocument") or {}
        found = self._principal(account, str(role["Arn"]), str(role["RoleId"]), "role", role)
        return {**found, "trust": _parsed(trust)}

    def _role(self, given: str) -> tuple[str, Mapping[str, Any]]:
        """The account, and the role of that ARN in whatever partition.

        Raises:
            Denied: it isn't there.
        """
        role_arn = plain(given)
        if self._stack.sts._assumed_role_arn(role_arn, "session")[1]:
            raise Denied("Invalid", f"{given!r} is not the ARN of a role")
        account = role_arn.split(":")[4]
        role = self._stack.iam._roles.get_scoped(account, None, role_arn.rsplit("/", 1)[-1])
        if role is None or role.get("Arn") != role_arn:
            raise Denied("NotFound", f"There is no role {given}. Create it, or name another execution role.")
        return account, role

    def assume_role(self, role_arn: str, session_name: str, duration: int, service: str, source_arn: str | None) -> Any:
        """Credentials of the role for one of our services, kept where STS keeps its own.

        Raises:
            Denied: no such role, or it doesn't trust the service; STS doesn't tell which, we do.
        """
        sts, given = self._stack.sts, role_arn
        role_arn, source_arn = plain(role_arn), source_arn and plain(source_arn)
        if service not in SERVICES:
            raise Denied("Invalid", f"{service} is not a service that may ask for credentials here")
        if not _SESSION_NAME.fullmatch(session_name):
            raise Denied("Invalid", f"{session_name!r} is not a role session name: 2 to 64 of letters, digits, _+=,.@-")
        account, role = self._role(given)
        assumed_arn, _ = sts._assumed_role_arn(role_arn, session_name)
        if not self._trusts(role, account, service, source_arn):
            raise Denied(
                "AccessDenied",
                f"The role {given} doesn't trust {service}. Let its trust policy allow sts:AssumeRole to "
                '{"Service": ["airflow.amazonaws.com", "airflow-env.amazonaws.com"]}.',
            )
        seconds = max(900, min(duration, int(role.get("MaxSessionDuration") or 3600)))
        key_id, expires = sts._gen_session_access_key(), time.time() + seconds
        session = {
            "Arn": assumed_arn,
            "UserId": f"{sts._role_id(role_arn)}:{session_name}",
            "SecretAccessKey": sts._gen_secret(),
            "SessionToken": sts._gen_session_token(),
            "Expiration": expires,
            "AccountId": account,
            "PrincipalType": "AssumedRole",
            "SourceAccessKeyId": None,
            "SourcePrincipalArn": service,
            "SessionTags": [],
            "SessionPolicies": None,
        }
        sts.register_session(key_id, session)
        return {
            "key_id": key_id,
            "secret": session["SecretAccessKey"],
            "session_token": session["SessionToken"],
            "expires_at": expires,
        }

    def assume_service_role(self, account: str, session_name: str) -> Any:
        """Credentials of MWAA's service-linked role in the account, which is made when it isn't there.

        Raises:
            Denied: somebody changed the role so that it doesn't trust the service any more.
        """
        role_arn = service_role.ensure(self._stack, account, self._region)
        return self.assume_role(role_arn, session_name, 3600, service_role.SERVICE, None)

    def has_service_role(self, account: str) -> bool:
        return service_role.is_there(self._stack, account, self._region)

    def ensure_admin(self, user: str, access_key: str, secret_key: str, account: str) -> None:
        """Raises:
        Denied: the key can't be one (its id is another account's, or reserved).
        """
        iam = self._stack.iam
        if self._stack.evaluator.is_root_access_key(access_key) or not re.fullmatch(
            r"\w{16,128}", access_key, re.ASCII
        ):
            raise Denied(
                "Invalid", "the administrator's access key id must be 16 to 128 letters and digits, not only digits"
            )
        if self._stack.evaluator.find_iam_access_key_account(access_key) not in (None, account):
            raise Denied("Invalid", f"the access key {access_key} belongs to another account")
        with self._stack.responses.request_scope(account, self._region):
            if user not in iam._users:
                iam._create_user({"UserName": [user]})
            if ADMINISTRATOR not in iam._users[user]["AttachedPolicies"]:
                iam._attach_user_policy({"UserName": [user], "PolicyArn": [ADMINISTRATOR]})
            known = iam._access_keys.get(access_key) or {}
            wanted = {
                "UserName": user,
                "AccessKeyId": access_key,
                "SecretAccessKey": secret_key,
                "Status": "Active",
                "CreateDate": known.get("CreateDate") or iam._now(),
            }
            if {**known, **wanted} != known:
                iam._access_keys[access_key] = {**known, **wanted}

    def forget_key(self, user: str, access_key: str, account: str) -> None:
        keys = self._stack.iam._access_keys
        with self._stack.responses.request_scope(account, self._region):
            if (keys.get(access_key) or {}).get("UserName") == user:
                del keys[access_key]

    # -- sessions --------------------------------------------------------------------------------------------------

    def _of_session(self, key_id: str, session: Mapping[str, Any], token: str) -> dict[str, Any] | None:
        expected, arn = str(session.get("SessionToken") or ""), str(session.get("Arn") or "")
        if not expected or not hmac.compare_digest(expected.encode(), token.encode()) or arn.count(":") < 5:
            return None
        account = str(session.get("AccountId") or arn.split(":")[4])
        user_id, federated = str(session.get("UserId") or ""), False
        if ":assumed-role/" in arn:
            kind, name = "role", arn.split("/")[1]
        elif ":user/" in arn:
            kind, name = "user", arn.rsplit("/", 1)[-1]
        elif session.get("PrincipalName"):  # federated by a user
            kind, name, federated = "user", str(session["PrincipalName"]), True
        else:
            return None
        entity = self._issuer(account, kind, name)
        # Made anew under its name, it is another one, as on AWS.
        if entity is None or not (federated or user_id.partition(":")[0] == entity[_IDS[kind]]):
            return None
        passed = session.get("SessionPolicies")
        policies = None
        if passed is not None:
            documents = [_parsed(passed["Policy"])] if passed.get("Policy") else []
            policies = documents + self._managed(passed.get("PolicyArns") or [], account)
        return {
            "key_id": key_id,
            "secret": session["SecretAccessKey"],
            "session_token": expected,
            "expires_at": session.get("Expiration"),
            "active": True,
            "issuer_arn": entity["Arn"],
            "issuer_id": entity[_IDS[kind]],
            "session_policies": policies,
            "session_tags": {tag["Key"]: tag["Value"] for tag in session.get("SessionTags") or []},
            "principal": self._principal(account, arn, user_id, kind, entity),
        }

    # -- policies --------------------------------------------------------------------------------------------------

    def _principal(self, account: str, arn: str, user_id: str, kind: str, entity: Mapping[str, Any]) -> dict[str, Any]:
        with self._stack.responses.request_scope(account, self._region):
            inline, groups = self._inline(kind, entity)
            policies = [_parsed(document) for document in inline]
            policies += self._managed(entity.get("AttachedPolicies") or [], account)
            for group in groups:
                policies += self._managed(group.get("AttachedPolicies") or [], account)
            boundary_arn = entity.get("PermissionsBoundary")
            boundary = (self._managed([boundary_arn], account) or [_NOTHING])[0] if boundary_arn else None
        return {
            "arn": arn,
            "account": account,
            "partition": arn.split(":")[1],
            "user_id": user_id,
            "policies": policies,
            "boundary": boundary,
            "tags": {tag["Key"]: tag["Value"] for tag in entity.get("Tags") or []},
        }

    def _inline(self, kind: str, entity: Mapping[str, Any]) -> tuple[list[Any], list[Mapping[str, Any]]]:
        """Inline documents, those of groups included, and the groups."""
        iam = self._stack.iam
        if kind == "role":
            return list((entity.get("InlinePolicies") or {}).values()), []
        name = entity["UserName"]
        documents = list((iam._user_inline_policies.get(name) or {}).values())
        groups = {group: record for group, record in iam._groups.items() if name in record.get("Users", [])}
        for group in groups:
            documents += (iam._group_inline_policies.get(group) or {}).values()
        return documents, list(groups.values())

    def _managed(self, arns: Iterable[str], account: str) -> list[dict[str, Any]]:
        found = (self._stack.evaluator._resolve_managed_policy_document(arn, account) for arn in arns)
        return [_parsed(document) for document in found if document]

    # -- trust -----------------------------------------------------------------------------------------------------

    def _trusts(self, role: Mapping[str, Any], account: str, service: str, source_arn: str | None) -> bool:
        """Whether the role's trust policy lets the service assume it: an Allow that matches, and no Deny that does."""
        evaluator = self._stack.evaluator
        document = role.get("AssumeRolePolicyDocument") or {}
        statements = _parsed(plain(document) if isinstance(document, str) else document).get("Statement", [])
        keys: dict[str, Any] = {"aws:sourceaccount": account, "aws:principalservicename": service}
        if source_arn:
            keys["aws:sourcearn"] = source_arn
        context = evaluator.EvalContext(
            principal_arn=service,
            principal_type="Service",
            principal_account=account,
            action="sts:AssumeRole",
            resource_arn=str(role["Arn"]),
            region=self._region,
            service_context=keys,
        )
        allowed = False
        for statement in [statements] if isinstance(statements, dict) else statements:
            actions = _list(statement.get("Action"))
            if not any(evaluator.fnmatch_iam("sts:AssumeRole", action) for action in actions):
                continue
            if not _names(statement.get("Principal"), service):
                continue
            if not evaluator._conditions_met(statement.get("Condition") or {}, context):
                continue
            if statement.get("Effect") == "Deny":
                return False
            allowed = allowed or statement.get("Effect") == "Allow"
        return allowed


def _names(principal: Any, service: str) -> bool:
    if isinstance(principal, dict):
        return service in _list(principal.get("Service"))
    return bool(principal == "*")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _parsed(document: Any) -> dict[str, Any]:
    """A policy as a dictionary. ministack stores what it was given; what can't be read allows nothing."""
    try:
        parsed = json.loads(document) if isinstance(document, str) else document
    except (ValueError, RecursionError):
        return dict(_NOTHING)
    return parsed if isinstance(parsed, dict) else dict(_NOTHING)

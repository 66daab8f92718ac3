"""The one place that imports ministack: its version and every private name that we use are checked first.

The names are private to ministack: they may change with any release, and a change must stop us at start, with a
message, rather than lose data or let somebody in later.
"""

from __future__ import annotations

import importlib
import inspect
from importlib import metadata
from types import ModuleType
from typing import Any

from .config import Refusal

VERSION = "1.5.33"

# (module below ministack, name, what it must be): a tuple is a function's leading parameters, a type its type.
_SHAPES: tuple[tuple[str, str, Any], ...] = (
    ("app", "app", ("scope", "receive", "send")),
    ("app", "AUTH", bool),
    ("app", "_get_module", ("name",)),
    ("app", "_state_map", dict),
    ("app", "SERVICE_REGISTRY", dict),
    ("app", "_build_persistence_save_dict", ()),
    ("app", "_run_init_scripts", ()),
    ("app", "_run_ready_scripts", ()),
    ("app", "_routing_params", ("method", "path", "headers", "body", "query_params")),
    ("app", "_credential_failure", ("service", "iam_action", "request_id", "denied", "headers")),
    ("core.router", "detect_service", ("method", "path", "headers", "query_params")),
    ("core.router", "extract_access_key_id", ("headers", "query_params")),
    (
        "core.iam_actions",
        "extract_iam_action",
        ("service", "method", "path", "headers", "body", "query_params"),
    ),
    ("core.iam_actions", "SERVICE_TO_IAM_NAMESPACE", dict),
    ("core.responses", "AccountScopedDict", type),
    ("core.responses", "AccountRegionScopedDict", type),
    ("core.responses", "request_scope", ("account_id", "region")),
    ("core.responses", "get_region", ()),
    ("core.responses", "_account_from_sts_session", ("access_key_id",)),
    ("core.sigv4", "decode_header_value", ("value",)),
    ("core.sigv4", "parse_header_signature", ("headers",)),
    ("core.sigv4", "parse_query_signature", ("query_params",)),
    ("core.sigv4", "presigned_request_is_expired", ("amz_date", "expires")),
    ("core.sigv4", "request_time_failure", ("signature",)),
    (
        "core.sigv4",
        "header_signature_failure",
        ("signature", "secret", "method", "raw_path", "query_params", "headers", "body"),
    ),
    ("core.iam_evaluator", "AuthError", type),
    ("core.iam_evaluator", "EvalContext", type),
    ("core.iam_evaluator", "AmbiguousAccessKeyError", type),
    ("core.iam_evaluator", "is_root_access_key", ("access_key_id",)),
    ("core.iam_evaluator", "find_iam_access_key_account", ("access_key_id",)),
    ("core.iam_evaluator", "resolve_credential", ("access_key_id", "account_id", "session_token")),
    ("core.iam_evaluator", "pin_signed_request", ("method", "raw_path", "query_params", "raw_headers")),
    ("core.iam_evaluator", "_signed_request", object),
    ("core.iam_evaluator", "_sigv2_check", ("request", "account_id")),
    ("core.iam_evaluator", "_conditions_met", ("conditions", "ctx")),
    ("core.iam_evaluator", "parse_policy_document", ("doc",)),
    ("core.iam_evaluator", "evaluate", ("ctx", "policies")),
    ("core.iam_evaluator", "_resolve_managed_policy_document", ("policy_arn", "account_id")),
    ("core.iam_evaluator", "fnmatch_iam", ("value", "pattern")),
    ("services.iam", "handle_request", ("method", "path", "headers", "body", "query_params")),
    ("services.iam", "_users", "scoped"),
    ("services.iam", "_roles", "scoped"),
    ("services.iam", "_groups", "scoped"),
    ("services.iam", "_access_keys", "scoped"),
    ("services.iam", "_user_inline_policies", "scoped"),
    ("services.iam", "_group_inline_policies", "scoped"),
    ("services.iam", "_create_user", ("p",)),
    ("services.iam", "_create_role", ("p",)),
    ("services.iam", "_put_role_policy", ("p",)),
    ("services.iam", "_attach_user_policy", ("p",)),
    ("services.iam", "_now", ()),
    ("services.sts", "handle_request", ("method", "path", "headers", "body", "query_params")),
    ("services.sts", "_sessions", dict),
    ("services.sts", "register_session", ("access_key", "session")),
    ("services.sts", "_assumed_role_arn", ("role_arn", "session_name")),
    ("services.sts", "_role_id", ("role_arn",)),
    ("services.sts", "_gen_session_access_key", ()),
    ("services.sts", "_gen_secret", ()),
    ("services.sts", "_gen_session_token", ()),
    ("services.sts", "get_state", ()),
    ("services.sts", "load_persisted_state", ("data",)),
    ("services.s3", "_buckets", "scoped"),
    ("services.s3", "_object_versions", "scoped"),
    ("services.s3", "_object_tags", "scoped"),
    ("services.s3", "_object_acl", "scoped"),
    ("services.s3", "_object_annotations", "scoped"),
    ("services.s3", "_object_retention", "scoped"),
    ("services.s3", "_object_legal_hold", "scoped"),
    ("services.s3", "_multipart_uploads", "scoped"),
    ("services.s3", "_completed_multipart_uploads", "scoped"),
    ("services.s3", "S3_PERSIST", bool),
    ("services.s3", "_read_body", ("bucket_name", "key", "obj")),
    ("services.s3", "_version_body", ("bucket", "bucket_name", "key", "v")),
    ("services.s3", "_reschedule_restores", ()),
)


class Ministack:
    """The checked modules."""

    def __init__(self, modules: dict[str, ModuleType]) -> None:
        self.app: Any = modules["app"]
        self.router: Any = modules["core.router"]
        self.responses: Any = modules["core.responses"]
        self.sigv4: Any = modules["core.sigv4"]
        self.evaluator: Any = modules["core.iam_evaluator"]
        self.actions: Any = modules["core.iam_actions"]
        self.iam: Any = modules["services.iam"]
        self.sts: Any = modules["services.sts"]
        self.s3: Any = modules["services.s3"]

    @property
    def scoped_types(self) -> tuple[type, type]:
        return self.responses.AccountScopedDict, self.responses.AccountRegionScopedDict


def load() -> Ministack:
    """Import ministack.

    Raises:
        Refusal: it is missing, not the pinned version, or not shaped as we know it.
    """
    try:
        version = metadata.version("ministack")
    except metadata.PackageNotFoundError:
        raise Refusal("ministack is not installed beside this Python; run `aerodrome up` to build it again") from None
    if version != VERSION:
        raise Refusal(f"ministack {version} is installed, but {VERSION} is what this program was written for")
    modules = {name: importlib.import_module(f"ministack.{name}") for name in sorted({shape[0] for shape in _SHAPES})}
    scoped = (modules["core.responses"].AccountScopedDict, modules["core.responses"].AccountRegionScopedDict)
    wrong = [f"{module}.{name}" for module, name, shape in _SHAPES if not _fits(modules[module], name, shape, scoped)]
    if wrong:
        raise Refusal(f"ministack {version} is not as expected: {', '.join(wrong)}")
    if modules["app"].AUTH is not True:
        raise Refusal("ministack did not switch its IAM enforcement on")
    return Ministack(modules)


def _fits(module: ModuleType, name: str, shape: Any, scoped: tuple[type, ...]) -> bool:
    missing = object()
    found = getattr(module, name, missing)
    if found is missing:
        return False
    if isinstance(shape, tuple):
        if not callable(found):
            return False
        parameters = tuple(inspect.signature(found).parameters)
        return parameters[: len(shape)] == shape
    if shape == "scoped":
        return isinstance(found, scoped) and isinstance(getattr(found, "_data", None), dict)
    return isinstance(found, shape)

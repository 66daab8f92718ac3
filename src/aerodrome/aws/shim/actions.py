"""Every request is authorised as what it does: as the operation that its handler will carry out, or not at all.

ministack takes the operation's name from an `Action` parameter or a target header before it looks at the path, for
services too whose handlers obey the path alone; and a request whose operation it can't name it lets pass, whoever
asks. Here REST services go by method and path, what has one name to the check and another to the handler is refused
by the gate, and what has none needs everything of its service.
"""

from __future__ import annotations

import re
from typing import Any

from .pinned import Ministack

# Handlers that obey method, path and query.
_REST = frozenset({"account", "appconfig", "appconfigdata", "backup", "resource-groups", "route53", "s3", "scheduler"})
_SES_V2 = "/v2/"
_RPC = re.compile(r"/operation/([^/?]+)")  # of smithy's RPC protocol, as ministack's CloudWatch reads it
_SPEAKS_RPC = "monitoring"
# Operations whose permission has another name (the Service Authorization Reference of SQS and SNS).
_PERMISSIONS = {
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs:SendMessageBatch": "sqs:SendMessage",
    "sns:PublishBatch": "sns:Publish",
}
_NAMELESS = "UnnamedOperation"  # which nothing but a wildcard allows


def name_all(stack: Ministack) -> None:
    """Let ministack's checks name every operation."""
    actions, app, detect = stack.actions, stack.app, stack.router.detect_service
    extract, routing = actions.extract_iam_action, app._routing_params

    def routing_params(method: str, path: str, headers: Any, body: Any, query_params: Any) -> Any:
        """Of a REST service the query alone: a body in the form of a form is an object's content there."""
        if is_rest(detect(method, path, headers, query_params), path):
            return query_params
        return routing(method, path, headers, body, query_params)

    def extract_iam_action(service: str, method: str, path: str, headers: Any, body: Any, query_params: Any) -> str:
        namespace = actions.SERVICE_TO_IAM_NAMESPACE.get(service, service)
        if service == "account":
            word = path.strip("/")
            return f"{namespace}:{word[:1].upper()}{word[1:]}" if word.isalnum() else f"{namespace}:{_NAMELESS}"
        if is_rest(service, path):
            headers = {name: value for name, value in headers.items() if name not in ("x-amz-target", "content-type")}
            query_params = {name: value for name, value in (query_params or {}).items() if name != "Action"}
            body = b""
        elif (operation := operation_in_path(service, path)) is not None:
            return f"{namespace}:{operation}"
        found = extract(service, method, path, headers, body, query_params)
        return _PERMISSIONS.get(found, str(found)) if found else f"{namespace}:{_NAMELESS}"

    app._routing_params = routing_params
    actions.extract_iam_action = extract_iam_action


def is_rest(service: str, path: str) -> bool:
    return service in _REST or (service == "ses" and path.startswith(_SES_V2))


def operation_in_path(service: str, path: str) -> str | None:
    """The operation that a path of smithy's RPC protocol names, for the one service that speaks it."""
    found = _RPC.search(path) if service == _SPEAKS_RPC else None
    return found[1] if found else None

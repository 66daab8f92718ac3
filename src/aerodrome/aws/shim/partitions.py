"""ministack knows the partition `aws` alone; here every region's ARNs are of its own partition, as far as IAM goes.

An account has one IAM for all partitions. What it keeps says `aws`; a request that is signed for a region of another
partition reads and writes that partition's ARNs. Policies of all services are compared without regard to partitions.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from .pinned import Ministack

# As `aerodrome.domain.partitions` has it, which isn't there in the cloud's own virtual environment.
PREFIXES = {
    "cn-": "aws-cn",
    "eusc-": "aws-eusc",
    "us-gov-": "aws-us-gov",
    "us-iso-": "aws-iso",
    "us-isob-": "aws-iso-b",
    "eu-isoe-": "aws-iso-e",
    "us-isof-": "aws-iso-f",
}
# In plain text, and in a form or a policy document that is encoded for a URL.
_FOREIGN = re.compile(r"arn(:|%3[Aa])aws(?:-[a-z]+)+(?=:|%3[Aa])")
_OWN = re.compile(r"arn(:|%3[Aa])aws(?=:|%3[Aa])")


def plain(text: str) -> str:
    """The text with ARNs of `aws`, whatever partition they were of."""
    return _FOREIGN.sub(r"arn\1aws", text)


def partition_of(region: str) -> str:
    return next((partition for prefix, partition in PREFIXES.items() if region.startswith(prefix)), "aws")


def serve_all(stack: Ministack) -> None:
    """Let ministack's IAM and STS speak of the partition that a request was signed for, and read all alike."""
    for service in (stack.iam, stack.sts):
        service.handle_request = _translated(service.handle_request, stack.responses.get_region)
    evaluator = stack.evaluator
    parse, resolve, evaluate = (
        evaluator.parse_policy_document,
        evaluator._resolve_managed_policy_document,
        evaluator.evaluate,
    )

    def parse_plain(doc: Any) -> Any:
        return parse(_plain_in(doc))

    def resolve_plain(policy_arn: str, account_id: str) -> Any:
        return resolve(plain(policy_arn), account_id)

    def evaluate_plain(ctx: Any, policies: Any, *limits: Any) -> Any:
        ctx.resource_arn = plain(ctx.resource_arn)
        return evaluate(ctx, policies, *limits)

    evaluator.parse_policy_document = parse_plain
    evaluator._resolve_managed_policy_document = resolve_plain
    evaluator.evaluate = evaluate_plain


def _plain_in(value: Any) -> Any:
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        return {name: _plain_in(each) for name, each in value.items()}
    return [_plain_in(each) for each in value] if isinstance(value, list) else value


def _translated(handle: Callable[..., Any], region: Callable[[], str]) -> Callable[..., Any]:
    async def handle_request(method: str, path: str, headers: Any, body: Any, query_params: Any) -> Any:
        partition = partition_of(region())
        if partition == "aws":
            return await handle(method, path, headers, body, query_params)
        given = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body or "")
        status, answered, content = await handle(method, path, headers, plain(given).encode(), query_params)
        text = content.decode() if isinstance(content, bytes) else str(content)
        return status, answered, _OWN.sub(rf"arn\1{partition}", text).encode()

    return handle_request

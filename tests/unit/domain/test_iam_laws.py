"""Laws of policy evaluation, of any policies whatever: what no statement may do, and that matching is what it says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aerodrome.domain.policy import evaluate

ACTIONS = st.sampled_from(
    ["airflow:GetEnvironment", "airflow:DeleteEnvironment", "airflow:ListEnvironments", "s3:GetObject"]
)
NAMES = st.sampled_from(["sales", "hr", "sales-2"])
RESOURCES = NAMES.map(lambda name: f"arn:aws:airflow:eu-west-1:123456789012:environment/{name}")
ACTION_PATTERNS = ACTIONS | st.sampled_from(
    ["*", "airflow:*", "airflow:Get*", "*:*Environment", "AIRFLOW:?etEnvironment", "s3:*"]
)
RESOURCE_PATTERNS = RESOURCES | st.sampled_from(
    ["*", "arn:aws:airflow:*:*:environment/sales*", "arn:aws:airflow:*:environment/hr", "arn:aws:s3:::*", "${aws:team}"]
)
KEYS = st.sampled_from(["aws:ResourceTag/team", "aws:username", "aws:TagKeys", "aws:SourceIp", "aws:Missing"])
VALUES = st.sampled_from(["data", "hr", "d*", "10.0.0.0/8", "10.1.2.3", "true", "7", "${aws:username}", ""])
OPERATORS = st.sampled_from(
    ["StringEquals", "StringNotEquals", "StringLike", "StringNotLike", "StringEqualsIfExists", "IpAddress", "Bool",
     "NumericLessThan", "NotIpAddress", "Null", "ForAllValues:StringLike", "ForAnyValue:StringEquals",
     "ForAnyValue:StringNotEquals"]
)  # fmt: skip
CONDITIONS = st.dictionaries(
    OPERATORS,
    st.dictionaries(KEYS, VALUES | st.lists(VALUES, min_size=1, max_size=3), min_size=1, max_size=2),
    max_size=2,
)
CONTEXTS = st.dictionaries(KEYS, VALUES | st.lists(VALUES, max_size=3), max_size=4)


def some(patterns: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return patterns | st.lists(patterns, min_size=1, max_size=3)


def statements(effects: Sequence[str] = ("Allow", "Deny")) -> st.SearchStrategy[dict[str, Any]]:
    def statement(effect: str, action: Any, resource: Any, condition: Any, not_action: bool, not_resource: bool) -> Any:
        return {
            "Effect": effect,
            "NotAction" if not_action else "Action": action,
            "NotResource" if not_resource else "Resource": resource,
            **({"Condition": condition} if condition else {}),
        }

    flags = st.sampled_from([False, False, True])
    return st.builds(
        statement, st.sampled_from(effects), some(ACTION_PATTERNS), some(RESOURCE_PATTERNS), CONDITIONS, flags, flags
    )


def policies(effects: Sequence[str] = ("Allow", "Deny"), most: int = 3) -> st.SearchStrategy[list[dict[str, Any]]]:
    one = st.lists(statements(effects), min_size=1, max_size=3).map(
        lambda each: {"Version": "2012-10-17", "Statement": each}
    )
    return st.lists(one, max_size=most)


ALL = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
ASKED = st.tuples(ACTIONS, RESOURCES, CONTEXTS)
EXAMPLES = [pytest.param(60, id="some"), pytest.param(500, id="many", marks=pytest.mark.exhaustive)]
many = pytest.mark.parametrize("examples", EXAMPLES)


def hold(examples: int, law: Callable[..., None], *strategies: st.SearchStrategy[Any]) -> None:
    settings(max_examples=examples, deadline=None, database=None)(given(*strategies)(law))()


@many
def test_a_deny_that_applies_always_wins(examples: int) -> None:
    def law(given_policies: Any, boundary: Any, session: Any, asked: Any) -> None:
        action, resource, context = asked
        denial = {"Statement": {"Effect": "Deny", "Action": action, "Resource": resource}}
        for place in ("identity", "boundary", "session"):
            own = [*given_policies, denial] if place == "identity" else given_policies
            limit = {"Statement": [*each_of(boundary), denial["Statement"]]} if place == "boundary" else None
            passed = [*session, denial] if place == "session" else None
            decision = evaluate([*own, ALL], action, resource, context, boundary=limit, session_policies=passed)
            assert not decision.allowed
            assert decision.reason.startswith("with an explicit deny in ")

    hold(examples, law, policies(), policies(most=1), policies(), ASKED)


def each_of(boundary: Any) -> list[Any]:
    return [statement for each in boundary for statement in each["Statement"]]


@many
def test_another_allow_takes_nothing_and_another_deny_gives_nothing(examples: int) -> None:
    def law(before: Any, allow: Any, deny: Any, at: int, asked: Any) -> None:
        place = at % (len(before) + 1)
        had = evaluate(before, *asked).allowed
        assert evaluate([*before[:place], *allow, *before[place:]], *asked).allowed >= had
        assert evaluate([*before[:place], *deny, *before[place:]], *asked).allowed <= had

    hold(examples, law, policies(), policies(["Allow"]), policies(["Deny"]), st.integers(0, 9), ASKED)


@many
def test_order_and_division_make_no_difference(examples: int) -> None:
    def law(before: Any, chance: Any, asked: Any) -> None:
        each = each_of(before)
        shuffled = chance.sample(each, len(each))
        decision = evaluate(before, *asked)
        version = {"Version": "2012-10-17"}
        assert evaluate([{**version, "Statement": shuffled}], *asked) == decision
        assert evaluate([{**version, "Statement": one} for one in shuffled], *asked) == decision
        assert evaluate([*before, *before], *asked) == decision

    hold(examples, law, policies(), st.randoms(use_true_random=False), ASKED)


@many
def test_boundary_and_session_policies_only_take(examples: int) -> None:
    """Allowed is what each of the three would allow by itself, and nothing else."""

    def law(own: Any, boundary: Any, session: Any, asked: Any) -> None:
        limit = boundary[0] if boundary else None
        decision = evaluate(own, *asked, boundary=limit, session_policies=session)
        alone = [evaluate(own, *asked), evaluate(session, *asked), *([evaluate([limit], *asked)] if limit else [])]
        assert decision.allowed is all(each.allowed for each in alone)

    hold(examples, law, policies(), policies(most=1), policies(), ASKED)


@many
def test_nothing_is_allowed_without_an_allow(examples: int) -> None:
    def law(denials: Any, asked: Any) -> None:
        assert not evaluate(denials, *asked).allowed

    hold(examples, law, policies(["Deny"]), ASKED)


@many
def test_not_action_is_what_action_is_not(examples: int) -> None:
    def law(patterns: Any, asked: Any) -> None:
        action = {"Statement": {"Effect": "Allow", "Action": patterns, "Resource": "*"}}
        inverse = {"Statement": {"Effect": "Allow", "NotAction": patterns, "Resource": "*"}}
        assert evaluate([action], *asked).allowed is not evaluate([inverse], *asked).allowed

    hold(examples, law, some(ACTION_PATTERNS), ASKED)


@many
def test_a_negated_operator_is_the_opposite_of_its_own(examples: int) -> None:
    def law(operator: str, key: str, value: str, wanted: Any, context: dict[str, Any]) -> None:
        def holds(name: str) -> bool:
            condition = {name: {key: wanted}}
            own = {"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition}}
            return evaluate([own], "airflow:ListEnvironments", "*", context).allowed

        context = {**context, key: value}
        assert holds(f"String{operator}") is not holds(f"StringNot{operator}")
        assert holds(f"String{operator}IfExists") is holds(f"String{operator}")
        assert holds(f"ForAnyValue:String{operator}") is (holds(f"String{operator}") and value != "")
        del context[key]
        assert holds(f"String{operator}IfExists")

    operators = st.sampled_from(["Equals", "Like", "EqualsIgnoreCase"])
    keys = st.sampled_from(["aws:username", "aws:ResourceTag/team"])
    hold(examples, law, operators, keys, VALUES, some(VALUES), CONTEXTS)


TEXT = st.text(alphabet="ab*?:/", max_size=8)


@many
def test_wildcards_match_what_a_regular_expression_says(examples: int) -> None:
    def regular(pattern: str) -> str:
        return re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")

    def law(pattern: str, text: str) -> None:
        like = {
            "Statement": {
                "Effect": "Allow",
                "Action": "*",
                "Resource": "*",
                "Condition": {"StringLike": {"k": pattern}},
            }
        }
        assume(text)
        expected = re.fullmatch(regular(pattern), text, re.DOTALL) is not None
        assert evaluate([like], "airflow:ListEnvironments", "*", {"k": text}).allowed is expected
        action = {"Statement": {"Effect": "Allow", "Action": f"s:{pattern}", "Resource": "*"}}
        assert evaluate([action], f"S:{text.upper()}", "*").allowed is expected

    hold(examples, law, TEXT, TEXT)


PART = st.sampled_from(["", "a", "b", "*", "a*", "*b", "?", "a?"])


@many
def test_arns_match_what_a_regular_expression_says(examples: int) -> None:
    """Of ArnLike: part by part, but the sixth may have colons; of `Resource`: what ends in `*` may be many parts."""

    def regular(parts: Sequence[str]) -> str:
        *others, last = map(re.escape, parts)
        each = [part.replace(r"\*", "[^:]*").replace(r"\?", "[^:]") for part in others]
        return ":".join([*each, last.replace(r"\*", ".*").replace(r"\?", ".")])

    def stretched(parts: Sequence[str], count: int) -> Iterator[list[str]]:
        """All ways to be so many parts, when one that ends in `*` may be followed by others that are nothing else."""
        if not parts:
            yield from [[]] if count == 0 else []
            return
        for more in range(count - len(parts) + 1 if parts[0].endswith("*") else 1):
            for rest in stretched(parts[1:], count - 1 - more):
                yield [parts[0], *["*"] * more, *rest]

    def law(parts: list[str], named: list[str]) -> None:
        pattern, arn = ":".join(parts), ":".join(named)
        assume(not any(sign in arn for sign in "*?") and pattern.strip("*"))
        own = {"Statement": {"Effect": "Allow", "Action": "*", "Resource": pattern}}
        ways = (each for count in range(6, len(named) + 1) for each in stretched(parts, count))
        expected = any(re.fullmatch(regular(each), arn) for each in ways)
        assert evaluate([own], "airflow:GetEnvironment", arn).allowed is expected
        if len(parts) < 6:
            return
        like = {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"ArnLike": {"k": pattern}}}
        expected = re.fullmatch(regular(parts), arn) is not None
        assert evaluate([{"Statement": like}], "airflow:GetEnvironment", "*", {"k": arn}).allowed is expected

    patterns = st.lists(PART, min_size=3, max_size=6)
    arns = st.lists(st.sampled_from(["", "a", "b", "ab"]), min_size=6, max_size=8)
    hold(examples, law, patterns, arns)

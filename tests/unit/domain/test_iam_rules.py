"""IAM's documented rules, one case each: what the reference says happens, and that it happens here.

Headings are those of IAM's user guide: "Policy evaluation logic", "Permissions boundaries", "Session policies", "IAM
JSON policy elements: …", "IAM policy elements: Variables and tags". Conditions are in test_iam_conditions.py.
"""

from __future__ import annotations

import pytest

from support.iam import (
    ACCOUNT,
    ADMIN,
    DELETE,
    FEDERATED,
    GET,
    HR,
    LIST,
    LOGIN,
    SALES,
    SESSION,
    VIEWER,
    Case,
    allow,
    deny,
    given,
    is_allowed,
    policy,
    when,
)

ALL = policy(allow("*", "*"))
TEAM = {"aws:ResourceTag/team": "data"}
IN, OUT = {"aws:SourceIp": "203.0.113.9"}, {"aws:SourceIp": "198.51.100.9"}
OFFICE = "203.0.113.0/24"
CASES = [
    # Policy evaluation logic
    Case("everything is denied by default", [], False),
    given("an allow in an identity policy overrides the default", allow(), allowed=True),
    given("an explicit deny overrides an allow", allow(), deny(), allowed=False),
    given("an explicit deny comes first as well", deny(), allow(), allowed=False),
    Case("an explicit deny in another policy overrides too", [ALL, policy(deny())], False),
    Case("policies are combined: one that allows is enough", [policy(allow("s3:*", "*")), policy(allow())], True),
    given("a deny of another action leaves this one", allow("airflow:*"), deny(DELETE), allowed=True),
    given("a deny of another resource leaves this one", allow("*", "*"), deny(GET, HR), allowed=True),
    given("an allow of another action isn't one of this", allow(DELETE), allowed=False),
    given("an allow of another resource isn't one of this", allow(GET, HR), allowed=False),
    Case("the root of an account is allowed by default", [], True, arn=f"arn:aws:iam::{ACCOUNT}:root"),
    Case("a policy of one account gives nothing in another", [ALL], False, resource=SALES.replace(ACCOUNT, "2" * 12)),
    given(
        "a deny whose condition doesn't hold is none",
        allow(),
        deny(condition={"IpAddress": {"aws:SourceIp": OFFICE}}),
        allowed=True,
        context=OUT,
    ),
    given(
        "a deny whose condition holds wins",
        allow(),
        deny(condition={"IpAddress": {"aws:SourceIp": OFFICE}}),
        allowed=False,
        context=IN,
    ),
    # Permissions boundaries
    Case("a boundary alone gives nothing", [], False, boundary=ALL),
    Case("what identity policy and boundary both allow is allowed", [ALL], True, boundary=policy(allow())),
    Case("what the boundary leaves out is not allowed", [ALL], False, boundary=policy(allow(GET, HR))),
    Case("a deny in the boundary wins", [ALL], False, boundary=policy(allow("*", "*"), deny())),
    Case("an empty boundary allows nothing", [ALL], False, boundary=policy()),
    Case(
        "a boundary's condition must hold",
        [ALL],
        False,
        boundary=policy(allow(condition={"IpAddress": {"aws:SourceIp": OFFICE}})),
        context=OUT,
    ),
    Case("a role's boundary limits its sessions", [ALL], False, boundary=policy(allow(GET, HR)), arn=SESSION),
    # Session policies
    Case("a role's session without session policies has what the role has", [ALL], True, arn=SESSION),
    Case("a session policy alone gives nothing", [], False, session=(ALL,), arn=SESSION),
    Case("role and session policy must both allow", [ALL], True, session=(policy(allow()),), arn=SESSION),
    Case(
        "what the session policy leaves out is not allowed",
        [ALL],
        False,
        session=(policy(allow(GET, HR)),),
        arn=SESSION,
    ),
    Case("of several session policies one must allow", [ALL], True, session=(policy(), policy(allow())), arn=SESSION),
    Case("a deny in a session policy wins", [ALL], False, session=(ALL, policy(deny())), arn=SESSION),
    Case("an empty session policy leaves nothing", [ALL], False, session=(policy(),), arn=SESSION),
    Case(
        "identity policy, boundary and session policy must all allow",
        [ALL],
        True,
        boundary=ALL,
        session=(ALL,),
        arn=SESSION,
    ),
    Case(
        "the boundary still limits a session with a session policy",
        [ALL],
        False,
        boundary=policy(),
        session=(ALL,),
        arn=SESSION,
    ),
    Case("a federated user without session policies has no permissions", [ALL], False, arn=FEDERATED),
    Case(
        "a federated user has what user and session policy allow",
        [ALL],
        True,
        session=(policy(allow()),),
        arn=FEDERATED,
    ),
    Case("a federated user has no more than its user", [], False, session=(ALL,), arn=FEDERATED),
    # Elements: Action and NotAction
    given("* means every action", allow("*"), allowed=True),
    given("a prefix may have no case", allow("AIRFLOW:getEnvironment"), allowed=True),
    given("* in an action stands for any characters", allow("airflow:*Environment"), allowed=True),
    given("* in an action stands for none as well", allow("airflow:GetEnvironment*"), allowed=True),
    given("? in an action stands for one character", allow("airflow:?etEnvironment"), allowed=True),
    given("? in an action doesn't stand for none", allow("airflow:GetEnvironment?"), allowed=False),
    given("another service's wildcard is not ours", allow("s3:*"), allowed=False),
    given("one action of a list is enough", allow(["s3:*", GET]), allowed=True),
    given("NotAction allows all the others", allow(..., NotAction=DELETE), allowed=True),
    given("NotAction leaves out what it names", allow(..., NotAction=["airflow:Get*"]), allowed=False),
    given("NotAction under Deny denies all the others", allow("*", "*"), deny(..., NotAction=DELETE), allowed=False),
    given("NotAction under Deny doesn't deny what it names", allow("*", "*"), deny(..., NotAction=GET), allowed=True),
    given("NotAction under Deny doesn't allow what it names", deny(..., NotAction=GET), allowed=False),
    # Elements: Resource and NotResource
    given("* means every resource", allow(GET, "*"), allowed=True),
    given("resources keep their case", allow(GET, SALES.replace("sales", "Sales")), allowed=False),
    given("* in a resource stands for any characters", allow(GET, SALES[:-3] + "*"), allowed=True),
    given("? in a resource stands for one character", allow(GET, SALES[:-1] + "?"), allowed=True),
    given(
        "* spans slashes",
        allow(LOGIN, f"arn:aws:airflow:*:{ACCOUNT}:role/*"),
        allowed=True,
        action=LOGIN,
        resource=VIEWER,
    ),
    given("* for region and account", allow(GET, "arn:aws:airflow:*:*:environment/sales"), allowed=True),
    given(
        "* at the end of a part reaches over colons", allow(GET, "arn:aws:airflow:*:environment/sales"), allowed=True
    ),
    given("* within a part doesn't", allow(GET, "arn:aws:airflow:e*w:environment/sales:*"), allowed=False),
    given("another partition is another resource", allow(GET, SALES.replace("arn:aws:", "arn:aws-cn:")), allowed=False),
    given("a role's ARN is not its environment's", allow(LOGIN, SALES), allowed=False, action=LOGIN, resource=VIEWER),
    given("one Airflow role is not another", allow(LOGIN, VIEWER), allowed=False, action=LOGIN, resource=ADMIN),
    given("NotResource allows all the others", allow(GET, ..., NotResource=HR), allowed=True),
    given("NotResource leaves out what it names", allow(GET, ..., NotResource=[HR, SALES]), allowed=False),
    given(
        "NotResource under Deny denies all the others", allow("*", "*"), deny("*", ..., NotResource=HR), allowed=False
    ),
    given(
        "NotResource under Deny spares what it names", allow("*", "*"), deny("*", ..., NotResource=SALES), allowed=True
    ),
    given("an action without a resource type needs *", allow(LIST, "*"), allowed=True, action=LIST, resource="*"),
    given("and is not given by an ARN", allow(LIST, SALES), allowed=False, action=LIST, resource="*"),
    # Elements: Version
    Case("2008-10-17 is the default version", [policy(allow(), version=None)], True),
    Case(
        "before 2012-10-17 variables are plain text",
        [policy(allow(GET, SALES.replace("sales", "${aws:username}")), version="2008-10-17")],
        False,
        resource=SALES.replace("sales", "ann"),
    ),
    Case("an unknown version allows nothing", [policy(allow(), version="2025-01-01")], False),
    Case("and still denies", [ALL, policy(deny(), version="2025-01-01")], False),
    Case("an element that no policy has allows nothing", [{**policy(allow()), "Principal": "*"}], False),
    # Variables and tags
    given(
        "a variable is the caller's",
        allow(GET, SALES.replace("sales", "${aws:username}")),
        allowed=True,
        resource=SALES.replace("sales", "ann"),
    ),
    given("and nobody else's", allow(GET, SALES.replace("sales", "${aws:username}")), allowed=False),
    given(
        "a role's session has no aws:username",
        allow(GET, SALES.replace("sales", "${aws:username}*")),
        allowed=False,
        arn=SESSION,
    ),
    given(
        "the tag of a principal as a variable",
        allow(GET, SALES.replace("sales", "${aws:PrincipalTag/env}")),
        allowed=True,
        tags={"env": "sales"},
    ),
    given(
        "a variable without a value matches nothing",
        allow(GET, SALES.replace("sales", "${aws:PrincipalTag/env}")),
        allowed=False,
    ),
    given(
        "a default stands in for it",
        allow(GET, SALES.replace("sales", "${aws:PrincipalTag/env, 'sales'}")),
        allowed=True,
    ),
    given(
        "but not for a value that is there",
        allow(GET, SALES.replace("sales", "${aws:PrincipalTag/env, 'sales'}")),
        allowed=False,
        tags={"env": "hr"},
    ),
    given(
        "what a variable brings is no wildcard",
        allow(GET, SALES.replace("sales", "${aws:PrincipalTag/env}")),
        allowed=False,
        tags={"env": "*"},
    ),
    given("${*} is an asterisk", allow(GET, SALES[:-1] + "${*}"), allowed=False),
    given("${?} is a question mark", allow(GET, SALES[:-1] + "${?}"), allowed=False),
    given("${$} is a dollar sign", allow(GET, SALES + "${$}"), allowed=True, resource=SALES + "$"),
    when(
        "a variable in a condition",
        {"StringEquals": {"aws:ResourceTag/owner": "${aws:username}"}},
        {"aws:ResourceTag/owner": "ann"},
        allowed=True,
    ),
    when(
        "matching the tags of principal and resource",
        {"StringEquals": {"aws:ResourceTag/team": "${aws:PrincipalTag/team}"}},
        TEAM,
        tags={"team": "data"},
        allowed=True,
    ),
    when(
        "and of another team",
        {"StringEquals": {"aws:ResourceTag/team": "${aws:PrincipalTag/team}"}},
        TEAM,
        tags={"team": "hr"},
        allowed=False,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_documented_rule(case: Case) -> None:
    assert is_allowed(case) is case.allowed


def test_every_rule_has_a_name_of_its_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES)

"""ministack's own check of signature and policies, timed: run by its interpreter, told everything on standard input.

Prints `{"verified": [seconds], "authorised": [seconds]}`.
"""

from __future__ import annotations

import json
import sys
import time

from ministack.core import iam_evaluator, sigv4


def main() -> None:
    given = json.load(sys.stdin)
    policies = [iam_evaluator.parse_policy_document({"Version": "2012-10-17", "Statement": given["statements"]})]
    verified, authorised = [], []
    for request in given["requests"]:
        name = request["path"].rpartition("/")[2]
        arn = f"arn:aws:airflow:{given['region']}:{given['account']}:environment/{name}"
        started = time.perf_counter()
        signature = sigv4.parse_header_signature(request["headers"])
        late = sigv4.request_time_failure(signature)
        wrong = sigv4.header_signature_failure(
            signature, given["secret"], "GET", request["path"], {}, request["headers"], b""
        )
        between = time.perf_counter()
        context = iam_evaluator.EvalContext(
            principal_arn=f"arn:aws:iam::{given['account']}:user/bench",
            principal_type="User",
            principal_account=given["account"],
            action="airflow:GetEnvironment",
            resource_arn=arn,
            region=given["region"],
            source_ip="127.0.0.1",
            secure_transport=False,
            service_context={"aws:resourcetag/team": "team-19"},
        )
        decision = iam_evaluator.evaluate(context, policies)
        ended = time.perf_counter()
        if late or wrong or decision.decision != "Allow":
            raise SystemExit(f"ministack refuses what it should take: {late} {wrong} {decision}")
        verified.append(between - started)
        authorised.append(ended - between)
    print(json.dumps({"verified": verified, "authorised": authorised}))


if __name__ == "__main__":
    main()

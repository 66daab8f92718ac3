"""Inbound rules of security groups, as EC2 tells of them, and whom they let in."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aerodrome.domain.ingress import Ingress, Rule, ingress_of, prefix_lists_of

GROUP = "sg-1"
LISTENER = 8444
LISTS = {"pl-1": ["203.0.113.0/24", "2001:db8:1::/48"]}
HTTPS = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443}


def group(*permissions: dict[str, Any], name: str = GROUP) -> dict[str, Any]:
    return {"GroupId": name, "IpPermissions": list(permissions)}


def ranges(*networks: str) -> dict[str, Any]:
    return {"IpRanges": [{"CidrIp": each} for each in networks]}


def ingress(*permissions: dict[str, Any]) -> Ingress:
    return ingress_of([GROUP], [group(*permissions)], LISTS)


@pytest.mark.parametrize(
    ("permission", "client", "let_in"),
    [
        ({**HTTPS, **ranges("10.0.0.0/8")}, "10.1.2.3", True),
        ({**HTTPS, **ranges("10.0.0.0/8")}, "11.0.0.1", False),
        ({**HTTPS, **ranges("10.0.0.7/32")}, "10.0.0.7", True),
        ({**HTTPS, **ranges("10.0.0.7/32")}, "10.0.0.8", False),
        ({**HTTPS, **ranges("10.0.0.7/8")}, "10.9.9.9", True),
        ({**HTTPS, **ranges("0.0.0.0/0")}, "198.51.100.1", True),
        ({**HTTPS, **ranges("0.0.0.0/0")}, "2001:db8::1", False),
        ({**HTTPS, **ranges("0.0.0.0/0")}, "::ffff:198.51.100.1", True),
        ({**HTTPS, **ranges("10.0.0.0/8")}, "::ffff:11.0.0.1", False),
        ({**HTTPS, "Ipv6Ranges": [{"CidrIpv6": "2001:db8::/32"}]}, "2001:db8::1", True),
        ({**HTTPS, "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}, "10.0.0.1", False),
        ({**HTTPS, "Ipv6Ranges": [{"CidrIpv6": "fe80::/10"}]}, "fe80::1%eth0", True),
        ({"IpProtocol": "-1", **ranges("10.0.0.0/8")}, "10.0.0.1", True),
        ({"IpProtocol": "6", "FromPort": 0, "ToPort": 65535, **ranges("10.0.0.0/8")}, "10.0.0.1", True),
        ({"IpProtocol": "tcp", "FromPort": 400, "ToPort": 500, **ranges("10.0.0.0/8")}, "10.0.0.1", True),
        ({"IpProtocol": "tcp", "FromPort": LISTENER, "ToPort": LISTENER, **ranges("10.0.0.0/8")}, "10.0.0.1", True),
        ({"IpProtocol": "tcp", "FromPort": 444, "ToPort": 8443, **ranges("10.0.0.0/8")}, "10.0.0.1", False),
        ({"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, **ranges("0.0.0.0/0")}, "10.0.0.1", False),
        ({"IpProtocol": "udp", "FromPort": 443, "ToPort": 443, **ranges("0.0.0.0/0")}, "10.0.0.1", False),
        ({"IpProtocol": "icmp", "FromPort": -1, "ToPort": -1, **ranges("0.0.0.0/0")}, "10.0.0.1", False),
        ({**HTTPS, "PrefixListIds": [{"PrefixListId": "pl-1"}]}, "203.0.113.9", True),
        ({**HTTPS, "PrefixListIds": [{"PrefixListId": "pl-1"}]}, "2001:db8:1::9", True),
        ({**HTTPS, "PrefixListIds": [{"PrefixListId": "pl-gone"}]}, "203.0.113.9", False),
        ({"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": GROUP}]}, "127.0.0.1", True),
        ({"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": GROUP}]}, "127.9.9.9", True),
        ({"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": GROUP}]}, "::1", True),
        ({"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": GROUP}]}, "::ffff:127.0.0.1", True),
        ({"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": GROUP}]}, "10.0.0.1", False),
        ({"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "sg-2"}]}, "127.0.0.1", False),
        ({**HTTPS, "FromPort": 5432, "ToPort": 5432, "UserIdGroupPairs": [{"GroupId": GROUP}]}, "::1", False),
        ({**HTTPS}, "127.0.0.1", False),
        ({**HTTPS, **ranges("0.0.0.0/0")}, "not an address", False),
        ({**HTTPS, **ranges("0.0.0.0/0")}, "", False),
    ],
)  # fmt: skip
def test_whom_a_rule_lets_in(permission: dict[str, Any], client: str, let_in: bool) -> None:
    assert ingress(permission).admits(client, LISTENER) is let_in


def test_without_a_rule_nobody_gets_in() -> None:
    assert not ingress().admits("127.0.0.1", LISTENER)
    assert not Ingress((GROUP,)).admits("127.0.0.1", 443)


def test_rules_of_all_groups_add_up_and_those_of_others_do_not_count() -> None:
    other = group({**HTTPS, **ranges("192.0.2.0/24")}, name="sg-2")
    foreign = group({**HTTPS, **ranges("0.0.0.0/0")}, name="sg-foreign")
    found = ingress_of([GROUP, "sg-2", "sg-gone"], [group({**HTTPS, **ranges("10.0.0.0/8")}), other, foreign], {})
    assert (found.groups, found.missing) == (("sg-1", "sg-2", "sg-gone"), ("sg-gone",))
    assert found.admits("10.0.0.1", 443)
    assert found.admits("192.0.2.1", 443)
    assert not found.admits("198.51.100.1", 443)


def test_prefix_lists_are_found_once_each() -> None:
    twice = {**HTTPS, "PrefixListIds": [{"PrefixListId": "pl-2"}, {"PrefixListId": "pl-1"}]}
    assert prefix_lists_of([group(twice), group(twice, {**HTTPS})]) == ["pl-1", "pl-2"]


def test_a_rule_comes_back_from_json_as_it_was() -> None:
    (rule,) = ingress({**HTTPS, **ranges("10.0.0.0/8"), "UserIdGroupPairs": [{"GroupId": GROUP}]}).rules
    assert Rule.from_json(json.loads(json.dumps(rule.to_json()))) == rule


ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
PORTS = st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map(sorted)


@st.composite
def permissions(draw: st.DrawFn) -> dict[str, Any]:
    first, last = draw(PORTS)
    networks = [ipaddress.ip_network((each, draw(st.integers(0, 32))), strict=False)  # of both families
                for each in draw(st.lists(ADDRESSES, max_size=3))]  # fmt: skip
    return {
        "IpProtocol": draw(st.sampled_from(["tcp", "udp", "-1", "6"])),
        "FromPort": first,
        "ToPort": last,
        "IpRanges": [{"CidrIp": str(each)} for each in networks if each.version == 4],
        "Ipv6Ranges": [{"CidrIpv6": str(each)} for each in networks if each.version == 6],
        "UserIdGroupPairs": [
            {"GroupId": each} for each in draw(st.lists(st.sampled_from([GROUP, "sg-2"]), max_size=2))
        ],
    }


@settings(max_examples=60, deadline=None)
@given(st.lists(permissions(), max_size=4), permissions(), ADDRESSES)
def test_one_rule_more_never_shuts_anybody_out_and_order_is_nothing(
    rules: list[dict[str, Any]], more: dict[str, Any], client: str
) -> None:
    before, after = ingress(*rules).admits(client, LISTENER), ingress(*rules, more).admits(client, LISTENER)
    assert after is (before or ingress(more).admits(client, LISTENER))
    assert ingress(more, *reversed(rules)).admits(client, LISTENER) is after

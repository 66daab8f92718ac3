"""Inbound rules of security groups: whom they let in to a web server. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

HTTPS_PORT = 443  # MWAA's: a rule for it counts whatever port the listener has
_ALL, _TCP = "-1", ("tcp", "6")
_HIGHEST = 65535

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Rule:
    """Lets clients of some networks in to a range of ports."""

    networks: tuple[Network, ...]
    first: int = 0
    last: int = _HIGHEST
    members: bool = False  # also those who are in the environment's own groups: whatever runs on this machine

    def admits(self, client: Address, ports: Iterable[int]) -> bool:
        if not any(self.first <= port <= self.last for port in ports):
            return False
        if self.members and client.is_loopback:
            return True
        return any(client.version == network.version and client in network for network in self.networks)

    def to_json(self) -> dict[str, Any]:
        return {
            "networks": list(map(str, self.networks)),
            "first": self.first,
            "last": self.last,
            "members": self.members,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Rule:
        networks = tuple(map(ipaddress.ip_network, stored["networks"]))
        return cls(networks, stored["first"], stored["last"], stored["members"])


@dataclass(frozen=True, slots=True)
class Ingress:
    """What the inbound rules of an environment's security groups come to. `missing`: groups that aren't there."""

    groups: tuple[str, ...]
    rules: tuple[Rule, ...] = ()
    missing: tuple[str, ...] = ()

    def admits(self, client: str, port: int) -> bool:
        """Whether a client's address gets in to a listener on `port`. What isn't allowed is refused."""
        try:
            address = _plain(ipaddress.ip_address(client.partition("%")[0]))
        except ValueError:
            return False
        return any(rule.admits(address, (HTTPS_PORT, port)) for rule in self.rules)


def prefix_lists_of(groups: Iterable[Mapping[str, Any]]) -> list[str]:
    """Ids of the prefix lists that the groups' inbound rules name. `groups`: as DescribeSecurityGroups has them."""
    permissions = (each for group in groups for each in group.get("IpPermissions") or ())
    return sorted({entry["PrefixListId"] for each in permissions for entry in each.get("PrefixListIds") or ()})


def ingress_of(
    asked: Collection[str], groups: Iterable[Mapping[str, Any]], prefix_lists: Mapping[str, Sequence[str]]
) -> Ingress:
    """The inbound rules of the groups that were asked for. `prefix_lists`: id -> its networks.

    A rule counts when it is for all traffic or for TCP. One that names a group of the environment's own lets its
    members in: the environment's components are among them, and come from loopback like everything on this machine.
    Members of other groups have no address that we know: such a rule lets nobody in.
    """
    found = {group["GroupId"]: group for group in groups if group["GroupId"] in asked}
    rules = [
        rule
        for name in sorted(found)
        for permission in found[name].get("IpPermissions") or ()
        if (rule := _rule(permission, asked, prefix_lists)) is not None
    ]
    return Ingress(tuple(sorted(asked)), tuple(rules), tuple(sorted(set(asked) - found.keys())))


def _rule(
    permission: Mapping[str, Any], own: Collection[str], prefix_lists: Mapping[str, Sequence[str]]
) -> Rule | None:
    protocol = str(permission.get("IpProtocol", _ALL)).lower()
    if protocol != _ALL and protocol not in _TCP:
        return None
    networks = [entry["CidrIp"] for entry in permission.get("IpRanges") or ()]
    networks += [entry["CidrIpv6"] for entry in permission.get("Ipv6Ranges") or ()]
    for entry in permission.get("PrefixListIds") or ():
        networks += prefix_lists.get(entry["PrefixListId"], ())
    members = any(pair.get("GroupId") in own for pair in permission.get("UserIdGroupPairs") or ())
    if not networks and not members:
        return None
    first, last = 0, _HIGHEST
    if protocol != _ALL:
        first, last = permission.get("FromPort", 0), permission.get("ToPort", _HIGHEST)
        if (first, last) == (-1, -1):
            first, last = 0, _HIGHEST
    return Rule(tuple(ipaddress.ip_network(each, strict=False) for each in networks), first, last, members)


def _plain(address: Address) -> Address:
    """An IPv4 client of a listener for both families is `::ffff:a.b.c.d`."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address

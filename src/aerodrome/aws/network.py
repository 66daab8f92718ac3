"""Subnets, VPC endpoints and security groups as EC2 tells of them, the embedded cloud's or AWS's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from aerodrome.aws.clients import AwsClients
from aerodrome.domain.environment import EnvironmentKey
from aerodrome.domain.ingress import Ingress, ingress_of, prefix_lists_of
from aerodrome.domain.principal import Credentials
from aerodrome.errors import Permanent, Temporary

_NO_SUBNET = frozenset({"InvalidSubnetID.NotFound", "InvalidSubnetID.Malformed", "InvalidSubnetId.Malformed"})
_AGAIN = 10.0  # seconds
_MARGIN = timedelta(minutes=5)  # that credentials live on for, at least

Identity = Callable[[EnvironmentKey], Awaitable[Credentials]]
"""The credentials that our service asks EC2 with, in the environment's account."""


class Network:
    """What EC2 says about the network of environments; only its clients are kept, which are dear to make."""

    def __init__(self, clients: AwsClients, identity: Identity) -> None:
        self._clients = clients
        self._identity = identity
        self._made: dict[tuple[str, str, str], tuple[datetime, Any]] = {}  # place -> end of its credentials, client

    async def check_subnets(self, key: EnvironmentKey, subnets: Collection[str]) -> None:
        """They are there, in one VPC and in different availability zones (mwaa-spec 12).

        Raises:
            Permanent: they aren't; the message says which and what to do.
            Temporary: EC2 can't be asked now.
        """
        found = await self._ask(key, _describe_subnets, subnets)
        if len({subnet["VpcId"] for subnet in found}) > 1:
            raise Permanent(f"{_listed(subnets)} are in different VPCs; name subnets of one VPC.")
        if len({subnet["AvailabilityZone"] for subnet in found}) < len(found):
            raise Permanent(
                f"{_listed(subnets)} are in the same availability zone; name subnets in different availability zones."
            )

    async def lacking(
        self, key: EnvironmentKey, subnets: Collection[str], services: Iterable[str]
    ) -> Mapping[str, list[str]]:
        """Of these endpoint services, those without an available interface endpoint in each subnet; the subnets.

        Raises:
            Permanent: a subnet isn't there.
            Temporary: EC2 can't be asked now.
        """
        lacking: Mapping[str, list[str]] = await self._ask(key, _lacking, subnets, list(services))
        return lacking

    async def ingress(self, key: EnvironmentKey, groups: Collection[str]) -> Ingress:
        """The inbound rules of these security groups; those that aren't there are named in it.

        Raises:
            Temporary: EC2 can't be asked now.
        """
        ingress: Ingress = await self._ask(key, _ingress, groups)
        return ingress

    async def _ask(self, key: EnvironmentKey, question: Callable[..., Any], *arguments: Any) -> Any:
        client = await self._client(key)
        try:
            return await asyncio.to_thread(question, client, *arguments)
        except ClientError as error:
            code, message = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
            if code in _NO_SUBNET:
                raise Permanent(f"{message.rstrip('.')} in {key.region}; name subnets that are there.") from error
            self._made.pop(_place(key), None)  # its credentials may be what is refused
            refusal = f"EC2 refuses to tell about the network in {key.region} ({code}: {message})"
            raise Temporary(refusal, _AGAIN) from error
        except BotoCoreError as error:
            raise Temporary(f"EC2 can't be asked about the network in {key.region} now: {error}", _AGAIN) from error

    async def _client(self, key: EnvironmentKey) -> Any:
        until, client = self._made.get(_place(key), (None, None))
        if until is None or until - datetime.now(UTC) < _MARGIN:
            credentials = await self._identity(key)
            client = await asyncio.to_thread(self._clients.client, "ec2", key.region, credentials)
            self._made[_place(key)] = (credentials.expires_at, client)
        return client


def _place(key: EnvironmentKey) -> tuple[str, str, str]:
    return key.partition, key.account, key.region


def _describe_subnets(client: Any, subnets: Collection[str]) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = client.describe_subnets(SubnetIds=list(subnets))["Subnets"]
    return found


def _ingress(client: Any, asked: Collection[str]) -> Ingress:
    # A filter: asked for by their ids, one that isn't there would be an error for all.
    pages = client.get_paginator("describe_security_groups").paginate(
        Filters=[{"Name": "group-id", "Values": sorted(asked)}]
    )
    groups = [group for page in pages for group in page["SecurityGroups"] if group["GroupId"] in asked]
    lists = {name: _entries(client, name) for name in prefix_lists_of(groups)}
    return ingress_of(asked, groups, lists)


def _entries(client: Any, prefix_list: str) -> list[str]:
    """The networks of a prefix list; of one that isn't there, none."""
    try:
        pages = client.get_paginator("get_managed_prefix_list_entries").paginate(PrefixListId=prefix_list)
        return [entry["Cidr"] for page in pages for entry in page["Entries"]]
    except ClientError as error:
        if error.response["Error"].get("Code", "") == "InvalidPrefixListID.NotFound":
            return []
        raise


def _lacking(client: Any, subnets: Collection[str], services: list[str]) -> dict[str, list[str]]:
    vpcs = {subnet["VpcId"] for subnet in _describe_subnets(client, subnets)}
    filters = [{"Name": "service-name", "Values": services}, {"Name": "vpc-id", "Values": sorted(vpcs)}]
    reached: dict[str, set[str]] = {service: set() for service in services}
    for page in client.get_paginator("describe_vpc_endpoints").paginate(Filters=filters):
        for endpoint in page["VpcEndpoints"]:
            # All of the filters once more: the embedded cloud has none.
            if endpoint["ServiceName"] in reached and endpoint["VpcId"] in vpcs and _serves(endpoint):
                reached[endpoint["ServiceName"]].update(endpoint.get("SubnetIds") or ())
    wanted = sorted(subnets)
    lacking = {service: [subnet for subnet in wanted if subnet not in found] for service, found in reached.items()}
    return {service: missed for service, missed in lacking.items() if missed}


def _serves(endpoint: Mapping[str, Any]) -> bool:
    return bool(endpoint["VpcEndpointType"] == "Interface" and endpoint["State"].lower() == "available")


def _listed(subnets: Collection[str]) -> str:
    return " and ".join(subnets)

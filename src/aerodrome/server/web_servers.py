"""The gateway with its two sides, as the settings have them; and its certificates, looked after while it runs."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack

from aerodrome import pki
from aerodrome.errors import Temporary
from aerodrome.gateway.gateway import Gateway
from aerodrome.gateway.ports import Backstage, Opening
from aerodrome.layout import Layout
from aerodrome.machineroom.installation import Installation
from aerodrome.server.security_groups import Network, SecurityGroups
from aerodrome.settings import Settings
from aerodrome.store.database import Pool
from aerodrome.store.ingress import IngressStore

log = logging.getLogger(__name__)

_RENEWAL = 600.0  # seconds between two looks at the certificates of shared listeners


async def open_gateway(
    stack: AsyncExitStack,
    layout: Layout,
    installation: Installation,
    settings: Settings,
    network: Network,
    pool: Pool,
    backstage: Backstage,
) -> tuple[Gateway, SecurityGroups]:
    """The gateway, its shared listeners open, and who keeps its gate; `stack` closes both.

    Raises:
        Temporary: an address can't be bound now.
    """
    by_name, private_port = installation.web_host == "name", installation.private_port
    groups = SecurityGroups(network, IngressStore(pool), port=private_port, interval=settings.security_group_interval)
    stack.push_async_callback(groups.close)
    gateway = Gateway(
        port=installation.gateway_port,
        bind=installation.gateway_bind if by_name else None,
        private=Opening(private_port, installation.private_bind if by_name else None, groups),
        certificate=pki.Certificates(layout, settings.tls_certificate, settings.tls_key),
        backstage=backstage,
    )
    await gateway.start()
    stack.push_async_callback(gateway.stop)
    return gateway, groups


async def renew(gateway: Gateway) -> None:
    """Certificates of the shared listeners; those of environments are looked at on every pass."""
    while True:
        await asyncio.sleep(_RENEWAL)
        try:
            await gateway.start()
        except Temporary as error:
            log.warning("Certificates can't be renewed now: %s", error)

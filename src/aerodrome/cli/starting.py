"""From settings to a running installation: shared by `up` and `demo`."""

from __future__ import annotations

import asyncio

from aerodrome import pki
from aerodrome.layout import Layout
from aerodrome.machineroom.prepare import Wanted
from aerodrome.machineroom.progress import Progress
from aerodrome.machineroom.room import Up, up
from aerodrome.settings import Settings, surroundings
from aerodrome.supervision import sandbox


def wanted(settings: Settings) -> Wanted:
    """The settings' part that concerns the machine room, as plain values."""
    return Wanted(
        account=settings.account,
        region=settings.region,
        bind=settings.bind,
        web_host=settings.web_host,
        identity=settings.identity,
        port=settings.port,
        gateway_port=settings.gateway_port,
        gateway_bind=settings.gateway_bind,
        private_port=settings.private_gateway_port,
        private_bind=settings.private_gateway_bind,
        web_domain=settings.web_domain,
        postgres_port=settings.postgres_port,
        valkey_port=settings.valkey_port,
        cloud_port=settings.cloud_port,
        postgres_url=settings.postgres_url,
        valkey_url=settings.valkey_url,
        server_tls=settings.server_tls,
        server_ca=settings.server_ca_file,
    )


async def bring_up(settings: Settings, progress: Progress) -> Up:
    """`aerodrome up --detach` for programs: returns when everything answers. Raises what `room.up` raises.

    What settings ask for is looked at first (files, confinement): the control plane would tell its log alone.
    """
    layout = Layout(settings.home)
    settings.identity_provider()
    await asyncio.to_thread(sandbox.decide, settings.sandbox)
    certificates = pki.Certificates(layout, settings.tls_certificate, settings.tls_key)
    for line in await asyncio.to_thread(certificates.check):
        progress.notice(line)
    return await up(layout, wanted(settings), surroundings(), progress)

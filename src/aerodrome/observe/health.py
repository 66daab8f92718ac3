"""Whether every component of an environment is well, asked of the component itself, not of its process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import httpx

from aerodrome.domain import versions
from aerodrome.domain.component import Component, ComponentKind, ComponentState
from aerodrome.domain.environment import Environment, Status
from aerodrome.domain.plan import Plan, broker_prefix, database_url
from aerodrome.domain.secrets import EnvironmentSecrets, gateway_proof
from aerodrome.observe.jobs import beating
from aerodrome.observe.workers import ping_workers

# Seconds that workers get to answer. Who isn't there yet takes all of them; it comes up in between, and is asked again.
_PATIENCE, _PATIENCE_AT_START = 2.0, 0.7
_TIMEOUT = 15.0  # seconds: a web server that is busy starting tasks on a small machine is slow, not sick


class HealthChecks:
    """Web servers answer over HTTP, workers through the broker, the rest by heartbeats.

    `broker_url`: the administrator's; `database_address`: PostgreSQL's host:port, as we see it.
    """

    def __init__(self, broker_url: str, database_address: str) -> None:
        self._broker_url = broker_url
        self._database_address = database_address

    async def problems(
        self, environment: Environment, secrets: EnvironmentSecrets, plan: Plan, observed: Mapping[str, ComponentState]
    ) -> Mapping[str, str]:
        version = versions.get(environment.desired["AirflowVersion"])
        patience = _PATIENCE_AT_START if environment.status is Status.CREATING else _PATIENCE
        headers = {versions.PROOF_HEADER: gateway_proof(secrets.identity_secret, environment.id)}
        async with httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False, headers=headers) as client:
            web, workers = await asyncio.gather(
                asyncio.gather(*(self._web(client, c, observed) for c in plan.of(ComponentKind.WEB_SERVER))),
                self._workers(environment.id, plan, patience),
            )
        problems: dict[str, str] = {slot: problem for slot, problem, _ in web if problem} | workers
        reports = [report for _, problem, report in web if not problem]
        if reports:
            problems |= _heartbeats(plan, reports[0], version)
            since = _taking_over(plan, observed, version)
            if since:
                url = database_url(environment.id, secrets, self._database_address)
                problems |= _newcomers(plan, await beating(url, since))
        return problems

    async def _web(
        self, client: httpx.AsyncClient, component: Component, observed: Mapping[str, ComponentState]
    ) -> tuple[str, str, Mapping[str, Any]]:
        address = next(iter(observed[component.name].addresses.values()), None)
        if address is None:
            return component.slot, "has no address yet", {}
        try:
            response = await client.get(f"http://{address}{component.health_path}")
            report = response.json()
        except (httpx.HTTPError, ValueError) as error:
            return component.slot, f"does not answer yet ({type(error).__name__})", {}
        if response.status_code != 200 or report.get("metadatabase", {}).get("status") != "healthy":
            return component.slot, f"answers {response.status_code}, metadatabase {report.get('metadatabase')}", {}
        return component.slot, "", report

    async def _workers(self, environment_id: str, plan: Plan, patience: float) -> dict[str, str]:
        slots = {versions.worker_node(c.name): c.slot for c in plan.of(ComponentKind.WORKER)}
        answered = await ping_workers(self._broker_url, broker_prefix(environment_id), list(slots), patience)
        return {slot: "does not answer through the broker yet" for node, slot in slots.items() if node not in answered}


def _taking_over(
    plan: Plan, observed: Mapping[str, ComponentState], version: versions.AirflowVersion
) -> dict[ComponentKind, datetime]:
    """The kinds of which others than the planned ones still run, and when the first of the planned ones was started."""
    found: dict[ComponentKind, datetime] = {}
    for kind in version.health_kinds.values():
        others = [name for name in observed if name.startswith(f"{kind}-") and name not in plan.names]
        started = [state.since for c in plan.of(kind) if (state := observed.get(c.name)) and state.since]
        if others and started:
            found[kind] = min(started)
    return found


def _newcomers(plan: Plan, beats: Mapping[ComponentKind, int]) -> dict[str, str]:
    return {
        component.slot: "sends no heartbeat yet beside the one that it takes over from"
        for kind, count in beats.items()
        if count < len(plan.of(kind))
        for component in plan.of(kind)
    }


def _heartbeats(plan: Plan, report: Mapping[str, Any], version: versions.AirflowVersion) -> dict[str, str]:
    problems: dict[str, str] = {}
    for member, kind in version.health_kinds.items():
        status = (report.get(member) or {}).get("status")
        if status != "healthy":
            problems |= {c.slot: f"sends no heartbeat ({status})" for c in plan.of(kind)}
    return problems

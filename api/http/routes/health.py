"""Health: alive says that the process answers, ready that everything it needs does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final

import structlog
from litestar import Response, get
from litestar.datastructures import State
from litestar.openapi.datastructures import ResponseSpec

from api.http.backend import Platform
from api.http.bodies import CheckBody, HealthBody
from api.http.lag import LagWatch

log = structlog.get_logger(__name__)

WITHIN_S: Final = 5.0


@get("/health/live", operation_id="checkLive", summary="Alive", tags=["health"])
async def check_live() -> HealthBody:
    """The process answers."""
    return HealthBody(True, {})


@get(
    "/health/ready",
    operation_id="checkReady",
    summary="Ready",
    tags=["health"],
    responses={
        503: ResponseSpec(HealthBody, description="Something is missing; `checks` says what.", generate_examples=False)
    },
)
async def check_ready(backend: Platform, state: State) -> Response[HealthBody]:
    """Database, twins, broker, and how far the ledger is behind."""
    checks = {
        "database": await _check("database", backend.gauges.ping()),
        "twins": await _check("twins", backend.store.sites()),
        "broker": _broker(backend),
        "ledger": await _ledger(backend, state.lag_watch),
    }
    ok = all(check.ok for check in checks.values())
    return Response(HealthBody(ok, checks), status_code=200 if ok else 503)


async def _check(name: str, question: Awaitable[object]) -> CheckBody:
    try:
        await asyncio.wait_for(question, WITHIN_S)
    except Exception as error:
        log.warning("not ready", part=name, error=repr(error)[:500])
        return CheckBody(False, f"does not answer ({type(error).__name__}); the log says more")
    return CheckBody(True, "answers")


def _broker(backend: Platform) -> CheckBody:
    subscriber = backend.subscriber
    if subscriber is None:
        return CheckBody(True, "this process does not ingest")
    if subscriber.counters.connected:
        return CheckBody(True, "connected")
    return CheckBody(False, "ingest is not connected to the broker; the log says more")


async def _ledger(backend: Platform, watch: LagWatch) -> CheckBody:
    try:
        async with asyncio.timeout(WITHIN_S):
            behind = {site: await watch.look(backend, site) for site in await backend.registry.sites()}
    except Exception as error:
        log.warning("not ready", part="ledger", error=repr(error)[:500])
        return CheckBody(False, f"cannot be told ({type(error).__name__}); the log says more")
    stuck = sorted(site for site, lag in behind.items() if lag.stuck)
    entries = sum(lag.entries for lag in behind.values())
    if stuck:
        return CheckBody(False, f"does not keep up at {', '.join(stuck)}: {entries} entries behind")
    return CheckBody(True, f"{entries} entries behind")

"""Simulated tenants: they look at their balance now and then, and recharge over HTTP when it runs low.

A tenant who finds the balance below `when_below` hesitates for a time drawn by seed, then pays once, up to `times`
times in all. A payment that got no answer is sent again with the same idempotency key and body, so it counts once.
Keys carry the run's id: a later run of the same scenario pays anew. All tenants together make at most `REQUESTS_PER_S`
requests a second.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import time
from decimal import Decimal, InvalidOperation
from random import Random
from typing import Any
from urllib.parse import urlsplit

from schemas.clock_spec import ClockSpec, scaled_now
from simulators.broker import wait_for_stop
from simulators.scenario import Recharge, Scenario

log = logging.getLogger("simulators.people")

REQUESTS_PER_S = 20.0
HTTP_TIMEOUT_S = 5.0
PAUSE_AFTER_PAYMENT_MS = 60_000


class PaymentPlan:
    """One tenant's behaviour as a state machine without I/O: told the balance and the time, it says when to pay."""

    __slots__ = ("_due_ms", "_quiet_until_ms", "_rng", "paid", "rule")

    def __init__(self, rule: Recharge, rng: Random) -> None:
        self.rule = rule
        self.paid = 0
        self._rng = rng
        self._due_ms: int | None = None
        self._quiet_until_ms = 0

    @property
    def finished(self) -> bool:
        """Whether this tenant has paid as often as it ever will."""
        return self.rule.times is not None and self.paid >= self.rule.times

    def wants_to_pay(self, balance: Decimal, now_ms: int) -> bool:
        """Take note of the balance at an instant; True when the tenant pays now."""
        if self.finished or now_ms < self._quiet_until_ms:
            return False
        if balance >= Decimal(self.rule.when_below):
            self._due_ms = None
            return False
        if self._due_ms is None:
            self._due_ms = now_ms + self.rule.after.draw(self._rng)
        return now_ms >= self._due_ms

    def has_paid(self, now_ms: int) -> None:
        """The payment was accepted; the balance is given time to show it."""
        self.paid += 1
        self._due_ms = None
        self._quiet_until_ms = now_ms + PAUSE_AFTER_PAYMENT_MS


class People:
    """All tenants of a scenario who recharge, one HTTP connection between them."""

    def __init__(self, api_url: str, token: str, run_id: str) -> None:
        parts = urlsplit(api_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"API address {api_url!r}: write it like http://127.0.0.1:8080")
        self._secure = parts.scheme == "https"
        self._host, self._port, self._base = parts.hostname, parts.port, parts.path.rstrip("/")
        self._token = token
        self._run_id = run_id
        self._connection: http.client.HTTPConnection | None = None
        self.topups = 0
        self.failures = 0

    async def run(self, scenario: Scenario, clock: ClockSpec, stop: asyncio.Event) -> None:
        """Look at one tenant after another until `stop`, or until nobody will pay any more."""
        plans = [PaymentPlan(rule, Random(f"{scenario.seed}:person:{rule.tenant}")) for rule in scenario.recharges]
        while not stop.is_set() and (plans := [plan for plan in plans if not plan.finished]):
            for plan in plans:
                began = time.monotonic()
                try:
                    await self._visit(scenario.site, plan, clock)
                except (OSError, http.client.HTTPException, ValueError, KeyError, InvalidOperation) as error:
                    self.failures += 1
                    log.debug("tenant %s: %s", plan.rule.tenant, error)
                await wait_for_stop(stop, max(0.0, 1 / REQUESTS_PER_S - (time.monotonic() - began)))
                if stop.is_set():
                    break
        self.close()

    def close(self) -> None:
        """Close the HTTP connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _visit(self, site: str, plan: PaymentPlan, clock: ClockSpec) -> None:
        path = f"/api/v1/sites/{site}/tenants/{plan.rule.tenant}"
        tenant = await asyncio.to_thread(self._request, "GET", path, None, None)
        now_ms = scaled_now(clock, time.time_ns() // 1_000_000)
        if not plan.wants_to_pay(Decimal(tenant["balance"]), now_ms):
            return
        key = f"sim-{self._run_id}-{plan.rule.tenant}-{plan.paid + 1}"
        body = {"amount": plan.rule.amount, "channel": plan.rule.channel, "reference": key}
        await asyncio.to_thread(self._request, "POST", f"{path}/topups", body, key)
        plan.has_paid(now_ms)
        self.topups += 1

    def _request(self, method: str, path: str, body: dict[str, Any] | None, key: str | None) -> Any:
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        if key is not None:
            headers |= {"Idempotency-Key": key, "Content-Type": "application/json"}
        payload = json.dumps(body).encode() if body is not None else None
        try:
            return self._exchange(method, self._base + path, payload, headers)
        except (OSError, http.client.HTTPException):
            self.close()
            raise

    def _exchange(self, method: str, path: str, payload: bytes | None, headers: dict[str, str]) -> Any:
        if self._connection is None:
            kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
            self._connection = kind(self._host, self._port, timeout=HTTP_TIMEOUT_S)
        self._connection.request(method, path, payload, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status not in (200, 201):
            raise ValueError(f"{method} {path}: HTTP {answer.status} {content[:200]!r}")
        return json.loads(content)

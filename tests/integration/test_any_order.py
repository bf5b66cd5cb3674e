"""Samples shuffled, delayed and repeated go through the core, the ledger and re-rating, on both engines: whatever
order they came in, the same balances, in SQL and in the twin."""

from __future__ import annotations

import random
from typing import Any

import pytest

from adapters.store.engine.database import Database
from adapters.store.meters.rerating import rerate_site
from adapters.store.posting.ledger import SqlLedger
from adapters.store.proofs.verify import verify_sql
from adapters.store.sites.registry import SqlRegistry
from billing.history import Epoch, Tenancy, rate_history
from billing.points import Point
from billing.tariff import compile_tariff
from rules.ruleset import compile_ruleset
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.park import SITE, document, entry, site
from tests.unit.adapters.store.park import ruleset as rule_document
from tests.unit.adapters.store.recorded import HOUR_MS, ZONE, at, occupancy, payer, tiered
from twin.core.decide import decide
from twin.core.messages import Act, Telemetry, Tick
from twin.core.model import Group
from twin.core.policy import SitePolicy
from twin.core.view import TWIN_MODEL
from twin.ports import SiteDocument

METER, TENANT, OPENING = "em-001", "t-001", 120_000
START = at("2026-01-01T00:00:00")
FIRST = at("2026-01-30T21:00:00")
MINUTE_MS = 60_000


def metered() -> dict[str, Any]:
    """The tiered tariff with free units, and periods by the meter."""
    document_ = tiered()
    periods = {"peak": "1.00", "valley": "0.40"}
    slots = {"00:00-08:00": "valley", "08:00-24:00": "peak"}
    calendar = [{"months": "all", "days": "all", "slots": slots}]
    more = {"periods_from": "meter", "periods": periods, "calendar": calendar, "free": {"quantity": "2"}}
    document_["versions"][0] |= more
    return document_


def park(tariff: dict[str, Any]) -> SiteDocument:
    """The small park with its first meter on a tariff that splits in every way."""
    whole = site()
    supply = {"meter": METER, "breaker": METER, "tariff": tariff["tariff"], "from": "2026-01-01T00:00:00"}
    tenants = [
        one if one["id"] != TENANT else {**one, "opening_credit": "0", "params": {}, "supplies": [supply]}
        for one in whole["tenants"]
    ]
    base = document()
    return SiteDocument({**whole, "tenants": tenants}, {**base.tariffs, tariff["tariff"]: tariff}, base.rulesets)


class Stage:
    """One group whose effects go to a ledger and whose acts come from it."""

    def __init__(self, database: Database, tariff: dict[str, Any]) -> None:
        self.ledger = SqlLedger(database)
        self.database = database
        self.group = Group(SITE, TENANT)
        self.policy = SitePolicy(
            site=SITE,
            zone=compile_tariff(tariff, ZONE).zone,
            currency="CNY",
            interval_ms=15 * MINUTE_MS,
            tariffs={tariff["tariff"]: compile_tariff(tariff, ZONE)},
            rulesets=[compile_ruleset(rule_document(), TWIN_MODEL)],
            skew_ms=None,
        )
        self.entries = 0

    async def play(self, message: Any, now: int) -> None:
        """Decide, and post what follows."""
        decision = decide(self.group, message, now, self.policy)
        self.group = decision.group
        if decision.effects:
            self.entries += 1
            await self.ledger.post(SITE, [entry(self.entries, *decision.effects, group=TENANT)])

    async def deliver(self, acts: list[Act], now: int) -> None:
        for act in acts:
            await self.play(act, now)

    async def rerate(self, now: int) -> None:
        async for outcome in rerate_site(self.database, SITE, now=now):
            assert outcome.trouble == ""
            await self.deliver([pending.act for pending in outcome.acts if pending.group == TENANT], now)

    async def let_time_pass(self, now: int) -> None:
        """Timers, until the open row is posted."""
        while self.group.wake is not None and self.group.wake <= now:
            await self.play(Tick(), self.group.wake)


def life(chosen: random.Random, *, rates: bool) -> list[Telemetry]:
    """A few days of samples over the end of a month, in the order of their time."""
    ts, wh, registers = FIRST, OPENING, {"peak": 0, "valley": 0}
    found: list[Telemetry] = []
    for seq in range(1, 41):
        ts += chosen.randrange(20, 180) * MINUTE_MS
        for name in registers:
            registers[name] += (rise := chosen.randrange(0, 500))
            wh += rise
        channels: dict[str, Any] = {"import_wh": wh}
        if rates:
            channels["rates_wh"] = dict(registers)
        found.append(Telemetry(METER, "s1", seq, ts, channels, False, "good", ts))
    return found


def arrivals(chosen: random.Random, samples: list[Telemetry]) -> list[tuple[int, Telemetry]]:
    """(instant of arrival, sample): most in time, some hours late, some twice."""
    found: list[tuple[int, Telemetry]] = []
    for sample in samples:
        delay = chosen.choice([0, 0, 0, chosen.randrange(1, 30) * HOUR_MS])
        found.append((sample.ts + delay, sample))
        if chosen.random() < 0.2:
            found.append((sample.ts + delay + chosen.randrange(0, 40) * HOUR_MS, sample))
    return sorted(found, key=lambda pair: (pair[0], pair[1].seq))


async def opened(database: Database, tariff: dict[str, Any]) -> Stage:
    stage = Stage(database, tariff)
    _, acts = await SqlRegistry(database).apply(park(tariff), who="test", now=START)
    await stage.deliver([pending.act for pending in acts if pending.group == TENANT], START)
    return stage


def points_of(samples: list[Telemetry], *, rates: bool) -> list[Point]:
    told = (None,) * 5
    found = [Point(START, OPENING)]
    for sample in samples:
        registers = sample.d.get("rates_wh")
        told = (None, registers["peak"], None, registers["valley"], None) if registers else None
        found.append(Point(sample.ts, sample.d["import_wh"], told if rates else None))
    return found


@pytest.mark.parametrize("seed", [0, 1, 3, 4])
async def test_any_order_of_arrival_ends_with_the_same_balances(database: Database, seed: int) -> None:
    chosen = random.Random(seed)
    rates = seed % 2 == 1
    tariff = metered() if rates else tiered()
    stage = await opened(database, tariff)
    samples = life(chosen, rates=rates)
    end = samples[-1].ts
    for now, sample in arrivals(chosen, samples):
        await stage.let_time_pass(now)
        await stage.play(sample, now)
        end = max(end, now)
        if chosen.random() < 0.1:
            await stage.rerate(now)
    await stage.let_time_pass(end + 3 * 24 * HOUR_MS)
    await stage.rerate(end + 3 * 24 * HOUR_MS)

    who = occupancy([tariff], Tenancy(payer(TENANT, tariff["tariff"])))
    owed = rate_history([Epoch(1, points_of(samples, rates=rates))], who).charges
    rows = await database.fetch("SELECT credits_nano, charges_nano FROM account WHERE tenant = ?", TENANT)
    assert rows[0][1] - rows[0][0] == sum(one.priced.amount_nano for one in owed)
    assert stage.group.tenant is not None
    assert stage.group.tenant.balance_nano == rows[0][0] - rows[0][1]
    assert (await database.fetch("SELECT count(*) FROM late_reading"))[0][0] > 0
    assert (await database.fetch("SELECT count(*) FROM adjustment"))[0][0] > 0
    assert [finding async for finding in verify_sql(database, SITE, deep=0)] == []

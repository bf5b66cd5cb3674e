"""Prices that change for the past are refused unless asked for; then the same energy is charged again, once."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import msgspec
import pytest

from adapters.store.engine.database import Database
from adapters.store.sites.registry import SqlRegistry
from adapters.store.sites.rerate_marks import marks_of
from billing.history import Tenancy
from billing.price_change import prices_differ_from
from billing.tariff import compile_tariff
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.park import NOW, SITE
from tests.unit.adapters.store.recorded import (
    HOUR_MS,
    METER,
    TENANT,
    ZONE,
    at,
    chain,
    occupancy,
    park_document,
    payer,
    tiered,
)
from tests.unit.adapters.store.test_rerating import (
    LATER,
    START,
    WALLET,
    WHO,
    balances,
    findings,
    owed,
    post,
    rerate,
    samples,
)

KNOWN = samples((0, 0), (8, 3_000), (12, 6_000), (30, 20_000))


def dearer(since: str | None = None) -> dict[str, Any]:
    """The tariff with a dearer day: for all times, or from a local instant on."""
    document = deepcopy(tiered())
    later = deepcopy(document["versions"][0])
    later["periods"]["day"] = "2.00"
    if since is None:
        document["versions"] = [later]
    else:
        document["versions"].append({**later, "from": since})
    return document


@pytest.fixture
async def charged(database: Database) -> Database:
    """A meter that was charged by the cheap tariff."""
    await SqlRegistry(database).apply(park_document(), who="test", now=NOW)
    await post(database, chain(KNOWN, WHO))
    return database


async def test_a_price_for_charged_energy_is_refused_and_says_whom_it_touches(charged: Database) -> None:
    registry = SqlRegistry(charged)
    document = park_document(dearer("2026-03-01T08:00:00"))
    told, _ = await registry.apply(document, who="test", now=LATER)
    assert told.lines == ()
    assert [line.partition(": ")[0] for line in told.refused] == ["~ tariff shop-tou"]
    assert "prices since 2026-03-01T08:00:00+08:00 would change, and 1 meter was charged by them" in told.refused[0]
    assert "--reprice" in told.refused[0]
    assert (await registry.policy_sources(SITE)).tariffs["shop-tou"] == tiered()
    assert await marks_of(charged, SITE) == []


async def test_a_price_from_later_on_is_simply_imported(charged: Database) -> None:
    told, _ = await SqlRegistry(charged).apply(park_document(dearer("2026-04-01T00:00:00")), who="test", now=LATER)
    assert told.refused == ()
    assert await marks_of(charged, SITE) == []


@pytest.mark.parametrize("since", [None, "2026-03-01T09:00:00"])
async def test_asked_for_the_same_energy_is_reversed_and_charged_again(charged: Database, since: str | None) -> None:
    registry = SqlRegistry(charged)
    document = msgspec.structs.replace(park_document(dearer(since)), reprice=True)
    shown = await registry.difference(document)
    told, _ = await registry.apply(document, who="test", now=LATER)
    assert shown == told
    assert "1 meter will be charged again" in "\n".join(told.lines)
    assert [(one.meter, one.reason) for one in await marks_of(charged, SITE)] == [(METER, "prices of shop-tou changed")]
    done = await rerate(charged)
    who = occupancy([dearer(since)], Tenancy(payer(TENANT, "shop-tou")))
    assert done[0].moved == {WALLET: owed(KNOWN) - owed(KNOWN, who)}
    assert (await balances(charged))[WALLET] == -owed(KNOWN, who)
    rows = await charged.fetch("SELECT DISTINCT old_price_micro, price_micro FROM adjustment WHERE old_tier = tier")
    assert {tuple(row) for row in rows} >= {(1_000_000, 2_000_000)}
    assert (await charged.fetch("SELECT count(*) FROM rating WHERE revision > 1"))[0][0] == 0
    assert await findings(charged) == []
    # Back again: what was charged twice is reversed twice, and the wallet is where it was.
    told, _ = await registry.apply(msgspec.structs.replace(park_document(), reprice=True), who="test", now=LATER)
    await rerate(charged)
    assert (await balances(charged))[WALLET] == -owed(KNOWN)
    assert await findings(charged) == []


def two_tariffs(name: str) -> Any:
    """The park in which both tariffs are known and the meter has one of them."""
    flat = {**tiered("flat"), "versions": [{"from": "2020-01-01T00:00:00", "mode": "flat", "price": "0.70"}]}
    document = park_document()
    tenants = deepcopy(document.site["tenants"])
    for entry in tenants:
        for supply in entry["supplies"]:
            if supply["meter"] == METER:
                supply["tariff"] = name
    tariffs = {**document.tariffs, "flat": flat}
    return msgspec.structs.replace(document, site={**document.site, "tenants": tenants}, tariffs=tariffs), flat


async def test_another_tariff_of_a_supply_holds_from_the_import_on(charged: Database) -> None:
    document, flat = two_tariffs("flat")
    changed = at("2026-03-01T20:00:00")
    await SqlRegistry(charged).apply(document, who="test", now=changed)
    await rerate(charged)
    who = occupancy(
        [tiered(), flat],
        Tenancy(payer(TENANT, "shop-tou"), None, changed),
        Tenancy(payer(TENANT, "flat"), changed, None),
    )
    assert (await balances(charged))[WALLET] == -owed(KNOWN, who)
    # And back again an hour later.
    await SqlRegistry(charged).apply(two_tariffs("shop-tou")[0], who="test", now=changed + HOUR_MS)
    await rerate(charged)
    who = occupancy(
        [tiered(), flat],
        Tenancy(payer(TENANT, "shop-tou"), None, changed),
        Tenancy(payer(TENANT, "flat"), changed, changed + HOUR_MS),
        Tenancy(payer(TENANT, "shop-tou"), changed + HOUR_MS, None),
    )
    assert (await balances(charged))[WALLET] == -owed(KNOWN, who)
    assert await findings(charged) == []


async def test_asked_to_reprice_the_new_tariff_holds_from_the_beginning(charged: Database) -> None:
    document, flat = two_tariffs("flat")
    await SqlRegistry(charged).apply(msgspec.structs.replace(document, reprice=True), who="test", now=LATER)
    await rerate(charged)
    assert (await balances(charged))[WALLET] == -owed(KNOWN, occupancy([flat], Tenancy(payer(TENANT, "flat"))))


def test_prices_differ_from_the_first_instant_at_which_they_do() -> None:
    def differ(old: dict[str, Any], new: dict[str, Any]) -> int | None:
        return prices_differ_from(compile_tariff(old, ZONE), compile_tariff(new, ZONE))

    since = "2026-03-01T09:00:00"
    assert differ(tiered(), tiered()) is None
    assert differ(tiered(), dearer(since)) == differ(dearer(since), tiered()) == at(since)
    assert differ(tiered(), dearer()) == at("2020-01-01T00:00:00")
    with_fee = deepcopy(tiered())
    with_fee["versions"][0]["fixed"] = [{"name": "service", "per_month": "30"}]
    assert differ(tiered(), with_fee) == at("2020-01-01T00:00:00")
    assert differ(dearer(since), dearer("2026-03-01T10:00:00")) == at(since)
    titled = {**tiered(), "title": "another name"}
    assert differ(tiered(), titled) is None
    assert START > 0

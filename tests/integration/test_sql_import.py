"""Importing site documents: once, twice, changed, wrong; and what the import tells the twins."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from adapters.store.engine.database import Database
from adapters.store.posting.ledger import SqlLedger
from adapters.store.proofs.verify import verify_sql
from adapters.store.sites.registry import SqlRegistry
from adapters.store.sites.site_file import SiteError
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.park import NOW, SITE, charge, document, entry, opened, ruleset, site, tariff
from twin.core.messages import ContractsChanged, CreditsPosted
from twin.flows.policies import compile_policy
from twin.ports import PendingAct, SiteDocument


def changed(edit: Any, **documents: Any) -> SiteDocument:
    """The park after an edit of its site file."""
    wanted = document()
    data = copy.deepcopy(wanted.site)
    edit(data)
    return SiteDocument(data, documents.get("tariffs", wanted.tariffs), documents.get("rulesets", wanted.rulesets))


def contracts(acts: list[PendingAct]) -> dict[str, ContractsChanged]:
    return {act.group: act.act for act in acts if isinstance(act.act, ContractsChanged)}


async def test_the_first_import_tells_every_group(registry: SqlRegistry) -> None:
    told, acts = await registry.apply(document(), who="carol", now=NOW)
    assert told.lines[0] == "+ site park-1"
    assert told.refused == ()
    groups = contracts(acts)
    assert sorted(groups) == ["@em-spare", "@gw-01", "t-001", "t-002"]
    tenant = groups["t-001"]
    assert tenant.openings == {"em-001": 120_000, "wm-001": 0}
    assert [(b.id, b.op, b.remote_close, b.meters) for b in tenant.breakers] == [
        ("em-001", "breaker.set", True, ("em-001",)),
        ("wm-001", "valve.set", False, ("wm-001",)),
    ]
    meter = tenant.meters[0]
    assert (meter.max_rate, meter.supply_from, meter.gateway) == (13_800, NOW - 8 * 3_600_000, "gw-01")
    assert tenant.contract is not None
    assert tenant.contract.charged_account == "tenant:t-001:wallet"
    assert groups["t-002"].breakers[0].meters == ("em-002",)
    credit = [act.act for act in acts if isinstance(act.act, CreditsPosted)]
    assert credit == [CreditsPosted(2, 100_000_000_000, 100_000_000_000, NOW, "opening:t-001")]


async def test_importing_twice_changes_nothing(park: Database, registry: SqlRegistry) -> None:
    before = await registry.generation(SITE)
    for again in (document(), await registry.document(SITE)):
        told, acts = await registry.apply(again, who="carol", now=NOW + 1)
        assert (told.lines, told.refused, acts) == ((), (), [])
        assert (await registry.difference(again)).lines == ()
    assert await registry.generation(SITE) == before
    assert [finding async for finding in verify_sql(park, SITE)] == []


async def test_an_exported_site_imports_into_an_empty_database(registry: SqlRegistry) -> None:
    await registry.apply(document(), who="carol", now=NOW)
    exported = await registry.document(SITE)
    other = SiteDocument({**exported.site, "site": "park-2"}, exported.tariffs, exported.rulesets)
    told, _ = await registry.apply(other, who="carol", now=NOW)
    assert len(told.lines) == 15
    assert (await registry.document("park-2")).site["devices"] == exported.site["devices"]
    assert await registry.sites() == ["park-1", "park-2"]


async def test_a_dry_run_changes_nothing(database: Database, registry: SqlRegistry) -> None:
    told = await registry.difference(document())
    assert "+ tenant t-001 prepaid" in told.lines
    assert await registry.sites() == []


async def test_changes_are_told_to_the_groups_they_touch(park: Database, registry: SqlRegistry) -> None:
    def edit(data: dict[str, Any]) -> None:
        data["tenants"][1]["mode"] = "postpaid"
        data["tenants"][1]["emergency_credit"] = "20.00"
        data["devices"].append({"id": "em-003", "kind": "electricity_meter", "opening_wh": 7})
        data["tenants"][1]["supplies"].append({"meter": "em-003", "tariff": "shop-flat"})

    told, acts = await registry.apply(changed(edit), who="carol", now=NOW + 5)
    assert told.lines == (
        "+ device em-003 electricity_meter",
        '~ tenant t-002 mode: "prepaid" -> "postpaid"',
        '~ tenant t-002 emergency_credit: nothing -> "20.00"',
        "+ supply em-003 of t-002 by shop-flat",
    )
    assert list(contracts(acts)) == ["t-002"]
    act = contracts(acts)["t-002"]
    assert act.seq == 2
    assert act.openings == {"em-003": 7}
    assert act.contract is not None
    assert (act.contract.mode, act.contract.emergency_credit_nano) == ("postpaid", 20_000_000_000)


async def test_a_spare_meter_that_is_taken_leaves_its_group(park: Database, registry: SqlRegistry) -> None:
    def edit(data: dict[str, Any]) -> None:
        data["tenants"][1]["supplies"].append({"meter": "em-spare", "tariff": "shop-flat"})

    await SqlLedger(park).post(SITE, [entry(1, opened("em-spare", 55), group="@em-spare")])
    _, acts = await registry.apply(changed(edit), who="carol", now=NOW + 5)
    groups = contracts(acts)
    assert groups["@em-spare"].meters == ()
    assert groups["@em-spare"].released == {"em-spare": "H1"}
    assert "t-002" not in groups, "it is told when the ledger has what the first group knew"
    rebuilt = {group.id: group async for group in registry.rebuilt_groups(SITE)}
    assert "@em-spare" not in rebuilt
    assert rebuilt["t-002"].meters["em-spare"].register.head == 55


async def test_what_is_posted_is_never_undone(park: Database, registry: SqlRegistry) -> None:
    def edit(data: dict[str, Any]) -> None:
        data["devices"][0]["opening_wh"] = 1
        data["devices"][0]["imax_a"] = 80
        data["tenants"][0]["opening_credit"] = "500.00"
        data["currency"] = "EUR"
        del data["devices"][4]
        data["tenants"][1]["supplies"] = []

    await SqlLedger(park).post(SITE, [entry(1, charge(0, 100))])
    told, acts = await registry.apply(changed(edit), who="carol", now=NOW + 5)
    assert told.lines == ("~ device em-001 imax_a: 60 -> 80",)
    assert [line.split(":")[0] for line in told.refused] == [
        "~ site currency",
        "~ device em-001 opening_wh",
        "- device em-spare",
        "~ tenant t-001 opening_credit",
        "- supply em-002 of t-002",
    ]
    assert list(contracts(acts)) == ["t-001"]
    assert await registry.apply(changed(edit), who="carol", now=NOW + 6) == (
        told.__class__((), told.refused),
        [],
    )
    rows = await park.fetch("SELECT credits_nano FROM account WHERE tenant = 't-001'")
    assert [row[0] for row in rows] == [100_000_000_000]
    assert [finding async for finding in verify_sql(park, SITE)] == []


@pytest.mark.parametrize("said_by", ["end and begin", "the next tenant alone"])
async def test_a_charged_meter_is_handed_over_by_one_import(
    park: Database, registry: SqlRegistry, said_by: str
) -> None:
    def hand_over(data: dict[str, Any]) -> None:
        if said_by == "end and begin":
            data["tenants"][1]["supplies"][0]["to"] = "2026-01-01T07:00:00"
        else:
            data["tenants"][1]["supplies"] = []
        data["tenants"][0]["supplies"].append({"meter": "em-002", "tariff": "shop-flat", "from": "2026-01-01T07:00:00"})

    await SqlLedger(park).post(SITE, [entry(1, charge(0, 100))])
    told, acts = await registry.apply(changed(hand_over), who="carol", now=NOW)
    assert told.refused == ()
    assert contracts(acts)["t-002"].released == {"em-002": "H1"}
    assert "t-001" not in contracts(acts), "it is told when the ledger has what the first tenant used"
    marks = await park.fetch("SELECT meter, from_ts, reason FROM rerate_mark")
    assert [tuple(row) for row in marks] == [("em-002", NOW - 3_600_000, "the tenant changed")]


async def test_a_charged_meter_needs_an_instant_to_change_hands(park: Database, registry: SqlRegistry) -> None:
    def unsaid(data: dict[str, Any]) -> None:
        data["tenants"][1]["supplies"] = []
        data["tenants"][0]["supplies"].append({"meter": "em-002", "tariff": "shop-flat"})

    await SqlLedger(park).post(SITE, [entry(1, charge(0, 100))])
    told, acts = await registry.apply(changed(unsaid), who="carol", now=NOW)
    assert told.refused[1] == (
        "+ supply em-002 of t-001: tenant t-002 was charged for it; say from when on it is another's (`from`)"
    )
    assert acts == []


async def test_an_opening_credit_may_be_a_debt(database: Database, registry: SqlRegistry) -> None:
    def edit(data: dict[str, Any]) -> None:
        data["tenants"][0]["opening_credit"] = "-3.50"

    await registry.apply(changed(edit), who="carol", now=NOW)
    rows = await database.fetch("SELECT credits_nano FROM account WHERE tenant = 't-001'")
    assert [row[0] for row in rows] == [-3_500_000_000]
    assert [finding async for finding in verify_sql(database, SITE)] == []


async def test_tariffs_get_versions_and_rulesets_need_them(park: Database, registry: SqlRegistry) -> None:
    dearer = {**document().tariffs, "shop-flat": tariff(price="0.95")}
    told, acts = await registry.apply(SiteDocument(site(), dearer, document().rulesets), who="carol", now=NOW)
    assert told.lines == ("~ tariff shop-flat: new version of the document",)
    assert acts == []
    assert (await registry.policy_sources(SITE)).tariffs["shop-flat"] == tariff(price="0.95")
    with pytest.raises(SiteError, match=r"rulesets\[prepaid\].version: version 1 was imported with another content"):
        await registry.apply(SiteDocument(site(), dearer, {"prepaid": ruleset(1, "other")}), who="carol", now=NOW)
    told, _ = await registry.apply(SiteDocument(site(), dearer, {"prepaid": ruleset(2, "other")}), who="c", now=NOW)
    assert told.lines == ("~ ruleset prepaid version: 1 -> 2",)
    told, _ = await registry.apply(SiteDocument(site(), dearer, {}), who="c", now=NOW)
    assert told.lines == ("- ruleset prepaid: no longer active",)
    told, _ = await registry.apply(SiteDocument(site(), dearer, {"prepaid": ruleset(1)}), who="c", now=NOW)
    assert told.lines == ("+ ruleset prepaid version 1",)
    rows = await park.fetch("SELECT version FROM tariff_version WHERE tariff = 'shop-flat' ORDER BY version")
    assert [row[0] for row in rows] == [1, 2]


async def test_the_sources_compile_to_a_policy(park: Database, registry: SqlRegistry) -> None:
    policy = compile_policy(await registry.policy_sources(SITE), skew_ms=None)
    assert sorted(policy.tariffs) == ["shop-flat", "water"]
    assert [rules.name for rules in policy.rulesets] == ["prepaid"]
    with pytest.raises(LookupError, match="nowhere"):
        await registry.policy_sources("nowhere")


async def test_a_wrong_document_changes_nothing(park: Database, registry: SqlRegistry) -> None:
    def edit(data: dict[str, Any]) -> None:
        data["tenants"][0]["supplies"][0]["tariff"] = "x"
        data["tenants"][1]["mode"] = "postpaid"

    with pytest.raises(
        SiteError, match=r"tenants\[0\].supplies\[0\].tariff: unknown tariff 'x'; known: shop-flat, water"
    ):
        await registry.apply(changed(edit), who="carol", now=NOW)
    assert (await registry.difference(document())).lines == ()


async def test_parallel_first_imports_are_one(database: Database, registry: SqlRegistry) -> None:
    import asyncio

    results = await asyncio.gather(*(registry.apply(document(), who="carol", now=NOW) for _ in range(4)))
    assert sorted(len(told.lines) for told, _ in results) == [0, 0, 0, 15]
    assert [finding async for finding in verify_sql(database, SITE)] == []

"""The `Ledger` and `Registry` ports, kept by SQLite and PostgreSQL alike."""

from __future__ import annotations

import asyncio

import pytest

from adapters.store.engine.database import Database
from adapters.store.posting.ledger import SqlLedger, SqlNoticeBook
from adapters.store.proofs.verify import verify_sql
from adapters.store.sites.registry import SqlRegistry
from rules.state import RuleState
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.park import NOW, SITE, charge, document, entry, opened
from twin.core.effects import (
    AlarmChanged,
    CommandChanged,
    IncidentOpened,
    IncidentResolved,
    LockChanged,
    NotificationWanted,
    RuleChanged,
    SupplyStateChanged,
)
from twin.core.messages import ContractsChanged, CreditsPosted, LockPlaced, LockReleased
from twin.core.model import Incident, Lock
from twin.ports import MoneyRefusedError, TopUp


async def breaches(database: Database) -> list[str]:
    return [f"{finding.code} {finding.where}" async for finding in verify_sql(database, SITE)]


def top_up(**changes: object) -> TopUp:
    known = {"tenant": "t-002", "amount_nano": 50_000_000_000, "channel": "cash", "reference": "R-1", "key": "k-1"}
    return TopUp(**{**known, "actor": "bob", "ts": NOW, **changes})  # type: ignore[arg-type]


async def total(database: Database, tenant: str = "t-002") -> tuple[int, int]:
    rows = await database.fetch("SELECT credits_nano, charges_nano FROM account WHERE tenant = ?", tenant)
    return tuple(rows[0])


# --- posting ----------------------------------------------------------------------------------------------------


async def test_a_batch_moves_the_position_the_chain_and_the_money(park: Database, ledger: SqlLedger) -> None:
    assert await ledger.position(SITE) == "0-0"
    await ledger.post(SITE, [entry(1, charge(0, 100)), entry(2, charge(100, 250, price_micro=1_000_000))])
    assert await ledger.position(SITE) == f"{NOW}-2"
    assert await total(park) == (0, 100 * 850_000 + 150 * 1_000_000)
    assert await breaches(park) == []


async def test_entries_up_to_the_position_are_ignored(park: Database, ledger: SqlLedger) -> None:
    await ledger.post(SITE, [entry(5, charge(0, 100))])
    await ledger.post(SITE, [entry(4, charge(100, 200)), entry(5, charge(100, 200))])
    assert await ledger.position(SITE) == f"{NOW}-5"
    assert await total(park) == (0, 85_000_000)


async def test_positions_are_compared_as_numbers(park: Database, ledger: SqlLedger) -> None:
    await ledger.post(SITE, [entry(9, charge(0, 100))])
    await ledger.post(SITE, [entry(10, charge(100, 200))])
    assert await total(park) == (0, 170_000_000)


async def test_the_same_charge_again_changes_nothing(park: Database, ledger: SqlLedger) -> None:
    await ledger.post(SITE, [entry(1, charge(0, 100), charge(100, 200))])
    await ledger.post(SITE, [entry(2, charge(100, 200)), entry(3, charge(0, 100)), entry(4, charge(200, 300))])
    assert await total(park) == (0, 300 * 850_000)
    assert await park.fetch("SELECT 1 FROM refused_effect") == []
    assert await breaches(park) == []


WRONG = {
    "gap": (charge(500, 600), "a gap: the chain ends at 200"),
    "other end": (charge(100, 150), "to_qty 200 is posted, 150 came"),
    "other price": (charge(100, 200, price_micro=1), "price_micro 850000 is posted, 1 came"),
    "other tenant": (charge(100, 200, tenant="t-001"), "tenant 't-002' is posted"),
    "overlap": (charge(50, 120), "no posted interval starts at 50"),
    "no epoch": (charge(0, 100, epoch=2), "epoch 2 of the register was never opened"),
    "unknown meter": (charge(0, 100, meter="em-999"), "never opened"),
    "wrong amount": (charge(200, 300, amount_nano=1), "amount 1 is not quantity times price"),
    "empty": (charge(200, 200), "not above its start"),
    "too much": (charge(200, 2**62, price_micro=2**40), "beyond 64 bits"),
    "another opening": (opened("em-002", 7), "was opened at 0, not at 7"),
    "text no database stores": (charge(200, 300, tariff="a\ud800"), "the database refused it"),
    "an instant beyond 64 bits": (charge(200, 300, to_ts=2**63), "the database refused it"),
}


@pytest.mark.parametrize("name", WRONG)
async def test_what_cannot_be_posted_is_kept_and_blocks_nothing(park: Database, ledger: SqlLedger, name: str) -> None:
    effect, reason = WRONG[name]
    await ledger.post(SITE, [entry(1, charge(0, 100), charge(100, 200))])
    await ledger.post(SITE, [entry(2, effect, charge(200, 260)), entry(3, charge(260, 300))])
    assert await ledger.position(SITE) == f"{NOW}-3"
    assert await total(park) == (0, 300 * 850_000)
    refused = await park.fetch("SELECT entry, place, reason FROM refused_effect")
    assert [(row[0], row[1]) for row in refused] == [(f"{NOW}-2", 0)]
    assert reason in refused[0][2]
    incidents = await park.fetch("SELECT device, kind, count FROM incident")
    assert [tuple(row) for row in incidents] == [(effect.meter, "ledger_refused", 1)]
    assert len(await park.fetch("SELECT 1 FROM audit WHERE what = 'effect.refused'")) == 1
    assert await breaches(park) == [f"refused_effect entry {NOW}-2 effect 0 of group t-002"]


async def test_refusals_of_one_device_are_one_incident(park: Database, ledger: SqlLedger) -> None:
    for number in range(1, 4):
        await ledger.post(SITE, [entry(number, charge(500, 600), charge(700, 800))])
    rows = await park.fetch("SELECT device, count FROM incident")
    assert [tuple(row) for row in rows] == [("em-002", 6)]


async def test_a_batch_that_fails_leaves_nothing(park: Database, ledger: SqlLedger) -> None:
    with pytest.raises(ValueError, match="stream id"):
        await ledger.post(SITE, [entry(1, charge(0, 100)), entry(2, charge(100, 200)).__class__("x", "g", ())])
    assert await ledger.position(SITE) == "0-0"
    assert await total(park) == (0, 0)


async def test_an_unknown_site_is_named(ledger: SqlLedger) -> None:
    with pytest.raises(LookupError, match="'nowhere' is not in the database"):
        await ledger.post("nowhere", [entry(1)])
    with pytest.raises(LookupError, match="'nowhere' is not in the database"):
        await ledger.position("nowhere")


async def test_charges_of_one_entry_share_a_journal(park: Database, ledger: SqlLedger) -> None:
    water = charge(0, 10, meter="wm-001", tenant="t-001", utility="water", tariff="water", price_micro=4_100_000)
    power = charge(120_000, 120_100, meter="em-001", tenant="t-001")
    await ledger.post(SITE, [entry(1, power, water, group="t-001")])
    legs = await park.fetch("SELECT account, amount_nano FROM leg WHERE seq = 2 ORDER BY place")
    assert [tuple(leg) for leg in legs] == [
        ("tenant:t-001:wallet", -126_000_000),
        ("revenue:electricity", 85_000_000),
        ("revenue:water", 41_000_000),
    ]
    assert await breaches(park) == []


async def test_energy_at_no_price_needs_no_journal(park: Database, ledger: SqlLedger) -> None:
    await ledger.post(SITE, [entry(1, charge(0, 100, price_micro=0)), entry(2, charge(100, 200))])
    assert len(await park.fetch("SELECT 1 FROM rating WHERE active")) == 2
    assert len(await park.fetch("SELECT 1 FROM journal WHERE kind = 'charge'")) == 1
    assert await breaches(park) == []


async def test_energy_of_nobody_is_the_landlords(park: Database, ledger: SqlLedger) -> None:
    await ledger.post(SITE, [entry(1, opened("em-spare", 5), charge(5, 10, meter="em-spare", tenant="", account=""))])
    assert [tuple(r) for r in await park.fetch("SELECT account, charges_nano FROM account WHERE tenant = ''")] == [
        ("landlord:vacancy", 5 * 850_000)
    ]
    assert await breaches(park) == []


# --- money acts -------------------------------------------------------------------------------------------------


async def test_a_top_up_is_a_payment_a_journal_a_total_and_an_act(park: Database, ledger: SqlLedger) -> None:
    receipt = await ledger.top_up(SITE, top_up())
    assert (receipt.tenant, receipt.credits_nano, receipt.seq, receipt.repeated) == ("t-002", 50_000_000_000, 2, False)
    act = (await ledger.undelivered(SITE, limit=100))[-1]
    assert act.act == CreditsPosted(2, 50_000_000_000, 50_000_000_000, NOW, "topup:t-002:k-1")
    assert await breaches(park) == []


async def test_the_same_key_gives_the_same_receipt(park: Database, ledger: SqlLedger) -> None:
    first = await ledger.top_up(SITE, top_up())
    await ledger.top_up(SITE, top_up(key="k-2", reference="R-2"))
    again = await ledger.top_up(SITE, top_up(ts=NOW + 1, actor="carol"))
    assert again.repeated
    assert (again.payment, again.credits_nano, again.seq, again.ts) == (
        first.payment, first.credits_nano, first.seq, first.ts,
    )  # fmt: skip
    assert (await total(park))[0] == 100_000_000_000


REFUSALS = {
    "idempotency_conflict": {"amount_nano": 1},
    "duplicate_reference": {"key": "k-2"},
    "unknown_tenant": {"tenant": "t-999"},
    "amount": {"amount_nano": 0},
    "key": {"key": ""},
    "channel": {"channel": ""},
    "reference": {"reference": "R\x00"},
}


@pytest.mark.parametrize("code", REFUSALS)
async def test_a_refused_top_up_changes_nothing(park: Database, ledger: SqlLedger, code: str) -> None:
    await ledger.top_up(SITE, top_up())
    with pytest.raises(MoneyRefusedError) as refused:
        await ledger.top_up(SITE, top_up(**REFUSALS[code]))
    assert refused.value.code == code
    assert await total(park) == (50_000_000_000, 0)
    assert len(await park.fetch("SELECT 1 FROM payment")) == 1
    assert await breaches(park) == []


async def test_a_total_beyond_64_bits_is_refused(park: Database, ledger: SqlLedger) -> None:
    await ledger.top_up(SITE, top_up(amount_nano=2**63 - 1))
    with pytest.raises(MoneyRefusedError) as refused:
        await ledger.top_up(SITE, top_up(amount_nano=1, key="k-2", reference=""))
    assert refused.value.code == "amount"
    assert await breaches(park) == []


async def test_the_key_belongs_to_its_tenant_and_an_empty_reference_to_nobody(
    park: Database, ledger: SqlLedger
) -> None:
    await ledger.top_up(SITE, top_up(reference=""))
    other = await ledger.top_up(SITE, top_up(tenant="t-001", reference=""))
    assert not other.repeated
    assert (await total(park, "t-001"))[0] == 150_000_000_000


async def test_a_hoarding_limit_refuses_what_would_rise_above_it(registry: SqlRegistry, ledger: SqlLedger) -> None:
    await registry.apply(document(params={"hoarding_limit": "80.00"}), who="test", now=NOW)
    await ledger.top_up(SITE, top_up())
    with pytest.raises(MoneyRefusedError) as refused:
        await ledger.top_up(SITE, top_up(key="k-2", reference="R-2"))
    assert refused.value.code == "hoarding"
    assert "100.000000000" not in refused.value.detail
    await ledger.top_up(SITE, top_up(key="k-3", reference="R-3", amount_nano=30_000_000_000))


async def test_a_hundred_parallel_repetitions_have_one_effect(park: Database, ledger: SqlLedger) -> None:
    receipts = await asyncio.gather(*(ledger.top_up(SITE, top_up()) for _ in range(100)))
    assert sum(not receipt.repeated for receipt in receipts) == 1
    assert {receipt.payment for receipt in receipts} == {receipts[0].payment}
    assert await total(park) == (50_000_000_000, 0)
    assert await breaches(park) == []


async def test_parallel_top_ups_and_charges_lose_nothing(park: Database, ledger: SqlLedger) -> None:
    async def post_all() -> None:
        for number in range(1, 21):
            await ledger.post(SITE, [entry(number, charge((number - 1) * 10, number * 10))])

    wanted = [ledger.top_up(SITE, top_up(key=f"k-{n}", reference=f"R-{n}", amount_nano=n)) for n in range(1, 41)]
    await asyncio.gather(post_all(), *wanted)
    assert await total(park) == (820, 200 * 850_000)
    seqs = [act.act.seq for act in await ledger.undelivered(SITE, limit=1000) if act.group == "t-002"]
    assert seqs == list(range(1, 42))
    assert await breaches(park) == []


# --- locks and the outbox ---------------------------------------------------------------------------------------


async def test_a_lock_is_an_act_once(park: Database, ledger: SqlLedger) -> None:
    wish = {"breaker": "br-001", "lock": "manual", "who": "bob", "why": "work on the line", "ts": NOW}
    first = await ledger.place_lock(SITE, **wish, key="a")
    assert first.act == LockPlaced(2, "br-001", "manual", "bob", "work on the line", NOW)
    assert await ledger.place_lock(SITE, **{**wish, "ts": NOW + 9}, key="a") == first
    with pytest.raises(MoneyRefusedError) as refused:
        await ledger.place_lock(SITE, **{**wish, "lock": "maintenance"}, key="a")
    assert refused.value.code == "idempotency_conflict"
    released = await ledger.release_lock(SITE, **wish, key="b")
    assert released.act == LockReleased(3, "br-001", "manual", "bob", "work on the line", NOW)
    rows = await park.fetch("SELECT lock, active FROM standing_lock")
    assert [(row[0], bool(row[1])) for row in rows] == [("manual", False)]


async def test_a_hundred_parallel_locks_are_one_act(park: Database, ledger: SqlLedger) -> None:
    wish = {"breaker": "br-001", "lock": "manual", "who": "bob", "why": "x", "ts": NOW, "key": "a"}
    acts = await asyncio.gather(*(ledger.place_lock(SITE, **wish) for _ in range(100)))
    assert len({act.act.seq for act in acts}) == 1


async def test_a_lock_on_no_device_is_refused(park: Database, ledger: SqlLedger) -> None:
    with pytest.raises(LookupError, match="br-999"):
        await ledger.place_lock(SITE, breaker="br-999", lock="manual", who="bob", why="x", ts=NOW, key="a")


async def test_a_breaker_of_nobody_is_a_group_of_its_own(registry: SqlRegistry, ledger: SqlLedger) -> None:
    await registry.apply(document(tenants=[]), who="test", now=NOW)
    pending = await ledger.place_lock(SITE, breaker="br-001", lock="manual", who="bob", why="x", ts=NOW, key="a")
    assert pending.group == "@br-001"


async def test_acts_stay_until_they_are_delivered(park: Database, ledger: SqlLedger) -> None:
    await ledger.top_up(SITE, top_up())
    waiting = await ledger.undelivered(None, limit=1000)
    assert [act.act.seq for act in waiting if act.group == "t-002"] == [1, 2]
    assert isinstance(waiting[0].act, ContractsChanged)
    assert await ledger.undelivered(SITE, limit=1) == waiting[:1]
    await ledger.delivered(SITE, {"t-002": 1})
    left = await ledger.undelivered(SITE, limit=1000)
    assert [act.act.seq for act in left if act.group == "t-002"] == [2]
    await ledger.delivered(SITE, {"t-002": 2, "t-404": 9})
    assert all(act.group != "t-002" for act in await ledger.undelivered(SITE, limit=1000))


# --- the rest of the record -------------------------------------------------------------------------------------


async def test_present_states_and_histories(park: Database, ledger: SqlLedger) -> None:
    command = {"device": "br-001", "cmd": "c-1", "op": "breaker.set", "target": "open", "fence": 7, "issued": NOW}
    alarm = {"rule": "low", "rule_version": 1, "twin": "t-002", "since": NOW, "tenant": "t-002"}
    await ledger.post(
        SITE,
        [
            entry(
                1,
                IncidentOpened("em-002", "clock_skew", NOW, "2 h ahead"),
                AlarmChanged(**alarm, ts=NOW, severity="warning", active=True, because={"left": "12.5"}),
                LockChanged("br-001", "credit", True, "rule", "arrears", NOW, None, "arrears-cutoff", 3),
                CommandChanged(**command, state="created", ts=NOW, exp=NOW + 1000),
                SupplyStateChanged("t-002", "NORMAL", "LOW1", NOW, -5),
            ),
            entry(
                2,
                AlarmChanged(**alarm, ts=NOW + 1, severity="major", active=True),
                CommandChanged(**command, state="verified", ts=NOW + 5, exp=NOW + 1000),
                IncidentResolved("em-002", "clock_skew", NOW, NOW + 7),
            ),
        ],
    )
    assert [tuple(r) for r in await park.fetch("SELECT severity, cleared_ts FROM alarm")] == [("major", None)]
    assert [r[0] for r in await park.fetch("SELECT state FROM command_step ORDER BY ts")] == ["created", "verified"]
    assert [r[0] for r in await park.fetch("SELECT state FROM command")] == ["verified"]
    rows = await park.fetch("SELECT detail, resolved_ts FROM incident")
    assert [tuple(row) for row in rows] == [("2 h ahead", NOW + 7)]
    assert [r[0] for r in await park.fetch("SELECT supply_state FROM tenant WHERE tenant = 't-002'")] == ["LOW1"]


async def test_an_older_effect_does_not_undo_a_persons_release(park: Database, ledger: SqlLedger) -> None:
    await ledger.release_lock(SITE, breaker="br-001", lock="manual", who="bob", why="done", ts=NOW + 10, key="a")
    await ledger.post(SITE, [entry(1, LockChanged("br-001", "manual", True, "bob", "work", NOW))])
    assert [bool(r[0]) for r in await park.fetch("SELECT active FROM standing_lock")] == [False]
    assert len(await park.fetch("SELECT 1 FROM lock_change")) == 1


async def test_notices_are_told_once(park: Database, ledger: SqlLedger) -> None:
    book = SqlNoticeBook(park, lambda: NOW + 3)
    notice = NotificationWanted("t-002", "low_balance", NOW, {"balance": "3.00"})
    assert not await book.was_told(SITE, notice)
    await book.told(SITE, notice, "sms-1")
    await ledger.post(SITE, [entry(1, notice)])
    assert await book.was_told(SITE, notice)
    rows = await park.fetch("SELECT state, proof, settled_ts FROM notification")
    assert [tuple(row) for row in rows] == [("delivered", "sms-1", NOW + 3)]


# --- rebuilding -------------------------------------------------------------------------------------------------


async def test_groups_are_rebuilt_as_sql_knows_them(park: Database, ledger: SqlLedger, registry: SqlRegistry) -> None:
    command = CommandChanged("br-001", "c-1", "breaker.set", "open", 41, "verified", NOW, NOW, NOW + 1)
    await ledger.post(
        SITE,
        [
            entry(1, charge(0, 100, month=202512), charge(100, 180), charge(180, 200), command),
            entry(2, LockChanged("br-001", "credit", True, "rule", "arrears", NOW, None, "arrears-cutoff", 3)),
            entry(3, IncidentOpened("em-002", "clock_skew", NOW, "2 h ahead"), charge(900, 910)),
            entry(4, SupplyStateChanged("t-002", "LOW1", "OFF_ARREARS", NOW + 2, -5)),
        ],
    )
    await ledger.top_up(SITE, top_up())
    groups = {group.id: group async for group in registry.rebuilt_groups(SITE)}
    assert sorted(groups) == ["@em-spare", "@gw-01", "t-001", "t-002"]
    group = groups["t-002"]
    register = group.meters["em-002"].register
    assert (register.posted, register.head, register.seen, register.posted_ts) == (200, 200, 200, NOW)
    assert (register.month, register.month_use, register.opened) == (202601, 100, True)
    assert group.tenant is not None
    assert (group.tenant.credits_nano, group.tenant.credits_seq) == (50_000_000_000, 2)
    assert group.tenant.charges_nano == 200 * 850_000
    assert (group.tenant.state, group.tenant.state_since, group.acts_seq) == ("OFF_ARREARS", NOW + 2, 2)
    breaker = group.breakers["br-001"]
    assert breaker.locks == {"credit": Lock("rule", "arrears", NOW, None, "arrears-cutoff", 3)}
    assert breaker.fence > 41, "what may still be on its way is refused after a rebuild"
    assert group.meters["em-002"].incidents == {"clock_skew": Incident("clock_skew", NOW, 1, "2 h ahead")}
    other = groups["t-001"]
    assert other.meters["em-001"].register.opening == 120_000
    assert other.breaker_contracts["wm-001"].op == "valve.set"
    assert other.breaker_contracts["em-001"].meters == ("em-001",)
    assert groups["@gw-01"].gateway is not None


async def test_a_rule_goes_on_from_what_it_remembered(park: Database, ledger: SqlLedger, registry: SqlRegistry) -> None:
    pending = {"s": "pending", "t": NOW, "due": NOW + 60_000, "fp": "abc"}
    moves = [
        RuleChanged("arrears-cutoff", 7, "t-002", NOW - 1, "unknown", "unknown", {}, {"s": "unknown"}),
        RuleChanged("arrears-cutoff", 7, "t-002", NOW, "pending", "pending", {"gate": "pending"}, pending),
        RuleChanged("meter-offline", 7, "em-002", NOW, "fired", "fired", {}, {"s": "fired", "f": NOW}),
        RuleChanged("meter-offline", 7, "em-002", NOW + 1, "normal", "cleared", {}, {}),
    ]
    await ledger.post(SITE, [entry(1, *moves)])
    groups = {group.id: group async for group in registry.rebuilt_groups(SITE)}
    tenant = groups["t-002"].tenant
    assert tenant is not None
    assert tenant.rules == {
        "arrears-cutoff": RuleState("pending", since_ms=NOW, due_ms=NOW + 60_000, fingerprint="abc")
    }
    assert groups["t-002"].meters["em-002"].rules == {}


async def test_a_new_epoch_keeps_the_use_of_the_month(park: Database, ledger: SqlLedger, registry: SqlRegistry) -> None:
    await ledger.post(SITE, [entry(1, charge(0, 100)), entry(2, opened("em-002", 3, epoch=2))])
    await ledger.post(SITE, [entry(3, charge(3, 10, epoch=2))])
    groups = {group.id: group async for group in registry.rebuilt_groups(SITE)}
    register = groups["t-002"].meters["em-002"].register
    assert (register.epoch, register.opening, register.head, register.month_use) == (2, 3, 10, 107)
    assert await breaches(park) == []


async def test_a_register_beyond_its_modulus_knows_its_turns(
    park: Database, ledger: SqlLedger, registry: SqlRegistry
) -> None:
    await ledger.post(SITE, [entry(1, charge(0, 1_000_000_500, price_micro=1))])
    groups = {group.id: group async for group in registry.rebuilt_groups(SITE)}
    assert groups["t-002"].meters["em-002"].register.turns == 1


async def test_generations_rise(park: Database, registry: SqlRegistry) -> None:
    assert await registry.generation(SITE) == (1, "0-0")
    assert await registry.next_generation(SITE) == 2
    assert await registry.generation(SITE) == (2, "0-0")
    with pytest.raises(LookupError, match="nowhere"):
        await registry.next_generation("nowhere")

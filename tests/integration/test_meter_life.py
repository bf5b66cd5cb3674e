"""A meter's life in SQL and its twin: late samples, people's readings, reviews, replacements, ratios."""

from __future__ import annotations

import pytest

from adapters.store.engine.database import Database
from adapters.store.journals import approvals
from adapters.store.sites.registry import SqlRegistry
from billing.points import unpack
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.park import NOW, PRICE_MICRO, SITE, document
from tests.unit.adapters.store.stage import HOUR, MINUTE, Stage
from twin.flows.policies import CompiledPolicies
from twin.ports import MoneyRefusedError


async def staged(park: Database) -> Stage:
    """100 Wh every 15 minutes for an hour, posted."""
    stage = Stage(park)
    await stage.start()
    await stage.settle()
    for step in range(1, 5):
        stage.now = NOW + step * 15 * MINUTE
        stage.read("em-001", 120_000 + step * 100)
    await stage.settle()
    return stage


async def late(park: Database) -> list[tuple[object, ...]]:
    rows = await park.fetch("SELECT epoch, raw_qty, qty, ts, source FROM late_reading ORDER BY ts, qty")
    return [tuple(row) for row in rows]


async def marks(park: Database) -> list[tuple[object, ...]]:
    return [tuple(row) for row in await park.fetch("SELECT meter, from_ts, reason FROM rerate_mark")]


async def test_rows_carry_the_samples_they_were_charged_by(park: Database) -> None:
    stage = await staged(park)
    rows = await park.fetch("SELECT points FROM energy WHERE meter = 'em-001' AND from_qty IS NOT NULL ORDER BY to_qty")
    points = [(point.ts - NOW, point.qty) for row in rows for point in unpack(bytes(row[0]))]
    assert points == [(step * 15 * MINUTE, 120_000 + step * 100) for step in range(1, 5)]
    assert await stage.rate_again() == []
    assert await stage.breaches() == []


async def test_a_late_sample_is_placed_marked_and_charges_nothing(park: Database) -> None:
    stage = await staged(park)
    before = await stage.charged()
    at = NOW + 20 * MINUTE
    stage.read("em-001", 120_110, at)
    await stage.post()
    stage.read("em-001", 120_110, at)
    await stage.post()
    assert set(await late(park)) == {(1, 120_110, 120_110, at, "device")}
    assert await marks(park) == [("em-001", NOW + 15 * MINUTE, "a reading came late")]
    assert await stage.charged() == before


async def test_a_sample_that_was_accepted_in_its_time_says_nothing_new(park: Database) -> None:
    stage = await staged(park)
    stage.read("em-001", 120_200, NOW + 30 * MINUTE)
    await stage.post()
    assert (await late(park), await marks(park)) == ([], [])


async def test_a_late_sample_that_contradicts_its_neighbours_waits_for_a_person(park: Database) -> None:
    stage = await staged(park)
    stage.read("em-001", 120_050, NOW + 40 * MINUTE)
    await stage.post()
    (doubtful,) = await stage.meters.review(SITE)
    assert (doubtful.reason, doubtful.reading) == ("contradicts_neighbours", 120_050)
    named = {"meter": "em-001", "ts": doubtful.ts, "sid": doubtful.sid, "seq": doubtful.seq}
    with pytest.raises(MoneyRefusedError) as refused:
        await stage.act("reading.decide", **named, decision="accept")
    assert refused.value.code == "reading_contradicts"
    assert "overtaken" in refused.value.detail
    told = await stage.act("reading.decide", **named, decision="reject")
    assert told.body["overtaken"] is True
    assert await stage.meters.review(SITE) == []
    with pytest.raises(MoneyRefusedError) as refused:
        await stage.act("reading.decide", **named, decision="accept")
    assert refused.value.code == "reading_decided"


async def test_an_accepted_reading_moves_the_register_and_ends_the_incident(park: Database) -> None:
    stage = await staged(park)
    stage.now += 15 * MINUTE
    stage.read("em-001", 150_000)
    await stage.post()
    (doubtful,) = await stage.meters.review(SITE)
    assert doubtful.reason == "implausible_rise"
    named = {"meter": "em-001", "ts": doubtful.ts, "sid": doubtful.sid, "seq": doubtful.seq}
    told = await stage.act("reading.decide", **named, decision="accept")
    assert (told.body["effect"], told.body["overtaken"]) == ("current", False)
    stage.now += HOUR
    await stage.settle()
    assert stage.groups["t-001"].meters["em-001"].register.seen == 150_000
    assert "implausible_rise" not in stage.groups["t-001"].meters["em-001"].incidents
    stage.read("em-001", 150_000)
    await stage.settle()
    assert (await stage.charged())["t-001"] == 30_000 * PRICE_MICRO
    assert await stage.rate_again() == []
    assert await stage.breaches() == []


async def test_an_estimate_needs_two_people(park: Database) -> None:
    stage = await staged(park)
    stage.now += 15 * MINUTE
    stage.read("em-001", 150_000)
    await stage.post()
    (doubtful,) = await stage.meters.review(SITE)
    named = {"meter": "em-001", "ts": doubtful.ts, "sid": doubtful.sid, "seq": doubtful.seq}
    asked = await stage.act("reading.decide", **named, decision="estimate", reading=120_500)
    assert asked.body["state"] == "requested"
    done = await approvals.decide(park, SITE, asked.body["approval"], "dave", True, "plausible", stage.now + 1)
    assert done.approval.state == "approved"
    await stage.settle()
    assert stage.groups["t-001"].meters["em-001"].register.seen == 120_500


async def test_a_manual_reading_of_the_past_refines_and_one_of_now_moves(park: Database) -> None:
    stage = await staged(park)
    told = await stage.act(
        "meter.reading", meter="em-001", reading=120_150, ts=NOW + 20 * MINUTE, photo="doc-7", photo_sha256="ab" * 32
    )
    assert told.body["effect"] == "late"
    stage.now += 15 * MINUTE
    told = await stage.act("meter.reading", meter="em-001", reading=130_000, ts=stage.now)
    assert told.body["effect"] == "current"
    await stage.settle()
    assert stage.groups["t-001"].meters["em-001"].register.seen == 130_000
    events = await stage.meters.events(SITE, "em-001")
    assert [event.body["effect"] for event in events] == ["current", "late"]
    assert events[1].body["photo"] == "doc-7"
    for wrong, code in ((120_900, "reading_contradicts"), (-1, "reading")):
        with pytest.raises(MoneyRefusedError) as refused:
            await stage.act("meter.reading", meter="em-001", reading=wrong, ts=NOW + 20 * MINUTE)
        assert refused.value.code == code


async def test_a_replacement_charges_to_the_last_and_from_the_first_reading(park: Database) -> None:
    stage = await staged(park)
    at = stage.now + 5 * MINUTE
    stage.now = at + 10 * MINUTE
    told = await stage.act("meter.replace", meter="em-001", ts=at, final=120_430, opening=7)
    assert told.body["state"] == "done"
    await stage.settle()
    stage.now = at + HOUR
    stage.read("em-001", 57)
    stage.now += HOUR
    stage.read("em-001", 57)
    await stage.settle()
    assert (await stage.charged())["t-001"] == (430 + 50) * PRICE_MICRO
    rows = await park.fetch("SELECT epoch, opening, head_qty, reason, month_use FROM register_epoch WHERE epoch = 2")
    assert [tuple(row) for row in rows] == [(2, 7, 57, "replacement", 480)]
    stage.read("em-001", 120_420, at - MINUTE)
    await stage.post()
    assert (await late(park))[0][0] == 1, "a reading of the old register goes to the old epoch"
    assert await stage.rate_again() == []
    assert await stage.breaches() == []


async def test_a_meter_with_another_id_speaks_for_the_point(park: Database) -> None:
    stage = await staged(park)
    body = {"meter": "em-001", "ts": stage.now, "final": 120_400, "opening": 0}
    with pytest.raises(MoneyRefusedError, match="a metering point of its own"):
        await stage.act("meter.replace", **body, device="em-002")
    await stage.act("meter.replace", **body, device="em-901")
    policy = await CompiledPolicies(stage.registry, skew_ms=300_000).policy(SITE)
    assert policy.aliases == {"em-901": "em-001"}
    await stage.settle()
    assert stage.groups["t-001"].meters["em-001"].register.epoch == 2
    assert await stage.rate_again() == []
    assert await stage.breaches() == []


async def test_an_unknown_last_reading_needs_two_people(park: Database) -> None:
    stage = await staged(park)
    asked = await stage.act("meter.replace", meter="em-001", ts=stage.now, opening=0)
    assert asked.body["state"] == "requested"
    with pytest.raises(MoneyRefusedError) as refused:
        await approvals.decide(park, SITE, asked.body["approval"], "carol", True, "sure", stage.now)
    assert refused.value.code == "own_approval"
    await approvals.decide(park, SITE, asked.body["approval"], "dave", True, "seen", stage.now)
    await stage.settle()
    assert stage.groups["t-001"].meters["em-001"].register.epoch == 2


async def test_an_imported_meter_behind_transformers_is_charged_from_what_it_showed(database: Database) -> None:
    """Its opening stands in the file as its display shows it: the ratio applies to it, and to late samples."""
    wanted = document()
    for device in wanted.site["devices"]:
        if device["id"] == "em-001":
            device["ratio"] = 40
    await SqlRegistry(database).apply(wanted, who="test", now=NOW)
    again, _ = await SqlRegistry(database).apply(wanted, who="test", now=NOW)
    assert not again.refused
    stage = await staged(database)
    assert await stage.charged() == {"t-001": 400 * 40 * PRICE_MICRO}
    stage.read("em-001", 120_110, NOW + 20 * MINUTE)
    await stage.post()
    assert await late(database) == [(1, 120_110, 120_110 * 40, NOW + 20 * MINUTE, "device")]
    assert await stage.meters.review(SITE) == []
    await stage.start()
    register = stage.groups["t-001"].meters["em-001"].register
    assert (register.opening, register.head) == (120_000 * 40, 120_400 * 40)
    assert await stage.breaches() == []


async def test_a_rollover_and_a_ratio_by_people_and_a_rebuild_of_it_all(park: Database) -> None:
    stage = await staged(park)
    stage.now += MINUTE
    await stage.act("meter.ratio", meter="em-001", ratio=40, reading=120_410, ts=stage.now)
    await stage.settle()
    stage.now += HOUR
    stage.read("em-001", 120_412, rates_wh={"peak": 3, "valley": 4})
    stage.now += HOUR
    stage.read("em-001", 120_415, rates_wh={"peak": 5, "valley": 5})
    await stage.settle()
    before = stage.groups["t-001"].meters["em-001"].register
    assert (before.epoch, before.opening, before.seen) == (2, 120_410 * 40, 120_415 * 40)
    await stage.start()
    after = stage.groups["t-001"].meters["em-001"].register
    used = 410 + before.posted - before.opening
    assert (after.epoch, after.head, after.month_use, after.year_use) == (2, before.posted, used, used)
    assert (after.since, after.seen, after.seen_rates) == (before.since, before.seen, before.seen_rates)
    assert stage.groups["t-001"].meter_contracts["em-001"].ratio == 40
    told = await stage.act("meter.rollover", meter="em-001", reading=5, ts=stage.now)
    assert told.body["kind"] == "rollover"
    await stage.settle()
    assert stage.groups["t-001"].meters["em-001"].register.seen == (10**9 + 5) * 40
    assert await stage.rate_again() == []
    assert await stage.breaches() == []


async def test_the_same_key_acts_once(park: Database) -> None:
    stage = await staged(park)
    body = {"meter": "em-001", "reading": 120_450, "ts": stage.now}
    first = await stage.act("meter.reading", **body)
    stage.keys -= 1
    again = await stage.act("meter.reading", **body)
    assert (first.repeated, again.repeated, again.body) == (False, True, first.body)
    assert len(await stage.meters.events(SITE, "em-001")) == 1

"""The `SwitchBook` port: jobs of bulk switching, kept by SQLite and PostgreSQL alike."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adapters.store.engine.database import Database
from adapters.store.posting.ledger import SqlLedger
from adapters.store.wallets.accounts_desk import SqlAccounts
from adapters.store.watching.switching import COUNTED_MS, KIND, SqlSwitching
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.park import NOW, SITE
from twin.core.bulk import Judgement, Pace, Selection, Target, Wish
from twin.core.messages import LockPlaced, LockReleased
from twin.ports import Caller, MoneyRefusedError
from twin.switched import NewJob, SwitchJob

DEVICES = ("em-001", "wm-001", "br-001")


@pytest.fixture
def book(park: Database) -> SqlSwitching:
    return SqlSwitching(park)


def order(*skipped: str, **changes: Any) -> NewJob:
    targets = tuple(Target(name, "t", "g", "guaranteed" if name in skipped else "") for name in DEVICES)
    made = NewJob(Wish("open"), Selection(everything=True), Pace(), targets)
    return NewJob(**{**{name: getattr(made, name) for name in made.__struct_fields__}, **changes})


def by(who: str = "ann", key: str = "k", ts: int = NOW) -> Caller:
    return Caller(who, "works at the main", ts, key)


async def allow(park: Database, above: int) -> None:
    async with park.write() as tx:
        rows = await tx.fetch("SELECT settings FROM site WHERE id = ?", SITE)
        settings = rows[0][0].rstrip("}") + f', "approval": {{"bulk_above": {above}}}}}'
        await tx.execute("UPDATE site SET settings = ? WHERE id = ?", settings, SITE)


async def states(book: SqlSwitching, job: str) -> dict[str, str]:
    return {step.device: step.state for _, step in await book.steps(SITE, job)}


async def refused(code: str, awaited: Any) -> None:
    with pytest.raises(MoneyRefusedError) as caught:
        await awaited
    assert caught.value.code == code


async def test_a_job_is_written_with_every_step_and_its_key_makes_it_once(book: SqlSwitching) -> None:
    job, known = await book.start(SITE, order("wm-001"), by())
    again, knew = await book.start(SITE, order("wm-001"), by())
    assert (job.id, known, again.id, knew) == ("S1", False, "S1", True)
    assert (job.state, job.tally.waiting, job.tally.skipped, job.total) == ("running", 2, 1, 3)
    assert (job.pace, job.selection, job.reason_given) == (
        Pace(),
        Selection(everything=True),
        "works at the main [S1]",
    )
    assert await states(book, "S1") == {"em-001": "waiting", "wm-001": "skipped", "br-001": "waiting"}
    await refused("idempotency_conflict", book.start(SITE, order(wish=Wish("close")), by()))
    await refused("nothing_to_switch", book.start(SITE, order(*DEVICES), by(key="other")))
    other, _ = await book.start(SITE, order(), by("bob"))
    assert other.id == "S2"
    assert [found.id for _, found in await book.jobs(SITE)] == ["S2", "S1"]


async def test_two_starts_at_once_with_one_key_make_one_job(book: SqlSwitching) -> None:
    made = await asyncio.gather(*(book.start(SITE, order(), by()) for _ in range(8)))
    assert {job.id for job, _ in made} == {"S1"}
    assert sum(not known for _, known in made) == 1


async def test_a_breaker_is_sent_once_with_its_act_and_its_standing_lock(
    park: Database, book: SqlSwitching, ledger: SqlLedger
) -> None:
    job, _ = await book.start(SITE, order(until=NOW + 60_000), by())
    targets = [Target("em-001"), Target("br-001", skip="guaranteed"), Target("nobody")]
    acts = await book.send(job, targets, NOW + 1)
    assert [type(pending.act) for pending in acts] == [LockPlaced]
    assert (acts[0].group, acts[0].act.why, acts[0].act.until) == ("t-001", "works at the main [S1]", NOW + 60_000)
    assert await book.send(job, targets, NOW + 2) == []
    assert await states(book, "S1") == {"em-001": "sent", "br-001": "skipped", "wm-001": "waiting"}
    standing = await park.fetch("SELECT breaker, who, why FROM standing_lock WHERE active")
    assert [tuple(row) for row in standing] == [("em-001", "ann", "works at the main [S1]")]
    assert (
        len([pending for pending in await ledger.undelivered(SITE, limit=99) if isinstance(pending.act, LockPlaced)])
        == 1
    )


async def test_two_processes_that_run_one_job_send_a_breaker_once(book: SqlSwitching) -> None:
    job, _ = await book.start(SITE, order(), by())
    targets = [Target(name) for name in DEVICES]
    both = await asyncio.gather(*(book.send(job, targets, NOW) for _ in range(4)))
    assert sorted(pending.act.breaker for acts in both for pending in acts) == sorted(DEVICES)


async def test_what_somebody_else_has_locked_meanwhile_is_left_to_them(book: SqlSwitching, ledger: SqlLedger) -> None:
    job, _ = await book.start(SITE, order(), by())
    await ledger.place_lock(SITE, breaker="br-001", lock="manual", who="eve", why="wiring", ts=NOW, key="e")
    await book.send(job, [Target(name) for name in DEVICES], NOW)
    steps = {step.device: step for _, step in await book.steps(SITE, "S1")}
    assert (steps["br-001"].state, steps["br-001"].reason, steps["br-001"].detail) == (
        "skipped",
        "already_locked",
        "eve",
    )


async def test_a_job_that_runs_no_more_sends_nothing(book: SqlSwitching) -> None:
    job, _ = await book.start(SITE, order(), by())
    stopped = await book.move(SITE, "S1", "stop", "bob", "wait", NOW + 5)
    assert (stopped.state, stopped.changed_by, stopped.changed_why) == ("stopped", "bob", "wait")
    assert await book.send(job, [Target("em-001")], NOW) == []
    assert (await book.move(SITE, "S1", "stop", "bob", "wait", NOW + 6)).changed_ts == NOW + 5
    assert (await book.move(SITE, "S1", "resume", "bob", "go on", NOW + 7)).state == "running"
    ended = await book.move(SITE, "S1", "cancel", "bob", "enough", NOW + 8)
    assert (ended.state, ended.ended_ts, ended.tally.left) == ("cancelled", NOW + 8, 3)
    await refused("job_state", book.move(SITE, "S1", "resume", "bob", "", NOW + 9))
    await refused("unknown_job", book.move(SITE, "S9", "stop", "bob", "", NOW))


async def test_proof_stays_and_comes_late(book: SqlSwitching) -> None:
    job, _ = await book.start(SITE, order(), by())
    await book.send(job, [Target(name) for name in DEVICES], NOW)
    await book.settle(job, [("em-001", Judgement("verified", command="c1")), ("br-001", Judgement("silent"))], NOW + 9)
    await book.settle(job, [("em-001", Judgement("failed")), ("br-001", Judgement("failed"))], NOW + 10)
    assert (await book.job(SITE, "S1")).tally.settled_ts == NOW + 9  # type: ignore[union-attr]
    await book.settle(job, [("br-001", Judgement("verified"))], NOW + 11)
    steps = {step.device: step for _, step in await book.steps(SITE, "S1")}
    assert (steps["em-001"].state, steps["em-001"].late, steps["em-001"].command) == ("verified", False, "c1")
    assert (steps["br-001"].state, steps["br-001"].late) == ("verified", True)
    assert [step.device for _, step in await book.steps(SITE, "S1", states=("sent",))] == ["wm-001"]


async def test_a_halt_raises_an_alarm_that_a_resumption_clears_and_counts_anew(
    park: Database, book: SqlSwitching
) -> None:
    job, _ = await book.start(SITE, order(), by())
    await book.send(job, [Target("em-001"), Target("br-001")], NOW)
    await book.settle(job, [("em-001", Judgement("silent")), ("br-001", Judgement("verified"))], NOW + 9)
    await book.halt(job, "too_many_failures", NOW + 10)
    await book.halt(job, "too_many_failures", NOW + 11)
    halted = await book.job(SITE, "S1")
    assert halted is not None
    assert (halted.state, halted.reason) == ("halted", "too_many_failures")
    assert await _alarms(park) == [("@switching_halted", "S1", True)]
    resumed = await book.move(SITE, "S1", "resume", "bob", "known", NOW + 12)
    assert (resumed.before.bad, resumed.before.settled) == (1, 2)
    assert await _alarms(park) == [("@switching_halted", "S1", False)]


async def _alarms(park: Database) -> list[tuple[str, str, bool]]:
    return [(row[0], row[1], bool(row[2])) for row in await park.fetch("SELECT rule, twin, active FROM alarm")]


async def test_more_than_the_site_allows_waits_for_a_second_person(park: Database, book: SqlSwitching) -> None:
    await allow(park, 2)
    job, _ = await book.start(SITE, order(), by())
    assert (job.state, job.approval) == ("asked", "A1")
    assert await book.send(job, [Target("em-001")], NOW) == []
    await refused("job_state", book.move(SITE, "S1", "resume", "ann", "", NOW))
    desk = SqlAccounts(park)
    await refused("own_approval", desk.decide(SITE, "A1", "ann", True, "yes", NOW))
    decision = await desk.decide(SITE, "A1", "bob", True, "yes", NOW + 5)
    assert decision.approval.kind == KIND
    running = await book.job(SITE, "S1")
    assert running is not None
    assert (running.state, running.started_ts, running.changed_by) == ("running", NOW + 5, "bob")
    small, _ = await book.start(SITE, order("em-001"), by(key="small"))
    assert small.state == "running"


async def test_an_order_cut_into_pieces_needs_a_second_person_all_the_same(park: Database, book: SqlSwitching) -> None:
    await allow(park, 2)
    first, _ = await book.start(SITE, order("em-001"), by(key="first"))
    assert (first.state, first.total - first.tally.skipped) == ("running", 2)
    assert await book.needs_approval(SITE, 1, "open", "ann", NOW + 5)
    assert not await book.needs_approval(SITE, 1, "close", "ann", NOW + 5)
    assert not await book.needs_approval(SITE, 2, "open", "bob", NOW + 5)
    second, _ = await book.start(SITE, order("wm-001", "br-001"), by(key="second", ts=NOW + 5))
    assert second.state == "asked"
    undo = await book.start(SITE, order(wish=Wish("undo"), undo_of="S1"), by(key="undo", ts=NOW + 6))
    assert undo[0].state == "running", "to take back never waits"
    other, _ = await book.start(SITE, order("wm-001"), by("bob", key="other", ts=NOW + 7))
    assert other.state == "running", "another person's orders are counted apart"
    desk = SqlAccounts(park)
    await desk.decide(SITE, second.approval, "bob", True, "yes", NOW + 8)
    later, _ = await book.start(SITE, order("wm-001", "br-001"), by(key="later", ts=NOW + COUNTED_MS))
    assert later.state == "running", "an hour later counting begins anew, and what was agreed to is not counted"


@pytest.mark.parametrize("how", ["reject", "expire", "cancel"])
async def test_nobody_agrees(park: Database, book: SqlSwitching, how: str) -> None:
    await allow(park, 2)
    await book.start(SITE, order(), by())
    desk = SqlAccounts(park)
    if how == "reject":
        await desk.decide(SITE, "A1", "bob", False, "no", NOW + 5)
    elif how == "cancel":
        await desk.cancel_request(SITE, "A1", "ann", "never mind", NOW + 5)
    else:
        await desk.expire_requests(SITE, NOW + 80 * 3_600_000)
    job = await book.job(SITE, "S1")
    assert job is not None
    assert (job.state, job.tally.left) == ("refused", 3)


async def test_undoing_takes_off_what_the_job_placed_and_nothing_else(
    park: Database, book: SqlSwitching, ledger: SqlLedger
) -> None:
    job, _ = await book.start(SITE, order(), by())
    await book.send(job, [Target(name) for name in DEVICES], NOW)
    for place in (False, True):
        change = ledger.place_lock if place else ledger.release_lock
        await change(SITE, breaker="br-001", lock="manual", who="eve", why="wiring", ts=NOW, key=f"e{place}")
    undo, _ = await book.start(SITE, order(wish=Wish("undo"), undo_of="S1"), by(key="undo"))
    acts = await book.send(undo, [Target(name) for name in DEVICES], NOW + 20)
    assert {(type(pending.act), pending.act.breaker) for pending in acts} == {
        (LockReleased, "em-001"),
        (LockReleased, "wm-001"),
    }
    steps = {step.device: step for _, step in await book.steps(SITE, undo.id)}
    assert (steps["br-001"].state, steps["br-001"].reason) == ("skipped", "lock_gone")


async def test_what_somebody_must_look_after(book: SqlSwitching) -> None:
    assert await book.at_work(late_since=0) == []
    job, _ = await book.start(SITE, order(), by())
    assert [found.id for found in await book.at_work(late_since=NOW)] == ["S1"]
    await book.send(job, [Target(name) for name in DEVICES], NOW)
    await book.settle(job, [(name, Judgement("silent")) for name in DEVICES], NOW + 1)
    await book.finish(job, NOW + 2)
    await book.finish(job, NOW + 3)
    done: list[SwitchJob] = await book.at_work(late_since=NOW)
    assert [(found.state, found.ended_ts) for found in done] == [("done", NOW + 2)]
    assert await book.at_work(late_since=NOW + 2) == []


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM switch_step",
        "DELETE FROM switch_job",
        "UPDATE switch_job SET why = 'other'",
        "UPDATE switch_step SET device = 'other'",
        "UPDATE switch_step SET state = 'failed', reason = 'x' WHERE state = 'verified'",
        "UPDATE switch_step SET state = 'sent' WHERE state = 'waiting'",
    ],
)
async def test_the_database_keeps_what_was_ordered_and_proved(park: Database, book: SqlSwitching, sql: str) -> None:
    job, _ = await book.start(SITE, order(), by())
    await book.send(job, [Target("em-001")], NOW)
    await book.settle(job, [("em-001", Judgement("verified"))], NOW + 1)
    with pytest.raises(Exception, match=r"kept|posted for good|constraint|check|CHECK"):
        async with park.write() as tx:
            await tx.execute(sql)

"""Bulk switching in SQL: jobs, their steps, and the locks they place.

Theory of operation. A job and all of its steps are written in the transaction that orders it; each step then moves from
`waiting` to `sent` in the transaction that records its act and its standing lock. A process that dies between any two
statements therefore neither forgets a breaker nor orders one twice: whoever comes next reads what stands here and goes
on. Whoever writes holds the site's row, so two processes that run the same job do no harm either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.engine.bulk import BulkInsert
from adapters.store.journals.approval_policy import approval_policy
from adapters.store.journals.approvals import EXECUTORS, RELEASES, Approval, ask
from adapters.store.journals.audit import AuditEntry, record_audit
from adapters.store.journals.idempotency import answered, input_hash, remember
from adapters.store.journals.lock_acts import LockWish, group_of, take_site, write_lock
from adapters.store.journals.outbox import append_act, next_seq
from adapters.store.watching import switching_reads as reads
from twin.core import bulk
from twin.core.messages import AlarmTold
from twin.ports import MoneyRefusedError, PendingAct

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from adapters.store.engine.database import Database, Transaction
    from adapters.store.journals.journal_book import JournalBook
    from twin.core.bulk import Judgement, Target
    from twin.ports import Caller
    from twin.switched import NewJob, SwitchJob, SwitchStep

KIND = "switch.bulk"
ALARM = "@switching_halted"
_JOB = (
    "INSERT INTO switch_job (site, job, operation, lock, undo_of, selection, pace, include, until_ts, who, why,"
    " asked_ts, approval, state, reason, changed_by, changed_why, changed_ts, started_ts, ended_ts, bad_before,"
    " settled_before) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', ?, '', ?, ?, NULL, 0, 0)"
)
_STEPS = BulkInsert(
    "switch_step", "site job device tenant group_id state reason detail command settled_ts:bigint late:bigint"
)
_MOVE = (
    "UPDATE switch_job SET state = ?, reason = ?, changed_by = ?, changed_why = ?, changed_ts = ?,"
    " started_ts = COALESCE(started_ts, ?), ended_ts = ?, bad_before = ?, settled_before = ?"
    " WHERE site = ? AND job = ? AND state = ? RETURNING id"
)
_SENT = (
    "UPDATE switch_step SET state = 'sent', act_seq = ?, sent_ts = ? WHERE site = ? AND job = ?"
    " AND device = ? AND state = 'waiting'"
)
_SKIP = (
    "UPDATE switch_step SET state = 'skipped', reason = ?, detail = ?, settled_ts = ? WHERE site = ? AND job = ?"
    " AND device = ? AND state = 'waiting'"
)
_SETTLE = (
    "UPDATE switch_step SET state = ?, reason = ?, detail = ?, command = ?, settled_ts = ?,"
    " late = CASE WHEN state = 'sent' THEN 0 ELSE 1 END WHERE site = ? AND job = ? AND device = ?"
    " AND (state = 'sent' OR (state IN ('silent', 'failed') AND ? = 'verified'))"
)
_LEAVE = (
    "UPDATE switch_step SET state = 'left', reason = ?, settled_ts = ? WHERE site = ? AND job = ? AND state = 'waiting'"
)
_STANDS = "SELECT who, why FROM standing_lock WHERE site = ? AND breaker = ? AND lock = ? AND active"
_ALARM = (
    "INSERT INTO alarm (site, rule, twin, since, rule_version, tenant, changed_ts, cleared_ts, severity, active,"
    " because) VALUES (?, ?, ?, ?, 0, '', ?, NULL, 'major', TRUE, ?) ON CONFLICT (site, rule, twin, since) DO NOTHING"
)
_CLEAR = (
    "UPDATE alarm SET active = FALSE, cleared_ts = ?, changed_ts = ? WHERE site = ? AND rule = ? AND twin = ?"
    " AND active RETURNING since, because"
)
_TELLS = (
    "SELECT step.device FROM switch_step step JOIN device ON device.site = step.site AND device.device = step.device"
    " WHERE step.site = ? AND step.job = ? ORDER BY step.id LIMIT 1"
)


_LATELY = (
    "SELECT count(*) FROM switch_step step JOIN switch_job job ON job.site = step.site AND job.job = step.job"
    " WHERE job.site = ? AND job.who = ? AND job.asked_ts > ? AND job.operation = ? AND job.undo_of = ''"
    " AND job.approval = '' AND step.state NOT IN ('skipped', 'left')"
)
COUNTED_MS = 3_600_000
"""Orders of one person within so long count together against `approval.bulk_above`: an order that needs a second person
does not need none because it is cut into pieces."""


class SqlSwitching:
    """The `SwitchBook` port over an SQL database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def start(self, site: str, order: NewJob, caller: Caller) -> tuple[SwitchJob, bool]:
        """Record a job with all its steps; running, or asked where the site wants a second person for so many."""
        said = (order.wish.operation, order.wish.lock, order.wish.include, order.selection, order.pace, order.until)
        digest = input_hash(*said, order.undo_of, caller.why)
        scope = f"switch:{caller.who}"
        async with self._database.write() as tx:
            await take_site(tx, site)
            known = await answered(tx, site, scope, caller.key, digest)
            if known is not None:
                return await _must_have(tx, site, known), True
            if not any(not target.skip for target in order.targets):
                raise MoneyRefusedError("nothing_to_switch", "every breaker is left out; the preview says why")
            job = await _write_job(tx, site, order, caller)
            await remember(tx, site, scope, caller.key, digest, job, caller.ts)
            return await _must_have(tx, site, job), False

    async def job(self, site: str, job: str) -> SwitchJob | None:
        """One job with its tally; None for an unknown one."""
        async with self._database.snapshot() as tx:
            return await reads.job_of(tx, site, job)

    async def jobs(self, site: str, *, before: int = 2**63 - 1, limit: int = 100) -> list[tuple[int, SwitchJob]]:
        """Jobs with their positions, newest first."""
        async with self._database.snapshot() as tx:
            return await reads.jobs(tx, site, before, limit)

    async def at_work(self, *, late_since: int) -> list[SwitchJob]:
        """Jobs that somebody must look after."""
        async with self._database.snapshot() as tx:
            return await reads.at_work(tx, late_since)

    async def steps(
        self, site: str, job: str, *, states: Collection[str] = (), after: int = 0, limit: int = 1_000
    ) -> list[tuple[int, SwitchStep]]:
        """Steps with their positions, in order."""
        async with self._database.snapshot() as tx:
            return await reads.steps(tx, site, job, states, after, limit)

    async def needs_approval(self, site: str, size: int, operation: str, who: str, ts: int) -> bool:
        """Whether so many breakers need a second person, with those that this person has lately ordered without one, by
        the site's `approval.bulk_above`."""
        async with self._database.snapshot() as tx:
            lately = await _lately(tx, site, operation, who, ts)
            return (await approval_policy(tx, site)).beyond("bulk_above", size + lately)

    async def critical(self, site: str) -> frozenset[str]:
        """Breakers whose entry in the site file says `critical`."""
        async with self._database.snapshot() as tx:
            return await reads.critical(tx, site)

    async def move(self, site: str, job: str, how: str, who: str, why: str, ts: int) -> SwitchJob:
        """Stop, resume or cancel; the same again changes nothing."""
        async with self._database.write() as tx:
            await take_site(tx, site)
            known = await _must_have(tx, site, job)
            after = bulk.MOVES.get((how, known.state))
            if after is None:
                if known.state in {to for (verb, _), to in bulk.MOVES.items() if verb == how}:
                    return known
                raise MoneyRefusedError("job_state", f"job {job} is {known.state}: it cannot {how}")
            await _moved(tx, known, after, who, why, ts)
            if after == bulk.CANCELLED:
                await tx.execute(_LEAVE, "cancelled", ts, site, job)
            if known.state == bulk.HALTED:
                for row in await tx.fetch(_CLEAR, ts, ts, site, ALARM, job):
                    await _tell(tx, known, row[0], ts, active=False, because=msgspec.json.decode(row[1]))
            return await _must_have(tx, site, job)

    async def send(self, job: SwitchJob, checked: Sequence[Target], ts: int) -> list[PendingAct]:
        """The acts of breakers that still wait, each recorded with its lock; a `skip` leaves its breaker out."""
        acts = []
        async with self._database.write() as tx:
            await take_site(tx, job.site)
            known = await _must_have(tx, job.site, job.id)
            waiting = await reads.waiting(tx, job.site, job.id) if known.state == bulk.RUNNING else set()
            mark = await _undone_mark(tx, known)
            for target in checked:
                if target.device not in waiting:
                    continue
                skip, detail = target.skip, target.detail
                if not skip:
                    skip, detail = await _changed(tx, known, target.device, mark)
                if skip:
                    await tx.execute(_SKIP, skip, detail, ts, job.site, job.id, target.device)
                    continue
                wish = LockWish(
                    *(known.operation == "open", target.device, known.lock, known.who, known.reason_given, ts, ""),
                    until=known.until,
                )
                pending = await write_lock(tx, job.site, wish)
                await tx.execute(_SENT, pending.act.seq, ts, job.site, job.id, target.device)
                acts.append(pending)
        return acts

    async def settle(self, job: SwitchJob, found: Sequence[tuple[str, Judgement]], ts: int) -> None:
        """Record what came of breakers; what is proved already stays."""
        async with self._database.write() as tx:
            rows = [
                (one.state, one.reason, one.detail, one.command, ts, job.site, job.id, device, one.state)
                for device, one in found
            ]
            await tx.execute_many(_SETTLE, rows)

    async def halt(self, job: SwitchJob, reason: str, ts: int) -> None:
        """Stop a running job because too much went wrong, with an alarm that a resumption or a cancellation clears."""
        async with self._database.write() as tx:
            await take_site(tx, job.site)
            known = await _must_have(tx, job.site, job.id)
            if known.state != bulk.RUNNING:
                return
            await _moved(tx, known, bulk.HALTED, "platform", "", ts, reason=reason)
            tally = known.tally
            because = {"job": job.id, "reason": reason, "failed": tally.failed, "silent": tally.silent}
            because |= {"verified": tally.verified, "waiting": tally.waiting}
            await tx.execute(_ALARM, job.site, ALARM, job.id, ts, ts, _json(because))
            await _tell(tx, known, ts, ts, active=True, because=because)

    async def finish(self, job: SwitchJob, ts: int) -> None:
        """A running job has nothing left to do."""
        async with self._database.write() as tx:
            await take_site(tx, job.site)
            known = await _must_have(tx, job.site, job.id)
            if known.state == bulk.RUNNING:
                await _moved(tx, known, bulk.DONE, "platform", "", ts)


async def _write_job(tx: Transaction, site: str, order: NewJob, caller: Caller) -> str:
    rows = await tx.fetch("SELECT count(*) FROM switch_job WHERE site = ?", site)
    job = f"S{rows[0][0] + 1}"
    size = sum(not target.skip for target in order.targets)
    approval = ""
    lately = await _lately(tx, site, order.wish.operation, caller.who, caller.ts)
    if not order.undo_of and (await approval_policy(tx, site)).beyond("bulk_above", size + lately):
        body = {"job": job, "operation": order.wish.operation, "lock": order.wish.lock, "devices": size}
        body |= {"lately": lately} if lately else {}
        asked = (caller.who, caller.why, caller.ts, f"switch:{caller.key}")
        approval = await ask(tx, site, KIND, body, *asked, subject=f"switching {job}")
    state = bulk.ASKED if approval else bulk.RUNNING
    await tx.execute(
        _JOB,
        *(site, job, order.wish.operation, order.wish.lock, order.undo_of, _json(order.selection), _json(order.pace)),
        *(_json(order.wish.include), order.until, caller.who, caller.why, caller.ts, approval, state, caller.who),
        *(caller.ts, None if approval else caller.ts),
    )
    steps = [(*(site, job, one.device, one.tenant, one.group), *_at_first(one, caller.ts), 0) for one in order.targets]
    await _STEPS.run(tx, steps)
    after = {"operation": order.wish.operation, "lock": order.wish.lock, "devices": size, "approval": approval}
    said = {**after, "selection": msgspec.to_builtins(order.selection), "why": caller.why, "undo_of": order.undo_of}
    await record_audit(tx, site, [AuditEntry(caller.ts, caller.who, "switch.start", f"switching {job}", None, said)])
    return job


async def _lately(tx: Transaction, site: str, operation: str, who: str, ts: int) -> int:
    """How many breakers a person has lately ordered to be switched so without a second person."""
    rows = await tx.fetch(_LATELY, site, who, ts - COUNTED_MS, operation)
    return int(rows[0][0])


def _at_first(target: Target, ts: int) -> tuple[Any, ...]:
    """State, reason, detail, command and instant of settling of a step that is written."""
    return ("skipped", target.skip, target.detail, "", ts) if target.skip else ("waiting", "", "", "", None)


async def _moved(tx: Transaction, job: SwitchJob, state: str, who: str, why: str, ts: int, *, reason: str = "") -> None:
    """Move a job on. What failed before a person started or resumed it is not counted against it any more."""
    fresh = state == bulk.RUNNING
    bad, settled = (job.tally.bad, job.tally.settled) if fresh else (job.bad_before, job.settled_before)
    started = ts if fresh else None
    ended = ts if state in bulk.ENDED else None
    values = (state, reason, who, why, ts, started, ended, bad, settled, job.site, job.id, job.state)
    moved = await tx.fetch(_MOVE, *values)
    assert moved, "the site's row is held, so nobody else can have moved it"
    after = {"state": state, "why": why, "reason": reason, "tally": msgspec.to_builtins(job.tally)}
    entry = AuditEntry(ts, who, f"switch.{state}", f"switching {job.id}", {"state": job.state}, after)
    await record_audit(tx, job.site, [entry])


async def _undone_mark(tx: Transaction, job: SwitchJob) -> tuple[str, str] | None:
    """Who placed the locks that an undoing job takes off, and why; None for any other job."""
    if not job.undo_of:
        return None
    undone = await _must_have(tx, job.site, job.undo_of)
    return undone.who, undone.reason_given


async def _changed(tx: Transaction, job: SwitchJob, device: str, mark: tuple[str, str] | None) -> tuple[str, str]:
    """What has come between plan and now, by the locks as SQL has them: why to leave the breaker out, or nothing."""
    if not await tx.fetch("SELECT 1 FROM device WHERE site = ? AND device = ?", job.site, device):
        return "device_gone", ""
    rows = await tx.fetch(_STANDS, job.site, device, job.lock)
    if job.operation == "open":
        return ("already_locked", str(rows[0][0])) if rows else ("", "")
    if not rows:
        return "lock_gone" if mark else "not_locked", ""
    return ("lock_gone", str(rows[0][0])) if mark and (rows[0][0], rows[0][1]) != mark else ("", "")


async def _tell(tx: Transaction, job: SwitchJob, since: int, ts: int, *, active: bool, because: dict[str, Any]) -> None:
    """Let the twin of one of the job's breakers tell the live feed of the alarm: a feed hears of what twins tell."""
    rows = await tx.fetch(_TELLS, job.site, job.id)
    if rows:
        group = await group_of(tx, job.site, rows[0][0])
        seq = await next_seq(tx, job.site, group)
        act = AlarmTold(seq, ALARM, job.id, since, ts, "major", active, because)
        await append_act(tx, job.site, group, act)


async def _must_have(tx: Transaction, site: str, job: str) -> SwitchJob:
    known = await reads.job_of(tx, site, job)
    if known is None:
        raise MoneyRefusedError("unknown_job", f"site {site} has no switching job {job!r}")
    return known


async def _agreed(
    tx: Transaction, _book: JournalBook, site: str, body: dict[str, Any], approval: Approval
) -> list[PendingAct]:
    """A second person has agreed: the job runs. Raises MoneyRefusedError `job_state` for one that waits no more."""
    job = await _must_have(tx, site, body["job"])
    if job.state != bulk.ASKED:
        raise MoneyRefusedError("job_state", f"job {job.id} is {job.state} already")
    await _moved(tx, job, bulk.RUNNING, approval.decided_by, approval.decided_why, _decided(approval))
    return []


async def _refused(
    tx: Transaction, _book: JournalBook, site: str, body: dict[str, Any], approval: Approval
) -> list[PendingAct]:
    """Nobody agreed: the job ends before it began."""
    job = await _must_have(tx, site, body["job"])
    if job.state == bulk.ASKED:
        await _moved(tx, job, bulk.REFUSED, approval.decided_by, approval.decided_why, _decided(approval))
        await tx.execute(_LEAVE, "refused", _decided(approval), site, job.id)
    return []


def _decided(approval: Approval) -> int:
    return approval.decided_ts if approval.decided_ts is not None else approval.asked_ts


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


EXECUTORS[KIND] = _agreed
RELEASES[KIND] = _refused

"""Firings that wait behind a guard, and the approvals by which people let them through.

A rule that is due and finds its guard used up is recorded as deferred with the gate `guard`; as long as that is the
newest thing recorded of the rule and its twin, it waits. An approval is an act for the twin: written with the audit in
one transaction, delivered in order, once. It is spent by the firing, and void when the rule waits no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.journals.audit import AuditEntry, record_audit
from adapters.store.journals.lock_acts import group_of, take_site
from adapters.store.journals.outbox import append_act, next_seq
from twin.core.guards import GUARD_HELD
from twin.core.messages import FiringApproved

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapters.store.engine.database import Database, Transaction
    from twin.ports import PendingAct

_WAITING = (
    "SELECT r.rule, r.rule_version, r.twin, r.ts, r.record, r.transition FROM rule_change r JOIN"
    " (SELECT rule, twin, max(id) AS id FROM rule_change WHERE site = ? GROUP BY rule, twin) newest"
    " ON newest.id = r.id WHERE r.state = 'deferred' ORDER BY r.ts, r.id"
)


_ALARMS = "SELECT DISTINCT twin FROM alarm WHERE site = ? AND rule = ? AND active"
_CLEAR = (
    "UPDATE alarm SET active = FALSE, cleared_ts = ?, changed_ts = ? WHERE site = ? AND rule = ? AND twin = ?"
    " AND active"
)


class HeldFiring(msgspec.Struct, frozen=True):
    """A rule that would act on a twin, and waits for a person since `since` (Unix ms). `because` explains it;
    `approved` says that somebody has agreed already and another gate still holds it."""

    rule: str
    rule_version: int
    scope: str
    twin: str
    since: int
    because: dict[str, Any]
    approved: bool = False


class SqlHeldFirings:
    """What waits, and the approval of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def waiting(self, site: str) -> list[HeldFiring]:
        """Every firing of a site that a guard holds back, the longest waiting first."""
        rows = await self._database.fetch(_WAITING, site)
        found = []
        for rule, version, twin, ts, text, transition in rows:
            told = msgspec.json.decode(text)
            memory = told.pop("memory", {})
            if told.get("gate") == "guard" or transition == "approved":
                since = memory.get("due") or ts
                found.append(
                    HeldFiring(rule, version, told.get("scope", ""), twin, since, told, transition == "approved")
                )
        return found

    async def clear_settled(self, site: str, now: int) -> list[str]:
        """End the alarms of used-up guards behind which nothing waits any more; returns their rules."""
        alarmed = [row[0] for row in await self._database.fetch(_ALARMS, site, GUARD_HELD)]
        if not alarmed:
            return []
        waiting = {firing.rule for firing in await self.waiting(site)}
        settled = [rule for rule in alarmed if rule not in waiting]
        async with self._database.write() as tx:
            for rule in settled:
                await tx.execute(_CLEAR, now, now, site, GUARD_HELD, rule)
        return settled

    async def approve(
        self, site: str, firings: Sequence[HeldFiring], *, who: str, why: str, until: int, now: int
    ) -> list[PendingAct]:
        """Let firings through; returns the acts for their twins. Raises LookupError for an unknown site or device."""
        async with self._database.write() as tx:
            await take_site(tx, site)
            acts = []
            for firing in firings:
                group = await _group(tx, site, firing)
                seq = await next_seq(tx, site, group)
                act = FiringApproved(seq, firing.scope, firing.twin, firing.rule, until, who, why, now)
                acts.append(await append_act(tx, site, group, act, owed=True))
            said = {"why": why, "until": until}
            entries = [
                AuditEntry(now, who, "firing.approve", f"rule {one.rule} {one.scope} {one.twin}", None, said)
                for one in firings
            ]
            await record_audit(tx, site, entries)
            return acts


async def _group(tx: Transaction, site: str, firing: HeldFiring) -> str:
    """The group of a twin: a tenant's bears its id, a device is in its tenant's or in one of its own."""
    return firing.twin if firing.scope == "tenant" else await group_of(tx, site, firing.twin)

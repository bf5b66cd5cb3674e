"""Twins and the ledger in one hand, step by step: what a process would do, so that a test can stop between any two."""

from __future__ import annotations

from adapters.store.engine.database import Database
from adapters.store.meters.meter_desk import SqlMeters
from adapters.store.meters.rerating import rerate_site
from adapters.store.posting.ledger import SqlLedger
from adapters.store.proofs.verify import verify_sql
from adapters.store.proofs.verify_history import check_history
from adapters.store.sites.registry import SqlRegistry
from tests.unit.adapters.store.park import NOW, SITE
from twin.core.decide import decide
from twin.core.messages import Telemetry
from twin.core.model import Group
from twin.flows.policies import CompiledPolicies
from twin.ports import Caller, Entry, Outcome

MINUTE = 60_000
HOUR = 60 * MINUTE


class Stage:
    """One site: its twins in a dict, what they asked for in a list, and SQL."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.ledger = SqlLedger(database)
        self.registry = SqlRegistry(database)
        self.meters = SqlMeters(database)
        self.groups: dict[str, Group] = {}
        self.entries: list[Entry] = []
        self.now = NOW
        self.serial = 0
        self.keys = 0
        self.guards: dict[str, int] = {}
        """Cutoffs counted against guards of rules."""

    async def start(self) -> None:
        """Twins from SQL, as after a rebuild."""
        await self.registry.next_generation(SITE)
        self.groups = {group.id: group async for group in self.registry.rebuilt_groups(SITE)}
        self.entries.clear()
        self.policy = await CompiledPolicies(self.registry, skew_ms=300_000).policy(SITE)

    def play(self, group: str, message: object) -> None:
        """Decide on one message."""
        decision = decide(self.groups[group], message, self.now, self.policy, self.guards)
        self.groups[group] = decision.group
        if decision.effects:
            self.serial += 1
            self.entries.append(Entry(f"{NOW}-{self.serial}", group, decision.effects))

    def holder(self, meter: str) -> str | None:
        """The group that has a meter's twin."""
        found = [name for name, group in self.groups.items() if meter in group.meters]
        assert len(found) < 2, "a meter has one twin"
        return found[0] if found else None

    def read(self, meter: str, shown: int, ts: int | None = None, **more: object) -> bool:
        """A sample arrives; False where nobody has the meter just now."""
        group = self.holder(meter)
        if group is None:
            return False
        self.serial += 1
        channel = "volume_l" if meter.startswith("wm") else "import_wh"
        at = self.now if ts is None else ts
        sample = Telemetry(meter, "s1", self.serial, at, {channel: shown, **more}, ts is not None, "good", self.now)
        self.play(group, sample)
        return True

    async def post(self) -> int:
        """The ledger takes what there is; returns how many entries."""
        count = len(self.entries)
        await self.ledger.post(SITE, self.entries)
        self.entries.clear()
        return count

    async def deliver(self) -> int:
        """The sweep brings what is undelivered; returns how many acts."""
        acts = await self.ledger.undelivered(SITE, limit=100)
        for pending in acts:
            self.groups.setdefault(pending.group, Group(SITE, pending.group))
            self.play(pending.group, pending.act)
            await self.ledger.delivered(SITE, {pending.group: pending.act.seq})
        return len(acts)

    async def settle(self) -> None:
        """Until nothing moves any more."""
        while await self.deliver() + await self.post():
            pass

    async def act(self, kind: str, **body: object) -> Outcome:
        """A person does something."""
        self.keys += 1
        return await self.meters.act(SITE, kind, body, Caller("carol", "as agreed", self.now, f"k-{self.keys}"))

    async def charged(self) -> dict[str, int]:
        """Posted charges by tenant, nano-units; the landlord under an empty name."""
        rows = await self.database.fetch("SELECT tenant, charges_nano FROM account WHERE charges_nano <> 0")
        return {row[0]: row[1] for row in rows}

    async def rate_again(self) -> list[str]:
        """Rate marked meters again; returns what is still charged otherwise than the samples say."""
        outcomes = [one async for one in rerate_site(self.database, SITE, now=self.now)]
        assert [one.trouble for one in outcomes if one.trouble] == []
        async with self.database.snapshot() as tx:
            return [f"{one.where}: {one.detail}" async for one in check_history(tx, SITE, lambda _seen: None)]

    async def breaches(self) -> list[str]:
        """What `verify` finds."""
        return [f"{finding.code} {finding.where}" async for finding in verify_sql(self.database, SITE)]

"""From contracts as they were to contracts as they are: the acts that bring the twins there.

Every group in which the two differ gets one `ContractsChanged`. A meter with an open chain that goes from one group to
another is handed over: the first group is told to let go, and the next one is told when the ledger has
what the first one charged (`handover_posting`). So neither charges what the other did, and nothing is lost in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapters.store.engine.bulk import BulkInsert
from adapters.store.journals.outbox import encode_act
from adapters.store.sites.contracts import without_meters
from adapters.store.sites.handover_posting import RELEASING
from adapters.store.sites.site_file import SiteError
from adapters.store.sites.standing_locks import standing_locks
from twin.core.arrears import becomes_prepaid
from twin.core.messages import ContractsChanged
from twin.ports import Contracts, PendingAct

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from adapters.store.engine.database import Row, Transaction
    from twin.core.messages import Act
    from twin.core.model import Lock

_CHAINS = "SELECT meter, epoch, head_qty, opening, reason FROM register_epoch WHERE site = ? ORDER BY meter, epoch"
_OPEN = "SELECT meter, to_group, state FROM handover WHERE site = ? AND state <> 'done'"
_COUNT = "SELECT count(DISTINCT handover) FROM handover WHERE site = ?"
_HANDOVER = BulkInsert(
    "handover",
    "site handover meter breaker from_group to_group at:bigint who why ts:bigint state changed_ts:bigint",
)
_ACTS = BulkInsert("act", "site group_id seq:bigint body ts:bigint delivered:boolean owed:bigint")
_ACT_HEADS = BulkInsert("act_head", "site group_id seq:bigint", "(site, group_id) DO UPDATE SET seq = excluded.seq")


class ContractActs:
    """Acts of one transaction, numbered in their groups. The caller holds the site's row (`open_book`)."""

    def __init__(self, tx: Transaction, site: str, who: str, why: str, now: int) -> None:
        self.tx = tx
        self.site = site
        self.who = who
        self.why = why
        self.now = now
        self.acts: list[PendingAct] = []
        self.handovers: dict[str, str] = {}
        """Meter -> hand-over, of those that begin here."""
        self.ratios: dict[str, int] = {}
        """Numbers of the events by which ratios change, by meter."""
        self._heads: dict[str, int] = {}
        self._locks: dict[str, dict[str, Lock]] = {}

    async def load(self) -> None:
        """Read the numbers of the groups' last acts and the locks that stand; to be called first."""
        rows = await self.tx.fetch("SELECT group_id, seq FROM act_head WHERE site = ?", self.site)
        self._heads = dict(map(tuple, rows))
        self._locks = await standing_locks(self.tx, self.site)

    def next(self, group: str) -> int:
        """The number of the next act of a group."""
        self._heads[group] = self._heads.get(group, 0) + 1
        return self._heads[group]

    def add(self, group: str, act: Act) -> None:
        """Take an act that carries its number."""
        self.acts.append(PendingAct(self.site, group, act))

    async def tell(
        self,
        old: Mapping[str, Contracts],
        new: Mapping[str, Contracts],
        opened: Iterable[str] = (),
        at: Mapping[str, int] | None = None,
    ) -> None:
        """Acts for every group that changes. `opened` are meters whose chain was opened in this transaction, `at` the
        instants from which on meters are the next tenant's (default: now).

        Raises SiteError for a meter that is still on its way in an earlier hand-over, and for one that would get
        another ratio on its way.
        """
        chains = {row["meter"]: row for row in await self.tx.fetch(_CHAINS, self.site)}
        under_way = {row["meter"]: row for row in await self.tx.fetch(_OPEN, self.site)}
        moving = self._moving(old, new, chains, set(opened))
        stuck = sorted(moving.keys() & under_way.keys())
        if stuck:
            raise SiteError([f"meter {name}: it is being handed over; try again in a moment" for name in stuck])
        between = sorted(self.ratios.keys() & (moving.keys() | under_way.keys()))
        if between:
            detail = "its ratio cannot change while it goes to another tenant; change one after the other"
            raise SiteError([f"meter {name}: {detail}" for name in between])
        await self._begin(old, moving, at or {})
        arriving: dict[str, str] = {name: target for name, (_, target) in moving.items()}
        for name, row in under_way.items():
            if row["state"] == RELEASING:
                arriving.setdefault(name, row["to_group"])
        for group in [*new, *(group for group in old if group not in new)]:
            absent = {name for name, target in arriving.items() if target == group}
            after = without_meters(new.get(group) or Contracts(group, None), absent)
            before = without_meters(old[group], absent) if group in old else None
            held = {meter.id for meter in old[group].meters} - set(opened) if group in old else set()
            openings = {
                meter.id: chains[meter.id]["head_qty"]
                for meter in after.meters
                if meter.id in chains and meter.id not in held
            }
            released = {name: self.handovers[name] for name, (source, _) in moving.items() if source == group}
            if not released and not openings and (before == after or (before is None and absent and not after.meters)):
                continue
            self._contracts(group, before, after, openings, released)

    def _contracts(
        self,
        group: str,
        before: Contracts | None,
        after: Contracts,
        openings: dict[str, int],
        released: dict[str, str],
    ) -> None:
        had = {breaker.id for breaker in before.breakers} if before is not None else set()
        come = [breaker.id for breaker in after.breakers if breaker.id not in had]
        act = ContractsChanged(
            seq=self.next(group),
            ts=self.now,
            contract=after.contract,
            meters=after.meters,
            breakers=after.breakers,
            gateway=after.gateway,
            openings=openings,
            released=released,
            prepaid_now=before is not None and becomes_prepaid(before.contract, after.contract),
            events={meter.id: self.ratios[meter.id] for meter in after.meters if meter.id in self.ratios},
            standing={name: self._locks[name] for name in come if name in self._locks},
        )
        self.add(group, act)

    def _moving(
        self, old: Mapping[str, Contracts], new: Mapping[str, Contracts], chains: Mapping[str, Row], opened: set[str]
    ) -> dict[str, tuple[str, str]]:
        """Meters with something to hand over, and between which groups."""
        before = {meter.id: group for group, contracts in old.items() for meter in contracts.meters}
        after = {meter.id: group for group, contracts in new.items() for meter in contracts.meters}
        return {
            name: (group, after[name])
            for name, group in before.items()
            if name in after and after[name] != group and name not in opened and name in chains
        }

    async def _begin(
        self, old: Mapping[str, Contracts], moving: Mapping[str, tuple[str, str]], at: Mapping[str, int]
    ) -> None:
        if not moving:
            return
        count = (await self.tx.fetch(_COUNT, self.site))[0][0]
        ids: dict[tuple[str, str], str] = {}
        rows = []
        for name, way in sorted(moving.items()):
            if way not in ids:
                count += 1
                ids[way] = f"H{count}"
            self.handovers[name] = ids[way]
            breaker = next(meter.breaker for meter in old[way[0]].meters if meter.id == name)
            begins = at.get(name, self.now)
            rows.append(
                (self.site, ids[way], name, breaker, *way, begins, self.who, self.why, self.now, RELEASING, self.now)
            )
        await _HANDOVER.run(self.tx, rows)

    async def write(self) -> list[PendingAct]:
        """Put the acts into the outbox, in the transaction of their cause."""
        rows = [
            (self.site, item.group, item.act.seq, encode_act(item.act), item.act.ts, False, int(_is_owed(item.act)))
            for item in self.acts
        ]
        await _ACTS.run(self.tx, rows)
        touched = sorted({item.group for item in self.acts})
        await _ACT_HEADS.run(self.tx, [(self.site, group, self._heads[group]) for group in touched])
        return self.acts


def _is_owed(act: Act) -> bool:
    """Whether twins made from SQL carry the act out: its day of grace is the twin's to keep."""
    return isinstance(act, ContractsChanged) and act.prepaid_now

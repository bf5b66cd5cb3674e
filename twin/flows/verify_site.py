"""Verify: prove that twins and ledger tell the same story, to the Wh and to the nano-unit, while traffic goes on.

Theory of operation. SQL proves itself first: the chains tile every register, amounts follow from prices, journals
balance and are chained by hash. Then every twin is held against SQL. Both move, so a comparison is made like this: read
the twin's *marks* (what of it SQL must know: posted heads, posted charges, credits, acts), wait until SQL has every
effect that was written before, read SQL, compare. Where they differ the twin is read again: if its marks have not
changed meanwhile, nothing can excuse the difference and it is a breach; if they have, the comparison is made anew. An
act that SQL has and the twin not yet is given until the last round. What never stands still is reported as in motion,
not as proved.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from twin.flows.rebuild_twins import why_rebuild
from twin.ports import StoreLostError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from twin.core.model import Group, MeterTwin
    from twin.ports import EffectStream, Ledger, Registry, TwinStore

ROUNDS = 10
PAUSE_S = 0.3
POLL_S = 0.05
MOST_FINDINGS = 1_000


class Finding(msgspec.Struct, frozen=True):
    """Something that does not hold at `where`. `severity` is `error` for a breach, or `warning`."""

    severity: str
    code: str
    where: str
    detail: str


class LedgerMarks(Protocol):
    """What SQL says, for comparing with twins: (epoch, end of its chain) by meter, totals by tenant, acts by group."""

    @property
    def heads(self) -> dict[str, tuple[int, int]]: ...

    @property
    def credits_nano(self) -> dict[str, int]: ...

    @property
    def charges_nano(self) -> dict[str, int]: ...

    @property
    def acts(self) -> dict[str, int]: ...


class LedgerTotals(msgspec.Struct, frozen=True):
    """How much was proved. Energy in Wh, water in litres, money in nano-units."""

    meters: int = 0
    rows: int = 0
    energy_wh: int = 0
    water_l: int = 0
    journals: int = 0
    credits_nano: int = 0
    charges_nano: int = 0


class Books(Protocol):
    """SQL's own proof, and what it says for comparison."""

    def findings(self, site: str, *, deep: int | None = None) -> AsyncIterator[Any]:
        """Everything in SQL that does not hold, each with the fields of a `Finding`; `deep` as in `verify_site`."""
        ...

    async def marks(self, site: str) -> LedgerMarks:
        """What twins must agree with, from one instant."""
        ...

    async def totals(self, site: str) -> Any:
        """Sums of what there is, with the fields of `LedgerTotals`."""
        ...


class Parts(Protocol):
    """What verification needs of an installation; `api.bootstrap.Platform` has it all."""

    @property
    def registry(self) -> Registry: ...

    @property
    def store(self) -> TwinStore: ...

    @property
    def stream(self) -> EffectStream: ...

    @property
    def ledger(self) -> Ledger: ...

    @property
    def books(self) -> Books: ...


class Proof(msgspec.Struct):
    """The outcome for one site. `open_nano` is charged in twins and not posted yet."""

    site: str
    totals: LedgerTotals = LedgerTotals()
    groups: int = 0
    open_nano: int = 0
    findings: list[Finding] = msgspec.field(default_factory=list)
    in_motion: list[str] = msgspec.field(default_factory=list)
    """Groups that changed whenever they were looked at: neither proved nor disproved."""

    @property
    def ok(self) -> bool:
        """Nothing is broken."""
        return not any(finding.severity == "error" for finding in self.findings)

    def breach(self, code: str, where: str, detail: str) -> None:
        """Note that something does not hold."""
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(Finding("error", code, where, detail))


class Marks(msgspec.Struct, frozen=True):
    """What of one group SQL must know."""

    acts_seq: int
    tenant: str | None
    credits_nano: int
    posted_charges_nano: int
    open_nano: int
    heads: tuple[tuple[str, int, bool, int], ...]
    """(meter, epoch, opened, posted)"""
    inside: tuple[str, ...] = ()
    """What is wrong with the twin by itself, whatever SQL says."""

    @property
    def posting(self) -> tuple[object, ...]:
        """What SQL must know; what is charged and not posted does not matter to it."""
        return (self.acts_seq, self.tenant, self.credits_nano, self.posted_charges_nano, self.heads)


class Suspect(msgspec.Struct, frozen=True):
    """A group that differed from SQL when it was last looked at."""

    marks: Marks | None
    """None: the store did not have it."""
    differences: tuple[str, ...]
    waits_for_act: bool
    """SQL has told it something that it may not have heard yet."""


async def verify_site(
    parts: Parts,
    site: str,
    *,
    within_s: float = 30.0,
    progress: Callable[[str], object] | None = None,
    deep: int | None = None,
) -> Proof:
    """Prove one site; waits at most `within_s` real seconds for the ledger to have every effect.

    `deep` rates the whole past of so many meters again from their samples (0: of every meter); None leaves that out.
    """
    say = progress or (lambda _text: None)
    proof = Proof(site)
    reason = await why_rebuild(parts.registry, parts.store, parts.stream, site)
    if reason:
        proof.breach("twins_lost", site, f"{reason}; `twinmeter rebuild` makes them anew from SQL")
    else:
        say(f"{site}: waiting for the ledger")
        if not await drained(parts, site, within_s=within_s):
            proof.breach(
                "ledger_behind", site, f"the ledger did not take every effect within {within_s:g} s; is it running?"
            )
    say(f"{site}: proving the ledger")
    async for finding in parts.books.findings(site, deep=deep):
        if len(proof.findings) < MOST_FINDINGS:
            proof.findings.append(msgspec.convert(finding, Finding, from_attributes=True))
    if proof.ok and not reason:
        say(f"{site}: comparing twins with the ledger")
        try:
            await _compare(parts, site, proof, within_s)
        except StoreLostError as error:
            proof.breach("twins_lost", site, str(error))
    proof.totals = msgspec.convert(await parts.books.totals(site), LedgerTotals, from_attributes=True)
    return proof


async def drained(parts: Parts, site: str, *, within_s: float) -> bool:
    """Wait until SQL has every effect that is in the stream now; False when that takes too long."""
    known = await parts.store.generation(site)
    last = _order(known[1]) if known is not None else (0, 0)
    deadline = asyncio.get_running_loop().time() + within_s
    while _order(await parts.ledger.position(site)) < last:
        if asyncio.get_running_loop().time() >= deadline:
            return False
        await asyncio.sleep(POLL_S)
    return True


async def _compare(parts: Parts, site: str, proof: Proof, within_s: float) -> None:
    suspects: dict[str, Suspect] | None = None
    for number in range(ROUNDS):
        marks = await _read_marks(parts.store, site, suspects)
        if suspects is None:
            _count(proof, marks)
        else:
            suspects = _convict(proof, suspects, marks, last_round=number == ROUNDS - 1)
        if not await drained(parts, site, within_s=within_s):
            proof.breach("ledger_behind", site, f"the ledger did not take every effect within {within_s:g} s")
            return
        ledger = await parts.books.marks(site)
        wanted = marks.keys() | ledger.credits_nano.keys() if suspects is None else suspects.keys()
        suspects = {group: found for group in wanted if (found := _differences(group, marks.get(group), ledger))}
        if not suspects:
            return
        await asyncio.sleep(PAUSE_S)
    proof.in_motion = sorted(suspects or ())


def _count(proof: Proof, marks: dict[str, Marks]) -> None:
    """The first look: how much there is, and what is wrong with twins by themselves."""
    proof.groups = len(marks)
    proof.open_nano = sum(mark.open_nano for mark in marks.values())
    for group, mark in marks.items():
        for fault in mark.inside:
            proof.breach("twin_inconsistent", group, fault)


def _convict(
    proof: Proof, suspects: dict[str, Suspect], marks: dict[str, Marks], *, last_round: bool
) -> dict[str, Suspect]:
    """Report groups whose marks stood still while SQL was read; returns those that must be looked at again."""
    moving: dict[str, Suspect] = {}
    for group, suspect in suspects.items():
        before, after = suspect.marks, marks.get(group)
        stood_still = (before and before.posting) == (after and after.posting)
        if stood_still and (last_round or not suspect.waits_for_act):
            for text in suspect.differences:
                proof.breach("twin_differs", group, text)
        else:
            moving[group] = suspect
    return moving


async def _read_marks(store: TwinStore, site: str, only: dict[str, Suspect] | None) -> dict[str, Marks]:
    return {group.id: marks_of(group) async for group in await store.groups(site) if only is None or group.id in only}


def marks_of(group: Group) -> Marks:
    """What SQL must know of a group, and what is wrong with it by itself."""
    open_nano = 0
    inside: list[str] = []
    for meter in group.meters.values():
        row = meter.register.row
        open_nano += row.amount_nano if row is not None else 0
        inside += _inner_faults(meter)
    tenant = group.tenant
    return Marks(
        group.acts_seq,
        tenant.id if tenant else None,
        tenant.credits_nano if tenant else 0,
        tenant.charges_nano - open_nano if tenant else 0,
        open_nano,
        tuple((m.id, m.register.epoch, m.register.opened, m.register.posted) for m in group.meters.values()),
        tuple(inside),
    )


def _inner_faults(meter: MeterTwin) -> list[str]:
    register, row = meter.register, meter.register.row
    covered = (row.from_qty, row.to_qty) if row is not None else (register.posted, register.posted)
    faults = []
    if covered != (register.posted, register.head):
        faults.append(f"{meter.id}: open row covers {covered}, not [{register.posted}, {register.head})")
    if row is not None and row.amount_nano != row.price_micro * (row.to_qty - row.from_qty):
        faults.append(f"{meter.id}: open row amounts to {row.amount_nano}, not price x quantity")
    if register.opened and register.seen < register.head:
        faults.append(f"{meter.id}: head {register.head} is ahead of the last reading {register.seen}")
    return faults


def _differences(group: str, marks: Marks | None, ledger: LedgerMarks) -> Suspect | None:
    """What differs between a twin and SQL; None where they agree."""
    if marks is None:
        return Suspect(None, ("SQL has an account for it, the store has no such twin",), waits_for_act=True)
    found: list[str] = []
    for meter, epoch, opened, posted in marks.heads:
        head = ledger.heads.get(meter)
        if opened and head != (epoch, posted):
            said = f"epoch {head[0]} up to {head[1]}" if head is not None else "no chain"
            found.append(f"{meter}: the twin posted epoch {epoch} up to {posted}, SQL has {said}")
        elif not opened and head is not None:
            found.append(f"{meter}: SQL has epoch {head[0]} up to {head[1]}, the twin has no chain")
    if marks.tenant is not None:
        found += _money_differences(marks.tenant, marks, ledger)
    acts = ledger.acts.get(group, 0)
    if acts != marks.acts_seq:
        found.append(f"the twin has acts up to {marks.acts_seq}, SQL up to {acts}")
    return Suspect(marks, tuple(found), waits_for_act=acts > marks.acts_seq) if found else None


def _money_differences(tenant: str, marks: Marks, ledger: LedgerMarks) -> list[str]:
    found = []
    charges, credited = ledger.charges_nano.get(tenant, 0), ledger.credits_nano.get(tenant, 0)
    if charges != marks.posted_charges_nano:
        found.append(f"{tenant}: the twin posted charges of {marks.posted_charges_nano} nano, SQL has {charges}")
    if credited != marks.credits_nano:
        found.append(f"{tenant}: the twin has credits of {marks.credits_nano} nano, SQL {credited}")
    return found


def _order(entry: str) -> tuple[int, int]:
    """Stream ids `ms-n` in their order."""
    ms, _, n = entry.partition("-")
    return int(ms), int(n or 0)

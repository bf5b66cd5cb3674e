"""A meter's life as people decide it: readings they give, other registers, other ratios, and the way from one group to
another.

Theory of operation. A reading that a person gave is believed however far it lies from the last one; an older one than
what was accepted goes to the ledger, which alone knows the past. Another register, and another ratio, is another epoch:
it opens where the old one was left, the counters of use go on, and nothing between the two is charged to anybody.

A hand-over is two acts of two groups. The first group charges and posts what it has and lets go: the effect
`MeterReleased` carries the twins, behind the last row. When the ledger has both, it gives the twins to the next group
in an act, which goes on at exactly that register. Locks for arrears belong to the tenant and stay behind; all others
belong to the place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from twin.core import accrual
from twin.core.act_order import is_new
from twin.core.effects import LateReading, MeterReleased, MeterTaken
from twin.core.incidents import open_incident, resolve_incident
from twin.core.locks import release
from twin.core.model import Successor, duplicate
from twin.core.reactions import react_to_reading
from twin.core.telemetry import forget_doubts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from twin.core.draft import Draft
    from twin.core.messages import ContractsChanged, DoubtSettled, ReadingEntered, RegisterReplaced
    from twin.core.model import BreakerTwin, MeterContract, MeterTwin

ARREARS = "credit"
CONTRADICTS = "reading_contradicts"
"""Incident: a person's reading lies below what the register had shown before."""
RATIO_UNREAD = "ratio_unread"
"""Incident: nobody read the meter when its ratio changed, and there was no twin that had."""


def on_reading_entered(draft: Draft, act: ReadingEntered, now: int) -> None:
    """A person's reading: the register goes there, or the past is refined."""
    if not is_new(draft.group, act):
        return
    draft.group.acts_seq = act.seq
    if act.meter not in draft.group.meters:
        return
    contract = draft.group.meter_contracts[act.meter]
    meter = draft.meter(act.meter)
    register = meter.register
    quantity = act.raw * contract.ratio
    if not register.opened:
        accrual.open_epoch(draft, meter, quantity, act.ts, "first reading, by a person")
        return
    if register.seen_ts is not None and act.ts < register.seen_ts:
        draft.emit(LateReading(meter.id, register.epoch, act.raw, act.ts, act.sid, act.number, source=act.source))
        return
    turns = register.turns + 1 if act.rolled else register.turns
    _go_to(draft, meter, turns * contract.modulus + quantity, turns, act.ts, now)


def on_register_replaced(draft: Draft, act: RegisterReplaced, now: int) -> None:
    """Another register counts: the old one is charged to its final reading, the new one opens."""
    if not is_new(draft.group, act):
        return
    group = draft.group
    group.acts_seq = act.seq
    if act.meter not in group.meters:
        return
    old = group.meter_contracts[act.meter]
    opening = act.opening * act.contract.ratio
    successor = Successor(act.ts, act.reason, opening, act.final, old.ratio, old.modulus, act.event)
    _succeed(draft, act.meter, successor, act.contract, now)


def carry_out_owed(draft: Draft, name: str, now: int) -> None:
    """A twin that was made from SQL before SQL had the epochs of registers that people told of: these open now, as the
    act would have opened them. The act itself counts as taken."""
    owed = draft.group.meters[name].owed
    contract = draft.group.meter_contracts[name]
    followers = [replace(contract, ratio=one.ratio, modulus=one.modulus) for one in owed[1:]]
    for successor, after in zip(owed, [*followers, contract], strict=True):
        _succeed(draft, name, successor, after, now)
    draft.meter(name).owed = ()


def _succeed(draft: Draft, name: str, successor: Successor, contract: MeterContract, now: int) -> None:
    """The old register is charged to its final reading, the new one opens under its contract."""
    meter = draft.meter(name)
    if successor.opening is None:
        _go_on_showing(draft, meter, successor, contract, now)
        return
    ts = max(successor.ts, meter.register.seen_ts or successor.ts)
    if successor.final is not None and meter.register.opened:
        quantity, turns = _unwrapped_final(meter, successor.modulus, successor.final * successor.ratio)
        _go_to(draft, meter, quantity, turns, ts, now)
    _charge_the_rest(draft, meter, now)
    draft.group.meter_contracts = {**draft.group.meter_contracts, name: contract}
    accrual.open_epoch(draft, meter, successor.opening, ts, successor.reason, event=successor.event)
    forget_doubts(draft, meter, now)
    resolve_incident(draft, meter, "register_reset", now)
    draft.wake_dirty = True


def _go_on_showing(draft: Draft, meter: MeterTwin, successor: Successor, contract: MeterContract, now: int) -> None:
    """A ratio that was changed while there was no twin. What the display showed then is known where somebody read it;
    else a person must be told: use before the change is charged by the new ratio from the last posted reading on."""
    _charge_the_rest(draft, meter, now)
    known = meter.register.seen_ts
    if known is None or known < successor.ts:
        detail = (
            f"the ratio became {contract.ratio} (before: {successor.ratio}) at {successor.ts} and nobody read the"
            f" meter then; all since its reading at {known} is charged by the new one"
        )
        open_incident(draft, meter, RATIO_UNREAD, now, detail)
    draft.group.meter_contracts = {**draft.group.meter_contracts, meter.id: contract}
    _open_ratio(draft, meter, (successor.ratio, successor.modulus), successor.event, now)
    draft.wake_dirty = True


def on_doubt_settled(draft: Draft, act: DoubtSettled, now: int) -> None:
    """Nothing of a kind is left to review: its incident ends, and a run that was being watched begins anew."""
    if not is_new(draft.group, act):
        return
    draft.group.acts_seq = act.seq
    if act.meter not in draft.group.meters:
        return
    meter = draft.meter(act.meter)
    suspects = meter.register.suspects
    if suspects is not None and suspects.reason == act.reason:
        meter.register = duplicate(meter.register)
        meter.register.suspects = None
    resolve_incident(draft, meter, act.reason, now)


def charge_before_new_ratios(draft: Draft, act: ContractsChanged, now: int) -> dict[str, MeterContract]:
    """Charge what was used under ratios that change; returns the contracts that had them."""
    changed: dict[str, MeterContract] = {}
    for contract in act.meters:
        known = draft.group.meter_contracts.get(contract.id)
        if known is not None and known.ratio != contract.ratio and draft.group.meters[contract.id].register.opened:
            changed[contract.id] = known
            _charge_the_rest(draft, draft.meter(contract.id), now)
    return changed


def open_new_ratios(draft: Draft, changed: Mapping[str, MeterContract], events: Mapping[str, int], now: int) -> None:
    """Open epochs under the ratios that hold now; `events` are the numbers of the acts that changed them."""
    for name, before in changed.items():
        _open_ratio(draft, draft.meter(name), (before.ratio, before.modulus), events.get(name, 0), now)


def _open_ratio(draft: Draft, meter: MeterTwin, before: tuple[int, int], event: int, now: int) -> None:
    """The display goes on; what one unit of it means is another thing: a new epoch, never a jump."""
    old, modulus = before
    shown = meter.register.seen % modulus // old
    ratio = draft.group.meter_contracts[meter.id].ratio
    ts = meter.register.seen_ts if meter.register.seen_ts is not None else now
    accrual.open_epoch(draft, meter, shown * ratio, ts, f"ratio {old} to {ratio}", event=event)
    forget_doubts(draft, meter, now)


def let_go(draft: Draft, released: Mapping[str, str], now: int) -> None:
    """Charge and post what released meters have, and send their twins on; a breaker goes with its first meter."""
    group = draft.group
    gone: set[str] = set()
    for name, handover in released.items():
        if name not in group.meters:
            continue
        meter = draft.meter(name)
        _charge_the_rest(draft, meter, now)
        meter.register = duplicate(meter.register)
        accrual.post(draft, meter)
        breaker: BreakerTwin | None = None
        device = group.meter_contracts[name].breaker
        if device is not None and device not in gone:
            gone.add(device)
            breaker = group.breakers.get(device)
        draft.emit(MeterReleased(handover, now, duplicate(meter), breaker))


def take_over(draft: Draft, act: ContractsChanged, come: Iterable[str], now: int) -> None:
    """The group has the meters that others let go of, and the breakers that `come` without a twin; locks for the
    arrears of others end here."""
    names = list(come)
    for handed in act.handed:
        draft.emit(MeterTaken(handed.handover, handed.meter.id, now))
        if handed.breaker is not None:
            names.append(handed.breaker.id)
    for name in names:
        breaker = draft.group.breakers.get(name)
        if breaker is not None and ARREARS in breaker.locks:
            release(draft, name, ARREARS, "platform", "the tenant changed", now)


def handed_meters(act: ContractsChanged) -> dict[str, MeterTwin]:
    """Twins of meters that come from other groups. Rules that count time begin anew with the new tenant."""
    meters: dict[str, MeterTwin] = {}
    for handed in act.handed:
        meter = duplicate(handed.meter)
        meter.wakes = {}
        meters[meter.id] = meter
    return meters


def handed_breakers(act: ContractsChanged) -> dict[str, BreakerTwin]:
    """Twins of breakers that come from other groups, as they stand."""
    return {handed.breaker.id: handed.breaker for handed in act.handed if handed.breaker is not None}


def _go_to(draft: Draft, meter: MeterTwin, quantity: int, turns: int, ts: int, now: int) -> None:
    """Move the register to a reading that a person answers for, and charge it."""
    if quantity < meter.register.seen:
        detail = f"a person's reading is {quantity} at {ts}, {meter.register.seen} had been read before"
        open_incident(draft, meter, CONTRADICTS, now, detail)
        return
    register = meter.register = duplicate(meter.register)
    accrual.accept(register, quantity, ts)
    register.turns = turns
    register.suspects = None
    forget_doubts(draft, meter, now)
    resolve_incident(draft, meter, CONTRADICTS, now)
    _charge_the_rest(draft, meter, now)


def _charge_the_rest(draft: Draft, meter: MeterTwin, now: int) -> None:
    delta = meter.register.seen - meter.register.head
    react_to_reading(draft, meter.id, None, delta, now, live=False)


def _unwrapped_final(meter: MeterTwin, modulus: int, shown: int) -> tuple[int, int]:
    """A final reading on the unwrapped register, and its turns: one just past zero went through it."""
    register = meter.register
    quantity = register.turns * modulus + shown
    wrapped = quantity + modulus
    if quantity < register.seen and (wrapped - register.seen) * 100 < modulus:
        return wrapped, register.turns + 1
    return quantity, register.turns

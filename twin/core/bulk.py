"""Bulk switching: one order of a person for many breakers, carried out in waves and watched to its end.

Theory of operation. A job places (or takes off) one lock on each of its breakers; everything after that, commands,
retries and evidence, is each twin's own business as ever. The job only decides three things, all of them here and all
pure: who takes part and who is left out, and why (`plan`); what came of a breaker that was dealt with (`judge`); and
what to do next (`next_move`): another wave, wait, halt because too much went wrong, or finish.

A wave is sent at once; the next one follows when nothing of it is open any more and the pause is over. What is counted
against the error threshold is `failed` and `silent` of the present run: a person who resumes a halted job has looked
at what went wrong, so counting begins anew. A breaker that answers after its time still becomes `verified`, and is
told as late; nothing that has been proved is taken back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from twin.core.causes import opened_there
from twin.core.commands import FRESH_INTERVALS, IN_FLIGHT
from twin.core.connection import reachable
from twin.core.lock_kinds import SAFETY, guaranteed
from twin.core.model import SHUT

if TYPE_CHECKING:
    from collections.abc import Collection

    from twin.core.model import BreakerTwin, Command, Group

Operation = Literal["open", "close", "undo"]
"""`open` places the job's lock, `close` takes such a lock off whoever placed it, `undo` takes off what a job placed."""
LIFTABLE = ("guaranteed", "critical", "unreachable", "opened_on_site")
"""Reasons to leave a breaker out that whoever orders may set aside; all others stand."""
WAITING, SENT, VERIFIED, FAILED, SILENT, SKIPPED, LEFT = (
    "waiting",
    "sent",
    "verified",
    "failed",
    "silent",
    "skipped",
    "left",
)
STATES = (WAITING, SENT, VERIFIED, FAILED, SILENT, SKIPPED, LEFT)
"""Of one breaker in a job. `silent`: no proof within the time given. `left`: the job ended before its turn."""
RUNNING, ASKED, STOPPED, HALTED = "running", "asked", "stopped", "halted"
DONE, CANCELLED, REFUSED = "done", "cancelled", "refused"
ENDED = frozenset({DONE, CANCELLED, REFUSED})
MOVES: dict[tuple[str, str], str] = {
    ("stop", RUNNING): STOPPED,
    ("resume", STOPPED): RUNNING,
    ("resume", HALTED): RUNNING,
    ("cancel", RUNNING): CANCELLED,
    ("cancel", STOPPED): CANCELLED,
    ("cancel", HALTED): CANCELLED,
}
"""What a person may do with a job in a state, and the state after it. One that waits for a second person is taken back
as the request that it is."""
FEWEST_JUDGED = 10
"""A share of failures says nothing before so many breakers have settled, or a whole wave that is smaller."""


class Wish(msgspec.Struct, frozen=True):
    """What is ordered: `include` names the reasons of `LIFTABLE` that shall not leave anybody out."""

    operation: Operation
    lock: str = "manual"
    include: tuple[str, ...] = ()
    critical: frozenset[str] = frozenset()
    """Breakers whose loads must not be switched in bulk, as the site says."""


class Pace(msgspec.Struct, frozen=True):
    """How a job goes on: `wave` breakers at once, `pause_ms` between two waves, `answer_ms` until silence, and how many
    failures, or per cent of those that have settled, halt it (None: never)."""

    wave: int = 25
    pause_ms: int = 5_000
    answer_ms: int = 120_000
    most_failures: int | None = None
    most_percent: int | None = 20


class Target(msgspec.Struct, frozen=True):
    """One breaker that an order is about; `skip` is why it is left out, an empty text where it takes part."""

    device: str
    tenant: str = ""
    group: str = ""
    skip: str = ""
    detail: str = ""


class Tally(msgspec.Struct, frozen=True):
    """How many breakers of a job are in each state, and when the last one settled (Unix ms)."""

    waiting: int = 0
    sent: int = 0
    verified: int = 0
    failed: int = 0
    silent: int = 0
    skipped: int = 0
    left: int = 0
    settled_ts: int | None = None

    @property
    def settled(self) -> int:
        """Those that were dealt with and are decided."""
        return self.verified + self.failed + self.silent

    @property
    def bad(self) -> int:
        """Those that were dealt with and are not proved to stand where they should."""
        return self.failed + self.silent


class Judgement(msgspec.Struct, frozen=True):
    """What came of one breaker, with a stable reason and the command that tells more."""

    state: str
    reason: str = ""
    detail: str = ""
    command: str = ""


class Order(msgspec.Struct, frozen=True):
    """What was done to one breaker: the act `act_seq` of its group, recorded at `sent_ts`."""

    device: str
    act_seq: int
    sent_ts: int
    state: str = SENT


class Move(msgspec.Struct, frozen=True):
    """The next step of a job: so many to `send` now, `halt` with a reason, or `done`."""

    send: int = 0
    halt: str = ""
    done: bool = False


def plan(group: Group, device: str, wish: Wish, now: int) -> Target:
    """Whether a breaker takes part in an order, or why not."""
    tenant = group.tenant.id if group.tenant is not None else ""
    breaker = group.breakers.get(device)
    if breaker is None or device not in group.breaker_contracts:
        return Target(device, tenant, group.id, "not_switchable")
    if wish.operation == "undo" and wish.lock not in breaker.locks:
        return Target(device, tenant, group.id, "lock_gone")
    if wish.operation != "open" and _closes_blindly(group, breaker, wish):
        return Target(device, tenant, group.id, "opened_on_site", breaker.incidents["opened_locally"].detail)
    if wish.operation == "undo":
        return Target(device, tenant, group.id)
    skip, detail = _no_opening(group, breaker, wish, now) if wish.operation == "open" else _no_closing(breaker, wish)
    if not skip and device in wish.critical and "critical" not in wish.include:
        skip = "critical"
    if not skip and not reachable(breaker.conn, breaker.link) and "unreachable" not in wish.include:
        skip = "unreachable"
    if not skip and wish.operation == "close" and "unreachable" not in wish.include and _stale(group, device, now):
        skip = "stale"
    return Target(device, tenant, group.id, skip, detail)


def _no_opening(group: Group, breaker: BreakerTwin, wish: Wish, now: int) -> tuple[str, str]:
    if wish.lock in breaker.locks:
        return "already_locked", breaker.locks[wish.lock].who
    safety = [kind for kind in breaker.locks if kind in SAFETY]
    if safety:
        return "safety_locked", " ".join(safety)
    if guaranteed(group.contract, now) and "guaranteed" not in wish.include:
        return "guaranteed", ""
    return "", ""


def _no_closing(breaker: BreakerTwin, wish: Wish) -> tuple[str, str]:
    others = " ".join(kind for kind in breaker.locks if kind != wish.lock)
    if wish.lock not in breaker.locks:
        return ("other_locks", others) if others else ("not_locked", breaker.relay or "")
    return ("other_locks", others) if others else ("", "")


def _closes_blindly(group: Group, breaker: BreakerTwin, wish: Wish) -> bool:
    """Whether taking off the lock would close what a hand or its own protection had opened before the lock came, though
    whoever orders for many has not looked at this one. Where somebody on site confirms, nothing closes by itself."""
    last = breaker.locks.keys() == {wish.lock} and group.breaker_contracts[breaker.id].remote_close
    return last and opened_there(breaker) and "opened_on_site" not in wish.include


def _stale(group: Group, device: str, now: int) -> bool:
    """A breaker closes only on a fresh reading of each meter behind it, so until one comes nothing would happen."""
    for name in group.breaker_contracts[device].meters:
        at = group.meters[name].at
        if at is None or now - at > FRESH_INTERVALS * group.meter_contracts[name].interval_ms:
            return True
    return False


def judge(group: Group | None, order: Order, wish: Wish, pace: Pace, now: int) -> Judgement | None:
    """What came of a breaker that was dealt with; None while that is open.

    One that was silent, or failed, is judged again: it can still become verified.
    """
    breaker = group.breakers.get(order.device) if group is not None else None
    if group is None or breaker is None:
        return _once(order, Judgement(FAILED, "device_gone"))
    told = group.acts_seq >= order.act_seq
    found = (_opened if wish.operation == "open" else _closed)(group, breaker, order, wish) if told else None
    if found is not None and (found.state == VERIFIED or order.state == SENT):
        return found
    if order.state == SENT and now - order.sent_ts >= pace.answer_ms:
        return _silent(breaker, order, told=told)
    return None


def _once(order: Order, found: Judgement) -> Judgement | None:
    return found if order.state == SENT else None


def _opened(_group: Group, breaker: BreakerTwin, order: Order, wish: Wish) -> Judgement | None:
    command = _command_since(breaker, order)
    name = command.id if command is not None else ""
    if wish.lock not in breaker.locks:
        return Judgement(FAILED, "lock_released", command=name)
    if "open_but_power_flows" in breaker.incidents:
        return Judgement(FAILED, "power_flows", breaker.incidents["open_but_power_flows"].detail, name)
    if command is None:
        under_way = breaker.command is not None and breaker.command.state in IN_FLIGHT
        return Judgement(VERIFIED, "was_open") if breaker.relay in SHUT and not under_way else None
    if command.state == "verified" and breaker.relay in SHUT:
        return Judgement(VERIFIED, command=name)
    return _refused(command)


def _closed(group: Group, breaker: BreakerTwin, order: Order, wish: Wish) -> Judgement | None:
    if wish.lock in breaker.locks:
        return Judgement(FAILED, "locked_again", breaker.locks[wish.lock].who)
    if breaker.locks:
        return Judgement(VERIFIED, "released_only", " ".join(breaker.locks))
    command = _command_since(breaker, order)
    name = command.id if command is not None else ""
    if command is not None and command.state in IN_FLIGHT:
        return None
    if breaker.relay == "closed":
        return Judgement(VERIFIED, "" if command is not None else "was_closed", command=name)
    if breaker.relay == "armed" and not group.breaker_contracts[breaker.id].remote_close:
        return Judgement(VERIFIED, "armed", command=name)
    return _refused(command) if command is not None else None


def _command_since(breaker: BreakerTwin, order: Order) -> Command | None:
    command = breaker.command
    return command if command is not None and command.issued >= order.sent_ts else None


def _refused(command: Command) -> Judgement | None:
    """What the device itself has said no to; the twin goes on trying, the report need not wait for that."""
    if command.state in ("rejected", "failed"):
        return Judgement(FAILED, command.state, command.reason, command.id)
    return None


_UNHEARD = {"queued": "unreachable", "received": "no_result", "executed": "no_proof", "unverified": "no_proof"}


def _silent(breaker: BreakerTwin, order: Order, *, told: bool) -> Judgement:
    command = _command_since(breaker, order)
    if not told:
        return Judgement(SILENT, "not_delivered")
    if not reachable(breaker.conn, breaker.link):
        return Judgement(SILENT, "unreachable", command=command.id if command is not None else "")
    if command is None:
        return Judgement(SILENT, "waits")
    return Judgement(SILENT, _UNHEARD.get(command.state, "no_answer"), command.reason, command.id)


def next_move(pace: Pace, tally: Tally, before: Tally, now: int) -> Move:
    """What a running job does next. `before` is the tally when it was started or last resumed."""
    halt = _halted(pace, tally, before)
    if halt and tally.waiting:
        return Move(halt=halt)
    if tally.sent:
        return Move()
    if not tally.waiting:
        return Move(done=True)
    begun = tally.settled > before.settled
    if begun and tally.settled_ts is not None and now < tally.settled_ts + pace.pause_ms:
        return Move()
    return Move(send=min(pace.wave, tally.waiting))


def _halted(pace: Pace, tally: Tally, before: Tally) -> str:
    bad, settled = tally.bad - before.bad, tally.settled - before.settled
    if pace.most_failures is not None and bad > pace.most_failures:
        return "too_many_failures"
    enough = settled >= min(FEWEST_JUDGED, pace.wave)
    if pace.most_percent is not None and enough and bad * 100 > pace.most_percent * settled:
        return "too_large_a_share"
    return ""


class Selection(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whom an order is about: all of the conditions given must hold; `everything` is needed where none is."""

    everything: bool = False
    devices: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    """Kinds of tenant as the site names them, such as buildings."""
    gateways: tuple[str, ...] = ()
    utility: Literal["", "electricity", "water"] = ""
    query: str = ""
    """A condition of the rule language about the breaker."""

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing at all."""
        return self == Selection()


def selected(group: Group, chosen: Selection) -> list[str]:
    """The breakers (and valves) of a group that a selection names, the query aside, in order of their ids."""
    kind = group.contract.group if group.contract is not None else ""
    tenant = group.tenant.id if group.tenant is not None else ""
    if not (_among(tenant, chosen.tenants) and _among(kind, chosen.groups)):
        return []
    found = []
    for device, contract in sorted(group.breaker_contracts.items()):
        utility = "water" if contract.op == "valve.set" else "electricity"
        fits = _among(device, chosen.devices) and _among(contract.gateway or "", chosen.gateways)
        if fits and chosen.utility in ("", utility):
            found.append(device)
    return found


def _among(value: str, wanted: Collection[str]) -> bool:
    return not wanted or value in wanted

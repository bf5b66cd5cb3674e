"""Why a breaker or valve stands where it stands, and what would close it: one answer from the twin and from what SQL
remembers.

Theory of operation. Four kinds of facts are laid side by side and nothing is guessed. The *locks* in force: who placed
each of them why, since when, until when, with the record of the firing where a rule did. What would *release* each of
them, by its kind: money (how much is read off the failing clause of the very rule that unlocks), a time that it ends
by itself, a person of a role, a confirmation on site. What closing would *need* beside that, the last lock once gone:
a device within reach, a known position, a fresh reading, a hand at the switch. And what was *commanded*, with every
step of it and what the device reported meanwhile.
"""

from __future__ import annotations

from decimal import ROUND_UP, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from rules.actions import Lock as LockAction
from rules.actions import Unlock
from rules.explain import Record
from twin.core.arrears import cutting_hours
from twin.core.asking import explain_rule
from twin.core.commands import FRESH_INTERVALS, in_flight
from twin.core.connection import reachable
from twin.core.limit_why import LoadLimit, load_limit
from twin.core.lock_kinds import ARREARS
from twin.core.model import SHUT
from twin.core.valves import wire_target

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rules.language.tracer import Clause
    from twin.core.model import BreakerTwin, Group, Lock
    from twin.core.policy import BoundRule, SitePolicy

CENT = Decimal("0.01")
NANO = 1_000_000_000
PARTS = frozenset({"", "rule", "platform", "on site"})
"""Who may stand in a lock without being a person; names with a slash are parts of the platform, too."""

ReleaseKind = Literal["top_up", "rule", "auto_release", "ends", "confirm", "person"]
NeedKind = Literal[
    "device_offline", "position_unknown", "reading_stale", "retry_later", "confirm_on_site", "close_on_site"
]
Verdict = Literal[
    "supplied", "locked", "opening", "kept_on", "closing", "armed", "opened_on_site", "closed_on_site", "unknown"
]


class Release(msgspec.Struct, frozen=True, omit_defaults=True):
    """One way in which a lock goes away.

    `top_up`: a payment of at least `amount_nano`. `rule`: a rule releases it once its condition holds (`clauses` are
    those that do not yet). `auto_release`: the rule that placed it takes it off at `at`. `ends`: it has an end, `at`.
    `confirm`: somebody confirms at the switch or on a phone. `person`: somebody of one of the `roles` releases it.
    """

    kind: ReleaseKind
    amount_nano: int | None = None
    rule: str = ""
    at: int | None = None
    roles: tuple[str, ...] = ()
    clauses: tuple[Clause, ...] = ()


class StandingLock(msgspec.Struct, frozen=True, omit_defaults=True):
    """One lock in force. `record` explains the firing of the rule that placed it."""

    lock: str
    who: str
    why: str
    since: int
    until: int | None = None
    rule: str = ""
    rule_version: int = 0
    record: Record | None = None
    releases: tuple[Release, ...] = ()


class Need(msgspec.Struct, frozen=True, omit_defaults=True):
    """What closing waits for beside the locks; `at` where it is an instant."""

    kind: NeedKind
    at: int | None = None


class CommandStep(msgspec.Struct, frozen=True):
    """One state that a command reached."""

    state: str
    ts: int
    reason: str = ""


class PastCommand(msgspec.Struct, frozen=True, omit_defaults=True):
    """A command with its whole life. `target` is in the words of the device. `record`: the firing it came of."""

    id: str
    target: str
    fence: int
    state: str
    issued: int
    exp: int
    why: dict[str, Any]
    reason: str = ""
    steps: tuple[CommandStep, ...] = ()
    record: Record | None = None


class PastLock(msgspec.Struct, frozen=True):
    """A lock was placed, or released."""

    lock: str
    placed: bool
    who: str
    why: str
    ts: int
    rule: str = ""
    rule_version: int = 0


class PastReport(msgspec.Struct, frozen=True):
    """The device told another position, in its own words."""

    position: str
    ts: int
    cause: str


class SwitchHistory(msgspec.Struct, frozen=True):
    """What SQL remembers of one breaker, newest first."""

    commands: tuple[PastCommand, ...] = ()
    locks: tuple[PastLock, ...] = ()
    reports: tuple[PastReport, ...] = ()


class Trouble(msgspec.Struct, frozen=True):
    """An incident that stands on the breaker."""

    kind: str
    since: int
    detail: str


class BreakerWhy(msgspec.Struct, frozen=True):
    """The whole answer. `position` and `wanted` are in the words of the device, None where nobody knows."""

    device: str
    utility: str
    tenant: str
    at: int
    verdict: Verdict
    position: str | None
    since: int | None
    wanted: str
    locks: tuple[StandingLock, ...]
    needs: tuple[Need, ...]
    troubles: tuple[Trouble, ...]
    history: SwitchHistory
    balance_nano: int | None = None
    load_limit: LoadLimit | None = None
    text: dict[str, str] = {}
    """The story by language, `zh` and `en`."""
    opens_at: int | None = None
    """Where it is locked and stays on because nothing is cut off at this time: when that time ends."""


class NotSwitchableError(LookupError):
    """The device has no relay and no valve."""


def breaker_why(
    group: Group,
    policy: SitePolicy,
    guards: Mapping[str, int],
    device: str,
    now: int,
    *,
    records: Mapping[str, Record],
    history: SwitchHistory,
    may_release: Mapping[str, tuple[str, ...]],
) -> BreakerWhy:
    """The answer without its text. `records`: of the firing behind each lock, by kind; `may_release`: roles by kind.

    Raises NotSwitchableError.
    """
    breaker, contract = group.breakers.get(device), group.breaker_contracts.get(device)
    if breaker is None or contract is None:
        raise NotSwitchableError(f"{device} has no relay and no valve")
    locks = tuple(
        _standing(group, policy, guards, breaker, kind, now, records.get(kind), may_release.get(kind, ()))
        for kind in breaker.locks
    )
    verdict = _verdict(breaker, policy, now)
    wanted = "limited" if contract.limits and locks and breaker.locks.keys() <= set(ARREARS) else "open"
    return BreakerWhy(
        device=device,
        utility="water" if contract.op == "valve.set" else "electricity",
        tenant=group.tenant.id if group.tenant is not None else "",
        at=now,
        verdict=verdict,
        position=None if breaker.relay is None else wire_target(contract.op, breaker.relay),
        since=breaker.relay_since,
        wanted=wire_target(contract.op, wanted if locks else "closed"),
        locks=locks,
        needs=tuple(_needs(group, breaker, now)) if verdict != "kept_on" else (),
        troubles=tuple(Trouble(one.kind, one.since, one.detail) for one in breaker.incidents.values()),
        history=history,
        balance_nano=group.tenant.balance_nano if group.tenant is not None else None,
        load_limit=load_limit(group, device),
        opens_at=breaker.retry_at if verdict == "kept_on" else None,
    )


def held_since(group: Group, device: str) -> int:
    """When the supply through a breaker began for whoever has it now (Unix ms); 0 where nobody has said."""
    meters = {*group.breaker_contracts[device].meters, device} & group.meter_contracts.keys()
    return min((group.meter_contracts[name].supply_from or 0 for name in meters), default=0)


def since_holding(history: SwitchHistory, since: int) -> SwitchHistory:
    """What happened from an instant on: a new tenant does not read why the former one was cut off."""
    return SwitchHistory(
        tuple(one for one in history.commands if one.issued >= since),
        tuple(one for one in history.locks if one.ts >= since),
        tuple(one for one in history.reports if one.ts >= since),
    )


def for_tenants(why: BreakerWhy) -> BreakerWhy:
    """The same without the names of staff, and without who may do what inside the office."""
    locks = tuple(
        msgspec.structs.replace(
            lock,
            who=nameless(lock.who),
            releases=tuple(msgspec.structs.replace(release, roles=()) for release in lock.releases),
        )
        for lock in why.locks
    )
    commands = tuple(
        msgspec.structs.replace(command, why=told_tenants(command.why)) for command in why.history.commands
    )
    past = tuple(msgspec.structs.replace(lock, who=nameless(lock.who)) for lock in why.history.locks)
    history = msgspec.structs.replace(why.history, commands=commands, locks=past)
    return msgspec.structs.replace(why, locks=locks, history=history)


def told_tenants(why: Mapping[str, Any]) -> dict[str, Any]:
    """What a tenant reads of the reasons behind a command: the rule and the locks, nobody's name."""
    return {name: value for name, value in why.items() if name in ("rule", "ver", "locks")}


def nameless(who: str) -> str:
    """Parts of the platform keep their name, people become `staff`."""
    return who if who in PARTS or "/" in who else "staff"


def _standing(
    group: Group,
    policy: SitePolicy,
    guards: Mapping[str, int],
    breaker: BreakerTwin,
    kind: str,
    now: int,
    record: Record | None,
    roles: tuple[str, ...],
) -> StandingLock:
    lock = breaker.locks[kind]
    releases = [
        *_times(group, policy, breaker, lock, now),
        *_by_rules(group, policy, guards, breaker.id, kind, now),
        *([Release("confirm")] if kind == "warning" else []),
        *([Release("person", roles=roles)] if roles else []),
    ]
    return StandingLock(
        kind, lock.who, lock.why, lock.since, lock.until, lock.rule, lock.rule_version, record, tuple(releases)
    )


def _times(group: Group, policy: SitePolicy, breaker: BreakerTwin, lock: Lock, now: int) -> Iterator[Release]:
    """When the lock goes by itself: its end, the automatic release of its rule, the end of its rule's calendar."""
    if lock.until is not None:
        yield Release("ends", at=lock.until)
    if not lock.rule:
        return
    for bound in _bound(policy, lock.rule):
        twins = [group.tenant, breaker, *(group.meters[name] for name in group.breaker_contracts[breaker.id].meters)]
        states = [twin.rules[lock.rule] for twin in twins if twin is not None and lock.rule in twin.rules]
        yield from (
            Release("auto_release", rule=lock.rule, at=state.release_ms) for state in states if state.release_ms
        )
        plans = [plan.action for plan in bound.rule.actions if isinstance(plan.action, LockAction)]
        if bound.rule.active is not None and any(plan.until_calendar for plan in plans):
            yield Release("ends", rule=lock.rule, at=bound.rule.active.next_change(now, policy.zone))


def _by_rules(
    group: Group, policy: SitePolicy, guards: Mapping[str, int], device: str, kind: str, now: int
) -> Iterator[Release]:
    """Rules that take this lock off, and what is missing for them."""
    target = "valve" if group.breaker_contracts[device].op == "valve.set" else "breaker"
    for bound in policy.by_trigger.by_id.values():
        plans = [plan.action for plan in bound.rule.actions if isinstance(plan.action, Unlock)]
        if not any(plan.lock == kind and plan.target == target for plan in plans):
            continue
        try:
            records = explain_rule(group, policy, guards, bound.rule.id, device, now)
        except LookupError:
            continue  # a rule about other kinds of twins than this group has
        for record in records[:1]:
            yield _of_rule(record, by_money="account.credited" in bound.rule.on)


def _of_rule(record: Record, *, by_money: bool) -> Release:
    """A rule that waits for money names the sum that its clauses lack; any other names its clauses."""
    missing = tuple(clause for clause in record.clauses if clause.result is not True)
    lacking = [amount for clause in missing if (amount := _lacking(clause)) is not None]
    if len(lacking) < len(missing) or not by_money:
        return Release("rule", rule=record.rule, clauses=missing)
    amount = max([CENT, *lacking]).quantize(CENT, ROUND_UP)
    return Release("top_up", amount_nano=int(amount * NANO), rule=record.rule)


def _lacking(clause: Clause) -> Decimal | None:
    """What the balance lacks for a clause such as `account.balance >= p.reclose_min`; None for any other clause."""
    name = clause.text.partition(f" {clause.op} ")[0].strip() if clause.op else ""
    if name != "account.balance" or clause.op not in (">=", ">"):
        return None
    try:
        short = Decimal(clause.right) - Decimal(clause.left)
    except InvalidOperation:
        return None
    return short if clause.op == ">=" else short + Decimal(1) / NANO


def _bound(policy: SitePolicy, rule: str) -> list[BoundRule]:
    return [bound for (_, name), bound in policy.by_trigger.by_id.items() if name == rule]


def _needs(group: Group, breaker: BreakerTwin, now: int) -> Iterator[Need]:
    """What stands between the last lock's end and supply."""
    contract = group.breaker_contracts[breaker.id]
    supplied = not breaker.locks and breaker.relay == "closed"
    if supplied:
        return
    if not reachable(breaker.conn, breaker.link):
        yield Need("device_offline")
    if breaker.relay is None:
        yield Need("position_unknown")
    for name in contract.meters:
        at = group.meters[name].at
        if at is None or now - at > FRESH_INTERVALS * group.meter_contracts[name].interval_ms:
            yield Need("reading_stale", at=at)
            break
    if breaker.retry_at is not None and breaker.retry_at > now:
        yield Need("retry_later", at=breaker.retry_at)
    if _left_alone(breaker):
        yield Need("close_on_site")
    elif breaker.relay == "armed" or not contract.remote_close:
        yield Need("confirm_on_site")


def _left_alone(breaker: BreakerTwin) -> bool:
    """Open without a lock, and nobody has wished it closed: whoever opened it on site is not fought."""
    return not breaker.locks and breaker.relay in SHUT and breaker.close is None and in_flight(breaker) is None


def _verdict(breaker: BreakerTwin, policy: SitePolicy, now: int) -> Verdict:
    command = in_flight(breaker)
    if breaker.locks:
        if breaker.relay == "closed":
            return _verdict_of_locked(breaker, policy, now)
        return "armed" if breaker.relay == "armed" else "locked"
    if breaker.relay == "closed":
        return "supplied"
    if command is not None or breaker.close is not None:
        return "armed" if breaker.relay == "armed" else "closing"
    if breaker.relay == "armed":
        return "armed"
    return "unknown" if breaker.relay is None else "opened_on_site"


def _verdict_of_locked(breaker: BreakerTwin, policy: SitePolicy, now: int) -> Verdict:
    if "closed_locally_under_lock" in breaker.incidents:
        return "closed_on_site"
    hours = cutting_hours(policy, breaker.locks, now)
    waits = hours is not None and not hours[0] and in_flight(breaker) is None
    return "kept_on" if waits else "opening"

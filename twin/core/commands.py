"""Commands to breakers and valves: from a wish to a verified fact.

Theory of operation. *Wanted* is the set of locks, *reported* is what the device says, and a *command* is one
attempt to make the second follow the first. A command is a target state with an expiry and a fence that only grows,
never a toggle, so repeating it is harmless and a delayed one cannot undo a later one. At most one is in flight a
breaker; an opening supersedes a closing at once.

Opening follows from locks and is asserted again whenever the device comes back. Closing is always a fresh decision:
it needs an intent (somebody released the last lock), no lock, a device that can be reached, a known relay and a
fresh reading; while any of these is missing the intent waits, so a tenant who paid while the meter was offline is
reconnected when it returns.

A command ends `verified` only when the reported relay agrees and, for an opening, when physics agrees too (see
`evidence`). Source: rules of the protocol in CONTRACT section 2, failure modes in RULES-AND-COMMANDS section 4.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from twin.core.arrears import cutting_hours
from twin.core.connection import reachable
from twin.core.effects import CommandChanged
from twin.core.incidents import open_incident, resolve_incident
from twin.core.lock_kinds import ARREARS
from twin.core.model import SHUT, CloseIntent, Command, duplicate

if TYPE_CHECKING:
    from twin.core.draft import Draft
    from twin.core.messages import CommandAnswered, CommandSent
    from twin.core.model import BreakerTwin, Relay

IN_FLIGHT = frozenset({"created", "queued", "sent", "received", "executed"})
BEFORE_EXECUTION = frozenset({"created", "queued", "sent", "received"})
UNPROVED = frozenset({"expired", "failed", "unverified", "superseded", "cancelled"})
"""Ends after which a device may have executed a command all the same, unless it never left the house."""
DEFAULT_EXPIRY_MS = 60_000
DEFAULT_VERIFY_MS = 15_000
FIRST_RETRY_MS = 15_000
LONGEST_RETRY_MS = 1_800_000
MOST_REISSUES_UNVERIFIED = 1
FENCE_LEAP = 1_000
"""A device that refuses our fence without telling its own (our twins were restored from old data) is overtaken
by this many."""
MOST_FENCE = 1 << 52
"""A device's word about its fence is believed up to here: no device obeys so many commands, and as many are left."""
LAST_FENCE = 1 << 53
"""The greatest that the contract lets a command carry."""
FRESH_INTERVALS = 3
TELLS_WITHIN_MS = 900_000
"""A device that is there says where its relay is sooner than that: at its birth, or with what the broker retained."""


def command_id(site: str, device: str, fence: int, now: int) -> str:
    """A version 7 UUID (RFC 9562) whose random part is a hash: unique because a fence is never used twice by a
    device."""
    digest = int.from_bytes(sha256(f"{site}/{device}/{fence}".encode()).digest()[:10], "big")
    value = (now & (1 << 48) - 1) << 80 | 0x7 << 76 | (digest >> 68 & 0xFFF) << 64 | 0b10 << 62 | digest & (1 << 62) - 1
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def reached(target: Relay, relay: Relay | None) -> bool:
    """Whether a reported position is what was asked for. A breaker that is closed has gone beyond `armed`: the consumer
    was quicker than the report, or it never was open."""
    return relay == target or (target == "armed" and relay == "closed")


def in_doubt(breaker: BreakerTwin) -> bool:
    """Whether a command that ended unproved may have moved the breaker, or may still do so, since it last told its
    position: a device executes until a command expires, and its word of that may be lost or late."""
    until = breaker.unproved_until
    return until is not None and (breaker.relay_at is None or breaker.relay_at < until)


def in_flight(breaker: BreakerTwin) -> Command | None:
    """The command under way, if any."""
    command = breaker.command
    return command if command is not None and command.state in IN_FLIGHT else None


def reconcile(draft: Draft, device: str) -> None:
    """Make the commanded state follow the locks: issue, supersede or wait, whichever the facts call for.

    Commands live by our clock, also where a sample is the reason: by the instant of a sample of a meter whose clock
    lags, they would have expired before they are sent, and by one that is ahead they would be obeyed for too long.
    """
    now = draft.now
    breaker = draft.breaker(device)
    if breaker.locks:
        breaker.close = None
        _reconcile_open(draft, breaker, now)
    else:
        _reconcile_close(draft, breaker, now)


def _reconcile_open(draft: Draft, breaker: BreakerTwin, now: int) -> None:
    command = in_flight(breaker)
    target = wanted_position(draft, breaker)
    if command is not None:
        if command.target == target or (command.target == "open" and target == "armed"):
            _send_if_queued(draft, breaker, command, now)
            return
        end(draft, breaker, "superseded", now, "a lock was placed")
    elif (
        (breaker.relay == target and not in_doubt(breaker))
        or (breaker.retry_at is not None and now < breaker.retry_at)
        or breaker.incidents.get("closed_locally_under_lock") is not None
    ):
        return
    hours = cutting_hours(draft.policy, breaker.locks, now)
    if hours is not None and not hours[0]:
        breaker.retry_at = hours[1]
        draft.wake_dirty = True
        return
    lock = next(iter(breaker.locks.values()))
    why: dict[str, Any] = {"locks": sorted(breaker.locks), "who": lock.who, "reason": lock.why}
    if lock.rule:
        why |= {"rule": lock.rule, "ver": lock.rule_version}
    expires_ms = lock.expires_ms if hours is None else min(lock.expires_ms, hours[1] - now)
    issue(draft, breaker, target, why, now, timing=(expires_ms, lock.verify_ms))


def wanted_position(draft: Draft, breaker: BreakerTwin) -> Relay:
    """Where the locks want the breaker: open; a valve that can be left with a trickle is only limited for arrears; and
    one that was opened as a warning is armed, so that whoever is there can confirm and close it."""
    contract = draft.group.breaker_contracts[breaker.id]
    if contract.op == "valve.set":
        return "limited" if contract.limits and breaker.locks.keys() <= set(ARREARS) else "open"
    warned = breaker.locks.keys() == {"warning"} and breaker.relay in ("open", "armed")
    return "armed" if warned else "open"


def _reconcile_close(draft: Draft, breaker: BreakerTwin, now: int) -> None:
    command = in_flight(breaker)
    remote = draft.group.breaker_contracts[breaker.id].remote_close
    if command is not None and command.target in SHUT:
        end(draft, breaker, "superseded", now, "the last lock was released")
        if command.state == "queued" and breaker.relay == "closed":
            breaker.close = None  # it never left the house: there is nothing to undo
            forget_failures(draft, breaker, now)
            return
        breaker.close = breaker.close or CloseIntent({"reason": "the last lock was released"}, now)
    elif command is not None and command.target == "armed" and remote and breaker.close is not None:
        end(draft, breaker, "superseded", now, "the warning is over")
    elif command is not None:
        _send_if_queued(draft, breaker, command, now)
        return
    elif breaker.relay == "closed" and not in_doubt(breaker):
        breaker.close = None
        forget_failures(draft, breaker, now)  # nothing is asked of it any more
        return
    if breaker.close is None or not may_close(draft, breaker, now):
        _tell_of_silence(draft, breaker, now)
        return
    if breaker.retry_at is not None and now < breaker.retry_at:
        return
    wish = breaker.close
    timing = (wish.expires_ms, wish.verify_ms)
    issue(draft, breaker, "closed" if remote else "armed", wish.why, now, timing=timing)


def _tell_of_silence(draft: Draft, breaker: BreakerTwin, now: int) -> None:
    """A wish to close waits for a device that is there and never says where its relay is: nobody would ever know."""
    wish, silent = breaker.close, breaker.relay is None and reachable(breaker.conn, breaker.link)
    if wish is None or not silent or now - wish.since < TELLS_WITHIN_MS or "relay_unknown" in breaker.incidents:
        return
    open_incident(draft, breaker, "relay_unknown", now, "a closing waits for the first word of the relay")


def may_close(draft: Draft, breaker: BreakerTwin, now: int) -> bool:
    """Closing is the dangerous direction: never under a lock, on an unknown twin, or on a stale reading."""
    if breaker.locks or breaker.relay is None or not reachable(breaker.conn, breaker.link):
        return False
    meters = [draft.group.meters[name] for name in draft.group.breaker_contracts[breaker.id].meters]
    if not meters:
        return breaker.relay_at is not None
    for meter in meters:
        interval = draft.group.meter_contracts[meter.id].interval_ms
        if meter.at is None or now - meter.at > FRESH_INTERVALS * interval:
            return False
    return True


def issue(
    draft: Draft,
    breaker: BreakerTwin,
    target: Relay,
    why: dict[str, Any],
    now: int,
    *,
    timing: tuple[int, int] = (DEFAULT_EXPIRY_MS, DEFAULT_VERIFY_MS),
    attempt: int = 1,
) -> None:
    """Put a new command in flight; for an unreachable device it is queued and decided again when the device returns.

    `timing` is how long execution, and then the evidence for it, may take (ms).
    """
    expires_ms, verify_ms = timing
    breaker.fence = min(breaker.fence + 1, LAST_FENCE)
    state = "created" if reachable(breaker.conn, breaker.link) else "queued"
    identity = command_id(draft.group.site, breaker.id, breaker.fence, now)
    breaker.command = Command(
        identity, target, breaker.fence, state, now, now + expires_ms, verify_ms, why, attempt=attempt
    )
    breaker.retry_at = None
    draft.wake_dirty = True
    report(draft, breaker, now)


def report(draft: Draft, breaker: BreakerTwin, now: int) -> None:
    """Tell the outside world what state the command is in."""
    command = breaker.command
    assert command is not None
    draft.supply_dirty = True
    draft.emit(
        CommandChanged(
            device=breaker.id,
            cmd=command.id,
            op=draft.group.breaker_contracts[breaker.id].op,
            target=command.target,
            fence=command.fence,
            state=command.state,
            ts=now,
            issued=command.issued,
            exp=command.exp,
            why=command.why,
            reason=command.reason,
            tenant=draft.group.tenant.id if draft.group.tenant else "",
        )
    )


def move(draft: Draft, breaker: BreakerTwin, state: str, now: int, reason: str = "") -> Command:
    """Move the current command on and report it; returns the private copy."""
    assert breaker.command is not None
    command = duplicate(breaker.command)
    if state == "verified":
        breaker.unproved_until = None  # whatever went out before it has a lower fence
    elif state in UNPROVED and command.state != "queued":
        breaker.unproved_until = max(command.exp, breaker.unproved_until or 0)
    command.state = state
    command.reason = reason or command.reason
    breaker.command = command
    draft.wake_dirty = True
    report(draft, breaker, now)
    return command


def end(draft: Draft, breaker: BreakerTwin, state: str, now: int, reason: str = "") -> None:
    """End the current command."""
    move(draft, breaker, state, now, reason)
    if state == "verified":
        breaker.failures = 0
        breaker.retry_at = None


def fail(draft: Draft, breaker: BreakerTwin, state: str, now: int, reason: str) -> None:
    """End the command without success and plan the next attempt with back-off, if it is still wanted then."""
    end(draft, breaker, state, now, reason)
    _back_off(draft, breaker, now)
    if breaker.failures >= 3:
        open_incident(
            draft, breaker, "command_failing", now, f"{breaker.failures} attempts, last: {state} {reason}".strip()
        )


def forget_failures(draft: Draft, breaker: BreakerTwin, now: int) -> None:
    """The breaker stands where it is wanted after all: what went wrong on the way is over."""
    for kind in ("command_unverified", "command_failing"):
        resolve_incident(draft, breaker, kind, now)


def _back_off(draft: Draft, breaker: BreakerTwin, now: int) -> None:
    breaker.failures += 1
    wait_ms = min(FIRST_RETRY_MS << min(breaker.failures - 1, 10), LONGEST_RETRY_MS)
    breaker.retry_at = now + wait_ms
    draft.wake_dirty = True


def _send_if_queued(draft: Draft, breaker: BreakerTwin, command: Command, now: int) -> None:
    if command.state == "queued" and command.exp > now and reachable(breaker.conn, breaker.link):
        move(draft, breaker, "created", now)


def learn_fence(draft: Draft, device: str, fence: int, now: int) -> None:
    """The device has executed this fence: ours must not be lower, or it would refuse what we send next.

    One beyond `MOST_FENCE` is a fault of the device and not believed: an incident says so until it tells a better one.
    """
    known = draft.group.breakers[device]
    if fence > MOST_FENCE:
        detail = f"device says {fence}, none above {MOST_FENCE} is believed"
        open_incident(draft, draft.breaker(device), "fence_absurd", now, detail)
        return
    if "fence_absurd" in known.incidents and fence > 0:
        resolve_incident(draft, draft.breaker(device), "fence_absurd", now)
    if fence > known.fence:
        draft.breaker(device).fence = fence


def on_sent(draft: Draft, message: CommandSent, now: int) -> None:
    """The broker has the command."""
    breaker = draft.breaker(message.device)
    command = breaker.command
    if command is None or command.id != message.cmd or command.state != "created":
        return
    move(draft, breaker, "sent", now).sent_at = message.ts


def on_answer(draft: Draft, message: CommandAnswered, now: int) -> bool:
    """The device answered. Returns True when it said that it executed the command in flight."""
    breaker = draft.breaker(message.device)
    command = in_flight(breaker)
    if command is None or command.id != message.cmd:
        return False
    if message.st == "received":
        if command.state in ("created", "queued", "sent"):
            move(draft, breaker, "received", now)
        return False
    if message.st == "executed":
        if command.state in BEFORE_EXECUTION:
            move(draft, breaker, "executed", now).executed_at = now
        return True
    if message.st == "rejected" and "fence" in message.reason:
        if message.fence:
            learn_fence(draft, breaker.id, message.fence, now)
        else:
            breaker.fence = min(breaker.fence + FENCE_LEAP, MOST_FENCE)
    fail(draft, breaker, message.st, now, message.reason)
    return False


def on_due(draft: Draft, device: str, now: int) -> None:
    """Time passed for this breaker: expire, give up on evidence, or try again."""
    if not _is_due(draft.group.breakers[device], now):
        return
    breaker = draft.breaker(device)
    command = in_flight(breaker)
    if command is not None and command.state in BEFORE_EXECUTION and now >= command.exp:
        _expire(draft, breaker, command, now)
    elif command is not None and command.state == "executed" and now >= verify_deadline(command):
        _give_up_on_evidence(draft, breaker, command, now)
    if breaker.retry_at is not None and now >= breaker.retry_at:
        breaker.retry_at = None
        reconcile(draft, device)


def verify_deadline(command: Command) -> int:
    """Until then the reported relay and physics must have confirmed an executed command."""
    return command.proof_by or (command.executed_at or command.issued) + command.verify_within_ms


def next_due(breaker: BreakerTwin) -> int | None:
    """Earliest instant at which this breaker needs to be looked at again."""
    dues = [lock.until for lock in breaker.locks.values() if lock.until is not None]
    if breaker.retry_at is not None:
        dues.append(breaker.retry_at)
    command = in_flight(breaker)
    if command is not None:
        dues.append(verify_deadline(command) if command.state == "executed" else command.exp)
    return min(dues, default=None)


def _is_due(breaker: BreakerTwin, now: int) -> bool:
    due = next_due(breaker)
    return due is not None and due <= now


def _expire(draft: Draft, breaker: BreakerTwin, command: Command, now: int) -> None:
    if reachable(breaker.conn, breaker.link):
        fail(draft, breaker, "expired", now, f"no execution before expiry (was {command.state})")
        return
    # Nothing is stored for a silent device: when it comes back, the decision is taken again from what is true then.
    end(draft, breaker, "expired", now, "the device is offline")


def redecide(draft: Draft, device: str, now: int) -> None:
    """The device (re)started: what was under way may have been lost with its session, and what was waited for is over.

    A command that was not executed gives way to a new one with a higher fence, so a copy of it that still comes is
    refused once the new one was executed. Nothing is stored for a device: it is told what is true now.
    """
    breaker = draft.breaker(device)
    breaker.retry_at = None
    command = in_flight(breaker)
    if command is None or command.state not in ("sent", "received"):
        reconcile(draft, device)
        return
    end(draft, breaker, "superseded", now, "the device has restarted")
    if not breaker.locks and command.target not in SHUT and breaker.close is None:
        breaker.close = CloseIntent(command.why, now, command.exp - command.issued, command.verify_within_ms)
    reconcile(draft, device)


def cancel(draft: Draft, device: str, now: int, reason: str) -> None:
    """Nobody waits for the command in flight any more, as when its breaker leaves the group."""
    if in_flight(draft.group.breakers[device]) is not None:
        end(draft, draft.breaker(device), "cancelled", now, reason)


def _give_up_on_evidence(draft: Draft, breaker: BreakerTwin, command: Command, now: int) -> None:
    detail = f"{command.target} executed, but the relay says {breaker.relay or 'nothing'} or power still flows"
    end(draft, breaker, "unverified", now, detail)
    if _reissued(draft, breaker, command, now, detail):
        return
    if command.attempt <= MOST_REISSUES_UNVERIFIED and breaker.locks:
        _reconcile_open(draft, breaker, now)
    elif breaker.close is not None:  # the wish still stands, and each reading would send it again at once
        _back_off(draft, breaker, now)
    elif breaker.locks:  # people are told, and somebody may repair it
        _try_seldom(draft, breaker, now)


def take_back_proof(draft: Draft, breaker: BreakerTwin, command: Command, now: int) -> None:
    """What proved this command is contradicted by the device itself: once more at once, and then seldom, for it may go
    on like that for ever."""
    detail = f"{command.target} was proved, and then the relay said {breaker.relay}"
    if not _reissued(draft, breaker, command, now, detail):
        _try_seldom(draft, breaker, now)


def _try_seldom(draft: Draft, breaker: BreakerTwin, now: int) -> None:
    breaker.retry_at = now + LONGEST_RETRY_MS
    draft.wake_dirty = True


def _reissued(draft: Draft, breaker: BreakerTwin, command: Command, now: int, detail: str) -> bool:
    """Tell people of a command without proof, and give it once more."""
    open_incident(draft, breaker, "command_unverified", now, detail)
    if command.attempt > MOST_REISSUES_UNVERIFIED or not _still_wanted(draft, breaker, command.target, now):
        return False
    hours = cutting_hours(draft.policy, breaker.locks, now)
    life_ms = command.exp - command.issued
    timing = (life_ms if hours is None else min(life_ms, hours[1] - now), command.verify_within_ms)
    issue(draft, breaker, command.target, command.why, now, timing=timing, attempt=command.attempt + 1)
    return True


def _still_wanted(draft: Draft, breaker: BreakerTwin, target: Relay, now: int) -> bool:
    if breaker.locks:
        hours = cutting_hours(draft.policy, breaker.locks, now)
        return target == wanted_position(draft, breaker) and (hours is None or hours[0])
    return target not in SHUT and may_close(draft, breaker, now)

"""Evidence: what the device reports and what physics shows, held against what was commanded.

Executed is the device's word; verified needs proof. The relay must be reported in the target position and, for an
opening, the meter behind it must show it: less than 5 W, or a register that does not move between two readings
taken after the execution. Power that flows through a breaker reported open means a welded contact or a bypass, and
is an alarm of its own.

A relay that moves without a command was moved by somebody on site, or tripped. That is recorded, and never fought
by replaying an old wish; only standing locks are asserted again, and only when the device (re)starts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twin.core.causes import BY_HAND, NEVER_OURS
from twin.core.commands import (
    BEFORE_EXECUTION,
    IN_FLIGHT,
    end,
    forget_failures,
    in_doubt,
    in_flight,
    move,
    reached,
    reconcile,
    take_back_proof,
    verify_deadline,
    wanted_position,
)
from twin.core.effects import RelayReported
from twin.core.incidents import open_incident, resolve_incident
from twin.core.locks import release
from twin.core.model import SHUT, CloseIntent, duplicate

if TYPE_CHECKING:
    from twin.core.draft import Draft
    from twin.core.messages import Telemetry
    from twin.core.model import BreakerTwin, Register, Relay

STILL_W = 5
"""Below this many watts nothing flows: the meter's own consumption and noise."""
SETTLE_MS = 2_000
"""A contactor travels and a load decays; power measured sooner after the report proves nothing."""


def on_relay(
    draft: Draft,
    device: str,
    relay: Relay,
    said_ts: int,
    cause: str,
    now: int,
    *,
    sid: str = "",
    believed_ts: int | None = None,
    answers: bool = False,
) -> None:
    """The device reported its relay (or valve) position at `said_ts` by its own clock, in session `sid`. `believed_ts`:
    when it really was, where that is known already. `answers`: in its answer to the command in flight, so it cannot be
    a word from before that command, even where the device's clock lags behind ours."""
    known = draft.group.breakers[device]
    if believed_ts is None and answers:
        believed_ts = max(said_ts, known.relay_at or said_ts)
    ts = _when(known, said_ts, sid, now) if believed_ts is None else believed_ts
    if ts is None or (known.relay_at is not None and ts < known.relay_at):
        return  # a retained or reordered report from before what we know
    command = in_flight(known)
    doubted = ts != said_ts
    unseen = _fell_unseen(known, relay, ts, cause)
    if (
        known.relay == relay
        and not unseen
        and (command is None or not reached(command.target, relay))
        and "closed_locally_under_lock" not in known.incidents
    ):
        if known.relay_at is None or ts - known.relay_at > 60_000 or (doubted and sid != known.relay_sid):
            _note_word(draft.breaker(device), ts, said_ts, sid)
        return
    breaker = draft.breaker(device)
    moved = breaker.relay != relay or unseen
    first_word = breaker.relay is None
    ours = _is_ours(breaker, ts, cause)
    _note_word(breaker, ts, said_ts, sid)
    if moved:
        breaker.relay = relay
        breaker.relay_since = ts
        draft.supply_dirty = True
        draft.emit(RelayReported(device, relay, ts, cause))
    moved = moved and not first_word
    resolve_incident(draft, breaker, "relay_unknown", now)
    _hold_against_command(draft, breaker, relay, ts, now, cause, moved=moved, answers=answers, ours=ours)
    if moved and relay == "closed" and breaker.locks.keys() == {"warning"}:
        resolve_incident(draft, breaker, "closed_locally_under_lock", now)
        release(draft, device, "warning", "on site", "confirmed at the switch", now)
    if first_word and relay == "open" and draft.group.tenant and not breaker.locks and breaker.close is None:
        open_incident(draft, breaker, "opened_locally", now, "found open, and nothing locks it")
    if first_word or not breaker.locks:
        reconcile(draft, device)


def _fell_unseen(known: BreakerTwin, relay: Relay, ts: int, cause: str) -> bool:
    """Whether a breaker that we knew open was opened on site: it must have closed for our command in between, and the
    word of that is lost. To close it once more would be onto the fault, or onto whoever opened it.

    Where it was known to be opened on site before, the cause may be that old one, told again.
    """
    last = known.command
    if last is None or last.target in SHUT or known.locks or "opened_locally" in known.incidents:
        return False
    may_have_closed = last.state in IN_FLIGHT or in_doubt(known)
    return (
        known.relay == relay
        and may_have_closed
        and ts >= last.issued
        and _opened_by_itself(relay, cause)
        and cause in NEVER_OURS
    )


def _when(known: BreakerTwin, said_ts: int, sid: str, now: int) -> int | None:
    """The instant a report counts from; None for one from before what is known.

    A clock that lags behind what is known proves nothing where the device has restarted: the first word of the session
    that is current counts from its receipt, and so does what follows it by the device's own clock.
    """
    if known.relay_at is None or said_ts >= known.relay_at:
        return said_ts
    if not sid or sid != known.conn.sid:
        return None
    restarted = known.relay_sid != "" and sid != known.relay_sid
    follows = known.relay_said is not None and said_ts >= known.relay_said
    return max(now, known.relay_at) if restarted or follows else None


def _note_word(breaker: BreakerTwin, ts: int, said_ts: int, sid: str) -> None:
    """Keep when the relay was last spoken of (by our clock, and by the device's where that is not believed) and in
    which session."""
    breaker.relay_at = ts
    breaker.relay_said = said_ts if said_ts != ts else None
    breaker.relay_sid = sid or breaker.conn.sid


def _hold_against_command(
    draft: Draft,
    breaker: BreakerTwin,
    relay: Relay,
    ts: int,
    now: int,
    cause: str,
    *,
    moved: bool,
    answers: bool,
    ours: bool,
) -> None:
    command = in_flight(breaker)
    if command is not None and reached(command.target, relay) and (answers or ts >= command.issued):
        if command.state in BEFORE_EXECUTION:  # the ack was lost, the report is better than it
            move(draft, breaker, "executed", now, "by the reported relay").executed_at = ts
        if relay != "open" or not _has_metering(draft, breaker):
            _verified(draft, breaker, now)
        else:
            _await_reading(draft, breaker)
        return
    _contradicted(draft, breaker)
    over = command is not None and (command.state == "executed" or command.target not in SHUT)
    if moved and over and cause in NEVER_OURS:
        end(draft, breaker, "superseded", now, f"moved to {relay} on site ({cause})")
        command = None
    if moved and command is None and ours:
        _moved_late(draft, breaker, relay, now)
    elif moved and command is None:
        _moved_on_site(draft, breaker, relay, now, cause)
    if relay == "open":
        resolve_incident(draft, breaker, "closed_locally_under_lock", now)
    if command is None:
        _healed(draft, breaker, relay, now)


def _healed(draft: Draft, breaker: BreakerTwin, relay: Relay, now: int) -> None:
    """The relay stands where it is wanted after all, long after the command for it was given up. An opening that a
    meter can prove is believed with its reading."""
    if relay == "open" and (not breaker.locks or _has_metering(draft, breaker)):
        return
    if relay == "closed" and breaker.locks:
        return
    forget_failures(draft, breaker, now)


def _is_ours(breaker: BreakerTwin, ts: int, cause: str) -> bool:
    """Whether a movement is the work of a command of ours: the device says so, or nobody else can have done it."""
    if cause in NEVER_OURS:
        return False
    last = breaker.command
    just_now = last is not None and last.executed_at is not None and ts < last.executed_at + SETTLE_MS
    return cause == "command" or just_now or in_doubt(breaker)


def _moved_late(draft: Draft, breaker: BreakerTwin, relay: Relay, now: int) -> None:
    """A command of ours moved the breaker after we had given it up, or did not although the device said so. Nobody on
    site wanted that: the locks decide."""
    if relay == "closed":
        resolve_incident(draft, breaker, "opened_locally", now)
    wanted = "open" if breaker.locks.keys() - {"warning"} else "" if breaker.locks else "closed"
    ready = relay == "armed" and not draft.group.breaker_contracts[breaker.id].remote_close
    if relay == wanted or not wanted or (wanted == "closed" and ready):
        breaker.close = None
        return
    last = breaker.command
    if wanted == "closed" and breaker.close is None:
        why = last.why if last is not None and last.target not in SHUT else {"reason": "opened by a late command"}
        breaker.close = CloseIntent(why, now)
    if last is not None and last.state == "verified":
        take_back_proof(draft, breaker, last, now)
    elif breaker.locks:
        reconcile(draft, breaker.id)


def _opened_by_itself(relay: Relay, cause: str) -> bool:
    """Whether a supply is off that nobody here has cut: opened, or tripped and left armed for the key on site."""
    return relay == "open" or (relay == "armed" and cause in NEVER_OURS - BY_HAND)


def _moved_on_site(draft: Draft, breaker: BreakerTwin, relay: Relay, now: int, cause: str) -> None:
    passes = relay == "closed" or (relay == "limited" and wanted_position(draft, breaker) == "open")
    if relay == "closed":
        resolve_incident(draft, breaker, "opened_locally", now)
    if passes and breaker.locks and breaker.locks.keys() != {"warning"}:
        detail = f"{relay} on site ({cause or 'cause not told'}) under {', '.join(breaker.locks)}"
        open_incident(draft, breaker, "closed_locally_under_lock", now, detail)
    elif not breaker.locks and _opened_by_itself(relay, cause) and (breaker.close is None or cause in NEVER_OURS):
        breaker.close = None  # whoever opened it on site is not fought with an older wish
        open_incident(draft, breaker, "opened_locally", now, cause or "cause not told")
    elif relay == "closed":
        breaker.close = None


def tell_again(draft: Draft, breaker: BreakerTwin, now: int) -> None:
    """Somebody called it over that this breaker was closed on site. Where it still is, and still locked, a new incident
    says so: nothing is sent against a hand, and no report would tell of it again."""
    if breaker.relay == "closed" and breaker.locks.keys() - {"warning"}:
        detail = f"still closed under {', '.join(breaker.locks)}"
        open_incident(draft, breaker, "closed_locally_under_lock", now, detail)


def believed_power(sample: Telemetry) -> object:
    """The power (W) of a sample, as evidence. What the device itself calls bad may alarm; it proves no opening and ends
    no alarm."""
    power = sample.d.get("power_w")
    if sample.q == "bad" and isinstance(power, int) and abs(power) < STILL_W:
        return None
    return power


def on_power(
    draft: Draft,
    device: str,
    power: object,
    ts: int,
    now: int,
    *,
    grown: int | None,
    relay_told: bool = False,
    meter: str = "",
) -> None:
    """A live sample of a meter behind this breaker. `power` is what this very sample says (W), None where it is silent:
    what an older one said proves nothing. `grown`: by how much the register moved between two readings since the relay
    did (`growth`), which tells where no power does, as of water. `relay_told`: the same sample tells the relay, so the
    two belong together. `meter`: whose sample it is; what another one behind the breaker shows is held against it.

    Called for each live sample, so it returns early in the quiet case.
    """
    known = draft.group.breakers[device]
    flowing = abs(power) >= STILL_W if isinstance(power, int) else bool(grown)
    if known.relay != "open" and not (known.relay == "armed" and flowing and relay_told):
        quiet = known.relay != "armed" or not flowing
        if quiet and "open_but_power_flows" in known.incidents:
            resolve_incident(draft, draft.breaker(device), "open_but_power_flows", now)
        _wake_close(draft, device)
        return
    opened = known.relay_since or 0
    command = in_flight(known)
    if flowing and ts >= opened + SETTLE_MS:
        breaker = draft.breaker(device)
        seen = f"{power} W" if isinstance(power, int) else "a register that moved"
        detail = f"{seen} at {ts} through a breaker reported {known.relay} since {opened}"
        open_incident(draft, breaker, "open_but_power_flows", now, detail)
        _contradicted(draft, breaker)
    elif not flowing and (isinstance(power, int) or grown == 0) and not _flows_elsewhere(draft, known, meter):
        if "open_but_power_flows" in known.incidents:
            resolve_incident(draft, draft.breaker(device), "open_but_power_flows", now)
        if command is not None and command.target == "open" and command.state == "executed" and ts >= opened:
            _verified(draft, draft.breaker(device), now)
        elif known.incidents and command is None and known.locks and ts >= opened:
            forget_failures(draft, draft.breaker(device), now)
    _wake_close(draft, device)


def _flows_elsewhere(draft: Draft, breaker: BreakerTwin, meter: str) -> bool:
    """Whether another meter behind the breaker has shown power since it opened: then the stillness of one is no proof
    of all of them, and ends no alarm."""
    others = (draft.group.meters[name] for name in draft.group.breaker_contracts[breaker.id].meters if name != meter)
    since = (breaker.relay_since or 0) + SETTLE_MS
    return any(
        other.at is not None and other.at >= since and abs(other.values.get("power_w") or 0) >= STILL_W
        for other in others
    )


def growth(breaker: BreakerTwin, register: Register, was: int, was_at: int | None) -> int | None:
    """By how much the register rose over its reading before (`was` at `was_at`), where both are from after the relay
    moved; None where they are not, or where this sample has no reading. What rose before the relay had settled belongs
    to the movement."""
    opened = breaker.relay_since or 0
    if was_at is None or was_at < opened or register.seen_ts is None or register.seen_ts <= was_at:
        return None
    grown = register.seen - was
    return grown if grown <= 0 or was_at >= opened + SETTLE_MS else None


def _wake_close(draft: Draft, device: str) -> None:
    """A fresh reading is what a waiting wish to close may have been waiting for."""
    known = draft.group.breakers[device]
    if known.close is not None and in_flight(known) is None:
        reconcile(draft, device)


def _verified(draft: Draft, breaker: BreakerTwin, now: int) -> None:
    end(draft, breaker, "verified", now)
    if breaker.command is not None and breaker.command.target != "open":
        breaker.close = None
    forget_failures(draft, breaker, now)
    resolve_incident(draft, breaker, "opened_locally", now)
    if breaker.locks.keys() == {"warning"} and breaker.relay == "open":
        reconcile(draft, breaker.id)  # opened as a warning: now armed, so that it can be confirmed on site


def _await_reading(draft: Draft, breaker: BreakerTwin) -> None:
    """The relay agrees in time; the proof by power can come no sooner than the slowest meter's next reading."""
    contract = draft.group.breaker_contracts[breaker.id]
    interval_ms = max(draft.group.meter_contracts[name].interval_ms for name in contract.meters)
    command = breaker.command
    assert command is not None
    proof_by = (command.executed_at or command.issued) + interval_ms * 3 // 2 + SETTLE_MS
    if command.proof_by is None and proof_by > verify_deadline(command):
        _set_proof_by(draft, breaker, proof_by)


def _contradicted(draft: Draft, breaker: BreakerTwin) -> None:
    """What was reported or measured speaks against the command: there is nothing to wait for beyond its own time."""
    if breaker.command is not None and breaker.command.proof_by is not None:
        _set_proof_by(draft, breaker, None)


def _set_proof_by(draft: Draft, breaker: BreakerTwin, proof_by: int | None) -> None:
    assert breaker.command is not None
    breaker.command = duplicate(breaker.command)
    breaker.command.proof_by = proof_by
    draft.wake_dirty = True


def _has_metering(draft: Draft, breaker: BreakerTwin) -> bool:
    """Whether a meter that sends power or a register measures what flows through this breaker."""
    return any(draft.group.meters[name].at is not None for name in draft.group.breaker_contracts[breaker.id].meters)

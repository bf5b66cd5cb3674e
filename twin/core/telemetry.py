"""A sample arrives: is it new, when was it really taken, is its register believable, and what follows.

Live samples change the shadow of the meter, may be charged, and may actuate. Late and historical ones complete the
register and nothing else. A register marked `bad` is shown and not judged. The device's clock is believed unless it
is ahead of ours by more than the allowed skew, hopelessly behind, or contradicts the register; then the time of
receipt counts, and an incident says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twin.core import accrual, evidence, step_watch
from twin.core.commands import FRESH_INTERVALS
from twin.core.continuity import Verdict, judge
from twin.core.effects import LateReading, ReadingQuarantined
from twin.core.incidents import open_incident, resolve_incident
from twin.core.links import heard, heard_switch
from twin.core.model import Suspects
from twin.core.primary import primary, unwrap
from twin.core.reactions import react_to_event, react_to_reading
from twin.core.sequence import admit

if TYPE_CHECKING:
    from billing.points import Rates
    from twin.core.draft import Draft
    from twin.core.messages import Telemetry
    from twin.core.model import MeterContract, MeterTwin

GOOD: Final = "good"
"""The default quality itself, not a word that equals it: storing a twin leaves out what is its default."""
HOPELESSLY_BEHIND_MS = 366 * 24 * 3_600_000
REGISTER = {"electricity": "import_wh", "water": "volume_l"}


def on_telemetry(draft: Draft, sample: Telemetry, now: int) -> None:
    """Apply one sample of a meter, of a breaker, or of a meter with a relay."""
    group = draft.group
    known = group.meters.get(sample.device)
    relay = sample.d.get("relay")
    if known is None:
        if relay is not None and not sample.hist:
            ts = min(sample.ts, now)
            evidence.on_relay(draft, sample.device, relay, ts, "telemetry", now, sid=sample.sid)
            heard_switch(draft, sample.device, sample.sid, ts, now)
        return
    window, arrival = admit(known.sequence, sample.sid, sample.seq)
    meter = draft.meter(sample.device)
    meter.sequence = window
    if arrival == "duplicate":
        return
    contract = group.meter_contracts[meter.id]
    if contract.ratio != 1:
        sample = primary(sample, contract.ratio)
    ts = _believed_time(draft, meter, sample, now)
    was_seen, was_seen_at, was_at = meter.register.seen, meter.register.seen_ts, meter.at
    delta, ts = _apply_register(draft, meter, contract, sample, ts, now, follows=arrival == "next")
    live = _is_live(meter, sample, ts)
    moment = _moment(draft, meter, contract, sample, ts, now) if live else None
    if live:
        _show(draft, meter, sample, ts if moment is None else moment, now)
    react_to_reading(draft, meter.id, sample, delta, now if moment is None else moment, live=moment is not None)
    if moment is not None and draft.policy.by_trigger.steps is not None:
        for step in step_watch.watch(draft, meter, sample, ts, was_at, now):
            react_to_event(draft, step, moment)
    if live and contract.breaker is not None:
        assert meter.at is not None
        at = min(meter.at, now)  # as every other word of the relay: one from ahead of us would void those that follow
        if relay is not None and contract.breaker == meter.id:
            evidence.on_relay(draft, meter.id, relay, sample.ts, "telemetry", now, sid=sample.sid, believed_ts=at)
        breaker = group.breakers[contract.breaker]
        grown = None if breaker.relay == "closed" else evidence.growth(breaker, meter.register, was_seen, was_seen_at)
        told = relay is not None and contract.breaker == meter.id
        power = evidence.believed_power(sample)
        evidence.on_power(draft, contract.breaker, power, at, now, grown=grown, relay_told=told, meter=meter.id)


def _is_live(meter: MeterTwin, sample: Telemetry, ts: int) -> bool:
    """Whether a sample is newer than what the meter shows: by our clock, or by its own where that is not believed."""
    if sample.hist:
        return False
    follows = meter.device_ts is not None and meter.device_ts <= sample.ts == ts
    return meter.at is None or ts >= meter.at or follows


def _show(draft: Draft, meter: MeterTwin, sample: Telemetry, at: int, now: int) -> None:
    """The meter shows what the sample says, as of `at`."""
    meter.at = at
    meter.device_ts = sample.ts if sample.ts != at else None
    meter.received_at = sample.received_at
    meter.quality = GOOD if sample.q == GOOD else sample.q
    meter.values = {**meter.values, **sample.d}
    if _said_to_be_away(meter, at):
        heard(draft, meter.id, sample.sid, at, now)
    if "clock_behind" in meter.incidents and _clock_is_right(draft, sample, at, now):
        resolve_incident(draft, meter, "clock_behind", now)


def _believed_time(draft: Draft, meter: MeterTwin, sample: Telemetry, now: int) -> int:
    """The sample's own time where it can be true, otherwise the time of receipt."""
    skew_ms = draft.policy.skew_ms
    if skew_ms is None:
        return sample.ts
    if sample.ts > now + skew_ms:
        open_incident(draft, meter, "clock_ahead", now, f"device says {sample.ts}, platform {now} (Unix ms)")
        return now
    if sample.ts < now - HOPELESSLY_BEHIND_MS:
        open_incident(draft, meter, "clock_behind", now, f"device says {sample.ts}, platform {now} (Unix ms)")
        return now
    if "clock_ahead" in meter.incidents and not sample.hist:
        resolve_incident(draft, meter, "clock_ahead", now)
    return sample.ts


def _moment(
    draft: Draft, meter: MeterTwin, contract: MeterContract, sample: Telemetry, ts: int, now: int
) -> int | None:
    """The instant at which rules look at a live sample: its own, where that is about now.

    One that waited somewhere on its way tells of the past, as one from a buffer does, and actuates nothing: None. A
    clock that lags must not switch protection off. It is known by the sample before, which was as old when it came, and
    came before this one by about the time that lies between them; what waited comes all at once. Then the instant is
    that of receipt, and an incident says so.
    """
    if draft.policy.skew_ms is None:
        return ts
    oldest_ms = draft.policy.skew_ms + FRESH_INTERVALS * contract.interval_ms
    if now - ts <= oldest_ms:
        return ts if meter.at is None else max(ts, meter.at)
    if meter.at is None or meter.received_at is None:
        return None
    before = meter.at if meter.device_ts is None else meter.device_ts
    if meter.received_at - before <= oldest_ms or 2 * (now - meter.received_at) < sample.ts - before:
        return None
    open_incident(draft, meter, "clock_behind", now, f"device says {sample.ts}, platform {now} (Unix ms)")
    return now


def _said_to_be_away(meter: MeterTwin, ts: int) -> bool:
    """Whether a sample of this instant contradicts what is known of the meter's connection."""
    conn, link = meter.conn, meter.link
    away = conn.state == "offline" and ts > conn.since
    return away or (link is not None and link.state == "offline" and ts > link.since)


def _clock_is_right(draft: Draft, sample: Telemetry, ts: int, now: int) -> bool:
    """Whether a live sample was believed at its own time, and that is about now."""
    skew_ms = draft.policy.skew_ms
    return ts == sample.ts and (skew_ms is None or sample.ts >= now - skew_ms)


def _apply_register(
    draft: Draft, meter: MeterTwin, contract: MeterContract, sample: Telemetry, ts: int, now: int, *, follows: bool
) -> tuple[int, int]:
    """Judge the register value of the sample, if it has one; returns the quantity that is now to be charged, and the
    instant the sample was really taken: the time of receipt where the register shows that the device's clock went back.
    """
    raw = sample.d.get(REGISTER[contract.kind])
    if raw is None or sample.q == "bad":
        return 0, ts
    told = sample.d.get("rates_wh")
    verdict = judge(meter.register, contract, draft.policy, raw, ts)
    if verdict.reason == "ahead_of_its_time" and follows and not sample.hist:
        # The register grew while the clock went back: the register is physics, the clock is not.
        open_incident(draft, meter, "clock_behind", now, f"device says {sample.ts}, newer samples exist")
        ts = max(now, meter.register.seen_ts or now)
        verdict = judge(meter.register, contract, draft.policy, raw, ts)
    if verdict.kind == "accepted" or verdict.kind == "rollover":
        rates = unwrap(meter.register.seen_rates, told, contract.modulus) if told else None
        _accept(draft, meter, verdict, ts, now, rates)
    elif verdict.kind == "late":
        _tell_late(draft, meter, contract, sample, ts)
    elif verdict.kind == "opening":
        accrual.open_epoch(draft, meter, raw, ts, "first reading", unwrap(None, told, contract.modulus))
        resolve_incident(draft, meter, "beyond_register", now)
    elif verdict.kind == "reset":
        _reset(draft, meter, verdict, raw, ts, now)
    elif verdict.kind == "quarantined":
        _quarantine(draft, meter, verdict, sample, raw, ts, now, contract.ratio)
    return meter.register.seen - meter.register.head, ts


def _accept(draft: Draft, meter: MeterTwin, verdict: Verdict, ts: int, now: int, rates: Rates | None) -> None:
    register = draft.register(meter)
    accrual.accept(register, verdict.quantity, ts, rates)
    register.turns = verdict.turns
    if register.suspects is not None:
        register.suspects = None
        forget_doubts(draft, meter, now)
    if register.head == register.seen:
        accrual.charge(draft, meter, now)  # nothing to charge: only marks that time passed without use


def forget_doubts(draft: Draft, meter: MeterTwin, now: int) -> None:
    """The register is believed again: what was doubted before it is for the review queue alone."""
    for kind in ("implausible_rise", "fall", "beyond_register", "ahead_of_its_time"):
        resolve_incident(draft, meter, kind, now)


def _tell_late(draft: Draft, meter: MeterTwin, contract: MeterContract, sample: Telemetry, ts: int) -> None:
    """A reading older than what was accepted belongs to the past, which only the ledger knows."""
    register, ratio = meter.register, contract.ratio
    raw = sample.d[REGISTER[contract.kind]] // ratio
    rates = {name: value // ratio for name, value in sample.d.get("rates_wh", {}).items()}
    draft.emit(LateReading(meter.id, register.epoch, raw, ts, sample.sid, sample.seq, rates))


def _reset(draft: Draft, meter: MeterTwin, verdict: Verdict, raw: int, ts: int, now: int) -> None:
    """Several readings agree that the register restarted: charge the old epoch to its last good reading, open a
    new one."""
    run = verdict.suspects
    assert run is not None
    before = meter.register.seen
    resolve_incident(draft, meter, "fall", now)
    react_to_reading(draft, meter.id, None, meter.register.seen - meter.register.head, now, live=False)
    accrual.open_epoch(draft, meter, run.first_raw, run.first_ts, "reset")
    detail = f"register fell from {before} to {run.first_raw}; what was used until then was charged to nobody"
    open_incident(draft, meter, "register_reset", now, detail)
    register = draft.register(meter)
    accrual.accept(register, raw, ts)


def _quarantine(
    draft: Draft, meter: MeterTwin, verdict: Verdict, sample: Telemetry, raw: int, ts: int, now: int, ratio: int
) -> None:
    register = draft.register(meter)
    register.suspects = verdict.suspects or Suspects(verdict.reason, 1, raw, ts, raw, ts)
    draft.emit(
        ReadingQuarantined(
            meter.id, register.epoch, raw // ratio, ts, sample.sid, sample.seq, verdict.reason, register.seen
        )
    )
    detail = f"register {raw} at {ts} against {register.seen} at {register.seen_ts}"
    open_incident(draft, meter, verdict.reason, now, detail)

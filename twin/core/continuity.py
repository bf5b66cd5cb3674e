"""Register continuity: which register values to believe.

Theory of operation. A cumulative register only grows. Each sample is judged against the last accepted one:

* at or below it, with an older time: late, nothing to charge now; the ledger splits earlier use by it;
* above it by no more than can physically have flowed since: accepted;
* below it by almost a whole register, so that the wrapped difference is plausible: a rollover, accepted on the
  unwrapped register;
* anything else is quarantined: kept for review, and the accepted value does not move. One false high value therefore
  cannot poison what follows, because the true values after it are still above the accepted one.

A register that falls and then grows again from about zero was reset. Several consistent readings open a new epoch
at the first of them; what was counted between the reset and that reading is left to a person, since nobody can
prove whose it was.

Sources: DOMAIN notes 1.1 (register delta, rollover, plausibility by U * I_max * phases * dt * k) and the list of holes
in the register chain (H1 poisoned mark, H2 rollover, H4 decreasing) in the fault model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from twin.core.model import Suspects

if TYPE_CHECKING:
    from twin.core.model import MeterContract, Register
    from twin.core.policy import SitePolicy

HOUR_MS = 3_600_000
UNKNOWN_SPAN_MS = 31 * 24 * HOUR_MS
"""Time allowed for the first delta of a register whose opening instant nobody recorded."""

Kind = Literal["accepted", "rollover", "late", "quarantined", "reset", "opening"]


class Verdict(msgspec.Struct, frozen=True):
    """What to make of one register value. `quantity` is the unwrapped value when it was believed."""

    kind: Kind
    quantity: int = 0
    turns: int = 0
    reason: str = ""
    suspects: Suspects | None = None


def plausible_growth(contract: MeterContract, policy: SitePolicy, span_ms: int) -> int | None:
    """Most Wh (or litres) that can have flowed in `span_ms`; None where the installation's limit is unknown."""
    if contract.max_rate <= 0:
        return None
    return contract.max_rate * policy.tolerance_milli * span_ms // (HOUR_MS * 1000) + policy.slack


def judge(register: Register, contract: MeterContract, policy: SitePolicy, raw: int, ts: int) -> Verdict:
    """Judge a raw register value (Wh or litres, `0 <= raw < modulus`) sampled at `ts` (Unix ms)."""
    if not 0 <= raw < contract.modulus:
        return Verdict("quarantined", reason="beyond_register", suspects=register.suspects)
    if not register.opened:
        return Verdict("opening", raw)
    candidate = register.turns * contract.modulus + raw
    if register.seen_ts is not None and ts < register.seen_ts:
        if register.since is not None and ts < register.since:
            # Of an earlier epoch: the ledger knows what that one could show.
            return Verdict("late", reason="ahead_of_its_time" if candidate > register.seen else "")
        return _judge_late(register, contract, candidate)
    span_ms = UNKNOWN_SPAN_MS if register.seen_ts is None else ts - register.seen_ts
    limit = plausible_growth(contract, policy, span_ms)
    rise = candidate - register.seen
    if rise >= 0:
        if limit is None or rise <= limit:
            return Verdict("accepted", candidate, register.turns)
        return Verdict(
            "quarantined", reason="implausible_rise", suspects=_suspect(register, "implausible_rise", raw, ts)
        )
    wrapped = rise + contract.modulus
    believable = wrapped * 100 < contract.modulus if limit is None else wrapped <= limit
    if 0 <= wrapped * 2 < contract.modulus and believable:
        return Verdict("rollover", candidate + contract.modulus, register.turns + 1)
    return _judge_fall(register, contract, policy, raw, ts)


def _judge_late(register: Register, contract: MeterContract, candidate: int) -> Verdict:
    """A sample older than the accepted one is harmless unless it claims more than a newer sample did."""
    if candidate <= register.seen or (register.turns > 0 and candidate - contract.modulus <= register.seen):
        return Verdict("late")
    return Verdict("quarantined", reason="ahead_of_its_time", suspects=register.suspects)


def _judge_fall(register: Register, contract: MeterContract, policy: SitePolicy, raw: int, ts: int) -> Verdict:
    suspects = _suspect(register, "fall", raw, ts, _grows_plausibly(register, contract, policy, raw, ts))
    if suspects.count >= policy.reset_after and _counted_from_zero(register, contract, policy, suspects):
        return Verdict("reset", raw, reason="reset", suspects=suspects)
    return Verdict("quarantined", reason="fall", suspects=suspects)


def _suspect(register: Register, reason: str, raw: int, ts: int, continues: bool = False) -> Suspects:
    run = register.suspects
    if run is not None and run.reason == reason and continues:
        return Suspects(reason, run.count + 1, run.first_raw, run.first_ts, raw, ts)
    return Suspects(reason, 1, raw, ts, raw, ts)


def _grows_plausibly(register: Register, contract: MeterContract, policy: SitePolicy, raw: int, ts: int) -> bool:
    run = register.suspects
    if run is None or raw < run.last_raw or ts <= run.last_ts:
        return False
    limit = plausible_growth(contract, policy, ts - run.last_ts)
    return limit is None or raw - run.last_raw <= limit


def _counted_from_zero(register: Register, contract: MeterContract, policy: SitePolicy, run: Suspects) -> bool:
    """Only a register that restarted at zero explains such a run; a corrected false high reading does not."""
    span_ms = UNKNOWN_SPAN_MS if register.seen_ts is None else run.first_ts - register.seen_ts
    limit = plausible_growth(contract, policy, span_ms)
    return limit is not None and run.first_raw <= limit

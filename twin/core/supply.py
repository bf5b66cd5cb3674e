"""Where a tenant stands: gathers the facts that the disconnect table looks at, and records each move of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twin.core.commands import in_flight
from twin.core.disconnect import Facts, settle
from twin.core.effects import SupplyStateChanged
from twin.core.lock_kinds import SAFETY
from twin.core.model import SHUT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twin.core.draft import Draft
    from twin.core.model import BreakerTwin, Group


def gather(group: Group, params: Mapping[str, Any], held: tuple[str, ...]) -> Facts:
    """The facts of one tenant group. `params` gives low1, low2, emergency_credit (nano); absent ones count as zero."""
    tenant, contract = group.tenant, group.contract
    assert tenant is not None
    assert contract is not None
    balance = tenant.balance_nano
    emergency = int(params.get("emergency_credit", 0))
    prepaid = contract.mode == "prepaid"
    breakers = [breaker for breaker in group.breakers.values() if breaker.locks or in_flight(breaker) or breaker.relay]
    locked = [breaker for breaker in breakers if breaker.locks]
    kinds = {kind for breaker in locked for kind in breaker.locks}
    watched = locked or breakers
    return Facts(
        below_low1=prepaid and balance < int(params.get("low1", 0)),
        below_low2=prepaid and balance < int(params.get("low2", 0)),
        on_emergency_credit=prepaid and emergency > 0 and balance <= 0,
        credit_exhausted=prepaid and balance <= -emergency,
        held_back=bool(held),
        credit_locked="credit" in kinds,
        safety_locked=any(kind in kinds for kind in SAFETY),
        manually_locked="manual" in kinds or "maintenance" in kinds,
        open_under_way=any(_opening(breaker) for breaker in watched),
        reported_open=bool(watched) and all(breaker.relay in SHUT for breaker in watched),
        reported_armed=any(breaker.relay == "armed" for breaker in watched),
        reported_closed=all(breaker.relay in ("closed", None) for breaker in watched),
    )


def _opening(breaker: BreakerTwin) -> bool:
    command = in_flight(breaker)
    return command is not None and command.target in SHUT and command.state != "queued"


def update(draft: Draft, params: Mapping[str, Any], now: int) -> None:
    """Run the table on the facts as they are now; a move, or a new reason for holding back, is recorded."""
    known = draft.group.tenant
    if known is None or draft.group.contract is None:
        return
    after = settle(known.state, gather(draft.group, params, known.held))
    if after == known.state and known.held == known.held_told:
        return
    tenant = draft.tenant()
    assert tenant is not None
    before = tenant.state
    tenant.state = after
    tenant.held_told = tenant.held
    if after == "NORMAL":
        tenant.warned_at = None  # the next decline is another one, and needs a warning of its own
    if after != before:
        tenant.state_since = now
    draft.emit(SupplyStateChanged(tenant.id, before, after, now, tenant.balance_nano, tenant.held))


def band_moved(draft: Draft, charged_nano: int) -> bool:
    """Whether a charge took the balance over one of the thresholds the facts look at; cheaper than gathering them."""
    tenant = draft.group.tenant
    assert tenant is not None
    after = tenant.credits_nano - tenant.charges_nano
    edges = _edges(draft.policy.tenant_params(draft.group.contract, tenant.params))
    if after > edges[-1]:
        return False
    before = after + charged_nano
    return any(after < edge <= before or after <= edge < before for edge in edges)


def _edges(params: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """The thresholds of a balance; the first alarm is the highest of them in every sensible set."""
    low1, low2 = params.get("low1", 0), params.get("low2", 0)
    return (-params.get("emergency_credit", 0), 0, low2, max(low1, low2, 0))

"""Twins as the API shows them: values in, values out. Valves speak their own words here, as they do on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.http.bodies import (
    CommandBody,
    ConnBody,
    DeviceBody,
    IncidentBody,
    LockBody,
    RegisterBody,
    Reported,
    TenantBody,
    Wanted,
)
from billing.money import format_nano
from twin.core.breaker_why import nameless, told_tenants
from twin.core.valves import wire_target

if TYPE_CHECKING:
    from twin.core.model import BreakerTwin, Command, Connection, Group, Incident, MeterContract, MeterTwin, Relay

VALVE = "valve.set"


def tenant_view(group: Group) -> TenantBody | None:
    """The tenant of a group; None for a group without one."""
    tenant, contract = group.tenant, group.contract
    if tenant is None or contract is None:
        return None
    return TenantBody(
        id=tenant.id,
        name=contract.name,
        mode=contract.mode,
        state=tenant.state,
        state_since=tenant.state_since,
        balance=format_nano(tenant.balance_nano),
        credits=format_nano(tenant.credits_nano),
        charges=format_nano(tenant.charges_nano),
        emergency_credit=format_nano(contract.emergency_credit_nano),
        held=list(tenant.held),
        locks=sorted({kind for breaker in group.breakers.values() for kind in breaker.locks}),
        devices=sorted({*group.meters, *group.breakers}),
        revision=group.revision,
    )


def device_view(group: Group, device: str) -> DeviceBody | None:
    """One device of a group: a meter, a breaker, both in one, or a gateway. None where the group does not hold it."""
    meter, breaker = group.meters.get(device), group.breakers.get(device)
    gateway = group.gateway if group.gateway is not None and group.gateway.id == device else None
    if meter is None and breaker is None and gateway is None:
        return None
    contract = group.meter_contracts.get(device)
    switch = group.breaker_contracts.get(device)
    op = switch.op if switch is not None else "breaker.set"
    conn = next((_conn_of(twin) for twin in (meter, breaker, gateway) if twin is not None), None)
    assert conn is not None
    incidents: dict[str, Incident] = {}
    for twin in (meter, breaker, gateway):
        incidents |= twin.incidents if twin is not None else {}
    return DeviceBody(
        id=device,
        kind=_kind(contract, breaker, op),
        tenant=group.tenant.id if group.tenant is not None else None,
        gateway=(contract.gateway if contract else None) or (switch.gateway if switch else None),
        reported=_reported(group, device, op),
        wanted=wanted_view(breaker, op) if breaker is not None else None,
        commanded=command_view(breaker, op) if breaker is not None else None,
        conn=conn,
        registers=_register(contract, meter) if meter is not None else None,
        incidents=[IncidentBody(one.kind, one.since, one.count, one.detail) for one in incidents.values()],
        revision=group.revision,
    )


def without_names(view: DeviceBody) -> DeviceBody:
    """The same for a tenant: nobody of the staff is named."""
    if view.wanted is not None:
        for lock in view.wanted.locks.values():
            lock.who = nameless(lock.who)
    if view.commanded is not None:
        view.commanded.why = told_tenants(view.commanded.why)
    return view


def command_view(breaker: BreakerTwin, op: str) -> CommandBody | None:
    """The command in flight, or the last one that ended; None before the first."""
    command = breaker.command
    return None if command is None else _command(breaker.id, command, op)


def command_towards(breaker: BreakerTwin, op: str, relay: Relay, since: int) -> CommandBody:
    """What became of the wish, at `since` (Unix ms), to have the relay there: the command, or why there is none."""
    command = breaker.command
    targets = ("open",) if relay == "open" else ("closed", "armed")
    reached = breaker.relay in targets
    if command is not None and command.target in targets and (command.issued >= since or not reached):
        return _command(breaker.id, command, op)
    return CommandBody(
        id=None,
        device=breaker.id,
        op=op,
        target=wire_target(op, relay),
        state="satisfied" if reached else "waiting",
        fence=breaker.fence,
        issued=None,
        expires=None,
        attempt=0,
        reason="" if reached else _why_waiting(breaker),
        why={},
    )


def _why_waiting(breaker: BreakerTwin) -> str:
    if breaker.retry_at is not None:
        return "the last attempt failed; it is tried again later"
    return "closing waits for a connection, a known position and a fresh reading"


def _command(device: str, command: Command, op: str) -> CommandBody:
    return CommandBody(
        id=command.id,
        device=device,
        op=op,
        target=wire_target(op, command.target),
        state=command.state,
        fence=command.fence,
        issued=command.issued,
        expires=command.exp,
        attempt=command.attempt,
        reason=command.reason,
        why=command.why,
    )


def _kind(contract: MeterContract | None, breaker: BreakerTwin | None, op: str) -> str:
    if contract is not None:
        return f"{contract.kind}_meter"
    if breaker is not None:
        return "valve" if op == VALVE else "breaker"
    return "gateway"


def _conn_of(twin: object) -> ConnBody:
    conn: Connection = twin.conn  # type: ignore[attr-defined]
    link: Connection | None = getattr(twin, "link", None)
    return ConnBody(conn.state, conn.sid, conn.since, link.state if link is not None else None)


def _reported(group: Group, device: str, op: str) -> Reported:
    meter, breaker = group.meters.get(device), group.breakers.get(device)
    versions = meter.versions if meter is not None else group.gateway.versions if group.gateway is not None else {}
    relay = breaker.relay if breaker is not None else None
    values = dict(meter.values) if meter is not None else {}
    if op == VALVE:
        values.pop("relay", None)  # switch language; `valve` says it in its own words
    return Reported(
        relay=wire_target(op, relay) if relay is not None else None,
        relay_ts=breaker.relay_at if breaker is not None else None,
        relay_since=breaker.relay_since if breaker is not None else None,
        ts=meter.at if meter is not None else None,
        quality=meter.quality if meter is not None else None,
        values=values,
        versions=versions,
    )


def wanted_view(breaker: BreakerTwin, op: str) -> Wanted:
    """What the locks ask for, and who placed each of them why."""
    locks = {
        kind: LockBody(who=lock.who, why=lock.why, since=lock.since, until=lock.until)
        for kind, lock in breaker.locks.items()
    }
    return Wanted(wire_target(op, "open" if locks else "closed"), locks)


def _register(contract: MeterContract | None, meter: MeterTwin) -> RegisterBody:
    register = meter.register
    return RegisterBody(
        unit="l" if contract is not None and contract.kind == "water" else "wh",
        epoch=register.epoch,
        opening=register.opening,
        seen=register.seen,
        seen_ts=register.seen_ts,
        charged=register.head,
        charged_ts=register.head_ts,
        posted=register.posted,
        posted_ts=register.posted_ts,
        month=register.month,
        month_use=register.month_use,
    )

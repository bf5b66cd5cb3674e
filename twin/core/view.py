"""What a rule can see: the view of one twin during one evaluation, and the catalogue of paths into it.

A path that has no value, or whose value is too old to act on, is unknown, and says why. Live channels are stale
after three reporting intervals. The balance is always known, except to a rule that could lock a breaker: such a
rule sees it only while a meter of the tenant has reported recently, because nobody may be cut off on stale data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rules.language.kinds import BOOL, DURATION, INT, MONEY, STRING, STRINGS, TIMESTAMP, Type, list_of
from rules.language.values import PathSpec, Unknown
from twin.core.commands import FRESH_INTERVALS
from twin.core.sight import View, gateway_view, newest_live, stands
from twin.core.step_watch import step_class
from twin.core.valves import wire_target

if TYPE_CHECKING:
    from collections.abc import Callable

    from twin.core.model import BreakerContract, BreakerTwin, Connection, Contract

__all__ = ["TWIN_MODEL", "View", "gateway_view", "newest_live", "stands"]

MISSING = Unknown("missing")
STALE = Unknown("stale")
BREAKER, VALVE = "breaker.set", "valve.set"
METER = frozenset({"meter"})
TENANT = frozenset({"tenant"})
SWITCH = frozenset({"breaker"})
PAYING = frozenset({"meter", "tenant", "breaker"})
SWITCHED = frozenset({"meter", "breaker"})
CONNECTED = frozenset({"meter", "breaker", "gateway"})


def stale_at(view: View) -> int | None:
    """Instant from which the meter's live channels are too old to act on."""
    at = view.meter.at
    return None if at is None else at + FRESH_INTERVALS * view.meter_contract.interval_ms


def _channel(name: str) -> Callable[[View], Any]:
    def read(view: View) -> Any:
        meter = view.draft.group.meters[view.meter_id]  # type: ignore[index]
        at = meter.at
        if at is None:
            return MISSING
        if view.now - at > FRESH_INTERVALS * view.draft.group.meter_contracts[view.meter_id].interval_ms:  # type: ignore[index]
            return STALE
        value = meter.values.get(name)
        return MISSING if value is None else value

    return read


def _event_number(name: str) -> Callable[[View], Any]:
    def read(view: View) -> Any:
        event = view.device_event
        value = None if event is None else event.d.get(name)
        return MISSING if value is None else value

    return read


def _step_class(view: View) -> Any:
    found = step_class(view)
    return MISSING if found is None else found


def _quality(view: View) -> Any:
    return view.sample.q if view.sample is not None else view.meter.quality


def _delta(view: View) -> Any:
    return view.delta if view.sample is not None else MISSING


def _at(view: View) -> Any:
    """When the meter was last heard of; after a rebuild that is when SQL last heard of it."""
    meter = view.meter
    at = meter.at if meter.at is not None else meter.register.seen_ts
    return MISSING if at is None else at


def _balance(view: View) -> Any:
    tenant = view.draft.group.tenant
    if tenant is None:
        return MISSING
    if view.fresh_only and newest_live(view.draft.group, view.now) is None:
        return STALE
    return tenant.credits_nano - tenant.charges_nano


def _tenant_field(read: Callable[[Contract], Any]) -> Callable[[View], Any]:
    def get(view: View) -> Any:
        contract = view.draft.group.contract
        return MISSING if contract is None else read(contract)

    return get


def _protected(view: View) -> Any:
    contract = view.draft.group.contract
    until = contract.protected_until if contract else None
    return until is not None and view.now < until


def _credits(view: View) -> Any:
    return view.draft.group.tenant.credits_nano if view.draft.group.tenant else MISSING


def _charges(view: View) -> Any:
    return view.draft.group.tenant.charges_nano if view.draft.group.tenant else MISSING


def _supply_state(view: View) -> Any:
    return view.draft.group.tenant.state if view.draft.group.tenant else MISSING


def _connection(view: View) -> Any:
    conn, link = _connections(view)
    return "offline" if link is not None and link.state == "offline" else conn.state


def _connected_since(view: View) -> Any:
    conn, link = _connections(view)
    told = link if link is not None and link.state == "offline" else conn
    return told.since or MISSING


def _connections(view: View) -> tuple[Connection, Connection | None]:
    """The connection of the twin itself, and of the gateway in front of it."""
    group = view.draft.group
    if view.meter_id is not None:
        meter = group.meters[view.meter_id]
        return meter.conn, meter.link
    if view.breaker_id is not None:
        breaker = group.breakers[view.breaker_id]
        return breaker.conn, breaker.link
    assert group.gateway is not None
    return group.gateway.conn, None


def _gateway(view: View) -> Any:
    if view.scope == "gateway":
        return view.twin_id
    if view.breaker_id is not None:
        return _installed(view).gateway or ""
    return view.meter_contract.gateway or ""


def _gateway_state(view: View) -> Any:
    """What was last told of the gateway in front: a rule can tell its outage from one of the device alone. A gateway of
    which nothing was told counts as online; without a gateway it is an empty text."""
    if not _gateway(view):
        return ""
    link = _connections(view)[1]
    return "offline" if link is not None and link.state == "offline" else "online"


def _installed(view: View) -> BreakerContract:
    assert view.breaker_id is not None
    return view.draft.group.breaker_contracts[view.breaker_id]


def _locks(op: str) -> Callable[[View], Any]:
    def read(view: View) -> Any:
        return sorted({kind for breaker in _switches(view, op) for kind in breaker.locks})

    return read


def _switches(view: View, op: str) -> list[BreakerTwin]:
    """The breakers (or valves) this view is about: the twin itself, the meter's own, or all of the tenant's."""
    group = view.draft.group
    if view.breaker_id is None and view.meter_id is None:
        names = list(group.breaker_contracts)
    else:
        one = view.breaker_id if view.breaker_id is not None else view.meter_contract.breaker
        names = [one] if one is not None and one in group.breaker_contracts else []
    return [group.breakers[name] for name in names if group.breaker_contracts[name].op == op]


def _relay(view: View) -> Any:
    found = _switches(view, BREAKER)
    return found[0].relay if found and found[0].relay is not None else MISSING


def _position(view: View) -> Any:
    found = _switches(view, VALVE)
    return wire_target(VALVE, found[0].relay) if found and found[0].relay is not None else MISSING


def _positions(op: str) -> Callable[[View], Any]:
    def read(view: View) -> Any:
        return sorted({wire_target(op, breaker.relay) for breaker in _switches(view, op) if breaker.relay is not None})

    return read


def _of_breaker(read: Callable[[BreakerTwin], Any]) -> Callable[[View], Any]:
    def get(view: View) -> Any:
        breaker = view.breaker
        value = None if breaker is None else read(breaker)
        return MISSING if value is None else value

    return get


def _of_command(name: str) -> Callable[[View], Any]:
    return _of_breaker(lambda breaker: getattr(breaker.command, name, None))


def _command_target(view: View) -> Any:
    breaker = view.breaker
    if breaker is None or breaker.command is None:
        return MISSING
    return wire_target(view.draft.group.breaker_contracts[breaker.id].op, breaker.command.target)


def _incidents(view: View) -> Any:
    owner = view.owner
    return sorted(getattr(owner, "incidents", ()))


def _gaps(view: View) -> Any:
    """Numbers that are missing among the last 64 of the session."""
    sequence = view.meter.sequence
    return sequence.mask.bit_length() - sequence.mask.bit_count() if sequence.sid else MISSING


def _imax(factor: int) -> Callable[[View], Any]:
    return lambda view: view.meter_contract.imax_a * factor or MISSING


def _live(name: str, unit: str) -> PathSpec:
    return PathSpec(Type("int", unit), unit, _channel(name), METER, _at_or_none, stale_at)


def _live_list(name: str, unit: str) -> PathSpec:
    return PathSpec(list_of(Type("int", unit)), unit, _channel(name), METER, _at_or_none, stale_at)


def _at_or_none(view: View) -> int | None:
    return view.meter.at


TWIN_MODEL: dict[str, PathSpec] = {
    "reading.quality": PathSpec(STRING, None, _quality, METER),
    "reading.delta": PathSpec(INT, None, _delta, METER),
    "reading.at": PathSpec(TIMESTAMP, None, _at, METER),
    "reading.gaps": PathSpec(INT, None, _gaps, METER),
    "reading.missed": PathSpec(INT, None, lambda view: view.meter.sequence.missed, METER),
    "reading.duplicates": PathSpec(INT, None, lambda view: view.meter.sequence.duplicates, METER),
    "reading.import_wh": _live("import_wh", "Wh"),
    "reading.export_wh": _live("export_wh", "Wh"),
    "reading.volume_l": _live("volume_l", "L"),
    "reading.power_w": _live("power_w", "W"),
    "reading.reactive_var": _live("reactive_var", "var"),
    "reading.apparent_va": _live("apparent_va", "VA"),
    "reading.demand_w": _live("demand_w", "W"),
    "reading.pf_milli": _live("pf_milli", "milli"),
    "reading.frequency_mhz": _live("frequency_mhz", "mHz"),
    "reading.temperature_dc": _live("temperature_dc", "dC"),
    "reading.leakage_ma": _live("leakage_ma", "mA"),
    "reading.voltage_mv": _live_list("voltage_mv", "mV"),
    "reading.current_ma": _live_list("current_ma", "mA"),
    "reading.step_w": PathSpec(Type("int", "W"), "W", _event_number("step_w"), METER),
    "reading.step_pf_milli": PathSpec(Type("int", "milli"), "milli", _event_number("step_pf_milli"), METER),
    "reading.step_class": PathSpec(STRING, None, _step_class, METER),
    "account.balance": PathSpec(MONEY, None, _balance, PAYING),
    "account.credits": PathSpec(MONEY, None, _credits, PAYING),
    "account.charges": PathSpec(MONEY, None, _charges, PAYING),
    "tenant.id": PathSpec(STRING, None, _tenant_field(lambda contract: contract.id), PAYING),
    "tenant.mode": PathSpec(STRING, None, _tenant_field(lambda contract: contract.mode), PAYING),
    "tenant.account": PathSpec(STRING, None, _tenant_field(lambda contract: contract.charged_account), PAYING),
    "tenant.group": PathSpec(STRING, None, _tenant_field(lambda contract: contract.group), PAYING),
    "tenant.protected": PathSpec(BOOL, None, _protected, PAYING),
    "tenant.state": PathSpec(STRING, None, _supply_state, PAYING),
    "meter.id": PathSpec(STRING, None, lambda view: view.meter_id, METER),
    "meter.kind": PathSpec(STRING, None, lambda view: view.meter_contract.kind, METER),
    "meter.tariff": PathSpec(STRING, None, lambda view: view.meter_contract.tariff, METER),
    "meter.interval": PathSpec(DURATION, None, lambda view: view.meter_contract.interval_ms, METER),
    "meter.imax_a": PathSpec(Type("int", "A"), "A", _imax(1), METER),
    "meter.imax_ma": PathSpec(Type("int", "mA"), "mA", _imax(1000), METER),
    "meter.incidents": PathSpec(STRINGS, None, _incidents, METER),
    "gateway.id": PathSpec(STRING, None, _gateway, CONNECTED),
    "gateway.state": PathSpec(STRING, None, _gateway_state, SWITCHED),
    "gateway.incidents": PathSpec(STRINGS, None, _incidents, frozenset({"gateway"})),
    "conn.state": PathSpec(STRING, None, _connection, CONNECTED),
    "conn.since": PathSpec(TIMESTAMP, None, _connected_since, CONNECTED),
    "breaker.id": PathSpec(STRING, None, lambda view: view.breaker_id, SWITCH),
    "breaker.kind": PathSpec(STRING, None, lambda view: _installed(view).op.partition(".")[0], SWITCH),
    "breaker.remote_close": PathSpec(BOOL, None, lambda view: _installed(view).remote_close, SWITCH),
    "breaker.incidents": PathSpec(STRINGS, None, _incidents, SWITCH),
    "breaker.locks": PathSpec(STRINGS, None, _locks(BREAKER), PAYING),
    "breaker.relay": PathSpec(STRING, None, _relay, SWITCHED),
    "breaker.relays": PathSpec(STRINGS, None, _positions(BREAKER), TENANT),
    "breaker.since": PathSpec(TIMESTAMP, None, _of_breaker(lambda breaker: breaker.relay_since), SWITCHED),
    "valve.locks": PathSpec(STRINGS, None, _locks(VALVE), PAYING),
    "valve.position": PathSpec(STRING, None, _position, SWITCHED),
    "valve.positions": PathSpec(STRINGS, None, _positions(VALVE), TENANT),
    "command.state": PathSpec(STRING, None, _of_command("state"), SWITCHED),
    "command.target": PathSpec(STRING, None, _command_target, SWITCHED),
    "command.reason": PathSpec(STRING, None, _of_command("reason"), SWITCHED),
    "command.attempt": PathSpec(INT, None, _of_command("attempt"), SWITCHED),
    "command.issued": PathSpec(TIMESTAMP, None, _of_command("issued"), SWITCHED),
}
"""Every path a rule may read, with its type, unit and the scopes that have it."""

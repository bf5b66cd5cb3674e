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

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from zoneinfo import ZoneInfo

    from rules.rule import Ruleset
    from twin.core.draft import Draft
    from twin.core.messages import DeviceEvent, Telemetry
    from twin.core.model import Contract, Group, MeterContract, MeterTwin

MISSING = Unknown("missing")
STALE = Unknown("stale")
METER = frozenset({"meter"})
TENANT = frozenset({"tenant"})
BOTH = frozenset({"meter", "tenant"})


class View:
    """The environment of one evaluation: a twin of the draft at an instant. Satisfies `rules.language.values.Env`."""

    __slots__ = (
        "credited_nano",
        "delta",
        "device_event",
        "draft",
        "fresh_only",
        "meter_id",
        "now",
        "params",
        "ruleset",
        "sample",
        "zone",
    )

    def __init__(self, draft: Draft, now: int, meter_id: str | None = None) -> None:
        self.draft = draft
        self.now = now
        self.zone: ZoneInfo = draft.policy.zone
        self.params: Mapping[str, Any] = {}
        self.ruleset: Ruleset | None = None
        """The ruleset whose parameters `params` holds."""
        self.meter_id = meter_id
        self.sample: Telemetry | None = None
        self.device_event: DeviceEvent | None = None
        self.delta = 0
        self.credited_nano = 0
        self.fresh_only = False

    @property
    def twin_id(self) -> str:
        """The twin this evaluation is about: the meter, or the group of the tenant."""
        return self.meter_id or self.draft.group.id

    @property
    def group(self) -> Group:
        """The group as decided so far."""
        return self.draft.group

    @property
    def meter(self) -> MeterTwin:
        """The meter this evaluation is about; only for rules of scope meter."""
        assert self.meter_id is not None
        return self.draft.group.meters[self.meter_id]

    @property
    def meter_contract(self) -> MeterContract:
        """Contract of the meter this evaluation is about."""
        assert self.meter_id is not None
        return self.draft.group.meter_contracts[self.meter_id]

    def peer_fired(self, rule_id: str) -> bool:
        """Whether the named rule stands on this twin, or, seen from a tenant, on every one of its meters."""
        tenant = self.draft.group.tenant
        if self.meter_id is None and tenant is not None and rule_id in tenant.rules:
            return tenant.rules[rule_id].state in STANDING
        meters = [self.meter] if self.meter_id is not None else list(self.draft.group.meters.values())
        return bool(meters) and all(stands(meter, rule_id) for meter in meters)

    def guard_used(self, rule_id: str) -> int:
        """Firings counted inside the rule's guard window."""
        return self.draft.guard_used(rule_id)


STANDING = frozenset({"fired", "recovering"})


def stands(meter: MeterTwin, rule_id: str) -> bool:
    """Whether a rule of scope meter has fired on this meter and not cleared."""
    state = meter.rules.get(rule_id)
    return state is not None and state.state in STANDING


def stale_at(view: View) -> int | None:
    """Instant from which the meter's live channels are too old to act on."""
    at = view.meter.at
    return None if at is None else at + FRESH_INTERVALS * view.meter_contract.interval_ms


def newest_live(group: Group, now: int) -> int | None:
    """Newest live sample of the group's meters that is fresh by its own interval; None when all are stale."""
    best: int | None = None
    for name, meter in group.meters.items():
        at = meter.at
        if at is None or now - at > FRESH_INTERVALS * group.meter_contracts[name].interval_ms:
            continue
        if best is None or at > best:
            best = at
    return best


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
    meter = view.meter
    if meter.link is not None and meter.link.state == "offline":
        return "offline"
    return meter.conn.state


def _gateway(view: View) -> Any:
    return view.meter_contract.gateway or ""


def _locks(view: View) -> Any:
    if view.meter_id is not None:
        breaker = view.meter_contract.breaker
        return sorted(view.draft.group.breakers[breaker].locks) if breaker else []
    return sorted({kind for breaker in view.draft.group.breakers.values() for kind in breaker.locks})


def _relay(view: View) -> Any:
    breaker = view.meter_contract.breaker
    relay = view.draft.group.breakers[breaker].relay if breaker else None
    return relay if relay is not None else MISSING


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
    "account.balance": PathSpec(MONEY, None, _balance, BOTH),
    "account.credits": PathSpec(MONEY, None, _credits, BOTH),
    "account.charges": PathSpec(MONEY, None, _charges, BOTH),
    "tenant.id": PathSpec(STRING, None, _tenant_field(lambda contract: contract.id), BOTH),
    "tenant.mode": PathSpec(STRING, None, _tenant_field(lambda contract: contract.mode), BOTH),
    "tenant.account": PathSpec(STRING, None, _tenant_field(lambda contract: contract.account), BOTH),
    "tenant.protected": PathSpec(BOOL, None, _protected, BOTH),
    "tenant.state": PathSpec(STRING, None, _supply_state, BOTH),
    "meter.id": PathSpec(STRING, None, lambda view: view.meter_id, METER),
    "meter.kind": PathSpec(STRING, None, lambda view: view.meter_contract.kind, METER),
    "meter.tariff": PathSpec(STRING, None, lambda view: view.meter_contract.tariff, METER),
    "meter.interval": PathSpec(DURATION, None, lambda view: view.meter_contract.interval_ms, METER),
    "gateway.id": PathSpec(STRING, None, _gateway, METER),
    "conn.state": PathSpec(STRING, None, _connection, METER),
    "breaker.locks": PathSpec(STRINGS, None, _locks, BOTH),
    "breaker.relay": PathSpec(STRING, None, _relay, METER),
}
"""Every path a rule may read, with its type, unit and the scopes that have it."""

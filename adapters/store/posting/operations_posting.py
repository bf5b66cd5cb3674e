"""Posting what happened besides energy: incidents, alarms, commands, locks, reports, rule decisions and notices.

Histories are appended once by their natural key; present states are written over, the last effect of a batch winning,
and never by an effect that is older than what stands there.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.engine.bulk import BulkInsert
from adapters.store.journals.audit import AuditEntry, record_audit
from adapters.store.journals.outbox import carried_out
from adapters.store.posting.standing_locks import newer_locks
from twin.core import effects as fx

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adapters.store.engine.database import Transaction
    from adapters.store.journals.refusals import Item

Key = tuple[Any, ...]

_ONCE = "DO NOTHING"
TABLES: dict[str, BulkInsert] = {
    "incident": BulkInsert(
        "incident",
        "site device kind since:bigint count:bigint detail resolved_ts:bigint",
        "(site, device, kind, since) DO UPDATE SET resolved_ts = COALESCE(excluded.resolved_ts, incident.resolved_ts),"
        " detail = CASE WHEN excluded.detail <> '' THEN excluded.detail ELSE incident.detail END",
    ),
    "alarm": BulkInsert(
        "alarm",
        "site rule twin since:bigint rule_version:bigint tenant changed_ts:bigint cleared_ts:bigint severity"
        " active:boolean because",
        "(site, rule, twin, since) DO UPDATE SET rule_version = excluded.rule_version,"
        " changed_ts = excluded.changed_ts, cleared_ts = excluded.cleared_ts, severity = excluded.severity,"
        " active = excluded.active, because = excluded.because WHERE excluded.changed_ts >= alarm.changed_ts",
    ),
    "alarm_evidence": BulkInsert("alarm_evidence", "site rule twin since:bigint ts:bigint evidence", _ONCE),
    "command": BulkInsert(
        "command",
        "site cmd device tenant op target fence:bigint state ts:bigint issued:bigint exp:bigint why reason",
        "(site, cmd) DO UPDATE SET state = excluded.state, ts = excluded.ts, reason = excluded.reason"
        " WHERE excluded.ts >= command.ts",
    ),
    "standing_lock": BulkInsert(
        "standing_lock",
        "site breaker lock active:boolean who why ts:bigint until:bigint rule rule_version:bigint",
        "(site, breaker, lock) DO UPDATE SET active = excluded.active, who = excluded.who, why = excluded.why,"
        " ts = excluded.ts, until = excluded.until, rule = excluded.rule, rule_version = excluded.rule_version",
    ),
    "lock_change": BulkInsert(
        "lock_change",
        "site breaker lock active:boolean who why ts:bigint until:bigint rule rule_version:bigint",
        _ONCE,
    ),
    "command_step": BulkInsert("command_step", "site cmd state ts:bigint reason", _ONCE),
    "relay_report": BulkInsert("relay_report", "site breaker relay ts:bigint cause", _ONCE),
    "device_config": BulkInsert(
        "device_config",
        "site device ver:bigint settings issued:bigint taken_ts:bigint",
        "(site, device, ver) DO UPDATE SET taken_ts = COALESCE(device_config.taken_ts, excluded.taken_ts)",
    ),
    "supply_change": BulkInsert(
        "supply_change", "site tenant state_before state_after ts:bigint balance_nano:bigint held", _ONCE
    ),
    "connection_change": BulkInsert("connection_change", "site device state sid ts:bigint gateway:boolean", _ONCE),
    "quarantined_reading": BulkInsert(
        "quarantined_reading",
        "site meter epoch:bigint raw_qty:bigint ts:bigint sid seq:bigint reason head_qty:bigint",
        _ONCE,
    ),
    "rule_change": BulkInsert(
        "rule_change", "site rule rule_version:bigint twin ts:bigint state transition record", _ONCE
    ),
    "notification": BulkInsert(
        "notification",
        "site tenant template ts:bigint twin recipient channels data state attempts:bigint proof settled_ts:bigint",
        _ONCE,
    ),
    "webhook_call": BulkInsert(
        "webhook_call", "site rule twin ts:bigint name data state attempts:bigint next_ts:bigint", _ONCE
    ),
    "rule_param": BulkInsert(
        "rule_param",
        "site scope twin name value ts:bigint rule rule_version:bigint",
        "(site, scope, twin, name) DO UPDATE SET value = excluded.value, ts = excluded.ts, rule = excluded.rule,"
        " rule_version = excluded.rule_version WHERE excluded.ts >= rule_param.ts",
    ),
}
_SUPPLY_STATE = (
    "UPDATE tenant SET supply_state = ?, supply_state_since = ?"
    " WHERE site = ? AND tenant = ? AND supply_state_since <= ?"
)


class OperationsPosting:
    """Everything of one batch that is neither energy nor money."""

    def __init__(self, site: str) -> None:
        self.site = site
        self._rows: defaultdict[str, dict[Key, tuple[Any, ...]]] = defaultdict(dict)
        self._supply: dict[str, tuple[str, int]] = {}
        self._audit: list[AuditEntry] = []

    async def post(self, tx: Transaction, items: Sequence[Item]) -> None:
        """Post the effects that belong here; the others are passed over."""
        for item in items:
            collect = _COLLECT.get(type(item.effect))
            if collect is not None:
                collect(self, item.effect)
        done = [(item.group, item.effect.seq) for item in items if isinstance(item.effect, fx.ActCarriedOut)]
        await carried_out(tx, self.site, done)
        for lock in await newer_locks(tx, self.site, items):
            self.put("standing_lock", (lock.breaker, lock.lock), *_lock_row(lock))
        for table, insert in TABLES.items():
            if table in self._rows:
                await insert.run(tx, list(self._rows[table].values()))
        if self._audit:
            await record_audit(tx, self.site, self._audit)
        if self._supply:
            states = [(state, ts, self.site, tenant, ts) for tenant, (state, ts) in sorted(self._supply.items())]
            await tx.execute_many(_SUPPLY_STATE, states)

    def put(self, table: str, key: Key, *values: Any) -> None:
        """Set the row of a key; a later one of the same batch replaces it."""
        self._rows[table][key] = (self.site, *values)

    def incident(self, effect: fx.IncidentOpened | fx.IncidentResolved) -> None:
        """An incident opened or healed."""
        key = (effect.device, effect.kind, effect.since)
        known = self._rows["incident"].get(key)
        detail = effect.detail if isinstance(effect, fx.IncidentOpened) else (known[5] if known else "")
        resolved = effect.ts if isinstance(effect, fx.IncidentResolved) else (known[6] if known else None)
        self.put("incident", key, *key, 1, detail, resolved)

    def alarm(self, effect: fx.AlarmChanged) -> None:
        """An alarm rose, changed or cleared."""
        key = (effect.rule, effect.twin, effect.since)
        cleared = None if effect.active else effect.ts
        rest = (effect.rule_version, effect.tenant, effect.ts, cleared, effect.severity, effect.active)
        self.put("alarm", key, *key, *rest, as_json(effect.because))
        evidence = effect.because.get("evidence") if effect.active else None
        if evidence:
            self.put("alarm_evidence", (*key, effect.ts), *key, effect.ts, as_json(evidence))

    def rule(self, effect: fx.RuleChanged) -> None:
        """A rule moved."""
        key = (effect.rule, effect.twin, effect.ts, effect.transition)
        values = (effect.rule, effect.rule_version, effect.twin, effect.ts, effect.state, effect.transition)
        self.put("rule_change", key, *values, as_json({**effect.record, "memory": effect.memory}))

    def lock(self, effect: fx.LockChanged) -> None:
        """A lock was placed or released."""
        self.put("lock_change", (effect.breaker, effect.lock, effect.ts, effect.active), *_lock_row(effect))

    def command(self, effect: fx.CommandChanged) -> None:
        """A command was created or moved on."""
        named = (effect.cmd, effect.device, effect.tenant, effect.op, effect.target, effect.fence, effect.state)
        values = (*named, effect.ts, effect.issued, effect.exp, as_json(effect.why), effect.reason)
        self.put("command", (effect.cmd,), *values)
        step = (effect.cmd, effect.state, effect.ts)
        self.put("command_step", step, *step, effect.reason)

    def relay(self, effect: fx.RelayReported) -> None:
        """A relay or valve was reported elsewhere than before."""
        values = (effect.breaker, effect.relay, effect.ts)
        self.put("relay_report", values, *values, effect.cause)

    def config(self, effect: fx.ConfigWanted | fx.ConfigTaken) -> None:
        """A device was told a version of its configuration, or has taken it."""
        key = (effect.device, effect.ver)
        known = self._rows["device_config"].get(key)
        taken = effect.ts if isinstance(effect, fx.ConfigTaken) else (known[-1] if known else None)
        self.put("device_config", key, *key, as_json(effect.settings), effect.issued, taken)

    def supply(self, effect: fx.SupplyStateChanged) -> None:
        """The disconnect machine of a tenant moved."""
        self._supply[effect.tenant] = (effect.after, effect.ts)
        values = (effect.tenant, effect.before, effect.after, effect.ts)
        self.put("supply_change", values, *values, effect.balance_nano, as_json(effect.held))

    def quarantine(self, effect: fx.ReadingQuarantined) -> None:
        """A register value was not believed."""
        values = (effect.meter, effect.epoch, effect.raw, effect.ts, effect.sid, effect.seq, effect.reason, effect.head)
        self.put("quarantined_reading", (effect.meter, effect.ts, effect.sid, effect.seq), *values)

    def connection(self, effect: fx.ConnectionReported) -> None:
        """A device or gateway went online or offline."""
        values = (effect.device, effect.state, effect.sid, effect.ts, effect.gateway)
        self.put("connection_change", values, *values)

    def notification(self, effect: fx.NotificationWanted) -> None:
        """Somebody is to be told."""
        for notice in effect.by_recipient():
            key = (notice.tenant, notice.template, notice.ts, notice.twin, notice.to)
            channels = as_json(notice.channels) if notice.channels else ""
            self.put("notification", key, *key, channels, as_json(notice.data), "wanted", 0, "", None)

    def webhook(self, effect: fx.WebhookWanted) -> None:
        """An outside system is to be called."""
        key = (effect.rule, effect.twin, effect.ts, effect.name)
        self.put("webhook_call", key, *key, as_json(effect.data), "wanted", 0, effect.ts)

    def param(self, effect: fx.ParamChanged) -> None:
        """A rule set a parameter, or what it had set gave way to what people say."""
        key = (effect.scope, effect.twin, effect.name)
        value = None if effect.value is None else as_json(effect.value)
        self.put("rule_param", key, *key, value, effect.ts, effect.rule, effect.rule_version)
        who = f"rule {effect.rule} version {effect.rule_version}" if effect.rule else effect.who
        what = "param.set" if effect.value is not None else "param.give_way"
        subject = f"{effect.scope} {effect.twin} {effect.name}"
        self._audit.append(AuditEntry(effect.ts, who, what, subject, effect.before, effect.value))


_COLLECT: dict[type[Any], Callable[[OperationsPosting, Any], None]] = {
    fx.IncidentOpened: OperationsPosting.incident,
    fx.IncidentResolved: OperationsPosting.incident,
    fx.AlarmChanged: OperationsPosting.alarm,
    fx.RuleChanged: OperationsPosting.rule,
    fx.LockChanged: OperationsPosting.lock,
    fx.CommandChanged: OperationsPosting.command,
    fx.ConfigWanted: OperationsPosting.config,
    fx.ConfigTaken: OperationsPosting.config,
    fx.RelayReported: OperationsPosting.relay,
    fx.SupplyStateChanged: OperationsPosting.supply,
    fx.ReadingQuarantined: OperationsPosting.quarantine,
    fx.ConnectionReported: OperationsPosting.connection,
    fx.NotificationWanted: OperationsPosting.notification,
    fx.WebhookWanted: OperationsPosting.webhook,
    fx.ParamChanged: OperationsPosting.param,
}


def _lock_row(effect: fx.LockChanged) -> tuple[Any, ...]:
    said = (effect.who, effect.why, effect.ts, effect.until, effect.rule, effect.rule_version)
    return effect.breaker, effect.lock, effect.active, *said


def as_json(value: Any) -> str:
    """Data of an effect as JSON text; decimals become strings, so no digit is lost."""
    return msgspec.json.encode(value).decode()

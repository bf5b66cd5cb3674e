"""What a decision asks the outside world to do. Effects travel on the site's effect stream as tagged JSON.

Every effect is idempotent by a key of its own, because consumers see it at least once:
a charge by (meter, epoch, from_qty), a command by its id and state, an alarm or incident by its id and instant.
"""

from __future__ import annotations

from typing import Any

import msgspec

from billing.points import Rates
from twin.core.model import BreakerTwin, MeterTwin


class Effect(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="t"):
    """Base of all effects."""


class ChargePosted(Effect, frozen=True, omit_defaults=True, tag="charge", tag_field="t"):
    """One closed interval of the energy chain with its price: `[from_qty, to_qty)` Wh or litres of one register
    epoch."""

    meter: str
    epoch: int
    from_qty: int
    to_qty: int
    from_ts: int | None
    to_ts: int
    tenant: str
    account: str
    utility: str
    tariff: str
    version: int
    month: int
    price_micro: int
    amount_nano: int
    period: str | None = None
    tier: int | None = None
    estimated: bool = False
    points: bytes = b""
    """Charged samples that no earlier row carries, as `twin.core.samples` keeps them."""


class EpochOpened(Effect, frozen=True, omit_defaults=True, tag="epoch", tag_field="t"):
    """A register chain starts at `opening`; energy before it is charged to nobody."""

    meter: str
    epoch: int
    opening: int
    ts: int
    reason: str
    ratio: int = 1
    """Primary quantity of one unit that the device shows."""
    rates: Rates | None = None
    """Unwrapped sub-registers at the opening."""
    event: int = 0
    """Number of the person's act that this follows; 0 for none."""


class LateReading(Effect, frozen=True, omit_defaults=True, tag="late", tag_field="t"):
    """A believable reading older than what was accepted: it charges nothing now and refines how earlier use is split.

    `raw` is what the device showed (before its ratio), `epoch` the register's at the time it came: by its instant the
    reading may belong to an earlier one.
    """

    meter: str
    epoch: int
    raw: int
    ts: int
    sid: str
    seq: int
    rates: dict[str, int] = {}
    """Sub-registers as the device showed them."""
    source: str = "device"


class RatingDoubted(Effect, frozen=True, omit_defaults=True, tag="doubt", tag_field="t"):
    """What was charged here for use since `from_ts` must be rated again from the ledger: it spans what only SQL
    knows."""

    meter: str
    from_ts: int
    reason: str


class MeterReleased(Effect, frozen=True, omit_defaults=True, tag="released", tag_field="t"):
    """A group let go of a meter in a hand-over, everything it had charged being posted before. Its twins go along."""

    handover: str
    ts: int
    meter: MeterTwin
    breaker: BreakerTwin | None = None


class MeterTaken(Effect, frozen=True, omit_defaults=True, tag="taken", tag_field="t"):
    """The next group has the meter of a hand-over."""

    handover: str
    meter: str
    ts: int


class ActCarriedOut(Effect, frozen=True, omit_defaults=True, tag="carried", tag_field="t"):
    """The group has carried out an act that SQL counts as owed until it has this, with all that came of it."""

    seq: int


class ReadingQuarantined(Effect, frozen=True, omit_defaults=True, tag="quarantine", tag_field="t"):
    """A register value that was not believed: kept for review, never charged, never moves the head."""

    meter: str
    epoch: int
    raw: int
    ts: int
    sid: str
    seq: int
    reason: str
    head: int


class IncidentOpened(Effect, frozen=True, omit_defaults=True, tag="incident", tag_field="t"):
    """Something about a device needs a person's eye. Identity: (device, kind, since)."""

    device: str
    kind: str
    since: int
    detail: str = ""


class IncidentResolved(Effect, frozen=True, omit_defaults=True, tag="resolved", tag_field="t"):
    """The incident opened at `since` healed by itself at `ts`."""

    device: str
    kind: str
    since: int
    ts: int


class AlarmChanged(Effect, frozen=True, omit_defaults=True, tag="alarm", tag_field="t"):
    """An alarm was raised, changed its severity in place, or cleared (`active` false). Identity: (rule, twin,
    since)."""

    rule: str
    rule_version: int
    twin: str
    since: int
    ts: int
    severity: str
    active: bool
    tenant: str = ""
    because: dict[str, Any] = {}
    """The explain record of the evaluation that changed it."""


class AlarmCareChanged(Effect, frozen=True, omit_defaults=True, tag="care", tag_field="t"):
    """People acknowledged, commented, assigned or shelved an alarm: for screens. SQL has it already."""

    rule: str
    twin: str
    since: int
    ts: int
    what: str
    who: str
    acknowledged: bool = False
    assignee: str = ""
    shelved_until: int | None = None


class RuleChanged(Effect, frozen=True, omit_defaults=True, tag="rule", tag_field="t"):
    """A rule's state machine moved for one twin, with the record that explains it."""

    rule: str
    rule_version: int
    twin: str
    ts: int
    state: str
    transition: str
    record: dict[str, Any] = {}
    memory: dict[str, Any] = {}
    """What the rule remembers about the twin from now on (a RuleState), so that a rebuild can go on from it;
    empty: nothing."""


class LockChanged(Effect, frozen=True, omit_defaults=True, tag="lock", tag_field="t"):
    """A lock was placed on (`active`) or taken off a breaker."""

    breaker: str
    lock: str
    active: bool
    who: str
    why: str
    ts: int
    until: int | None = None
    rule: str = ""
    rule_version: int = 0
    acts_seq: int = 0
    """The last act of people that the group had heard of: what was decided before one never undoes it."""


class CommandChanged(Effect, frozen=True, omit_defaults=True, tag="command", tag_field="t"):
    """A command was created or moved on. In state `created` the dispatcher publishes it."""

    device: str
    cmd: str
    op: str
    target: str
    fence: int
    state: str
    ts: int
    issued: int
    exp: int
    why: dict[str, Any] = {}
    reason: str = ""
    tenant: str = ""


class ConfigWanted(Effect, frozen=True, omit_defaults=True, tag="config", tag_field="t"):
    """A device is to have this configuration, as a whole: the dispatcher publishes it, retained. Identity: (device,
    ver); what comes again under the same version is the same message."""

    device: str
    ver: int
    settings: dict[str, int]
    issued: int
    ts: int
    attempt: int = 1


class ConfigTaken(Effect, frozen=True, omit_defaults=True, tag="config_taken", tag_field="t"):
    """The device says that this version of its configuration is in force."""

    device: str
    ver: int
    settings: dict[str, int]
    issued: int
    ts: int


class RelayReported(Effect, frozen=True, omit_defaults=True, tag="relay", tag_field="t"):
    """The reported relay position changed, whoever moved it."""

    breaker: str
    relay: str
    ts: int
    cause: str = ""


class SupplyStateChanged(Effect, frozen=True, omit_defaults=True, tag="supply", tag_field="t"):
    """The tenant's disconnect state machine moved."""

    tenant: str
    before: str
    after: str
    ts: int
    balance_nano: int
    held: tuple[str, ...] = ()


class NotificationWanted(Effect, frozen=True, omit_defaults=True, tag="notify", tag_field="t"):
    """Somebody is to be told. Identity: (tenant, template, ts, twin, to)."""

    tenant: str
    """Of a device that nobody pays for its group, `@` and its id: only the operator can be told."""
    template: str
    ts: int
    data: dict[str, Any] = {}
    to: str = "tenant"
    """`tenant`, `operator`, `both` of them, or a group of the site's contacts."""
    channels: tuple[str, ...] = ()
    """Ways to tell; empty: all that the recipient has."""
    twin: str = ""

    def by_recipient(self) -> tuple[NotificationWanted, ...]:
        """One notice for each recipient: they are told, and proved to have been told, apart."""
        if self.to != "both":
            return (self,)
        return (msgspec.structs.replace(self, to="tenant"), msgspec.structs.replace(self, to="operator"))


class ParamChanged(Effect, frozen=True, omit_defaults=True, tag="param", tag_field="t"):
    """A rule set a parameter of a twin, or what it had set gave way (`value` None). Identity: (scope, twin, name,
    ts)."""

    scope: str
    twin: str
    name: str
    ts: int
    value: str | int | bool | None
    before: str | int | bool | None = None
    rule: str = ""
    rule_version: int = 0
    who: str = ""


class WebhookWanted(Effect, frozen=True, omit_defaults=True, tag="webhook", tag_field="t"):
    """A rule asks an outside system to be called."""

    rule: str
    twin: str
    ts: int
    name: str
    data: dict[str, Any] = {}


class ConnectionReported(Effect, frozen=True, omit_defaults=True, tag="conn", tag_field="t"):
    """A device or gateway went online or offline."""

    device: str
    state: str
    sid: str
    ts: int
    gateway: bool = False


class Caused(Effect, frozen=True, omit_defaults=True, tag="cause", tag_field="t"):
    """The messages that led to the effects of this entry, by their ids; only where somebody follows messages."""

    ids: tuple[str, ...]


AnyEffect = (
    ChargePosted
    | EpochOpened
    | ReadingQuarantined
    | IncidentOpened
    | IncidentResolved
    | AlarmChanged
    | RuleChanged
    | LockChanged
    | CommandChanged
    | RelayReported
    | SupplyStateChanged
    | NotificationWanted
    | ParamChanged
    | WebhookWanted
    | ConnectionReported
    | LateReading
    | RatingDoubted
    | MeterReleased
    | MeterTaken
    | ActCarriedOut
    | AlarmCareChanged
    | Caused
    | ConfigWanted
    | ConfigTaken
)

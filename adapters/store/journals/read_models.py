"""What screens and the API read: plain values, not rows. Money in nano-units, times in Unix ms."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Some items and the cursor of the next page; None at the end."""

    items: list[T]
    next: str | None = None


class CursorError(ValueError):
    """A cursor that no page of ours gave out."""


class TenantBalance(msgspec.Struct, frozen=True):
    """A tenant with the posted balance; the twin knows what was charged since."""

    id: str
    name: dict[str, str]
    mode: str
    credits_nano: int
    charges_nano: int
    state: str
    state_since: int
    protected_until: int | None

    @property
    def balance_nano(self) -> int:
        """Credits less charges, as posted."""
        return self.credits_nano - self.charges_nano


class LedgerLine(msgspec.Struct, frozen=True):
    """One journal as its tenant sees it: `amount_nano` is what it did to the balance."""

    seq: int
    ts: int
    kind: str
    reference: str
    memo: str
    actor: str
    amount_nano: int


class ChargedInterval(msgspec.Struct, frozen=True):
    """One interval of a charge, with the price that was applied: why this amount."""

    meter: str
    epoch: int
    from_qty: int
    to_qty: int
    from_ts: int | None
    to_ts: int | None
    tariff: str
    version: int
    month: int
    period: str | None
    tier: int | None
    price_micro: int
    amount_nano: int
    estimated: bool


class DeviceEntry(msgspec.Struct, frozen=True):
    """A device as the site file says it, and the tenant it serves now."""

    id: str
    kind: str
    gateway: str | None
    tenant: str | None
    settings: dict[str, Any]


class AlarmEntry(msgspec.Struct, frozen=True):
    """An alarm with its present severity, and what people made of it. `acknowledged` and `shelved` are those in force:
    an alarm that became worse than it was acknowledged or shelved at is neither."""

    id: int
    rule: str
    rule_version: int
    twin: str
    tenant: str
    since: int
    changed_ts: int
    cleared_ts: int | None
    severity: str
    active: bool
    because: dict[str, Any]
    acknowledged: bool = False
    acknowledged_by: str = ""
    acknowledged_ts: int | None = None
    assignee: str = ""
    shelved: bool = False
    shelved_until: int | None = None
    shelved_by: str = ""
    shelf_reason: str = ""
    shelved_severity: str = ""


class AlarmNoteEntry(msgspec.Struct, frozen=True):
    """One thing that somebody did to an alarm or said of it."""

    id: int
    ts: int
    who: str
    what: str
    text: str


class IncidentEntry(msgspec.Struct, frozen=True):
    """An incident; open while `resolved_ts` is None. `closed_by` is the person who closed it, empty where it healed."""

    id: int
    device: str
    kind: str
    since: int
    count: int
    detail: str
    resolved_ts: int | None
    closed_by: str = ""
    closed_why: str = ""


class CommandEntry(msgspec.Struct, frozen=True):
    """A command and the state it has reached."""

    cmd: str
    device: str
    tenant: str
    op: str
    target: str
    fence: int
    state: str
    ts: int
    issued: int
    exp: int
    why: dict[str, Any]
    reason: str


class PaymentEntry(msgspec.Struct, frozen=True):
    """A payment that was credited."""

    payment: str
    tenant: str
    amount_nano: int
    channel: str
    reference: str
    actor: str
    ts: int


class AuditLine(msgspec.Struct, frozen=True):
    """One audited act."""

    id: int
    ts: int
    who: str
    what: str
    subject: str
    before: Any
    after: Any

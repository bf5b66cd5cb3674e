"""What goes out over the wire, as types from which the OpenAPI document is made.

Money is a decimal string with nine decimals, times are Unix ms UTC, quantities are whole Wh or litres.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

Money = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^-?[0-9]+\.[0-9]{9}$", description="Money in the site's currency.", examples=["12.340000000"]
    ),
]
Ms = Annotated[int, msgspec.Meta(description="Unix time, milliseconds UTC.", examples=[1763778000000])]
Id = Annotated[str, msgspec.Meta(examples=["t-001"])]


class FieldError(msgspec.Struct):
    """One field that is not valid."""

    field: str
    message: str


class ProblemBody(msgspec.Struct, kw_only=True):
    """Every refusal (RFC 9457). `code` is stable; `title` follows Accept-Language (zh, en)."""

    type: str
    code: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[FieldError] | msgspec.UnsetType = msgspec.UNSET
    locks: list[str] | msgspec.UnsetType = msgspec.UNSET


class SiteBody(msgspec.Struct):
    """A park."""

    id: str
    name: dict[str, str]
    timezone: str
    currency: str
    interval: str
    """Posting interval, a duration such as 15m."""


class SitePage(msgspec.Struct):
    """All sites that the token reaches."""

    items: list[SiteBody]


class TenantRow(msgspec.Struct):
    """A tenant in a list; the balance is the twin's."""

    id: str
    name: dict[str, str]
    mode: str
    state: str
    balance: Money


class TenantPage(msgspec.Struct):
    """One page of tenants."""

    items: list[TenantRow]
    next: str | None


class TenantBody(msgspec.Struct, kw_only=True):
    """The tenant's twin."""

    id: Id
    name: dict[str, str]
    mode: str
    state: str
    """Word of the disconnect state machine."""
    state_since: Ms
    balance: Money
    credits: Money
    charges: Money
    emergency_credit: Money
    held: list[str]
    """Why a due cutoff waits."""
    locks: list[str]
    """Kinds of locks that stand on any of the tenant's breakers and valves."""
    devices: list[str]
    revision: int


class LedgerRow(msgspec.Struct, kw_only=True):
    """One journal as it moved the tenant's wallet: positive is money coming in."""

    seq: int
    kind: str
    ts: Ms
    amount: Money
    reference: str
    actor: str
    memo: str


class LedgerPage(msgspec.Struct):
    """One page of the ledger, newest first."""

    items: list[LedgerRow]
    next: str | None


class InstalmentRow(msgspec.Struct):
    """What one debt took out of a payment, and what of it remains."""

    debt: str
    amount: Money
    remaining: Money


class AllocationBody(msgspec.Struct, kw_only=True):
    """Where a payment went, in this order; the parts sum to it. By the balance as posted."""

    instalments: list[InstalmentRow]
    arrears: Money
    """Lifted a balance below the emergency limit up to it."""
    emergency_credit: Money
    """Repaid used emergency credit."""
    balance: Money
    """Stays as balance."""


class ReceiptBody(msgspec.Struct, kw_only=True):
    """What came of a top-up. A repeated call gets the same receipt."""

    payment: str
    tenant: str
    amount: Money
    channel: str
    reference: str
    credits: Money
    """All credits of the tenant after this one."""
    ts: Ms
    allocation: AllocationBody


class PaymentRow(msgspec.Struct, kw_only=True):
    """A payment received."""

    payment: str
    amount: Money
    channel: str
    reference: str
    actor: str
    ts: Ms


class PaymentPage(msgspec.Struct):
    """One page of payments, newest first."""

    items: list[PaymentRow]
    next: str | None


class DeviceRow(msgspec.Struct, kw_only=True):
    """A device in a list."""

    id: str
    kind: str
    gateway: str | None
    tenant: str | None


class DevicePage(msgspec.Struct):
    """One page of devices."""

    items: list[DeviceRow]
    next: str | None


class LockBody(msgspec.Struct, kw_only=True):
    """Who locked it open, and why."""

    who: str
    why: str
    since: Ms
    until: Ms | None


class Reported(msgspec.Struct, kw_only=True):
    """What the device says of itself."""

    relay: str | None
    """open, armed or closed; for a valve in the words of valves. None while unknown, or where there is none."""
    relay_ts: Ms | None
    relay_since: Ms | None
    ts: Ms | None
    """Time of the newest live sample."""
    quality: str | None
    values: dict[str, Any]
    """Newest value of every channel, integers with the unit in the name."""
    versions: dict[str, str]


class Wanted(msgspec.Struct):
    """What the locks ask for."""

    target: str
    locks: dict[str, LockBody]


class CommandBody(msgspec.Struct, kw_only=True):
    """A command: one attempt to make what is reported follow what is wanted. `verified` is its good end."""

    id: str | None
    """None when no command was needed (`satisfied`) or none may be sent yet (`waiting`)."""
    device: str
    op: str
    target: str
    state: str
    fence: int
    issued: Ms | None
    expires: Ms | None
    attempt: int
    reason: str
    why: dict[str, Any]


class CommandRow(msgspec.Struct, kw_only=True):
    """A command in the list of a device."""

    id: str
    op: str
    target: str
    state: str
    fence: int
    ts: Ms
    issued: Ms
    expires: Ms
    reason: str
    why: dict[str, Any]


class CommandPage(msgspec.Struct):
    """One page of commands, newest first."""

    items: list[CommandRow]
    next: str | None


class ConnBody(msgspec.Struct):
    """Connection state as the broker tells it; `gateway` is that of the gateway in front, where there is one."""

    state: str
    sid: str
    since: Ms
    gateway: str | None


class RegisterBody(msgspec.Struct, kw_only=True):
    """The cumulative register; every mark in `unit`. `seen` >= `charged` >= `posted`."""

    unit: Literal["wh", "l"]
    epoch: int
    opening: int
    seen: int
    seen_ts: Ms | None
    charged: int
    charged_ts: Ms | None
    posted: int
    posted_ts: Ms | None
    month: int
    month_use: int


class IncidentBody(msgspec.Struct):
    """Something a person should look at; open until it heals."""

    kind: str
    since: Ms
    count: int
    detail: str


class DeviceBody(msgspec.Struct, kw_only=True):
    """A device's twin: wanted, commanded and reported are three facts."""

    id: str
    kind: str
    tenant: str | None
    gateway: str | None
    reported: Reported
    wanted: Wanted | None
    commanded: CommandBody | None
    conn: ConnBody
    registers: RegisterBody | None
    incidents: list[IncidentBody]
    revision: int
    """Of the group that is decided on together; grows with every change. Also the ETag."""


class IncidentRow(msgspec.Struct, kw_only=True):
    """An incident of a device."""

    id: Annotated[int, msgspec.Meta(description="Names the incident in the call that closes it.")]
    device: str
    kind: str
    since: Ms
    count: int
    detail: str
    resolved: Ms | None
    closed_by: Annotated[str, msgspec.Meta(description="Who closed it by hand; empty where it healed by itself.")]
    closed_why: str


class CloseIncidentRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Why an incident is over although it has not healed by itself."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=1000, pattern=r"\S", examples=["booked again"])]


class IncidentPage(msgspec.Struct):
    """One page of incidents, newest first."""

    items: list[IncidentRow]
    next: str | None


class DeadLetterBody(msgspec.Struct, kw_only=True):
    """A message that could not be understood."""

    topic: str
    payload: str
    reason: str
    path: str
    at: Ms


class DeadLetterPage(msgspec.Struct):
    """The newest dead letters, newest first."""

    items: list[DeadLetterBody]


class TokenBody(msgspec.Struct, kw_only=True):
    """A token, without its secret."""

    name: str
    role: str
    site: str | None
    tenant: str | None
    created: Ms
    created_by: str


class TokenPage(msgspec.Struct):
    """All tokens in force."""

    items: list[TokenBody]


class NewTokenBody(TokenBody, kw_only=True):
    """A new token with its secret, which is never shown again."""

    token: str


class CheckBody(msgspec.Struct):
    """One thing a healthy platform needs."""

    ok: bool
    detail: str


class HealthBody(msgspec.Struct):
    """Whether the platform works, and what of it does not."""

    ok: bool
    checks: dict[str, CheckBody]

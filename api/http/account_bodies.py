"""Accounts over the wire: what comes in, what goes out, and how facts of the store become texts of money."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from api.http.bodies import Id, Money, Ms
from api.http.numbers import LARGEST, LAST_INSTANT
from api.http.requests import Reason
from billing.money import format_nano

UNSET = msgspec.UNSET
Amount = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=40,
        description="Decimal text, more than zero, at most two decimals; never a number.",
        examples=["50.00"],
    ),
]
SignedAmount = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=40,
        description="Decimal text, at most two decimals; negative takes from the wallet.",
        examples=["-5.00"],
    ),
]
Entry = Annotated[
    str,
    msgspec.Meta(pattern=r"^P?[0-9]{1,18}$", description="A payment, or a journal number.", examples=["P12"]),
]
Channel = Annotated[str, msgspec.Meta(pattern=r"^([a-z0-9][a-z0-9_.-]{0,39})?$", examples=["cash"])]
Words = Annotated[str, msgspec.Meta(max_length=200)]
TenantId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$", examples=["t-002"])]


class OpenAccountRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A new tenant with an account; the fields are those of a tenant in a site file."""

    id: TenantId
    mode: Literal["prepaid", "postpaid"]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | dict[str, str] | msgspec.UnsetType = UNSET
    group: Words | msgspec.UnsetType = UNSET
    opening_credit: Annotated[str, msgspec.Meta(examples=["0.00"])] | msgspec.UnsetType = UNSET
    emergency_credit: Annotated[str, msgspec.Meta(examples=["10.00"])] | msgspec.UnsetType = UNSET
    language: Words | msgspec.UnsetType = UNSET
    contact: dict[str, str] | msgspec.UnsetType = UNSET
    params: dict[str, Any] | msgspec.UnsetType = UNSET
    reason: Reason

    def entry(self) -> dict[str, Any]:
        """The tenant as a site file says it."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        del fields["reason"]
        return fields


class ReasonRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Why; kept in the audit."""

    reason: Reason


class CorrectionRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Take back a payment or a manual entry; without an amount, all that is left of it."""

    original: Entry
    amount: Amount | None = None
    reason: Reason


class ManualRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Credit a wallet by hand, or debit it."""

    amount: SignedAmount
    reason: Reason


class TransferRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Move balance to another wallet."""

    to: TenantId
    amount: Amount
    reason: Reason


class WriteOffRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Give up arrears; without an amount, all of them."""

    amount: Amount | None = None
    reason: Reason


class DebtRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A debt beside the wallet, paid off out of later payments."""

    amount: Amount
    kind: Literal["instalment", "accumulated"] = "instalment"
    origin: Annotated[
        Literal["arrears", "deposit", "other"],
        msgspec.Meta(description="arrears: leave the wallet; deposit: is held for the tenant once paid."),
    ] = "arrears"
    share_percent: Annotated[int, msgspec.Meta(ge=1, le=100, description="Of each payment.")] | None = None
    cap_per_month: Annotated[str, msgspec.Meta(max_length=40, examples=["100.00"])] | None = None
    priority: Annotated[int, msgspec.Meta(ge=0, le=1000, description="Smaller is paid first.")] = 100
    reason: Reason


class DepositReturnRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Put a paid deposit onto the wallet."""

    amount: Amount
    reason: Reason


class RefundRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Give a payment, or a part of it, back to its source."""

    payment: Entry
    amount: Amount
    reason: Reason


class RefundPaidRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The channel has paid a refund out, under its own number."""

    reference: Words = ""
    reason: Reason


class GuaranteeRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """No cutoff for arrears until an instant; `null` lifts it."""

    until: Annotated[int, msgspec.Meta(gt=0, le=LAST_INSTANT, description="Unix ms.")] | None
    reason: Reason


class MoveOutRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """All meters of a tenant go back to the landlord at an instant; the account is being closed from then on."""

    at: Annotated[int, msgspec.Meta(gt=0, le=LAST_INSTANT, description="Unix ms; now when left out.")] | None = None
    readings: Annotated[
        dict[str, Annotated[int, msgspec.Meta(ge=0, le=LARGEST)]],
        msgspec.Meta(description="Raw register values (Wh, litres) at that instant by meter, where they were read."),
    ] = {}
    reason: Reason


class CloseRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Settle what is left on the wallet and close the account."""

    rest: Annotated[
        Literal["keep", "refund", "transfer", "debt", "write_off"],
        msgspec.Meta(description="What becomes of the balance; keep: it must be empty already."),
    ] = "keep"
    channel: Channel = ""
    to: Annotated[str, msgspec.Meta(max_length=64)] = ""
    bill: Annotated[str, msgspec.Meta(max_length=64, description="Number of the final bill; `final` makes it now.")] = (
        ""
    )
    reason: Reason


class ActBody(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What came of an act: `done`, or `requested` where a second person has to agree to `approval`."""

    state: Annotated[str, msgspec.Meta(examples=["done", "requested"])]
    tenant: Id | None = None
    approval: Annotated[str, msgspec.Meta(examples=["A7"])] | None = None
    journal: int | None = None
    original: int | None = None
    account: str | None = None
    account_state: Annotated[str, msgspec.Meta(examples=["open", "closing", "closed"])] | None = None
    opening_credit: str | None = None
    amount: Money | None = None
    credits: Money | None = None
    to: Id | None = None
    debt: Annotated[str, msgspec.Meta(examples=["D12"])] | None = None
    kind: str | None = None
    remaining: Money | None = None
    cap: Money | None = None
    share_percent: int | None = None
    refund: Annotated[str, msgspec.Meta(examples=["R12"])] | None = None
    channel: str | None = None
    until: Ms | None = None
    bill: str | None = None
    at: Ms | None = None
    meters: list[str] | None = None
    handovers: dict[str, str] | None = None
    """Hand-overs that have begun, by meter."""
    waiting: list[str] | None = None
    """What keeps an account from being closed."""
    rest: dict[str, Any] | None = None
    """What became of the balance at a closing, as the act that it was."""


class DebtRow(msgspec.Struct, kw_only=True):
    """A debt of a tenant."""

    debt: str
    kind: str
    origin: str
    principal: Money
    remaining: Money
    share_percent: int
    cap: Money | None
    priority: int
    reason: str
    actor: str
    ts: Ms
    state: str


class StateRow(msgspec.Struct):
    """An account was opened, was being closed, was closed."""

    state: str
    who: str
    why: str
    bill: str
    ts: Ms


class AccountBody(msgspec.Struct, kw_only=True):
    """An account as posted; what the twin has charged and not posted yet is missing."""

    tenant: Id
    state: str
    balance: Money
    credits: Money
    charges: Money
    emergency_credit: Money
    deposit: Money
    protected_until: Ms | None
    debts: list[DebtRow]
    changes: list[StateRow]


class RefundRow(msgspec.Struct, kw_only=True):
    """A refund and what became of it."""

    refund: str
    tenant: Id
    payment: str
    amount: Money
    channel: str
    reason: str
    actor: str
    ts: Ms
    state: str
    approval: str
    reference: str
    detail: str
    settled_by: str
    settled_ts: Ms | None


class RefundPage(msgspec.Struct):
    """One page of refunds, newest first."""

    items: list[RefundRow]
    next: str | None


class RequestRow(msgspec.Struct, kw_only=True):
    """Somebody asks for a second person's agreement. `body` is what he wants; amounts in it are texts."""

    id: str
    kind: str
    subject: str
    body: dict[str, Any]
    asked_by: str
    why: str
    asked_ts: Ms
    expires_ts: Ms
    state: str
    decided_by: str
    decided_why: str
    decided_ts: Ms | None


class RequestPage(msgspec.Struct):
    """One page of requests, newest first."""

    items: list[RequestRow]
    next: str | None


def worded(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts with their amounts as texts: `amount_nano: 5` becomes `amount: "0.000000005"`."""
    said: dict[str, Any] = {}
    for name, value in facts.items():
        if name.endswith("_nano"):
            said[name.removesuffix("_nano")] = None if value is None else format_nano(value)
        else:
            said[name] = worded(value) if isinstance(value, dict) else value
    return said


def act_body(facts: dict[str, Any]) -> ActBody:
    """The answer of an act."""
    said = worded(facts)
    return ActBody(**{name: said[name] for name in ActBody.__struct_fields__ if name in said})

"""What comes in over the wire, as types from which the OpenAPI document is made. Unknown fields are refused."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from api.http.numbers import LAST_INSTANT

Role = Literal["owner", "manager", "finance", "om", "tenant"]
Target = Literal["open", "closed"]
LockKind = Literal[
    "manual",
    "maintenance",
    "credit",
    "warning",
    "schedule",
    "overload",
    "malignant",
    "leakage",
    "voltage",
    "temperature",
]
PersonsLock = Literal["manual", "maintenance", "credit", "schedule"]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=200, examples=["rewiring of the kitchen"])]


class TopUpRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A payment that somebody took."""

    amount: Annotated[
        str,
        msgspec.Meta(
            min_length=1,
            max_length=40,
            description="Decimal text, more than zero, at most two decimals; never a number.",
            examples=["50.00"],
        ),
    ]
    channel: Annotated[
        str,
        msgspec.Meta(
            pattern=r"^[a-z0-9][a-z0-9_.-]{0,39}$",
            description="How it was paid: cash, transfer, wechat, ...",
            examples=["cash"],
        ),
    ]
    reference: Annotated[
        str,
        msgspec.Meta(
            max_length=200, description="The channel's own number; credited once in a channel.", examples=["R-1"]
        ),
    ] = ""


class CommandRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Switch a breaker or move a valve, in the words of the device: an open breaker interrupts, an open valve flows."""

    target: Annotated[Target, msgspec.Meta(examples=["open"])]
    reason: Reason


class LockRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A reason of its own for the supply to be off; it stays off until every lock is gone."""

    kind: PersonsLock
    reason: Reason
    until: (
        Annotated[int, msgspec.Meta(gt=0, le=LAST_INSTANT, description="Unix ms at which the lock ends by itself.")]
        | None
    ) = None


class TokenRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A named token. A tenant's token needs its site and tenant; others may be bound to one site."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f/\x7f]{1,100}$", examples=["front-desk"])]
    role: Role
    site: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    tenant: Annotated[str, msgspec.Meta(max_length=64)] | None = None

"""Bodies of a channel's statement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from twin.payments import StatementRow

if TYPE_CHECKING:
    from twin.flows.take_payments import Compared

Instant = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class StatementRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A statement, or a part of it. `since` and `until` (Unix ms) ask for payments that it does not have, too."""

    rows: Annotated[list[StatementRow], msgspec.Meta(max_length=5_000)]
    credit: bool = False
    since: Instant | None = None
    until: Instant | None = None


class ComparedBody(msgspec.Struct):
    """A payment of the statement and what the ledger says of it."""

    transaction: str
    verdict: Literal["credited", "missing", "added", "differs", "refused"]
    payment: str
    detail: str


class StatementBody(msgspec.Struct):
    """The statement held against the ledger; `only_ours`: payments that it should have and does not."""

    rows: list[ComparedBody]
    only_ours: list[str]


def compared_body(one: Compared) -> ComparedBody:
    """As it goes over the wire."""
    return ComparedBody(one.transaction, one.verdict, one.payment, one.detail)

"""Payment channels: what a channel tells us when somebody has paid, and what must hold before it is believed.

Theory of operation. A channel (a bank, a payment service, the operator's own gateway in front of one) calls us for each
payment, signed with a secret that it shares with us: `Twinmeter-Signature: t=SECONDS,v1=HEX`, HEX being the HMAC-SHA256
of `SECONDS.NAME.BODY`. The name of the channel is part of it, so a call for one channel is worth nothing at another,
and a channel belongs to one site, so it can credit nobody else's tenant. SECONDS must be recent: what was overheard is
worth nothing after a few minutes. Until then, and for ever after when the channel itself says it again, the channel's
own number of the payment makes it count once.
"""

from __future__ import annotations

import hmac
import re
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Final, Literal, Protocol

import msgspec

from billing.money import NANO_PER_CENT

if TYPE_CHECKING:
    from collections.abc import Sequence

SIGNATURE: Final = re.compile(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})", re.ASCII)
CURRENCY: Final = "CNY"
LARGEST_FEN: Final = 10**11
"""One billion yuan: beyond this it is a mistake."""

Transaction = Annotated[str, msgspec.Meta(pattern=r"^[\x21-\x7e]{1,100}$")]
Id = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Fen = Annotated[int, msgspec.Meta(gt=0, le=LARGEST_FEN)]


class PaymentChannel(msgspec.Struct, frozen=True):
    """A channel as the settings name it. Several secrets are valid at once while one follows another."""

    name: str
    site: str
    merchant: str
    secrets: tuple[str, ...]
    window_s: int = 300
    answer: Literal["json", "text"] = "json"


class Notice(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a channel tells: `paid` (credit it), `refunded` (a refund of ours was paid out), `closed` (nobody paid)."""

    merchant: str
    transaction: Transaction
    """The channel's own number of the payment; of a refund, its number of the refund."""
    state: Literal["paid", "refunded", "closed"]
    tenant: Id
    amount_fen: Fen
    currency: str
    refund: Annotated[str, msgspec.Meta(max_length=64)] = ""
    """Our id of a refund, such as R12."""

    @property
    def amount_nano(self) -> int:
        """The amount in the ledger's unit."""
        return self.amount_fen * NANO_PER_CENT


class StatementRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A payment as a channel's statement has it."""

    transaction: Transaction
    tenant: Id
    amount_fen: Fen


class Credited(msgspec.Struct, frozen=True):
    """A payment of a channel as our ledger has it."""

    payment: str
    transaction: str
    tenant: str
    amount_nano: int


class SetAside(msgspec.Struct, frozen=True):
    """A refund of ours as it waits to be paid out."""

    tenant: str
    amount_nano: int
    channel: str
    state: str


class NoticeRefusedError(Exception):
    """A call of a channel is not believed or cannot be carried out. `code` is stable, `genuine` says whether its
    signature was right."""

    def __init__(self, code: str, detail: str, *, genuine: bool = True) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.genuine = genuine


class PaymentBook(Protocol):
    """What the ledger knows of a channel's payments."""

    async def credited(self, site: str, channel: str, transaction: str) -> Credited | None:
        """The payment that was credited for a channel's number."""
        ...

    async def between(self, site: str, channel: str, *, since: int, until: int) -> Sequence[Credited]:
        """Payments of a channel that were credited in [since, until) (Unix ms), oldest first."""
        ...

    async def refund(self, site: str, refund: str) -> SetAside | None:
        """A refund of ours."""
        ...

    async def note(self, site: str, *, who: str, what: str, subject: str, facts: dict[str, object], ts: int) -> None:
        """Write to the audit what a channel said and did not get."""
        ...


def signature_of(secret: str, channel: str, seconds: int, body: bytes) -> str:
    """The value of the `Twinmeter-Signature` header of a channel's call."""
    mac = hmac.new(secret.encode(), f"{seconds}.{channel}.".encode() + body, sha256)
    return f"t={seconds},v1={mac.hexdigest()}"


def check_signature(channel: PaymentChannel, header: str, body: bytes, now_s: int) -> None:
    """Raises NoticeRefusedError `signature` for a call that is not the channel's, `stale` for one of another time."""
    found = SIGNATURE.fullmatch(header)
    if found is None:
        raise NoticeRefusedError("signature", "the call is not signed as agreed", genuine=False)
    seconds = int(found[1])
    wanted = [signature_of(secret, channel.name, seconds, body) for secret in channel.secrets]
    # All are compared, so the time taken does not tell which one it was.
    if not sum(hmac.compare_digest(one, f"t={seconds},v1={found[2]}") for one in wanted):
        raise NoticeRefusedError("signature", "the signature is not that of this channel", genuine=False)
    if abs(now_s - seconds) > channel.window_s:
        raise NoticeRefusedError("stale", f"signed {now_s - seconds} s ago, {channel.window_s} s are allowed")


def read_notice(channel: PaymentChannel, body: bytes) -> Notice:
    """A call whose signature was right. Raises NoticeRefusedError `malformed`, `merchant` or `currency`."""
    try:
        notice = msgspec.json.decode(body, type=Notice)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NoticeRefusedError("malformed", str(error)) from None
    if notice.merchant != channel.merchant:
        raise NoticeRefusedError("merchant", "the call is for another merchant")
    if notice.currency != CURRENCY:
        raise NoticeRefusedError("currency", f"the ledger is in {CURRENCY}")
    return notice

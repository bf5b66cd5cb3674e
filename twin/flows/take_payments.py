"""Take payments that channels tell of, once each; and hold a channel's statement against the ledger.

A call is believed by its signature alone (`twin.payments`). What it tells is booked by the channel's own number of the
payment, which the ledger credits once, whoever says it, how often, at once or a day later. Calls get lost, too: a
statement of the channel finds what never arrived, and credits it by the same number, so a call that comes after all
changes nothing. What was refused stands in the audit; of forged calls only some, because anybody can send them.
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec
import structlog

from billing.money import NANO_PER_CENT
from twin.flows.letter_gate import LetterGate
from twin.payments import NoticeRefusedError, check_signature, read_notice
from twin.ports import Caller, MoneyRefusedError, TopUp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from twin.payments import Notice, PaymentBook, PaymentChannel, SetAside, StatementRow
    from twin.ports import Clock, Ledger, Outcome, PendingAct, Receipt

log = structlog.get_logger(__name__)

FORGED_AT_ONCE, FORGED_A_SECOND = 20, 1 / 60
"""Rows of the audit for calls that anybody can send."""
SENT_BY_ANYBODY = ("signature", "stale")
"""Who has overheard a call can send it again as often as he likes; it is genuine, and worth nothing."""
VERDICTS = ("credited", "repeated", "refunded", "closed", "refused", "forged")


class Taken(msgspec.Struct, frozen=True):
    """What came of a call."""

    verdict: Literal["credited", "repeated", "refunded", "closed"]
    site: str
    receipt: Receipt | None = None
    """Of a payment that was credited, now or before; its act is to be delivered."""
    acts: tuple[PendingAct, ...] = ()


class Compared(msgspec.Struct, frozen=True):
    """A row of a statement and what the ledger says: `credited` before, `added` now, or not at all, and why."""

    transaction: str
    verdict: Literal["credited", "missing", "added", "differs", "refused"]
    payment: str = ""
    detail: str = ""
    receipt: Receipt | None = None


class Refunds(Protocol):
    """What paying a refund out needs: the desk's own act."""

    async def pay_refund(self, site: str, tenant: str, refund: str, reference: str, caller: Caller) -> Outcome:
        """The channel has paid a refund out."""
        ...


class PaymentDesk:
    """Payments of all channels that the settings name. `read_channels` reads them with their secrets when they are
    first wanted: only a process that takes payments has to know those."""

    def __init__(
        self,
        read_channels: Callable[[], Mapping[str, PaymentChannel]],
        ledger: Ledger,
        refunds: Refunds,
        book: PaymentBook,
        clock: Clock,
    ) -> None:
        self._read_channels = read_channels
        self._ledger = ledger
        self._refunds = refunds
        self._book = book
        self._clock = clock
        self._gate = LetterGate(at_once=FORGED_AT_ONCE, a_second=FORGED_A_SECOND)
        self.counted: Counter[str] = Counter()

    @cached_property
    def channels(self) -> Mapping[str, PaymentChannel]:
        """Channels by name. Raises SettingsError."""
        return self._read_channels()

    async def take(self, channel: PaymentChannel, header: str, body: bytes, *, now_s: int) -> Taken:
        """Deal with one call. `now_s` is the machine's clock, by which channels sign.

        Raises NoticeRefusedError for what is not believed or cannot be done, with an audit row and nothing else done;
        LedgerUnavailableError where the ledger is away: the channel is to say it again.
        """
        try:
            check_signature(channel, header, body, now_s)
            notice = read_notice(channel, body)
        except NoticeRefusedError as error:
            await self._refused(channel, error, body, None)
            raise
        try:
            taken = await self._carry_out(channel, notice)
        except MoneyRefusedError as error:
            refusal = NoticeRefusedError(error.code, error.detail)
            await self._refused(channel, refusal, body, notice)
            raise refusal from error
        self.counted[taken.verdict] += 1
        return taken

    async def _carry_out(self, channel: PaymentChannel, notice: Notice) -> Taken:
        if notice.state == "closed":
            return Taken("closed", channel.site)
        if notice.state == "refunded":
            return await self._refunded(channel, notice)
        told = (notice.transaction, notice.tenant, notice.amount_nano)
        try:
            receipt = await self._credit(channel, *told, f"channel:{channel.name}")
        except MoneyRefusedError as error:
            if error.code == "duplicate_reference" and await self._has(channel, *told):
                return Taken("repeated", channel.site)  # somebody entered it by hand before
            raise
        return Taken("repeated" if receipt.repeated else "credited", channel.site, receipt)

    async def _has(self, channel: PaymentChannel, transaction: str, tenant: str, amount_nano: int) -> bool:
        ours = await self._book.credited(channel.site, channel.name, transaction)
        return ours is not None and (ours.tenant, ours.amount_nano) == (tenant, amount_nano)

    async def _credit(
        self, channel: PaymentChannel, transaction: str, tenant: str, amount_nano: int, actor: str
    ) -> Receipt:
        wish = TopUp(
            tenant=tenant,
            amount_nano=amount_nano,
            channel=channel.name,
            reference=transaction,
            key=f"channel:{channel.name}:{transaction}",
            actor=actor,
            ts=self._clock.now(),
        )
        return await self._ledger.top_up(channel.site, wish)

    async def _refunded(self, channel: PaymentChannel, notice: Notice) -> Taken:
        waiting = await self._book.refund(channel.site, notice.refund)
        if waiting is None or not _is_of(waiting, channel, notice):
            detail = f"no refund {notice.refund!r} of this tenant, amount and channel waits to be paid out"
            raise MoneyRefusedError("unknown_refund", detail)
        key = f"channel:{channel.name}:{notice.transaction}"
        caller = Caller(f"channel:{channel.name}", "paid out by the channel", self._clock.now(), key)
        outcome = await self._refunds.pay_refund(channel.site, notice.tenant, notice.refund, notice.transaction, caller)
        return Taken("refunded", channel.site, acts=tuple(outcome.acts))

    async def _refused(
        self, channel: PaymentChannel, error: NoticeRefusedError, body: bytes, notice: Notice | None
    ) -> None:
        self.counted["refused" if error.genuine else "forged"] += 1
        log.warning("payment refused", channel=channel.name, code=error.code, reason=error.detail)
        if error.code in SENT_BY_ANYBODY and not self._gate.allows(channel.site, channel.name):
            return
        facts: dict[str, object] = {"code": error.code, "detail": error.detail, "body_sha256": sha256(body).hexdigest()}
        if notice is not None:
            facts |= {"transaction": notice.transaction, "state": notice.state, "amount_nano": notice.amount_nano}
        await self._book.note(
            channel.site,
            who=f"channel:{channel.name}",
            what="payment_refused",
            subject=f"tenant {notice.tenant}" if notice is not None else f"channel {channel.name}",
            facts=facts,
            ts=self._clock.now(),
        )

    async def compare(
        self, channel: PaymentChannel, rows: Sequence[StatementRow], *, credit: bool, actor: str
    ) -> list[Compared]:
        """Each row of a statement against the ledger, in order; with `credit`, what is missing is credited."""
        return [await self._compare(channel, row, credit, actor) for row in rows]

    async def _compare(self, channel: PaymentChannel, row: StatementRow, credit: bool, actor: str) -> Compared:
        ours = await self._book.credited(channel.site, channel.name, row.transaction)
        if ours is None and not credit:
            return Compared(row.transaction, "missing")
        if ours is None:
            try:
                receipt = await self._credit(channel, row.transaction, row.tenant, _nano(row), actor)
            except MoneyRefusedError as error:
                return Compared(row.transaction, "refused", detail=f"{error.code}: {error.detail}")
            return Compared(row.transaction, "added", receipt.payment, receipt=receipt)
        if (ours.tenant, ours.amount_nano) == (row.tenant, _nano(row)):
            return Compared(row.transaction, "credited", ours.payment)
        detail = f"the ledger has {ours.amount_nano} nano for tenant {ours.tenant}"
        return Compared(row.transaction, "differs", ours.payment, detail)

    async def only_ours(
        self, channel: PaymentChannel, rows: Sequence[StatementRow], *, since: int, until: int
    ) -> list[str]:
        """Payments that were credited in [since, until) (Unix ms) and that the statement does not have."""
        told = {row.transaction for row in rows}
        ours = await self._book.between(channel.site, channel.name, since=since, until=until)
        return [one.payment for one in ours if one.transaction not in told]


def _nano(row: StatementRow) -> int:
    return row.amount_fen * NANO_PER_CENT


def _is_of(waiting: SetAside, channel: PaymentChannel, notice: Notice) -> bool:
    told = (notice.tenant, notice.amount_nano, channel.name)
    return (waiting.tenant, waiting.amount_nano, waiting.channel) == told

"""Push bills: tell every holder that a bill is there, once, with the channel's proof; goes on where it was stopped.

What is to be told is written first, one row a bill; then each is told and its proof recorded. A failure is kept with
its reason and tried again by the next push. A crash between telling and recording tells one holder twice, nobody never.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from billing.bill_notice import bill_notice

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from billing.bill import Bill
    from twin.ports import Clock, Notifier

TEMPLATE = "bill_issued"
BATCH = 50


class PushBook(Protocol):
    """Which bills were told, with proof."""

    async def want(self, site: str, month: int, bills: Sequence[str], *, who: str, now: int) -> int:
        """Write down that the issued bills of a month (or some of them) are to be told; returns how many that are."""
        ...

    async def waiting(self, site: str, month: int, after: str, limit: int) -> list[tuple[str, str, Bill]]:
        """(bill, holder, content) of the next that are not delivered, by bill, behind one."""
        ...

    async def told(self, site: str, bill: str, proof: str, now: int) -> None:
        """A bill was told."""
        ...

    async def failed(self, site: str, bill: str, trouble: str, now: int) -> None:
        """A bill could not be told."""
        ...


class Pushed(msgspec.Struct, frozen=True):
    """What came of a push."""

    wanted: int
    delivered: int
    failed: int


async def push_bills(
    book: PushBook,
    notifier: Notifier,
    clock: Clock,
    site: str,
    month: int,
    *,
    who: str,
    bills: Sequence[str] = (),
    progress: Callable[[int, int], object] | None = None,
) -> Pushed:
    """Tell the holders of all issued bills of a month, or of some; bills that were told before are not told again."""
    wanted = await book.want(site, month, bills, who=who, now=clock.now())
    delivered = failed = 0
    after = ""
    while batch := await book.waiting(site, month, after, BATCH):
        for name, holder, bill in batch:
            try:
                proof = await notifier.notify(site, holder, TEMPLATE, notice_data(bill))
            except Exception as error:
                await book.failed(site, name, repr(error)[:500], clock.now())
                failed += 1
            else:
                await book.told(site, name, proof, clock.now())
                delivered += 1
            after = name
            if progress is not None:
                progress(delivered + failed, wanted)
    return Pushed(wanted, delivered, failed)


def notice_data(bill: Bill) -> dict[str, Any]:
    """What a notifier gets: the facts, and the text in both languages."""
    return {
        "bill": bill.id,
        "number": bill.number,
        "month": bill.month,
        "currency": bill.issuer.currency,
        "charges_nano": bill.charges_nano,
        "closing_nano": bill.closing_nano,
        "zh": bill_notice(bill, "zh"),
        "en": bill_notice(bill, "en"),
    }

"""Settlement as the services, the API and the command line use it: started in the background, followed, pushed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from twin.flows.month_readings import missing_readings
from twin.flows.push_bills import Pushed, push_bills
from twin.flows.settle_month import Missing, Settlement, SettleOptions
from twin.flows.settle_on_time import SettlementTimer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from twin.flows.settle_month import ActCarrier
    from twin.flows.verify_site import Parts
    from twin.ports import Clock, Notifier
    from twin.rerated import Rerated

log = structlog.get_logger(__name__)


class Rerating(Protocol):
    """Rates what is marked again."""

    def rerate_site(self, site: str, *, now: int) -> AsyncIterator[Rerated]:
        """The outcome of each marked meter."""
        ...


class Progress:
    """How far each step of a settlement is, while it runs in this process."""

    def __init__(self) -> None:
        self.steps: dict[str, tuple[int, int]] = {}
        self.trouble = ""
        self.running = True

    def say(self, step: str, done: int, whole: int) -> None:
        """Note how far a step is."""
        self.steps[step] = (done, whole)


class SettlementRoom:
    """Everything about settlement over one installation. `book` and `bills` are SQL, `parts` the platform."""

    def __init__(
        self,
        parts: Parts,
        book: Any,
        bills: Any,
        reratings: Rerating,
        delivery: ActCarrier,
        notifier: Notifier,
        clock: Clock,
    ) -> None:
        self.book = book
        self.bills = bills
        self._parts = parts
        self._reratings = reratings
        self._delivery = delivery
        self._notifier = notifier
        self._clock = clock
        self.settlement = Settlement(book, delivery, clock, readings=self.missing, rerate=self.rerate)
        self.timer = SettlementTimer(book, self.settlement, delivery, clock)
        self.progress: dict[tuple[str, int], Progress] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def missing(self, site: str, end_ts: int) -> list[Missing]:
        """Meters without a reading after the end of a month."""
        return await missing_readings(self._parts, self.bills, site, end_ts)

    async def rerate(self, site: str) -> None:
        """Rate again what is marked; a meter in trouble is logged and stays marked."""
        async for outcome in self._reratings.rerate_site(site, now=self._clock.now()):
            if outcome.trouble:
                log.warning("a meter could not be rated again", site=site, meter=outcome.meter, why=outcome.trouble)
            if outcome.acts:
                await self._delivery.deliver(outcome.acts)

    async def start(self, site: str, month: int, options: SettleOptions) -> Progress:
        """Settle in the background of this process; one that runs already is not started again.

        What can be refused at once is: raises like `Settlement.settle`.
        """
        known = self.progress.get((site, month))
        if known is not None and known.running:
            return known
        await self.book.open(site, month, who=options.who, policy=options.policy, now=self._clock.now())
        progress = self.progress[site, month] = Progress()
        task = asyncio.create_task(self._settle(site, month, options, progress))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return progress

    async def push(
        self,
        site: str,
        month: int,
        *,
        who: str,
        bills: Sequence[str] = (),
        progress: Callable[[int, int], object] | None = None,
    ) -> Pushed:
        """Tell the holders of a month's bills."""
        return await push_bills(
            self.bills, self._notifier, self._clock, site, month, who=who, bills=bills, progress=progress
        )

    async def rest(self) -> None:
        """Wait for what runs in the background."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Stop what runs in the background; it goes on when it is started again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _settle(self, site: str, month: int, options: SettleOptions, progress: Progress) -> None:
        try:
            await self.settlement.settle(site, month, options, progress.say)
        except Exception as error:
            progress.trouble = str(error)[:500]
            log.warning("settlement stopped", site=site, month=month, error=repr(error)[:500])
        finally:
            progress.running = False

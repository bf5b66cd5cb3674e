"""Settle a month: from the last reading to the issued bills of a whole site, by a person or by the clock.

Theory of operation. One process settles a site at a time; a lock that dies with its holder sees to it. The run goes
through steps, each committed by tenant or holder in chunks, each leaving a mark in the transaction of its effects:

1. readings: which meters lack a reading after the month's end? Policy `wait` stops here and says so; `settle` goes on,
   and what comes late is on the next bill.
2. rate again whatever is marked, so that the month is charged as the samples, tenancies and prices now say.
3. cut and sum the energy: from here on the result is fixed, however often the run is killed.
4. fees, demand, minimum, settlement price: by tenant.
5. shares of common use and of losses: all groups are divided at once, then posted by tenant.
6. cut the money, draft the bills by holder, issue them in the order of holders, each with the next number.

A run that was stopped anywhere is simply started again: it finds its marks and goes on. Acts that carry fees to the
twins are delivered as they are made; what a crash left undelivered is found by the sweep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import structlog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from twin.ports import Clock, PendingAct

log = structlog.get_logger(__name__)

CHUNK = 25
"""Tenants or holders a transaction: the ledger waits no longer than that for the site's lock."""


class SettlementBook(Protocol):
    """What the settlement needs of SQL, each method one transaction. Runs and terms are values of its own."""

    def alone(self, site: str) -> AbstractAsyncContextManager[None]:
        """Hold the settlement of a site; raises MoneyRefusedError `busy` where another process has it."""
        ...

    async def terms(self, site: str) -> Any:
        """Settings, tariffs and tenants. Raises LookupError."""
        ...

    async def open(self, site: str, month: int, *, who: str, policy: str | None, now: int) -> Any:
        """Open or resume a run. Raises MoneyRefusedError."""
        ...

    async def move(self, run: Any, state: str, now: int, **report: Any) -> Any:
        """Move a run to another state, with facts for its report."""
        ...

    async def begin_again(self, run: Any, now: int) -> Any:
        """Drop the drafts and the cuts of a run that has issued nothing."""
        ...

    async def freeze_energy(self, run: Any, now: int) -> Any:
        """Cut and sum the energy."""
        ...

    async def freeze_money(self, run: Any, now: int) -> Any:
        """Cut the journals."""
        ...

    async def done(self, run: Any, step: str) -> set[str]:
        """Subjects that a step is done with."""
        ...

    async def months(self, run: Any, terms: Any) -> tuple[int, ...]:
        """Months whose fees are computed."""
        ...

    async def charge_fees(self, run: Any, months: Sequence[int], tenants: Sequence[str], now: int) -> list[PendingAct]:
        """Post fees of some tenants."""
        ...

    async def shares(self, run: Any, months: Sequence[int]) -> tuple[Sequence[Any], Sequence[Any]]:
        """Shares due, and groups that could not be divided."""
        ...

    async def charge_shares(
        self, run: Any, months: Sequence[int], tenants: Sequence[str], due: Sequence[Any], now: int
    ) -> list[PendingAct]:
        """Post shares of some tenants."""
        ...

    async def draft(self, run: Any, terms: Any, holders: Sequence[str], incomplete: Collection[str], now: int) -> int:
        """Draft bills of some holders."""
        ...

    async def issue(self, run: Any, now: int, *, limit: int = 50) -> list[str]:
        """Issue the next drafts; none left: an empty list."""
        ...


class ActCarrier(Protocol):
    """Carries acts to the twins."""

    async def deliver(self, acts: Sequence[PendingAct]) -> int:
        """How many were confirmed."""
        ...


class Missing(msgspec.Struct, frozen=True):
    """A meter without a reading after the month's end; `last_ts` is its last one (Unix ms)."""

    meter: str
    tenant: str
    last_ts: int | None


class Settled(msgspec.Struct, frozen=True):
    """What came of a settlement. `state` is `waiting`, `drafted` or `done`."""

    site: str
    month: int
    state: str
    bills: int
    missing: tuple[Missing, ...] = ()
    troubles: tuple[str, ...] = ()


class SettleOptions(msgspec.Struct, frozen=True):
    """How to settle: `policy` instead of the site's, `again` drops drafts first, `tenants` limits the bills made now,
    `issue` instead of the site's word."""

    who: str
    policy: str | None = None
    again: bool = False
    tenants: tuple[str, ...] = ()
    issue: bool | None = None


class Settlement:
    """Settles months. `readings` says which meters lack a reading, `rerate` brings rating up to date."""

    def __init__(
        self,
        book: SettlementBook,
        delivery: ActCarrier,
        clock: Clock,
        *,
        readings: Callable[[str, int], Awaitable[list[Missing]]],
        rerate: Callable[[str], Awaitable[object]],
    ) -> None:
        self._book = book
        self._delivery = delivery
        self._clock = clock
        self._readings = readings
        self._rerate = rerate

    async def settle(
        self, site: str, month: int, options: SettleOptions, progress: Callable[[str, int, int], object] | None = None
    ) -> Settled:
        """Settle a month, or go on where it was left; `progress` is told the step, how far it is, and of how many.

        Raises MoneyRefusedError `busy`, `month_open`, `settle_earlier`, `settle_later`, `already_issued`; LookupError
        for an unknown site.
        """
        say = progress or (lambda _step, _done, _all: None)
        async with self._book.alone(site):
            run = await self._book.open(site, month, who=options.who, policy=options.policy, now=self._clock.now())
            if options.again:
                run = await self._book.begin_again(run, self._clock.now())
            if run.state == "done":
                return _outcome(run)
            return await self._steps(run, options, say)

    async def _steps(self, run: Any, options: SettleOptions, say: Callable[[str, int, int], object]) -> Settled:
        if run.cut_rating is None:
            missing = await self._readings(run.site, run.end_ts)
            state = "waiting" if missing and run.policy == "wait" else "running"
            run = await self._book.move(run, state, self._clock.now(), missing=missing)
            say("readings", len(missing), len(missing))
            if state == "waiting":
                return _outcome(run)
            await self._rerate(run.site)
            say("rating", 1, 1)
        run = await self._book.freeze_energy(run, self._clock.now())
        say("sums", 1, 1)
        terms = await self._book.terms(run.site)
        months = await self._book.months(run, terms)
        tenants = sorted(terms.tenants)
        await self._fees(run, months, tenants, say)
        run = await self._shares(run, months, tenants, say)
        run = await self._book.freeze_money(run, self._clock.now())
        return await self._bills(run, terms, options, say)

    async def _fees(
        self, run: Any, months: Sequence[int], tenants: Sequence[str], say: Callable[[str, int, int], object]
    ) -> None:
        done = await self._book.done(run, "fees")
        for finished, chunk in _chunks([name for name in tenants if name not in done]):
            acts = await self._book.charge_fees(run, months, chunk, self._clock.now())
            await self._deliver(acts)
            say("fees", len(done) + finished, len(tenants))

    async def _shares(
        self, run: Any, months: Sequence[int], tenants: Sequence[str], say: Callable[[str, int, int], object]
    ) -> Any:
        done = await self._book.done(run, "shares")
        left = [name for name in ("", *tenants) if (name or "landlord") not in done]
        if not left:
            return run
        due, troubles = await self._book.shares(run, months)
        run = await self._book.move(run, run.state, self._clock.now(), troubles=[one.detail for one in troubles])
        if any(one.kind == "apportionment" for one in troubles):
            # Nothing of it can be divided: what was posted before stays until a person has mended it.
            log.warning("apportionments cannot be divided", site=run.site, month=run.month)
            return run
        for finished, chunk in _chunks(left):
            acts = await self._book.charge_shares(run, months, chunk, due, self._clock.now())
            await self._deliver(acts)
            say("shares", len(done) + finished, len(tenants) + 1)
        return run

    async def _bills(
        self, run: Any, terms: Any, options: SettleOptions, say: Callable[[str, int, int], object]
    ) -> Settled:
        holders = sorted({terms.holder(name) for name in terms.tenants})
        wanted = {terms.holder(name) for name in options.tenants} if options.tenants else set(holders)
        done = await self._book.done(run, "bills")
        incomplete = {entry["meter"] for entry in run.report.get("missing", ())}
        made = int(run.report.get("bills", 0))
        for finished, chunk in _chunks([name for name in holders if name in wanted and name not in done]):
            made += await self._book.draft(run, terms, chunk, incomplete, self._clock.now())
            say("bills", len(done) + finished, len(holders))
        left = set(holders) - wanted - done
        if left:
            return _outcome(await self._book.move(run, "running", self._clock.now()))
        rule = (terms.settings.get("settlement") or {}).get("issue", "auto")
        if not (options.issue if options.issue is not None else rule == "auto"):
            return _outcome(await self._book.move(run, "drafted", self._clock.now()))
        issued = 0
        while bills := await self._book.issue(run, self._clock.now(), limit=2 * CHUNK):
            issued += len(bills)
            say("issue", issued, issued)
        return _outcome(await self._book.move(run, "done", self._clock.now()))

    async def _deliver(self, acts: Sequence[PendingAct]) -> None:
        try:
            await self._delivery.deliver(acts)
        except Exception as error:
            # The acts are committed: the sweep brings them.
            log.warning("acts of the settlement will be delivered later", error=repr(error)[:300])


def _chunks(items: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    """(how many are done with it, chunk)"""
    for start in range(0, len(items), CHUNK):
        chunk = items[start : start + CHUNK]
        yield start + len(chunk), chunk


def _outcome(run: Any) -> Settled:
    missing = tuple(msgspec.convert(entry, Missing) for entry in run.report.get("missing", ()))
    troubles = tuple(run.report.get("troubles", ()))
    return Settled(run.site, run.month, run.state, 0, missing, troubles)

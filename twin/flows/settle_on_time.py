"""Settlement by the clock: fees once a day, months when their day has come; what was missed is made up for once.

Theory of operation. What is due follows from the clock of the site and from what SQL says is done, never from when this
process was running: fees are due for the days that have ended, a month is due on the day and hour its site names. So a
scheduler that was down for a week posts the week's fees and settles one month, once; and of several schedulers at
once one does it, the others find it done or being done.

The scheduler (APScheduler) only rings every minute of real time; clocks that run faster or follow telemetry are read
here.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol
from zoneinfo import ZoneInfo

import structlog

from billing.local_time import first_instant, local_ms_of_day, month_index_at, month_number, month_start
from billing.monthly_fees import month_after, month_index
from twin.flows.settle_month import CHUNK, SettleOptions
from twin.ports import MoneyRefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twin.flows.settle_month import ActCarrier, Settlement
    from twin.ports import Clock, PendingAct

log = structlog.get_logger(__name__)

WHO = "scheduler"
RETRY_MS = 3_600_000
"""A month that waits for readings is looked at again after so long."""


class Calendar(Protocol):
    """What the clock's work needs of SQL."""

    async def sites(self) -> Sequence[tuple[str, int, dict[str, Any]]]:
        """(site, created at, settings) of every site."""
        ...

    async def runs(self, site: str, limit: int = 120) -> Sequence[Any]:
        """Runs, newest first."""
        ...

    async def terms(self, site: str) -> Any:
        """Settings, tariffs and tenants."""
        ...

    async def daily(self, site: str, months: Sequence[int], tenants: Sequence[str], now: int) -> list[PendingAct]:
        """Post fees by the day for the days that have ended."""
        ...


class SettlementTimer:
    """Does what is due. `tick` is called every minute by whoever rings."""

    def __init__(self, calendar: Calendar, settlement: Settlement, delivery: ActCarrier, clock: Clock) -> None:
        self._calendar = calendar
        self._settlement = settlement
        self._delivery = delivery
        self._clock = clock
        self._charged: dict[str, int] = {}

    async def tick(self) -> None:
        """Post the fees of days that have ended, then settle what is due; one site's failure stops no other."""
        for site, created_ts, settings in await self._calendar.sites():
            try:
                await self.charge_days(site, created_ts, settings)
                await self.settle_due(site, created_ts, settings)
            except MoneyRefusedError as refusal:
                if refusal.code != "busy":
                    log.warning("settlement refused", site=site, code=refusal.code, detail=refusal.detail)
            except Exception:
                log.exception("settlement failed, it goes on at the next minute", site=site)

    async def charge_days(self, site: str, created_ts: int, settings: dict[str, Any]) -> None:
        """Post fees of the days of this month and the one before that have ended; once a day for each process."""
        now, zone = self._clock.now(), ZoneInfo(settings["timezone"])
        today = _day_start(zone, now)
        if self._charged.get(site) == today:
            return
        month = month_number(month_index_at(zone, now))
        runs = await self._calendar.runs(site, 1)
        # A settled month is the settlement's: what changes in it is an adjustment of the next one.
        settled = runs[0].month if runs else 0
        born = month_number(month_index_at(zone, created_ts))
        months = [one for one in (month_after(month, -1), month) if one > settled and one >= born]
        terms = await self._calendar.terms(site)
        tenants = sorted(terms.tenants)
        for start in range(0, len(tenants), CHUNK):
            acts = await self._calendar.daily(site, months, tenants[start : start + CHUNK], now)
            await self._delivery.deliver(acts)
        self._charged[site] = today

    async def settle_due(self, site: str, created_ts: int, settings: dict[str, Any]) -> None:
        """Settle the next month if its day and hour have come."""
        rule = settings.get("settlement")
        if not rule or not rule.get("auto", True):
            return
        now, zone = self._clock.now(), ZoneInfo(settings["timezone"])
        runs = await self._calendar.runs(site, 1)
        month = due_month(zone, now, created_ts, runs[0] if runs else None)
        if month is None or now < due_at(zone, month, rule.get("day", 1), rule.get("hour", 6)):
            return
        last = runs[0] if runs and runs[0].month == month else None
        if last is not None and (
            last.state == "drafted" or (last.state == "waiting" and now < last.changed_ts + RETRY_MS)
        ):
            return
        outcome = await self._settlement.settle(site, month, SettleOptions(who=WHO))
        log.info("month settled", site=site, month=month, state=outcome.state, missing=len(outcome.missing))


def due_month(zone: ZoneInfo, now: int, created_ts: int, last: Any | None) -> int | None:
    """The month to settle next: after the last settled one, or the one the site began in; None before its end."""
    if last is not None:
        month = last.month if last.state != "done" else month_after(last.month)
    else:
        month = month_number(month_index_at(zone, created_ts))
    return month if month_start(zone, month_index(month) + 1) <= now else None


def due_at(zone: ZoneInfo, month: int, day: int, hour: int) -> int:
    """When a month is to be settled (Unix ms): a day and hour of the month after it, local."""
    following = month_index(month) + 1
    local = datetime(following // 12, following % 12 + 1, day)  # noqa: DTZ001 -- a local calendar day
    return first_instant(zone, local_ms_of_day(local.date()) + hour * 3_600_000)


def _day_start(zone: ZoneInfo, now: int) -> int:
    return first_instant(zone, local_ms_of_day(datetime.fromtimestamp(now // 1000, zone).date()))

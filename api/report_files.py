"""Reports and statements by name: what they read, for which time, and the files that are made of them.

HTTP and the command line ask here for the same things, so both give the same files.
"""

from __future__ import annotations

import asyncio
import re
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol
from zoneinfo import ZoneInfo

import msgspec

from billing import report_tables
from billing.local_time import (
    DAY_MS,
    day_of_local_ms,
    first_instant,
    local_ms_of_day,
    month_index_at,
    offset_ms,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

    from billing.bill import Bill
    from billing.tables import Row, Table
    from twin.ports import SiteDocument
    from twin.workbook import Workbook

FORMATS: Final = ("csv", "xlsx", "pdf")
MEDIA: Final = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "pdf": "application/pdf",
}
REPORTS: Final = ("revenue", "energy", "recharge", "arrears", "ranking")
ORDERS: Final = ("amount", "electricity", "water")
MOST_MONTHS: Final = 120
MOST_DAYS: Final = 400
MOST_RANKED: Final = 10_000
_TIME = re.compile(r"(\d{4})-(\d{2})(?:-(\d{2}))?")


class TableFile(Protocol):
    """A file of one table; each call gives the bytes that are ready."""

    def head(self) -> bytes: ...
    def rows(self, rows: Iterable[Row]) -> bytes: ...
    def totals(self, row: Row) -> bytes: ...
    def end(self) -> Iterator[bytes]: ...


class Documents(Protocol):
    """Makes documents. Raises DocumentError where the machine lacks what one needs."""

    def bill(self, bill: Bill, form: Literal["xlsx", "pdf"]) -> bytes:
        """A bill as a file."""
        ...

    def table(
        self, form: Any, table: Table, zone: ZoneInfo, language: str, heading: Sequence[str], issuer: str
    ) -> TableFile:
        """A table to be filled."""
        ...

    def read_workbook(self, data: bytes) -> Workbook:
        """What an Excel file says of tenants and meters."""
        ...

    def site_workbook(self, document: SiteDocument, *, filled: bool) -> bytes:
        """The workbook to fill in for a site."""
        ...


class Reports(Protocol):
    """Reads of the store for reports; LookupError for an unknown site."""

    async def zone(self, site: str) -> ZoneInfo: ...
    async def issuer(self, site: str) -> dict[str, str]: ...
    async def revenue(self, site: str, from_month: int, to_month: int) -> list[Any]: ...
    def energy_by_month(
        self, site: str, from_month: int, to_month: int, tenant: str | None = None
    ) -> AsyncIterator[list[Any]]: ...
    def energy_by_day(self, site: str, span: Any, tenant: str | None = None) -> AsyncIterator[list[Any]]: ...
    async def ranking(
        self, site: str, from_month: int, to_month: int, *, by: str = "amount", limit: int = 20
    ) -> list[Any]: ...
    async def recharge(self, site: str, span: Any) -> list[Any]: ...
    async def arrears(self, site: str, as_of: int) -> list[Any]: ...
    async def overview(self, site: str, now: int) -> Any: ...
    async def statement(self, site: str, tenant: str | None, span: Any) -> Any: ...
    def statement_rows(self, site: str, tenant: str | None, span: Any, head: Any) -> AsyncIterator[list[Any]]: ...
    async def names(self, site: str) -> dict[str, dict[str, str]]: ...


class SpanError(ValueError):
    """A time that cannot be read, or a span that is too long or ends before it begins; `field` says which."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Time(msgspec.Struct, frozen=True):
    """Local time that a report covers: months for what goes by months, days and instants for what goes by days."""

    from_ts: int
    to_ts: int
    first: date
    last: date

    @property
    def from_month(self) -> int:
        """yyyymm of the first day."""
        return self.first.year * 100 + self.first.month

    @property
    def to_month(self) -> int:
        """yyyymm of the last day."""
        return self.last.year * 100 + self.last.month

    @property
    def months(self) -> int:
        """How many months it touches."""
        return (self.last.year - self.first.year) * 12 + self.last.month - self.first.month + 1

    @property
    def days(self) -> int:
        """How many days it has."""
        return self.last.toordinal() - self.first.toordinal() + 1

    def words(self) -> str:
        """The span as people read it."""
        return f"{self.first.isoformat()} ~ {self.last.isoformat()}"


class Wish(msgspec.Struct, frozen=True):
    """Which report, of what."""

    report: str
    time: Time
    by: str = ""
    """`day` for use by day; what a ranking goes by."""
    tenant: str | None = None
    as_of: int = 0
    limit: int = MOST_RANKED


def read_time(zone: ZoneInfo, now: int, from_text: str | None, to_text: str | None) -> Time:
    """A span of local time from `2026-01` or `2026-01-31`, both ends included; the present month without any.

    Raises SpanError.
    """
    index = month_index_at(zone, now)
    present = f"{index // 12:04d}-{index % 12 + 1:02d}"
    first = _day("from", from_text or (to_text[:7] if to_text else present), last=False)
    last = _day("to", to_text or from_text or present, last=True)
    if last < first:
        raise SpanError("to", f"{last.isoformat()} lies before {first.isoformat()}")
    ends = [first_instant(zone, local_ms_of_day(day)) for day in (first, last + timedelta(days=1))]
    time = Time(ends[0], ends[1], first, last)
    if time.months > MOST_MONTHS:
        raise SpanError("to", f"{time.months} months are too many for one report; at most {MOST_MONTHS}")
    return time


def read_instant(zone: ZoneInfo, now: int, text: str | None) -> int:
    """The end of a local day such as `2026-01-31`, or now. Raises SpanError."""
    if not text:
        return now
    return first_instant(zone, local_ms_of_day(_day("at", text, last=True)) + DAY_MS) - 1


async def file_of(
    reports: Reports, documents: Documents, site: str, wish: Wish, form: str, language: str
) -> AsyncIterator[bytes]:
    """The bytes of a report or a statement as a file. CSV comes as it is read; the others when they are whole.

    Raises SpanError, DocumentError and LookupError before the first byte.
    """
    must_fit(wish)
    zone = await reports.zone(site)
    table, heading, pages, totals = await _content(reports, site, wish, zone)
    issuer = await reports.issuer(site)
    shown = " ".join(dict.fromkeys(issuer.get(key, "") for key in ("zh", "en", "und"))).strip() or site
    file = documents.table(form, table, zone, language, heading, shown)
    if form == "csv":
        yield file.head()
    sums: dict[str, int] = {}
    async for page in pages:
        rows = [table.row_of(item) for item in page]
        for key in totals:
            sums[key] = sums.get(key, 0) + sum(getattr(item, key) for item in page)
        data = await asyncio.to_thread(file.rows, rows)
        if data:
            yield data
    if totals and sums:
        await asyncio.to_thread(file.totals, table.totals(sums))
    rest = await asyncio.to_thread(file.end)
    while chunk := await asyncio.to_thread(next, rest, b""):
        yield chunk


def must_fit(wish: Wish) -> None:
    """Raises SpanError for more days than one report may have."""
    by_day = wish.report == "energy" and wish.by == "day"
    if (by_day or wish.report == "recharge") and wish.time.days > MOST_DAYS:
        raise SpanError("to", f"{wish.time.days} days are too many for one report; at most {MOST_DAYS}")


def name_of_file(site: str, wish: Wish, form: str) -> str:
    """A name for the file: site, report, whose, when."""
    subject = f"-{wish.tenant}" if wish.tenant else ""
    return f"{site}-{wish.report}{subject}-{wish.time.first:%Y%m%d}-{wish.time.last:%Y%m%d}.{form}"


async def _content(
    reports: Reports, site: str, wish: Wish, zone: ZoneInfo
) -> tuple[Table, list[str], AsyncIterator[list[Any]], tuple[str, ...]]:
    """Table, heading, rows in portions, and the columns that are summed."""
    time, heading = wish.time, [wish.time.words()]
    match wish.report:
        case "revenue":
            rows = await reports.revenue(site, time.from_month, time.to_month)
            return report_tables.REVENUE, heading, _once(rows), ("amount_nano",)
        case "energy" if wish.by == "day":
            pages = reports.energy_by_day(site, time, wish.tenant)
            return report_tables.ENERGY_BY_DAY, heading, pages, ("amount_nano",)
        case "energy":
            pages = reports.energy_by_month(site, time.from_month, time.to_month, wish.tenant)
            return report_tables.ENERGY_BY_MONTH, heading, pages, ("amount_nano",)
        case "recharge":
            return report_tables.RECHARGE, heading, _once(await reports.recharge(site, time)), ("count", "amount_nano")
        case "arrears":
            keys = ("balance_nano", "days_0_30_nano", "days_31_60_nano", "days_61_90_nano", "over_90_nano", "debt_nano")
            at = day_of_local_ms(wish.as_of + offset_ms(zone, wish.as_of)).isoformat()
            return report_tables.ARREARS, [f"截至 As of {at}"], _once(await reports.arrears(site, wish.as_of)), keys
        case "ranking":
            rows = await reports.ranking(site, time.from_month, time.to_month, by=wish.by, limit=wish.limit)
            return report_tables.RANKING, heading, _once(rows), ("electricity_wh", "water_l", "amount_nano")
        case _:
            return await _statement(reports, site, wish)


async def _statement(
    reports: Reports, site: str, wish: Wish
) -> tuple[Table, list[str], AsyncIterator[list[Any]], tuple[str, ...]]:
    from billing.tables import trimmed

    head = await reports.statement(site, wish.tenant, wish.time)
    pages = reports.statement_rows(site, wish.tenant, wish.time, head)
    if wish.tenant is None:
        return report_tables.SITE_LEDGER, [wish.time.words()], pages, ("amount_nano",)
    name = (await reports.names(site)).get(wish.tenant, {})
    shown = " ".join(dict.fromkeys(text for text in (name.get("zh"), name.get("en"), name.get("und")) if text))
    heading = [
        f"{shown} ({wish.tenant})",
        wish.time.words(),
        f"期初 Opening {trimmed(head.opening_nano, 9, 2)}   入账 In {trimmed(head.in_nano, 9, 2)}"
        f"   支出 Out {trimmed(head.out_nano, 9, 2)}   期末 Closing {trimmed(head.closing_nano, 9, 2)}",
    ]
    return report_tables.TENANT_STATEMENT, heading, pages, ("amount_nano",)


async def _once(rows: list[Any]) -> AsyncIterator[list[Any]]:
    yield rows


def _day(field: str, text: str, *, last: bool) -> date:
    """A day; of a month the first or the last one."""
    match = _TIME.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        year, month = int(match[1]), int(match[2])
        if match[3]:
            return date(year, month, int(match[3]))
        if not last:
            return date(year, month, 1)
        return date(year + month // 12, month % 12 + 1, 1) - timedelta(days=1)
    except ValueError:
        raise SpanError(field, f"{text!r} is no month such as 2026-01 and no day such as 2026-01-31") from None


def month_of(text: str) -> int:
    """A month such as `2026-01` as yyyymm. Raises SpanError."""
    day = _day("month", text, last=False)
    return day.year * 100 + day.month

"""Reports and statements: as JSON for screens, as CSV, Excel and PDF for people who take them home."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from litestar import Response, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter
from litestar.response import Stream

from api.http.backend import Platform
from api.http.identity import Person
from api.http.params import Site, Tenant
from api.http.problems import Problem, invalid, unknown_bill, unknown_site
from api.http.report_bodies import (
    ArrearsItem,
    ArrearsReport,
    EnergyItem,
    EnergyReport,
    MonthItem,
    OverviewBody,
    RankingItem,
    RankingReport,
    RechargeItem,
    RechargeReport,
    RevenueItem,
    RevenueReport,
    as_item,
    sum_of,
)
from api.http.routes.tenants import must_have_tenant
from api.http.specs import refusals
from api.report_files import MEDIA, SpanError, Time, Wish, file_of, must_fit, name_of_file, read_instant, read_time
from billing.money import format_nano
from billing.tables import DocumentError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MOST_ROWS = 20_000
"""Rows of one JSON answer; files have no such limit."""

From = Annotated[
    str | None,
    Parameter(query="from", max_length=10, description="First local month or day, `2026-01` or `2026-01-31`."),
]
To = Annotated[str | None, Parameter(query="to", max_length=10, description="Last one, included.")]
At = Annotated[
    str | None, Parameter(query="at", max_length=10, description="End of this local day; now when left out.")
]
Form = Annotated[Literal["csv", "xlsx", "pdf"], Parameter(query="format", description="What kind of file.")]
Printed = Annotated[Literal["xlsx", "pdf"], Parameter(query="format", description="What kind of file.")]
Language = Annotated[
    Literal["zh", "en", "both"], Parameter(query="lang", description="Language of headings; both when left out.")
]
By = Annotated[Literal["month", "day"], Parameter(query="by", description="Steps of time.")]
Order = Annotated[Literal["amount", "electricity", "water"], Parameter(query="by", description="What counts.")]
OfTenant = Annotated[str | None, Parameter(query="tenant", max_length=64, description="Only this tenant's.")]
Most = Annotated[int, Parameter(query="limit", ge=1, le=10_000, description="Most tenants.")]
Named = Annotated[
    Literal["revenue", "energy", "recharge", "arrears", "ranking"], Parameter(description="Which report.")
]
FILE = {
    200: ResponseSpec(bytes, description="The file.", media_type="application/octet-stream", generate_examples=False)
}


@get(
    "/sites/{site:str}/reports/overview",
    operation_id="reportOverview",
    summary="The site in a few numbers",
    responses=refusals(404),
)
async def overview(backend: Platform, site: Site) -> OverviewBody:
    """Cumulative revenue, the last twelve months with use and its trend, balances and arrears."""
    try:
        seen = await backend.reports.overview(site, backend.clock.now())
    except LookupError:
        raise unknown_site(site) from None
    months = [as_item(MonthItem, month) for month in seen.months]
    return OverviewBody(
        tenants=seen.tenants,
        devices=seen.devices,
        revenue=format_nano(seen.revenue_nano),
        recharge=format_nano(seen.recharge_nano),
        prepaid=format_nano(seen.prepaid_nano),
        arrears=format_nano(seen.arrears_nano),
        in_arrears=seen.in_arrears,
        months=months,
    )


@get(
    "/sites/{site:str}/reports/revenue",
    operation_id="reportRevenue",
    summary="Revenue by month, utility, tariff and period",
    responses=refusals(404, 422),
)
async def revenue(backend: Platform, site: Site, from_: From = None, to: To = None) -> RevenueReport:
    """What was earned in some months of use: charges, adjustments, fees; vacant supplies as a source of their own."""
    time = await _time(backend, site, from_, to)
    rows = await backend.reports.revenue(site, time.from_month, time.to_month)
    return RevenueReport([as_item(RevenueItem, row) for row in rows], sum_of(rows))


@get(
    "/sites/{site:str}/reports/energy",
    operation_id="reportEnergy",
    summary="Use by tenant, meter and period",
    responses=refusals(404, 422),
)
async def energy(
    backend: Platform, site: Site, from_: From = None, to: To = None, by: By = "month", tenant: OfTenant = None
) -> EnergyReport:
    """Who used what, by month or by local day. What crosses midnight without a reading is shared by time."""
    time = await _time(backend, site, from_, to)
    wish = Wish("energy", time, by, tenant)
    _check(wish)
    items: list[Any] = []
    async for page in _energy_pages(backend, site, wish):
        items += [as_item(EnergyItem, row) for row in page[: MOST_ROWS + 1 - len(items)]]
        if len(items) > MOST_ROWS:
            return EnergyReport(items[:MOST_ROWS], complete=False)
    return EnergyReport(items, complete=True)


def _energy_pages(backend: Platform, site: str, wish: Wish) -> AsyncIterator[list[Any]]:
    if wish.by == "day":
        return backend.reports.energy_by_day(site, wish.time, wish.tenant)
    return backend.reports.energy_by_month(site, wish.time.from_month, wish.time.to_month, wish.tenant)


@get(
    "/sites/{site:str}/reports/recharge",
    operation_id="reportRecharge",
    summary="Recharges by channel and day",
    responses=refusals(404, 422),
)
async def recharge(backend: Platform, site: Site, from_: From = None, to: To = None) -> RechargeReport:
    """Payments through each channel by local day, and what went back."""
    time = await _time(backend, site, from_, to)
    _check(Wish("recharge", time))
    rows = await backend.reports.recharge(site, time)
    return RechargeReport([as_item(RechargeItem, row) for row in rows], sum_of(rows))


@get(
    "/sites/{site:str}/reports/arrears",
    operation_id="reportArrears",
    summary="Arrears by age",
    responses=refusals(404, 422),
)
async def arrears(backend: Platform, site: Site, at: At = None) -> ArrearsReport:
    """Tenants below zero as posted, the deepest first, and how old what is unpaid is."""
    as_of = await _instant(backend, site, at)
    rows = await backend.reports.arrears(site, as_of)
    return ArrearsReport(as_of, [as_item(ArrearsItem, row) for row in rows], sum_of(rows, "balance_nano"))


@get(
    "/sites/{site:str}/reports/ranking",
    operation_id="reportRanking",
    summary="Tenants by amount or use",
    responses=refusals(404, 422),
)
async def ranking(
    backend: Platform, site: Site, from_: From = None, to: To = None, by: Order = "amount", limit: Most = 20
) -> RankingReport:
    """Tenants by what they were charged, or by their use, the greatest first."""
    time = await _time(backend, site, from_, to)
    rows = await backend.reports.ranking(site, time.from_month, time.to_month, by=by, limit=limit)
    return RankingReport([as_item(RankingItem, row) for row in rows])


@get(
    "/sites/{site:str}/exports/{report:str}",
    operation_id="downloadReport",
    summary="A report as a file",
    media_type="application/octet-stream",
    responses={**FILE, **refusals(404, 422)},
)
async def download_report(
    backend: Platform,
    site: Site,
    report: Named,
    form: Form = "xlsx",
    from_: From = None,
    to: To = None,
    at: At = None,
    by: Annotated[
        Literal["month", "day", "amount", "electricity", "water"] | None,
        Parameter(query="by", description="As in the report itself."),
    ] = None,
    tenant: OfTenant = None,
    lang: Language = "both",
) -> Stream:
    """The whole report, whatever its length; CSV comes as it is read. In CSV no text is ever a formula."""
    time = await _time(backend, site, from_, to)
    orders = ("month", "day") if report == "energy" else ("amount", "electricity", "water")
    if by is not None and by not in orders:
        raise invalid("by", f"{by!r} is not one of {', '.join(orders)} for this report")
    wish = Wish(report, time, by or orders[0], tenant, await _instant(backend, site, at))
    return await _sent(backend, site, wish, form, lang)


@get(
    "/sites/{site:str}/ledger/file",
    operation_id="downloadSiteLedger",
    summary="The general ledger as a file",
    media_type="application/octet-stream",
    responses={**FILE, **refusals(404, 422)},
)
async def download_site_ledger(
    backend: Platform, site: Site, form: Form = "csv", from_: From = None, to: To = None, lang: Language = "both"
) -> Stream:
    """Every leg of every journal of a span of local days."""
    return await _sent(backend, site, Wish("ledger", await _time(backend, site, from_, to)), form, lang)


@get(
    "/sites/{site:str}/tenants/{tenant:str}/statement",
    operation_id="downloadStatement",
    summary="A tenant's statement as a file",
    media_type="application/octet-stream",
    responses={**FILE, **refusals(404, 422)},
)
async def download_statement(
    backend: Platform,
    site: Site,
    tenant: Tenant,
    form: Form = "pdf",
    from_: From = None,
    to: To = None,
    lang: Language = "both",
) -> Stream:
    """Every movement of the wallet in a span of local days, with the balance after each."""
    await must_have_tenant(backend, site, tenant)
    wish = Wish("statement", await _time(backend, site, from_, to), tenant=tenant)
    return await _sent(backend, site, wish, form, lang)


@get(
    "/sites/{site:str}/bills/{bill:str}/file",
    operation_id="downloadBill",
    summary="A bill as a file",
    media_type="application/octet-stream",
    responses={**FILE, **refusals(404, 422)},
)
async def download_bill(
    backend: Platform,
    person: Person,
    site: Site,
    bill: Annotated[str, Parameter(pattern=r"^[A-Za-z0-9_.-]{1,128}$", description="Id or number of the bill.")],
    form: Printed = "pdf",
) -> Response[bytes]:
    """The bill with its letterhead, in Chinese and English. A tenant gets bills that were issued to it."""
    found = await backend.bills.bill(site, bill)
    hidden = person.is_tenant and found is not None and (found.holder.id != person.tenant or found.state == "draft")
    if found is None or hidden:
        raise unknown_bill(site, bill)
    try:
        data = await _in_thread(backend, found, form)
    except DocumentError as error:
        raise Problem("document", str(error)) from None
    return Response(data, media_type=MEDIA[form], headers=_headers(f"{found.number or found.id}.{form}"))


async def _in_thread(backend: Platform, bill: Any, form: Literal["xlsx", "pdf"]) -> bytes:
    import asyncio

    return await asyncio.to_thread(backend.documents.bill, bill, form)


async def _sent(backend: Platform, site: str, wish: Wish, form: str, language: str) -> Stream:
    """A file as a response; what can be refused is refused before the first byte."""
    pieces = file_of(backend.reports, backend.documents, site, wish, form, language)
    try:
        first = await anext(pieces, b"")
    except SpanError as error:
        raise invalid(error.field, str(error)) from None
    except DocumentError as error:
        raise Problem("document", str(error)) from None

    async def whole() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    return Stream(whole(), media_type=MEDIA[form], headers=_headers(name_of_file(site, wish, form)))


def _headers(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}


def _check(wish: Wish) -> None:
    try:
        must_fit(wish)
    except SpanError as error:
        raise invalid(error.field, str(error)) from None


async def _time(backend: Platform, site: str, from_text: str | None, to_text: str | None) -> Time:
    try:
        return read_time(await backend.reports.zone(site), backend.clock.now(), from_text, to_text)
    except LookupError:
        raise unknown_site(site) from None
    except SpanError as error:
        raise invalid(error.field, str(error)) from None


async def _instant(backend: Platform, site: str, text: str | None) -> int:
    try:
        return read_instant(await backend.reports.zone(site), backend.clock.now(), text)
    except LookupError:
        raise unknown_site(site) from None
    except SpanError as error:
        raise invalid(error.field, str(error)) from None

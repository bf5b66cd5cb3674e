"""Settlement of months and bills: started, followed, looked at, corrected, pushed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, get, post
from litestar.params import Parameter

from api.http.backend import Platform
from api.http.identity import Person
from api.http.numbers import FIRST_MONTH, LAST_INSTANT, LAST_MONTH
from api.http.paging import DEFAULT_LIMIT, Cursor, Limit, page_of
from api.http.params import IdempotencyKey, Site, Tenant
from api.http.problems import Problem, invalid, unknown_bill
from api.http.repeats import Call, once
from api.http.routes.tenants import must_exist, must_have_tenant
from api.http.specs import IDEMPOTENCY_HIT, refusals
from billing.bill import Bill
from billing.money import MoneyError, format_nano, parse_price
from twin.flows.settle_month import SettleOptions

Month = Annotated[int, Parameter(ge=197001, le=998912, description="Month as a number: 202601.")]
MonthField = Annotated[int, msgspec.Meta(ge=197001, le=998912, examples=[202601])]
BillId = Annotated[str, Parameter(pattern=r"^[A-Za-z0-9_.{}/-]{1,128}$", description="Id of the bill.")]
Words = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class SettlementRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Settle a month, or go on with it."""

    month: MonthField
    missing: Literal["wait", "estimate", "settle"] | None = None
    """Where meters lack a reading after the month; the site's own word when left out."""
    again: bool = False
    """Drop the drafts and compute everything anew."""
    issue: bool | None = None
    """Issue the bills, or leave them as drafts; the site's own word when left out."""


class PriceRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The settlement price of a month for a tariff or a utility; no price takes it back."""

    month: MonthField
    scope: Annotated[str, msgspec.Meta(pattern=r"^(tariff|utility):[A-Za-z0-9_-]{1,64}$", examples=["tariff:shop"])]
    price: Annotated[str, msgspec.Meta(max_length=40, examples=["0.83"])] | None = None
    why: Words


class CorrectionRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Why an issued bill is replaced."""

    why: Words


class FinalBillRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """When the tenant leaves (Unix ms)."""

    at: Annotated[int, msgspec.Meta(gt=0, le=LAST_INSTANT)]


class PushRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Tell the holders of all issued bills of a month, or of some."""

    month: MonthField
    bills: list[Annotated[str, msgspec.Meta(min_length=1, max_length=128)]] = []


class SettlementBody(msgspec.Struct, frozen=True):
    """A run: its state (running, waiting, drafted, done), how far each step is, and what a person should know."""

    month: int
    state: str
    policy: str
    who: str
    started_ts: int
    changed_ts: int
    finished_ts: int | None
    steps: dict[str, int]
    missing: list[dict[str, Any]]
    troubles: list[str]
    progress: dict[str, list[int]]
    """Step: done, of how many; only while it runs in the process that answers."""
    trouble: str


class BillRow(msgspec.Struct, frozen=True):
    """A bill in a list; money as decimals."""

    id: str
    number: str
    kind: str
    state: str
    holder: str
    month: int
    revision: int
    from_ts: int
    to_ts: int
    issued_ts: int | None
    corrects: str
    replaced_by: str
    opening: str
    charges: str
    credits: str
    closing: str


class BillList(msgspec.Struct, frozen=True):
    """Bills, and the cursor of the next page."""

    items: list[BillRow]
    next: str | None


class PriceBody(msgspec.Struct, frozen=True):
    """An entered settlement price."""

    month: int
    scope: str
    revision: int


class BillBody(msgspec.Struct, frozen=True):
    """A bill that was made."""

    id: str
    number: str
    state: str


class PushBody(msgspec.Struct, frozen=True):
    """What came of a push."""

    wanted: int
    delivered: int
    failed: int


class PushRow(msgspec.Struct, frozen=True):
    """How far the telling of one bill is; `proof` is the channel's own id for it."""

    bill: str
    holder: str
    state: str
    attempts: int
    proof: str
    trouble: str
    changed_ts: int


@post(
    "/sites/{site:str}/settlements",
    operation_id="startSettlement",
    summary="Settle a month",
    status_code=202,
    responses=refusals(400, 404, 409, 422),
    response_headers=[IDEMPOTENCY_HIT],
)
async def start_settlement(
    backend: Platform, person: Person, site: Site, key: IdempotencyKey, data: SettlementRequest
) -> Response[SettlementBody]:
    """Runs in the background; follow it by its month. Started again it goes on where it was stopped."""
    await must_exist(backend, site)
    options = SettleOptions(person.name, data.missing, data.again, (), data.issue)

    async def act() -> SettlementBody:
        await backend.settlement.start(site, data.month, options)
        return await _run(backend, site, data.month)

    return await once(backend, Call(site, person, key, ("settle", data)), act)


@get("/sites/{site:str}/settlements", operation_id="listSettlements", summary="Settlements", responses=refusals(404))
async def list_settlements(backend: Platform, site: Site) -> list[SettlementBody]:
    """The runs of a site, newest first."""
    await must_exist(backend, site)
    runs = await backend.settlement.book.runs(site)
    return [await _body(backend, run) for run in runs]


@get(
    "/sites/{site:str}/settlements/{month:int}",
    operation_id="getSettlement",
    summary="One settlement",
    responses=refusals(404, 422),
)
async def get_settlement(backend: Platform, site: Site, month: Month) -> SettlementBody:
    """How far a settlement is, which meters it waits for, and what could not be divided."""
    await must_exist(backend, site)
    return await _run(backend, site, month)


@post(
    "/sites/{site:str}/settlement-prices",
    operation_id="enterSettlementPrice",
    summary="Enter a settlement price",
    status_code=202,
    responses=refusals(400, 404, 409, 422),
    response_headers=[IDEMPOTENCY_HIT],
)
async def enter_settlement_price(
    backend: Platform, person: Person, site: Site, key: IdempotencyKey, data: PriceRequest
) -> Response[PriceBody]:
    """The difference to what was charged becomes a line of its own when the month is settled, or computed again."""
    await must_exist(backend, site)
    try:
        price_micro = None if data.price is None else parse_price(data.price)
    except MoneyError as error:
        raise invalid("price", str(error)) from None
    if price_micro is not None and price_micro < 0:
        raise invalid("price", "must be zero or more")

    async def act() -> PriceBody:
        revision = await backend.settlement.book.enter_price(
            site, data.month, data.scope, price_micro, who=person.name, why=data.why, now=backend.clock.now()
        )
        return PriceBody(data.month, data.scope, revision)

    return await once(backend, Call(site, person, key, ("price", data)), act)


@get("/sites/{site:str}/bills", operation_id="listBills", summary="Bills", responses=refusals(404, 422))
async def list_bills(
    backend: Platform,
    site: Site,
    month: Annotated[
        int | None, Parameter(query="month", ge=FIRST_MONTH, le=LAST_MONTH, description="Only of this month.")
    ] = None,
    holder: Annotated[str | None, Parameter(query="holder", description="Only of this customer.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> BillList:
    """Bills of all states, newest first."""
    await must_exist(backend, site)
    page = await page_of(backend.settlement.bills.bills(site, month=month, holder=holder, cursor=cursor, limit=limit))
    return BillList([_row(entry) for entry in page.items], page.next)


@get("/sites/{site:str}/bills/{bill:str}", operation_id="getBill", summary="One bill", responses=refusals(404))
async def get_bill(backend: Platform, site: Site, bill: BillId) -> Bill:
    """The whole bill as data: integers in nano-units, micro-prices, Wh and litres."""
    await must_exist(backend, site)
    found: Bill | None = await backend.settlement.bills.bill(site, bill)
    if found is None:
        raise unknown_bill(site, bill)
    return found


@get(
    "/sites/{site:str}/tenants/{tenant:str}/bills",
    operation_id="listTenantBills",
    summary="A tenant's bills",
    responses=refusals(404, 422),
)
async def list_tenant_bills(
    backend: Platform, site: Site, tenant: Tenant, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> BillList:
    """The issued bills of a customer, newest first; drafts are not shown."""
    await must_have_tenant(backend, site, tenant)
    page = await page_of(backend.settlement.bills.bills(site, holder=tenant, cursor=cursor, limit=limit))
    return BillList([_row(entry) for entry in page.items if entry.state != "draft"], page.next)


@post(
    "/sites/{site:str}/bills/{bill:str}/corrections",
    operation_id="correctBill",
    summary="Correct a bill",
    status_code=202,
    responses=refusals(400, 404, 409, 422),
    response_headers=[IDEMPOTENCY_HIT],
)
async def correct_bill(
    backend: Platform, person: Person, site: Site, bill: BillId, key: IdempotencyKey, data: CorrectionRequest
) -> Response[BillBody]:
    """A new revision with a number of its own replaces the bill; the old one stays as it is."""
    await must_exist(backend, site)

    async def act() -> BillBody:
        now = backend.clock.now()
        made = await backend.settlement.book.correct(site, bill, who=person.name, why=data.why, now=now)
        return BillBody(made.id, made.number, made.state)

    return await once(backend, Call(site, person, key, ("correct", bill, data)), act)


@post(
    "/sites/{site:str}/tenants/{tenant:str}/final-bills",
    operation_id="makeFinalBill",
    summary="Final bill",
    status_code=202,
    responses=refusals(400, 404, 409, 422),
    response_headers=[IDEMPOTENCY_HIT],
)
async def make_final_bill(
    backend: Platform, person: Person, site: Site, tenant: Tenant, key: IdempotencyKey, data: FinalBillRequest
) -> Response[BillBody]:
    """Bill a tenant who leaves: fees up to the instant, and everything that is posted."""
    await must_have_tenant(backend, site, tenant)
    now = backend.clock.now()
    if data.at > now:
        raise invalid("at", "lies in the future; end the supplies first")

    async def act() -> BillBody:
        made = await backend.settlement.book.final(site, tenant, data.at, who=person.name, now=now)
        if made is None:
            raise Problem("nothing_to_bill", f"tenant {tenant!r} has nothing that was not billed")
        await backend.delivery.deliver(made.acts)
        return BillBody(made.bill.id, made.bill.number, made.bill.state)

    return await once(backend, Call(site, person, key, ("final", tenant, data)), act)


@post(
    "/sites/{site:str}/bill-pushes",
    operation_id="pushBills",
    summary="Push bills",
    status_code=202,
    responses=refusals(400, 404, 409, 422),
    response_headers=[IDEMPOTENCY_HIT],
)
async def push_bills(
    backend: Platform, person: Person, site: Site, key: IdempotencyKey, data: PushRequest
) -> Response[PushBody]:
    """Tell every holder once that the bill is there; who was told before is not told again."""
    await must_exist(backend, site)

    async def act() -> PushBody:
        pushed = await backend.settlement.push(site, data.month, who=person.name, bills=data.bills)
        return PushBody(pushed.wanted, pushed.delivered, pushed.failed)

    return await once(backend, Call(site, person, key, ("push", data)), act)


@get(
    "/sites/{site:str}/bill-pushes/{month:int}",
    operation_id="listBillPushes",
    summary="Who was told",
    responses=refusals(404, 422),
)
async def list_bill_pushes(
    backend: Platform,
    site: Site,
    month: Month,
    after: Annotated[str, Parameter(query="after", max_length=128, description="Behind this bill.")] = "",
    limit: Limit = DEFAULT_LIMIT,
) -> list[PushRow]:
    """How far each bill of a month was told, by bill, with the channel's proof."""
    await must_exist(backend, site)
    rows = await backend.settlement.bills.pushes(site, month, after=after, limit=limit)
    return [PushRow(*msgspec.structs.astuple(row)) for row in rows]


async def _run(backend: Platform, site: str, month: int) -> SettlementBody:
    run = await backend.settlement.book.run(site, month)
    if run is None:
        raise Problem("unknown_settlement", f"{month} of site {site!r} has not been settled")
    return await _body(backend, run)


async def _body(backend: Platform, run: Any) -> SettlementBody:
    here = backend.settlement.progress.get((run.site, run.month))
    return SettlementBody(
        month=run.month,
        state=run.state,
        policy=run.policy,
        who=run.who,
        started_ts=run.started_ts,
        changed_ts=run.changed_ts,
        finished_ts=run.finished_ts,
        steps=await backend.settlement.book.counts(run),
        missing=list(run.report.get("missing", ())),
        troubles=list(run.report.get("troubles", ())),
        progress={step: list(counts) for step, counts in here.steps.items()} if here else {},
        trouble=here.trouble if here else "",
    )


def _row(entry: Any) -> BillRow:
    return BillRow(
        id=entry.id,
        number=entry.number,
        kind=entry.kind,
        state=entry.state,
        holder=entry.holder,
        month=entry.month,
        revision=entry.revision,
        from_ts=entry.from_ts,
        to_ts=entry.to_ts,
        issued_ts=entry.issued_ts,
        corrects=entry.corrects,
        replaced_by=entry.replaced_by,
        opening=format_nano(entry.opening_nano),
        charges=format_nano(entry.charges_nano),
        credits=format_nano(entry.credits_nano),
        closing=format_nano(entry.closing_nano),
    )

"""Tenants: balances from the twins, money from the ledger."""

from __future__ import annotations

from litestar import Response, get, post

from api.http.acts import credit_act, deliver
from api.http.amounts import read_amount
from api.http.backend import Platform, group_of_tenant
from api.http.bodies import (
    AllocationBody,
    InstalmentRow,
    LedgerPage,
    LedgerRow,
    PaymentPage,
    PaymentRow,
    ReceiptBody,
    TenantBody,
    TenantPage,
    TenantRow,
)
from api.http.etags import etag_of, matches
from api.http.identity import Person
from api.http.paging import DEFAULT_LIMIT, Cursor, Limit, page_of
from api.http.params import IdempotencyKey, IfNoneMatch, Site, Tenant
from api.http.problems import unknown_site, unknown_tenant
from api.http.requests import TopUpRequest
from api.http.specs import ETAG, IDEMPOTENCY_HIT, not_modified, refusals
from api.http.twin_views import tenant_view
from billing.money import format_nano
from twin.ports import Allocation, Receipt, TopUp


@get("/sites/{site:str}/tenants", operation_id="listTenants", summary="Tenants", responses=refusals(404, 422))
async def list_tenants(
    backend: Platform, site: Site, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> TenantPage:
    """Tenants in the order of their ids, with the balances of their twins."""
    await must_exist(backend, site)
    page = await page_of(backend.queries.tenants(site, cursor=cursor, limit=limit))
    groups = await backend.store.load(site, [row.id for row in page.items])
    views = [tenant_view(groups[row.id]) for row in page.items if row.id in groups]
    items = [TenantRow(view.id, view.name, view.mode, view.state, view.balance) for view in views if view is not None]
    return TenantPage(items, page.next)


@get(
    "/sites/{site:str}/tenants/{tenant:str}",
    operation_id="getTenant",
    summary="One tenant",
    responses={**refusals(404), **not_modified()},
    response_headers=[ETAG],
)
async def get_tenant(
    backend: Platform, site: Site, tenant: Tenant, if_none_match: IfNoneMatch = None
) -> Response[TenantBody | None]:
    """Balance (nine decimals; screens round to cents, half up), state and locks, as the twin has them now."""
    group = await group_of_tenant(backend, site, tenant)
    view = tenant_view(group) if group is not None else None
    if view is None:
        raise unknown_tenant(site, tenant)
    etag = etag_of(view.revision)
    if if_none_match is not None and matches(if_none_match, etag, weak=True):
        return Response(None, status_code=304, headers={"ETag": etag})
    return Response(view, headers={"ETag": etag})


@get(
    "/sites/{site:str}/tenants/{tenant:str}/ledger",
    operation_id="listLedger",
    summary="A tenant's ledger",
    responses=refusals(404, 422),
)
async def list_ledger(
    backend: Platform, site: Site, tenant: Tenant, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> LedgerPage:
    """Every movement of the tenant's wallet, newest first. What is charged and not yet posted is in the balance."""
    await must_have_tenant(backend, site, tenant)
    page = await page_of(backend.queries.tenant_ledger(site, tenant, cursor=cursor, limit=limit))
    items = [
        LedgerRow(
            seq=row.seq,
            kind=row.kind,
            ts=row.ts,
            amount=format_nano(row.amount_nano),
            reference=row.reference,
            actor=row.actor,
            memo=row.memo,
        )
        for row in page.items
    ]
    return LedgerPage(items, page.next)


@post(
    "/sites/{site:str}/tenants/{tenant:str}/topups",
    operation_id="topUpTenant",
    summary="Top up",
    response_description="The receipt.",
    responses=refusals(400, 404, 409, 422),
    response_headers=[IDEMPOTENCY_HIT],
)
async def top_up(
    backend: Platform, person: Person, site: Site, tenant: Tenant, key: IdempotencyKey, data: TopUpRequest
) -> Response[ReceiptBody]:
    """Credit a payment to the tenant, once for each Idempotency-Key and once for each reference of a channel.

    The twin has the new balance when this returns; a cut supply is reconnected by its own rules.
    """
    wish = TopUp(
        tenant=tenant,
        amount_nano=read_amount(data.amount),
        channel=data.channel,
        reference=data.reference,
        key=key,
        actor=person.name,
        ts=backend.clock.now(),
    )
    try:
        receipt = await backend.ledger.top_up(site, wish)
    except LookupError:
        raise unknown_site(site) from None
    await deliver(backend, credit_act(site, receipt))
    body = receipt_body(receipt, data.channel, data.reference)
    return Response(body, headers={"Idempotency-Hit": "true"} if receipt.repeated else {})


def receipt_body(receipt: Receipt, channel: str, reference: str) -> ReceiptBody:
    """What a payer gets in his hands."""
    return ReceiptBody(
        payment=receipt.payment,
        tenant=receipt.tenant,
        amount=format_nano(receipt.amount_nano),
        channel=channel,
        reference=reference,
        credits=format_nano(receipt.credits_nano),
        ts=receipt.ts,
        allocation=_allocation(receipt.allocation),
    )


def _allocation(allocation: Allocation) -> AllocationBody:
    return AllocationBody(
        instalments=[
            InstalmentRow(one.debt, format_nano(one.amount_nano), format_nano(one.remaining_nano))
            for one in allocation.instalments
        ],
        arrears=format_nano(allocation.arrears_nano),
        emergency_credit=format_nano(allocation.emergency_nano),
        balance=format_nano(allocation.balance_nano),
    )


@get(
    "/sites/{site:str}/tenants/{tenant:str}/payments",
    operation_id="listPayments",
    summary="A tenant's payments",
    responses=refusals(404, 422),
)
async def list_payments(
    backend: Platform, site: Site, tenant: Tenant, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> PaymentPage:
    """Payments received, newest first."""
    await must_have_tenant(backend, site, tenant)
    page = await page_of(backend.queries.payments(site, tenant=tenant, cursor=cursor, limit=limit))
    items = [
        PaymentRow(
            payment=row.payment,
            amount=format_nano(row.amount_nano),
            channel=row.channel,
            reference=row.reference,
            actor=row.actor,
            ts=row.ts,
        )
        for row in page.items
    ]
    return PaymentPage(items, page.next)


async def must_exist(backend: Platform, site: str) -> None:
    """Raises Problem `unknown_site` for a site that was never imported."""
    if site not in await backend.registry.sites():
        raise unknown_site(site)


async def must_have_tenant(backend: Platform, site: str, tenant: str) -> None:
    """Raises Problem `unknown_tenant` for a tenant that the site does not have."""
    if await group_of_tenant(backend, site, tenant) is None:
        raise unknown_tenant(site, tenant)

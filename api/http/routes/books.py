"""The books for finance and auditors: trial balance, anchors, the export that is proved without the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from litestar import get, post
from litestar.params import Parameter
from litestar.response import Stream

from api.http.backend import Platform
from api.http.bodies import Money, Ms
from api.http.numbers import LAST_INSTANT
from api.http.params import Site
from api.http.routes.tenants import must_exist
from api.http.specs import refusals
from billing.money import format_nano

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Until = Annotated[
    int | None,
    Parameter(query="until", ge=0, le=LAST_INSTANT, description="Only journals before this instant, Unix ms."),
]
Detailed = Annotated[bool, Parameter(query="detailed", description="A line an account, not a control account.")]
FromDay = Annotated[int, Parameter(query="from_day", ge=0, le=99991231, description="First day, yyyymmdd.")]


class BalanceLine(msgspec.Struct):
    """A control account: how many accounts it stands for, what came onto them, what went off, what stands there."""

    account: str
    accounts: int
    came: Money
    went: Money
    net: Money


class TrialBalanceBody(msgspec.Struct):
    """The lines, and what they sum to: zero, or the books are broken."""

    items: list[BalanceLine]
    off: Money


class AnchorBody(msgspec.Struct):
    """The end of the journal at the end of a local day. `line` is what to keep elsewhere, as it is."""

    day: int
    journal_seq: int
    journal_hash: str
    payments: int
    ts: Ms
    line: str


class AnchorList(msgspec.Struct):
    """Anchors, oldest first."""

    items: list[AnchorBody]


@get(
    "/sites/{site:str}/ledger/trial-balance",
    operation_id="readTrialBalance",
    summary="Trial balance",
    responses=refusals(404, 422),
)
async def read_trial_balance(
    backend: Platform, site: Site, until: Until = None, detailed: Detailed = False
) -> TrialBalanceBody:
    """Sums of all legs by control account."""
    await must_exist(backend, site)
    found = await backend.proofs.trial_balance(site, until=until, detailed=detailed)
    lines = [
        BalanceLine(
            row.account,
            row.accounts,
            format_nano(row.came_nano),
            format_nano(row.went_nano),
            format_nano(row.net_nano),
        )
        for row in found.rows
    ]
    return TrialBalanceBody(lines, format_nano(found.off_nano))


@get("/sites/{site:str}/ledger/anchors", operation_id="listAnchors", summary="Anchors", responses=refusals(404, 422))
async def list_anchors(backend: Platform, site: Site, from_day: FromDay = 0) -> AnchorList:
    """Anchors of the ledger by day."""
    await must_exist(backend, site)
    return AnchorList([_body(backend, anchor) for anchor in await backend.proofs.anchors(site, from_day=from_day)])


@post(
    "/sites/{site:str}/ledger/anchors",
    operation_id="takeAnchor",
    summary="Anchor the last day",
    responses=refusals(404),
    status_code=200,
)
async def take_anchor(backend: Platform, site: Site) -> AnchorBody:
    """The anchor of the last local day that has ended; made where there is none yet, the same one ever after."""
    await must_exist(backend, site)
    return _body(backend, await backend.proofs.take_anchor(site, backend.clock.now()))


@get(
    "/sites/{site:str}/ledger/export",
    operation_id="exportLedger",
    summary="The ledger for an auditor",
    media_type="application/x-ndjson",
    responses=refusals(404),
)
async def export_ledger(backend: Platform, site: Site) -> Stream:
    """The whole ledger, one JSON object a line; `twinmeter verify --export FILE` proves it without a database."""
    await must_exist(backend, site)
    lines: AsyncIterator[bytes] = backend.proofs.export(site, backend.clock.now())
    name = f"ledger-{site}.jsonl"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Stream(lines, media_type="application/x-ndjson", headers=headers)


def _body(backend: Platform, anchor: Any) -> AnchorBody:
    facts = (anchor.day, anchor.journal_seq, anchor.journal_hash.hex(), anchor.payments, anchor.ts)
    return AnchorBody(*facts, backend.proofs.line(anchor))

"""Why a ledger line has its amount: for finance staff by its number, for a tenant on the own ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal
from zoneinfo import ZoneInfo

import msgspec
from litestar import Request, get
from litestar.params import Parameter

from api.http.backend import Platform
from api.http.language import preferred_language
from api.http.numbers import LARGEST
from api.http.params import Site, Tenant
from api.http.problems import Problem
from api.http.routes.tenants import must_exist, must_have_tenant
from api.http.specs import refusals
from billing.derivation_text import render
from billing.money import format_nano

if TYPE_CHECKING:
    from twin.explained import ExplainedLine

Seq = Annotated[int, Parameter(ge=1, le=LARGEST, description="Number of the ledger line.")]
Spoken = Annotated[
    Literal["zh", "en"] | None, Parameter(query="lang", description="Language of the text; otherwise Accept-Language.")
]


class LineExplanationBody(msgspec.Struct, frozen=True):
    """A ledger line from its journal down to the readings. `text` tells the tree, every number exact; `tree` has it as
    data: `kind`, `facts` (Wh or litres, micro- and nano-units, Unix ms) and `children`."""

    seq: int
    kind: str
    ts: int
    accounts: dict[str, str]
    text: str
    tree: dict[str, Any]


@get(
    "/sites/{site:str}/journals/{seq:int}/explanation",
    operation_id="explainJournal",
    summary="Explain a ledger line",
    responses=refusals(404),
)
async def explain_journal(
    backend: Platform, request: Request[Any, Any, Any], site: Site, seq: Seq, lang: Spoken = None
) -> LineExplanationBody:
    """The tree from the journal to the two register readings behind each amount, computed anew from the samples."""
    await must_exist(backend, site)
    return _body(await _line(backend, site, seq), lang or preferred_language(request.headers.get("accept-language")))


@get(
    "/sites/{site:str}/tenants/{tenant:str}/ledger/{seq:int}/explanation",
    operation_id="explainLedgerLine",
    summary="Explain a line of the own ledger",
    responses=refusals(404),
)
async def explain_ledger_line(
    backend: Platform, request: Request[Any, Any, Any], site: Site, tenant: Tenant, seq: Seq, lang: Spoken = None
) -> LineExplanationBody:
    """As for staff, for lines that moved the tenant's own wallet; any other does not exist."""
    await must_have_tenant(backend, site, tenant)
    line = await _line(backend, site, seq)
    if tenant not in line.tenants:
        raise _unknown_line(site, seq)
    return _body(line, lang or preferred_language(request.headers.get("accept-language")))


async def _line(backend: Platform, site: str, seq: int) -> ExplainedLine:
    line = await backend.explanations.line(site, seq)
    if line is None:
        raise _unknown_line(site, seq)
    return line


def _unknown_line(site: str, seq: int) -> Problem:
    return Problem("unknown_ledger_line", f"site {site} has no ledger line {seq} here")


def _body(line: ExplainedLine, lang: Any) -> LineExplanationBody:
    accounts = {account: format_nano(nano) for account, nano in line.accounts.items()}
    text = render(line.tree, lang, ZoneInfo(line.timezone))
    return LineExplanationBody(line.seq, line.kind, line.ts, accounts, text, msgspec.to_builtins(line.tree))

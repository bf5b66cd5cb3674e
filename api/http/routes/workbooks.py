"""Tenants and meters from Excel: the template, a preview that changes nothing, and the import that was agreed to."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import msgspec
from litestar import Request, Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter

from api.http.backend import Platform
from api.http.identity import Person
from api.http.params import IdempotencyKey, Site
from api.http.problems import Problem, unknown_site
from api.http.repeats import Call, once
from api.http.routes.tenants import must_exist
from api.http.specs import IDEMPOTENCY_HIT, refusals
from api.report_files import MEDIA
from twin.flows.import_workbook import PlanChangedError, Preview, import_workbook, preview_workbook
from twin.workbook import CellProblem

if TYPE_CHECKING:
    from twin.flows.import_site import Parts
    from twin.workbook import Workbook

LARGEST_UPLOAD: Final = 10 * 1024 * 1024
MOST_TOLD: Final = 2_000
"""Problems and lines of one answer."""
XLSX: Final = MEDIA["xlsx"]

Filled = Annotated[bool, Parameter(query="filled", description="With the tenants, meters and supplies there are now.")]
Plan = Annotated[
    str,
    Parameter(
        query="plan",
        pattern=r"^[0-9a-f]{64}$",
        description="`plan` of the preview: only what was shown then is written.",
    ),
]


class CellBody(msgspec.Struct):
    """What is to be said about a cell."""

    sheet: str
    cell: Annotated[str, msgspec.Meta(examples=["C7"])]
    zh: str
    en: str


class PreviewBody(msgspec.Struct):
    """What the file would change. With problems it cannot be imported."""

    plan: str
    problems: list[CellBody]
    notes: Annotated[list[CellBody], msgspec.Meta(description="Readings that a person should look at.")]
    lines: Annotated[list[str], msgspec.Meta(description="The difference, a line each.")]
    refused: Annotated[list[str], msgspec.Meta(description="Changes that an import may not make.")]
    rows: Annotated[dict[str, int], msgspec.Meta(description="Rows read, by sheet.")]
    changes: Annotated[int, msgspec.Meta(description="How many lines the difference has in all.")]


class ImportedBody(msgspec.Struct):
    """What was imported."""

    plan: str
    changes: int
    refused: list[str]


@get(
    "/sites/{site:str}/workbook",
    operation_id="downloadWorkbook",
    summary="Excel template of tenants and meters",
    media_type=XLSX,
    responses={
        200: ResponseSpec(bytes, description="The workbook.", media_type=XLSX, generate_examples=False),
        **refusals(404, 422),
    },
)
async def download_workbook(backend: Platform, site: Site, filled: Filled = False) -> Response[bytes]:
    """The workbook to fill in: headings in both languages, drop-downs of tariffs and gateways."""
    try:
        document = await backend.registry.document(site)
    except LookupError:
        raise unknown_site(site) from None
    data = await asyncio.to_thread(backend.documents.site_workbook, document, filled=filled)
    headers = {"Content-Disposition": f'attachment; filename="{site}-tenants.xlsx"'}
    return Response(data, media_type=XLSX, headers=headers)


@post(
    "/sites/{site:str}/workbook/preview",
    operation_id="previewWorkbook",
    summary="Preview an import from Excel",
    status_code=200,
    request_max_body_size=LARGEST_UPLOAD,
    responses=refusals(400, 404, 413, 415, 422),
)
async def preview(backend: Platform, request: Request[Any, Any, Any], site: Site) -> PreviewBody:
    """The body is the .xlsx itself. Every problem is told at once, each at its cell; nothing is written."""
    workbook = await _workbook(backend, request)
    try:
        return _body(await preview_workbook(cast("Parts", backend), site, workbook))
    except LookupError:
        raise unknown_site(site) from None


@post(
    "/sites/{site:str}/workbook",
    operation_id="importWorkbook",
    summary="Import from Excel",
    status_code=202,
    request_max_body_size=LARGEST_UPLOAD,
    responses=refusals(400, 404, 409, 413, 415, 422),
    response_headers=[IDEMPOTENCY_HIT],
)
async def import_(
    backend: Platform, person: Person, request: Request[Any, Any, Any], site: Site, plan: Plan, key: IdempotencyKey
) -> Response[ImportedBody]:
    """Write what the preview with this plan has shown, and only that. The same file again changes nothing."""
    await must_exist(backend, site)
    workbook = await _workbook(backend, request)
    digest = sha256(await request.body()).hexdigest()

    async def act() -> ImportedBody:
        return await _imported(backend, site, workbook, plan, person.name)

    return await once(backend, Call(site, person, key, ("workbook", plan, digest)), act)


async def _imported(backend: Platform, site: str, workbook: Workbook, plan: str, who: str) -> ImportedBody:
    try:
        shown, imported = await import_workbook(cast("Parts", backend), site, workbook, plan=plan, who=who)
    except LookupError:
        raise unknown_site(site) from None
    except PlanChangedError as error:
        raise Problem(
            "plan_changed",
            "the file or the site has changed since the preview; look at what would change now",
            preview=msgspec.to_builtins(_body(error.preview)),
        ) from None
    if imported is None:
        cells = [{"field": str(problem.place), "message": problem.en, "zh": problem.zh} for problem in shown.problems]
        raise Problem("workbook", f"{len(cells)} cells are wrong", errors=cells[:MOST_TOLD])
    return ImportedBody(shown.plan, len(imported.difference.lines), list(imported.difference.refused))


async def _workbook(backend: Platform, request: Request[Any, Any, Any]) -> Workbook:
    """The workbook in the body; CPU work leaves the loop."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (XLSX, "application/octet-stream"):
        raise Problem("unsupported_media_type", f"send the .xlsx file itself, as {XLSX}")
    workbook: Workbook = await asyncio.to_thread(backend.documents.read_workbook, await request.body())
    return workbook


def _body(shown: Preview) -> PreviewBody:
    return PreviewBody(
        plan=shown.plan,
        problems=_cells(shown.problems),
        notes=_cells(shown.notes),
        lines=list(shown.lines[:MOST_TOLD]),
        refused=list(shown.refused[:MOST_TOLD]),
        rows=shown.rows,
        changes=len(shown.lines),
    )


def _cells(found: tuple[CellProblem, ...]) -> list[CellBody]:
    return [CellBody(entry.place.sheet, entry.place.cell, entry.zh, entry.en) for entry in found[:MOST_TOLD]]

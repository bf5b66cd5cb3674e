"""Payments that channels tell of, and their statements. A channel has no token: its signature is its authority."""

from __future__ import annotations

import time
from typing import Annotated, Any, Final

from litestar import Request, Response, post
from litestar.params import Parameter

from api.http.acts import credit_act, deliver
from api.http.backend import Platform
from api.http.identity import Person
from api.http.params import Site
from api.http.payment_bodies import ComparedBody, StatementBody, StatementRequest, compared_body
from api.http.problems import Problem
from api.http.routes.tenants import must_exist
from api.http.specs import refusals
from twin.payments import NoticeRefusedError, PaymentChannel

Channel = Annotated[
    str, Parameter(pattern=r"^[a-z0-9][a-z0-9_.-]{0,39}$", description="Name of the channel in the settings.")
]
LARGEST_CALL: Final = 16 * 1024
LARGEST_STATEMENT: Final = 1024 * 1024
STATUS: Final = {
    "signature": 401,
    "stale": 401,
    "malformed": 400,
    "merchant": 400,
    "currency": 400,
    "unknown_tenant": 404,
    "unknown_refund": 404,
}
"""Whatever else the ledger refuses is a conflict; no channel takes any of these for a success, so it calls again."""


@post(
    "/payments/{channel:str}",
    operation_id="takePayment",
    summary="A channel tells of a payment",
    status_code=200,
    request_max_body_size=LARGEST_CALL,
    security=[],
    responses=refusals(400, 404, 409, 413),
)
async def take_payment(backend: Platform, channel: Channel, request: Request[Any, Any, Any]) -> Response[Any]:
    """Credit what the channel was paid, once for each of its numbers. Signed: `Twinmeter-Signature: t=SECONDS,v1=HEX`,
    the HMAC-SHA256 of `SECONDS.CHANNEL.BODY`; see the page on payments.

    The answer is what the channel expects: `{"code": "SUCCESS"}` or the text `success`, and nothing of the kind where
    the payment is not credited.
    """
    known = _known(backend, channel)
    header, body = request.headers.get("twinmeter-signature", ""), await request.body()
    try:
        taken = await backend.payments.take(known, header, body, now_s=int(time.time()))
    except NoticeRefusedError as error:
        return _refusal(known, error)
    acts = (credit_act(taken.site, taken.receipt),) if taken.receipt is not None else taken.acts
    for pending in acts:
        await deliver(backend, pending)
    if known.answer == "text":
        return Response("success", media_type="text/plain")
    return Response({"code": "SUCCESS", "message": taken.verdict})


def _refusal(channel: PaymentChannel, error: NoticeRefusedError) -> Response[Any]:
    """What the channel hears; who forged a call hears no reason."""
    status = STATUS.get(error.code, 409)
    if channel.answer == "text":
        return Response("fail", media_type="text/plain", status_code=status)
    message = f"{error.code}: {error.detail}" if error.genuine else "the signature is not valid"
    return Response({"code": "FAIL", "message": message[:300]}, status_code=status)


def _known(backend: Platform, name: str, site: str | None = None) -> PaymentChannel:
    channel = backend.payments.channels.get(name)
    if channel is None or site not in (None, channel.site):
        raise Problem("not_found", f"the settings name no payment channel {name!r}{' of this site' if site else ''}")
    return channel


@post(
    "/sites/{site:str}/payments/{channel:str}/statement",
    operation_id="compareStatement",
    summary="Hold a channel's statement against the ledger",
    status_code=200,
    request_max_body_size=LARGEST_STATEMENT,
    responses=refusals(404, 413, 422),
)
async def compare_statement(
    backend: Platform, person: Person, site: Site, channel: Channel, data: StatementRequest
) -> StatementBody:
    """Each payment of a channel's statement: credited, missing, or other than the ledger has it; and payments that only
    the ledger has. With `credit`, what is missing is credited by the channel's number: a call that comes after all
    changes nothing."""
    await must_exist(backend, site)
    known = _known(backend, channel, site)
    compared = await backend.payments.compare(known, data.rows, credit=data.credit, actor=person.name)
    for one in compared:
        if one.receipt is not None:
            await deliver(backend, credit_act(site, one.receipt))
    only_ours: list[str] = []
    if data.since is not None and data.until is not None:
        only_ours = await backend.payments.only_ours(known, data.rows, since=data.since, until=data.until)
    rows: list[ComparedBody] = [compared_body(one) for one in compared]
    return StatementBody(rows, only_ours)

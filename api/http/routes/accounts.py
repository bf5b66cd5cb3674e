"""Accounts: opened, corrected, refunded, guaranteed, closed. Each act is carried out once for its Idempotency-Key."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.params import Parameter

from api.http import account_bodies as bodies
from api.http.account_bodies import ActBody, act_body, worded
from api.http.acts import deliver
from api.http.amounts import read_amount, read_signed_amount
from api.http.backend import Platform, group_of_tenant
from api.http.identity import Person
from api.http.paging import DEFAULT_LIMIT, Cursor, Limit, page_of
from api.http.params import IdempotencyKey, Site, Tenant
from api.http.problems import unknown_site
from api.http.repeats import HIT
from api.http.routes.tenants import must_exist
from api.http.specs import IDEMPOTENCY_HIT, refusals
from twin.ports import Caller, Outcome

Debt = Annotated[str, Parameter(pattern=r"^D[0-9]{1,18}$", description="Id of a debt.")]
Refund = Annotated[str, Parameter(pattern=r"^R[0-9]{1,18}$", description="Id of a refund.")]
RefundState = Annotated[str | None, Parameter(query="state", max_length=16, description="Only refunds in this state.")]
ACT: dict[str, Any] = {
    "response_description": "What came of it, or the request that waits for a second person.",
    "responses": refusals(400, 404, 409, 422),
    "response_headers": [IDEMPOTENCY_HIT],
}
TENANT = "/sites/{site:str}/tenants/{tenant:str}"


@post("/sites/{site:str}/tenants", operation_id="openAccount", summary="Open an account", **ACT)
async def open_account(
    backend: Platform, person: Person, site: Site, key: IdempotencyKey, data: bodies.OpenAccountRequest
) -> Response[ActBody]:
    """A new tenant with a wallet and, where it is said, an opening credit. The exported site file has it."""
    caller = _caller(backend, person, data.reason, key)
    return await _answer(backend, site, backend.accounts.open(site, data.entry(), caller))


@get(f"{TENANT}/account", operation_id="getAccount", summary="An account", responses=refusals(404))
async def get_account(backend: Platform, site: Site, tenant: Tenant) -> bodies.AccountBody:
    """Balance as posted, deposit, debts, guarantee and the states the account went through."""
    await must_exist(backend, site)
    facts = msgspec.to_builtins(await backend.account_reads.account(site, tenant))
    facts["balance_nano"] = facts["credits_nano"] - facts["charges_nano"]
    facts["debts"] = [worded(debt) for debt in facts["debts"]]
    return msgspec.convert(worded(facts), bodies.AccountBody)


@post(f"{TENANT}/corrections", operation_id="correctEntry", summary="Take an entry back", **ACT)
async def correct_entry(
    backend: Platform, person: Person, site: Site, tenant: Tenant, key: IdempotencyKey, data: bodies.CorrectionRequest
) -> Response[ActBody]:
    """Reverse a payment or a manual entry, or a part of it, by a new journal that names it; never beyond it."""
    amount_nano = read_amount(data.amount) if data.amount is not None else None
    caller = _caller(backend, person, data.reason, key)
    return await _answer(backend, site, backend.accounts.correct(site, tenant, data.original, amount_nano, caller))


@post(f"{TENANT}/entries", operation_id="enterByHand", summary="Credit or debit by hand", **ACT)
async def enter_by_hand(
    backend: Platform, person: Person, site: Site, tenant: Tenant, key: IdempotencyKey, data: bodies.ManualRequest
) -> Response[ActBody]:
    """Put money onto a wallet, or take it off; the other side is the account `adjustments`."""
    amount_nano = read_signed_amount(data.amount)
    caller = _caller(backend, person, data.reason, key)
    return await _answer(backend, site, backend.accounts.manual(site, tenant, amount_nano, caller))


@post(f"{TENANT}/transfers", operation_id="transferBalance", summary="Move balance", **ACT)
async def transfer_balance(
    backend: Platform, person: Person, site: Site, tenant: Tenant, key: IdempotencyKey, data: bodies.TransferRequest
) -> Response[ActBody]:
    """Move balance to another wallet of the site; the giver must have it."""
    amount_nano = read_amount(data.amount)
    caller = _caller(backend, person, data.reason, key)
    charges = await _charges(backend, site, tenant)
    act = backend.accounts.transfer(site, tenant, data.to, amount_nano, caller, charges_nano=charges)
    return await _answer(backend, site, act)


@post(f"{TENANT}/write-offs", operation_id="writeOffArrears", summary="Give up arrears", **ACT)
async def write_off_arrears(
    backend: Platform, person: Person, site: Site, tenant: Tenant, key: IdempotencyKey, data: bodies.WriteOffRequest
) -> Response[ActBody]:
    """Give up what a wallet is in arrears, or a part of it."""
    amount_nano = read_amount(data.amount) if data.amount is not None else None
    caller = _caller(backend, person, data.reason, key)
    return await _answer(backend, site, backend.accounts.write_off(site, tenant, amount_nano, caller))


@post(f"{TENANT}/debts", operation_id="createDebt", summary="Make a debt", **ACT)
async def create_debt(
    backend: Platform, person: Person, site: Site, tenant: Tenant, key: IdempotencyKey, data: bodies.DebtRequest
) -> Response[ActBody]:
    """A debt that later payments pay off by instalments; arrears leave the wallet for it."""
    body = {
        "tenant": tenant,
        "amount_nano": read_amount(data.amount),
        "kind": data.kind,
        "origin": data.origin,
        "share_percent": data.share_percent,
        "cap_nano": read_amount(data.cap_per_month) if data.cap_per_month is not None else None,
        "priority": data.priority,
    }
    return await _answer(
        backend, site, backend.accounts.create_debt(site, body, _caller(backend, person, data.reason, key))
    )


@post(f"{TENANT}/debts/{{debt:str}}/cancel", operation_id="cancelDebt", summary="End a debt", **ACT)
async def cancel_debt(
    backend: Platform,
    person: Person,
    site: Site,
    tenant: Tenant,
    debt: Debt,
    key: IdempotencyKey,
    data: bodies.ReasonRequest,
) -> Response[ActBody]:
    """What remains of a debt goes back to where it came from: arrears onto the wallet again."""
    caller = _caller(backend, person, data.reason, key)
    return await _answer(backend, site, backend.accounts.cancel_debt(site, tenant, debt, caller))


@post(f"{TENANT}/debts/{{debt:str}}/write-off", operation_id="writeOffDebt", summary="Give up a debt", **ACT)
async def write_off_debt(
    backend: Platform,
    person: Person,
    site: Site,
    tenant: Tenant,
    debt: Debt,
    key: IdempotencyKey,
    data: bodies.ReasonRequest,
) -> Response[ActBody]:
    """What remains of a debt is given up."""
    caller = _caller(backend, person, data.reason, key)
    return await _answer(backend, site, backend.accounts.write_off_debt(site, tenant, debt, caller))


@post(f"{TENANT}/deposit-returns", operation_id="returnDeposit", summary="Return a deposit", **ACT)
async def return_deposit(
    backend: Platform,
    person: Person,
    site: Site,
    tenant: Tenant,
    key: IdempotencyKey,
    data: bodies.DepositReturnRequest,
) -> Response[ActBody]:
    """Put a paid deposit, or a part of it, onto the wallet."""
    amount_nano = read_amount(data.amount)
    caller = _caller(backend, person, data.reason, key)
    return await _answer(backend, site, backend.accounts.return_deposit(site, tenant, amount_nano, caller))


@post(f"{TENANT}/refunds", operation_id="requestRefund", summary="Refund a payment", **ACT)
async def request_refund(
    backend: Platform, person: Person, site: Site, tenant: Tenant, key: IdempotencyKey, data: bodies.RefundRequest
) -> Response[ActBody]:
    """Set a refund aside: it leaves the wallet at once, and is paid out after a second person has agreed."""
    body = {
        "tenant": tenant,
        "payment": f"P{data.payment.removeprefix('P')}",
        "amount_nano": read_amount(data.amount),
        "channel": "",
    }
    caller = _caller(backend, person, data.reason, key)
    charges = await _charges(backend, site, tenant)
    return await _answer(backend, site, backend.accounts.refund(site, body, caller, charges_nano=charges))


@post(f"{TENANT}/refunds/{{refund:str}}/paid", operation_id="payRefund", summary="A refund was paid out", **ACT)
async def pay_refund(
    backend: Platform,
    person: Person,
    site: Site,
    tenant: Tenant,
    refund: Refund,
    key: IdempotencyKey,
    data: bodies.RefundPaidRequest,
) -> Response[ActBody]:
    """The channel has paid an agreed refund out, under its own number."""
    caller = _caller(backend, person, data.reason, key)
    return await _answer(backend, site, backend.accounts.pay_refund(site, tenant, refund, data.reference, caller))


@post(f"{TENANT}/refunds/{{refund:str}}/failed", operation_id="failRefund", summary="A refund failed", **ACT)
async def fail_refund(
    backend: Platform,
    person: Person,
    site: Site,
    tenant: Tenant,
    refund: Refund,
    key: IdempotencyKey,
    data: bodies.ReasonRequest,
) -> Response[ActBody]:
    """The channel could not pay it out: the wallet has the amount again."""
    caller = _caller(backend, person, data.reason, key)
    return await _answer(backend, site, backend.accounts.fail_refund(site, tenant, refund, caller))


@get(f"{TENANT}/refunds", operation_id="listRefunds", summary="A tenant's refunds", responses=refusals(404, 422))
async def list_refunds(
    backend: Platform,
    site: Site,
    tenant: Tenant,
    in_state: RefundState = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> bodies.RefundPage:
    """Refunds, newest first."""
    await must_exist(backend, site)
    await backend.account_reads.account(site, tenant)
    page = await page_of(backend.account_reads.refunds(site, tenant=tenant, state=in_state, cursor=cursor, limit=limit))
    items = [msgspec.convert(worded(msgspec.to_builtins(row)), bodies.RefundRow) for row in page.items]
    return bodies.RefundPage(items, page.next)


@post(f"{TENANT}/guarantee", operation_id="guaranteeSupply", summary="Guarantee the supply", **ACT)
async def guarantee_supply(
    backend: Platform, person: Person, site: Site, tenant: Tenant, key: IdempotencyKey, data: bodies.GuaranteeRequest
) -> Response[ActBody]:
    """No cutoff for arrears until an instant, at most 366 days ahead; `null` lifts the guarantee."""
    caller = _caller(backend, person, data.reason, key)
    return await _answer(backend, site, backend.accounts.guarantee(site, tenant, data.until, caller))


@post(f"{TENANT}/move-out", operation_id="moveOutTenant", summary="A tenant moves out", **ACT)
async def move_out_tenant(
    backend: Platform, person: Person, site: Site, tenant: Tenant, key: IdempotencyKey, data: bodies.MoveOutRequest
) -> Response[ActBody]:
    """Hand all meters over to vacancy and begin the closing; close the account once the last charges are posted."""
    caller = _caller(backend, person, data.reason, key)
    body = {"tenant": tenant, "at": data.at or caller.ts, "readings": data.readings}
    return await _answer(backend, site, backend.accounts.move_out(site, body, caller))


@post(f"{TENANT}/close", operation_id="closeAccount", summary="Close an account", **ACT)
async def close_account(
    backend: Platform, person: Person, site: Site, tenant: Tenant, key: IdempotencyKey, data: bodies.CloseRequest
) -> Response[ActBody]:
    """Settle what is left and close the account where nothing stands in the way; `waiting` says what does."""
    fields = {"rest": data.rest, "channel": data.channel, "to": data.to, "bill": data.bill}
    caller = _caller(backend, person, data.reason, key)
    charges = await _charges(backend, site, tenant)
    act = backend.accounts.close(site, {"tenant": tenant, **fields}, caller, charges_nano=charges)
    return await _answer(backend, site, act)


@post(f"{TENANT}/reopen", operation_id="reopenAccount", summary="Open an account again", **ACT)
async def reopen_account(
    backend: Platform, person: Person, site: Site, tenant: Tenant, key: IdempotencyKey, data: bodies.ReasonRequest
) -> Response[ActBody]:
    """A closed account takes money again."""
    caller = _caller(backend, person, data.reason, key)
    return await _answer(backend, site, backend.accounts.reopen(site, tenant, caller))


def _caller(backend: Platform, person: Person, reason: str, key: str) -> Caller:
    return Caller(person.name, reason, backend.clock.now(), key)


async def _charges(backend: Platform, site: str, tenant: str) -> int | None:
    """The twin's own total of charges: what it has not posted yet is spent, too."""
    group = await group_of_tenant(backend, site, tenant)
    return group.tenant.charges_nano if group is not None and group.tenant is not None else None


async def _answer(backend: Platform, site: str, act: Any) -> Response[ActBody]:
    """Carry an act out, tell the twins, and answer."""
    try:
        outcome: Outcome = await act
    except LookupError:
        raise unknown_site(site) from None
    for pending in outcome.acts:
        await deliver(backend, pending)
    return Response(act_body(outcome.body), headers=HIT if outcome.repeated else {})

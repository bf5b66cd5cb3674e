"""The life of an account: opened (开户), settled when the tenant moves out (退租), closed (销户), opened again.

Theory of operation. Opening and the supply guarantee (保电) change the tenant's entry in the registry by the same path
as a site import, so the exported site file tells them and the twin gets its contract by an act. Settling deals with
what is left on the wallet: a rest goes back to the tenant (refund), to another wallet, or, where it is missing, becomes
a debt or is given up; less than a cent goes to `rounding`. An account closes when no meter is supplied, nothing waits
to be posted, paid out or agreed to, and the wallet is empty. A debt outlives its account: opened again, it is paid off.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from adapters.store.journals import accounts
from adapters.store.journals.account_acts import (
    CLOSED,
    CLOSING,
    OPEN,
    account_state,
    acted_ts,
    audit_act,
    doer,
    move_state,
    must_be_amount,
    must_not_be_closed,
)
from adapters.store.journals.approval_policy import site_settings
from adapters.store.journals.wallet_booking import Movement, book_movements, wallet_totals
from adapters.store.sites.registry import as_document
from adapters.store.sites.site_file import SiteError, wanted_state
from adapters.store.sites.site_import import amend
from adapters.store.sites.site_state import load_state
from billing.money import NANO_PER_CENT, format_nano
from schemas.registry import problems
from twin.ports import Caller, MoneyRefusedError, Outcome

if TYPE_CHECKING:
    from adapters.store.engine.database import Transaction
    from adapters.store.journals.approvals import Approval
    from adapters.store.journals.journal_book import JournalBook

LONGEST_GUARANTEE_MS: Final = 366 * 86_400_000
_SUPPLIED = (
    "SELECT meter FROM supply WHERE site = ? AND tenant = ? AND (to_ts IS NULL OR to_ts > ?) ORDER BY meter LIMIT 20"
)
_HANDING = "SELECT meter FROM handover WHERE site = ? AND from_group = ? AND state <> 'done' ORDER BY meter LIMIT 20"
_OPEN_REFUNDS = "SELECT refund FROM refund WHERE site = ? AND tenant = ? AND state IN ('requested', 'approved')"
_WAITING = "SELECT approval FROM approval WHERE site = ? AND subject = ? AND state = 'open' ORDER BY id"
_HELD = (
    "SELECT (SELECT COALESCE(sum(amount_nano), 0) FROM leg WHERE site = ? AND account = ?),"
    " (SELECT COALESCE(sum(remaining_nano), 0) FROM debt WHERE site = ? AND tenant = ? AND origin = 'deposit'"
    " AND state = 'open')"
)


@doer("account.open")
async def open_account(tx: Transaction, book: JournalBook, site: str, body: dict[str, Any], by: Approval) -> Outcome:
    """A new tenant with an account; `body`: tenant, and `entry` as a site file says it.

    Raises MoneyRefusedError `tenant_exists`, or `tenant_entry` with everything that is wrong with the entry.
    """
    tenant, entry = body["tenant"], body["entry"]
    if await tx.fetch("SELECT 1 FROM tenant WHERE site = ? AND tenant = ?", site, tenant):
        raise MoneyRefusedError("tenant_exists", f"site {site} has a tenant {tenant!r} already")
    acts = (await _amend_tenant(tx, book, tenant, entry, by)).acts
    await move_state(tx, site, tenant, OPEN, by)
    answer = {"tenant": tenant, "account": accounts.wallet(tenant), "opening_credit": entry.get("opening_credit", "0")}
    await audit_act(tx, site, by, "account.open", tenant, {**answer, "entry": entry})
    return Outcome(answer, acts)


@doer("account.reopen")
async def reopen(tx: Transaction, _book: JournalBook, site: str, body: dict[str, Any], by: Approval) -> Outcome:
    """A closed or closing account takes money again."""
    before = await account_state(tx, site, body["tenant"])
    if before == OPEN:
        raise MoneyRefusedError("account_open", f"the account of tenant {body['tenant']} is open")
    await move_state(tx, site, body["tenant"], OPEN, by)
    answer = {"tenant": body["tenant"], "account_state": OPEN}
    await audit_act(tx, site, by, "account.reopen", body["tenant"], answer, {"account_state": before})
    return Outcome(answer)


@doer("supply.guarantee")
async def guarantee(tx: Transaction, book: JournalBook, site: str, body: dict[str, Any], by: Approval) -> Outcome:
    """No cutoff for arrears until `until` (Unix ms); None lifts the guarantee."""
    tenant, until = body["tenant"], body["until"]
    await must_not_be_closed(tx, site, tenant)
    now = acted_ts(by)
    if until is not None and not now < until <= now + LONGEST_GUARANTEE_MS:
        raise MoneyRefusedError("guarantee", "a supply guarantee ends in the future, at most 366 days from now")
    state = await load_state(tx, site)
    before = state.tenants[tenant].get("protected_until")
    entry = {key: value for key, value in state.tenants[tenant].items() if key != "protected_until"}
    if until is not None:
        zone = ZoneInfo((await site_settings(tx, site))["timezone"])
        entry["protected_until"] = datetime.fromtimestamp(until // 1000, zone).isoformat(timespec="seconds")
    acts = (await _amend_tenant(tx, book, tenant, entry, by)).acts
    answer = {"tenant": tenant, "until": until}
    await audit_act(tx, site, by, "supply.guarantee", tenant, answer, {"protected_until": before})
    return Outcome(answer, acts)


@doer("deposit.return")
async def return_deposit(tx: Transaction, book: JournalBook, site: str, body: dict[str, Any], by: Approval) -> Outcome:
    """A deposit that was paid goes onto the wallet, where it pays what is owed or is refunded."""
    tenant, amount_nano = body["tenant"], body["amount_nano"]
    await must_not_be_closed(tx, site, tenant)
    must_be_amount(amount_nano)
    booked, unpaid = (await tx.fetch(_HELD, site, accounts.deposit(tenant), site, tenant))[0]
    if amount_nano > int(booked) - int(unpaid):
        detail = f"a deposit of {format_nano(int(booked) - int(unpaid))} was paid"
        raise MoneyRefusedError("insufficient", detail)
    movement = Movement("deposit_return", amount_nano, accounts.deposit(tenant), f"deposit:{book.seq + 1}", by.why)
    credit = await book_movements(tx, book, tenant=tenant, movements=[movement], actor=by.decided_by, ts=acted_ts(by))
    answer = {"tenant": tenant, "journal": credit.journal_seq, "amount_nano": amount_nano}
    await audit_act(tx, site, by, "deposit.return", tenant, answer)
    return Outcome(answer, [credit.pending])


@doer("account.close")
async def close(tx: Transaction, book: JournalBook, site: str, body: dict[str, Any], by: Approval) -> Outcome:
    """Close an account that is settled; `body`: tenant, bill (number of the final bill, or empty).

    What still stands in the way is answered as `waiting`, and the account is `closing` meanwhile.
    """
    tenant = body["tenant"]
    before = await must_not_be_closed(tx, site, tenant)
    acts = []
    balance_nano = (await wallet_totals(tx, site, tenant)).balance_nano
    if balance_nano and abs(balance_nano) < NANO_PER_CENT:
        movement = Movement(
            "rounding", -balance_nano, accounts.ROUNDING, f"rounding:{book.seq + 1}", "less than a cent"
        )
        credit = await book_movements(
            tx, book, tenant=tenant, movements=[movement], actor=by.decided_by, ts=acted_ts(by)
        )
        acts, balance_nano = [credit.pending], 0
    waiting = await in_the_way(tx, site, tenant, balance_nano)
    state = CLOSING if waiting else CLOSED
    if state != before:
        await move_state(tx, site, tenant, state, by, body["bill"])
    answer = {"tenant": tenant, "account_state": state, "waiting": waiting, "bill": body["bill"]}
    await audit_act(tx, site, by, "account.close", tenant, answer, {"account_state": before})
    return Outcome(answer, acts)


async def in_the_way(tx: Transaction, site: str, tenant: str, balance_nano: int) -> list[str]:
    """What keeps an account without supplies from being closed, a line each."""
    lines = [f"balance {format_nano(balance_nano)}"] if balance_nano else []
    lines += [f"refund {row[0]} is not paid out" for row in await tx.fetch(_OPEN_REFUNDS, site, tenant)]
    waiting = await tx.fetch(_WAITING, site, f"tenant {tenant}")
    return lines + [f"request {row[0]} waits for a second person" for row in waiting]


async def must_be_unsupplied(tx: Transaction, site: str, tenant: str, caller: Caller, charges_nano: int | None) -> None:
    """Raises MoneyRefusedError `still_supplied`, `handing_over` or `unposted_charges`.

    `charges_nano` is the twin's own total: what it has charged and not posted yet belongs on the final bill.
    """
    meters = [row[0] for row in await tx.fetch(_SUPPLIED, site, tenant, caller.ts)]
    if meters:
        detail = f"tenant {tenant} is supplied by {', '.join(meters)}: hand the meters over first"
        raise MoneyRefusedError("still_supplied", detail)
    moving = [row[0] for row in await tx.fetch(_HANDING, site, tenant)]
    if moving:
        detail = f"{', '.join(moving)} of tenant {tenant} are still being handed over; try again in a moment"
        raise MoneyRefusedError("handing_over", detail)
    posted_nano = (await wallet_totals(tx, site, tenant)).charges_nano
    if charges_nano is not None and charges_nano != posted_nano:
        waiting = format_nano(charges_nano - posted_nano)
        raise MoneyRefusedError("unposted_charges", f"charges of {waiting} are not posted yet; try again in a moment")


async def _amend_tenant(
    tx: Transaction, book: JournalBook, tenant: str, entry: dict[str, Any], by: Approval
) -> Outcome:
    """Write a tenant's entry as a site import would. Raises MoneyRefusedError `tenant_entry`."""
    state = await load_state(tx, book.site)
    shell = {"apiVersion": "twinmeter.site/v1", "site": book.site, "timezone": "UTC", "currency": "CNY"}
    wrong = [f"{problem.path}: {problem.message}" for problem in problems("site", {**shell, "tenants": [entry]})]
    state.tenants = {**state.tenants, tenant: entry}
    try:
        if wrong:
            raise SiteError(wrong)
        wanted = wanted_state(as_document(state))
        told, acts = await amend(tx, book, wanted, who=by.decided_by, now=acted_ts(by))
    except SiteError as error:
        raise MoneyRefusedError("tenant_entry", str(error)) from None
    if told.refused:
        raise MoneyRefusedError("tenant_entry", "; ".join(told.refused))
    return Outcome({}, acts)

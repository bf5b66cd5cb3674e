"""The desk of accounts: what people may do with them, each once for its key, by one person or by two.

Which acts need a second person is the site's setting `approval`; a refund is set aside while it waits.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from adapters.store import account_life, approvals, refunds, wallet_acts
from adapters.store.account_acts import must_not_be_closed, once, perform
from adapters.store.approval_policy import approval_policy
from adapters.store.approvals import Approval
from adapters.store.debts import ARREARS, INSTALMENT, open_debt
from adapters.store.wallet_booking import wallet_totals
from billing.money import NANO_PER_CENT
from twin.ports import Caller, MoneyRefusedError, Outcome

if TYPE_CHECKING:
    from adapters.store.approvals import Decision
    from adapters.store.database import Database, Transaction
    from adapters.store.journal_book import JournalBook

REFUND: Final = "refund"
TRANSFER: Final = "transfer"
DEBT: Final = "debt"
WRITE_OFF: Final = "write_off"
KEEP: Final = "keep"
RESTS: Final = (KEEP, REFUND, TRANSFER, DEBT, WRITE_OFF)
"""What may become of what is left on a wallet at a move-out."""


class SqlAccounts:
    """Acts on accounts over one database.

    Every act raises LookupError for an unknown site and MoneyRefusedError with a stable code; its outcome is either
    `done` with its facts or `requested` with the id of the approval it waits for.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, site: str, entry: dict[str, Any], caller: Caller) -> Outcome:
        """Open an account for a new tenant, by its entry as a site file says it."""
        body = {"tenant": str(entry.get("id", "")), "entry": entry}
        return await self._act(site, caller, "account.open", body)

    async def reopen(self, site: str, tenant: str, caller: Caller) -> Outcome:
        """Open a closed account again."""
        return await self._act(site, caller, "account.reopen", {"tenant": tenant})

    async def correct(self, site: str, tenant: str, original: str, amount_nano: int | None, caller: Caller) -> Outcome:
        """Take back a payment (`P12`) or a manual entry (`12`), or a part of it; None is all that is left of it."""
        body = {"tenant": tenant, "original": original, "amount_nano": amount_nano}

        async def size(tx: Transaction) -> int:
            row = await wallet_acts.journal_of(tx, site, tenant, original)
            return amount_nano or await wallet_acts.uncorrected(tx, site, row)

        return await self._act(site, caller, "correction", body, limit="correction_above", size=size)

    async def manual(self, site: str, tenant: str, amount_nano: int, caller: Caller) -> Outcome:
        """Credit a wallet by hand; a negative amount debits it."""
        body = {"tenant": tenant, "amount_nano": amount_nano}
        return await self._act(site, caller, "manual", body, limit="manual_above", size=_fixed(amount_nano))

    async def transfer(
        self, site: str, tenant: str, to: str, amount_nano: int, caller: Caller, *, charges_nano: int | None = None
    ) -> Outcome:
        """Move balance to another wallet. `charges_nano`: the twin's own total of the giver's charges."""
        body = {"tenant": tenant, "to": to, "amount_nano": amount_nano, "known_charges_nano": charges_nano}
        limit = {"limit": "transfer_above", "size": _fixed(amount_nano)}
        return await self._act(site, caller, "transfer", body, **limit, unkeyed=("known_charges_nano",))

    async def write_off(self, site: str, tenant: str, amount_nano: int | None, caller: Caller) -> Outcome:
        """Give up arrears, or a part of them."""
        body = {"tenant": tenant, "amount_nano": amount_nano}

        async def size(tx: Transaction) -> int:
            return amount_nano or (await wallet_totals(tx, site, tenant)).balance_nano

        return await self._act(site, caller, "write_off", body, limit="write_off_above", size=size)

    async def create_debt(self, site: str, body: dict[str, Any], caller: Caller) -> Outcome:
        """A debt: tenant, amount_nano, kind, origin, priority, share_percent and cap_nano (None: the site's)."""
        return await self._act(site, caller, "debt.create", body)

    async def cancel_debt(self, site: str, tenant: str, debt: str, caller: Caller) -> Outcome:
        """End a debt and give what remains of it back to where it came from."""
        return await self._end_debt(site, tenant, debt, caller, "debt.cancel", "correction_above")

    async def write_off_debt(self, site: str, tenant: str, debt: str, caller: Caller) -> Outcome:
        """Give up what remains of a debt."""
        return await self._end_debt(site, tenant, debt, caller, "debt.write_off", "write_off_above")

    async def return_deposit(self, site: str, tenant: str, amount_nano: int, caller: Caller) -> Outcome:
        """Put a paid deposit, or a part of it, onto the wallet."""
        body = {"tenant": tenant, "amount_nano": amount_nano}
        return await self._act(site, caller, "deposit.return", body, limit="manual_above", size=_fixed(amount_nano))

    async def guarantee(self, site: str, tenant: str, until: int | None, caller: Caller) -> Outcome:
        """No cutoff for arrears until an instant; None lifts that."""
        body = {"tenant": tenant, "until": until}
        return await self._act(site, caller, "supply.guarantee", body, always="supply_guarantee")

    async def refund(
        self, site: str, body: dict[str, Any], caller: Caller, *, charges_nano: int | None = None
    ) -> Outcome:
        """Set a refund aside (tenant, payment, amount_nano, channel), and ask for agreement where that is needed."""
        act = partial(_refund, {**body, "known_charges_nano": charges_nano}, caller)
        return await once(self._database, site, caller, ("refund", body), act)

    async def pay_refund(self, site: str, tenant: str, refund: str, reference: str, caller: Caller) -> Outcome:
        """The channel has paid a refund out, under its own number."""
        return await self._act(site, caller, "refund.pay", {"tenant": tenant, "refund": refund, "reference": reference})

    async def fail_refund(self, site: str, tenant: str, refund: str, caller: Caller) -> Outcome:
        """The channel could not pay a refund out."""
        return await self._act(site, caller, "refund.fail", {"tenant": tenant, "refund": refund})

    async def close(
        self, site: str, body: dict[str, Any], caller: Caller, *, charges_nano: int | None = None
    ) -> Outcome:
        """Settle what is left (`rest`, with `channel` or `to`) and close the account where nothing stands in the way.

        `body`: tenant, bill, rest, channel, to. `charges_nano`: the twin's own total of charges.
        """
        if body["rest"] not in RESTS:
            raise MoneyRefusedError("rest", f"what is left becomes one of {', '.join(RESTS)}")
        act = partial(_close, body, caller, charges_nano)
        return await once(self._database, site, caller, ("close", body), act)

    async def decide(self, site: str, approval: str, who: str, approve: bool, why: str, ts: int) -> Decision:
        """Agree to a request of somebody else, or refuse it."""
        return await approvals.decide(self._database, site, approval, who, approve, why, ts)

    async def cancel_request(self, site: str, approval: str, who: str, why: str, ts: int) -> Decision:
        """Take one's own request back."""
        return await approvals.cancel(self._database, site, approval, who, why, ts)

    async def expire_requests(self, site: str, ts: int) -> list[Decision]:
        """Settle the requests that nobody decided in time."""
        return await approvals.expire(self._database, site, ts)

    async def _end_debt(self, site: str, tenant: str, debt: str, caller: Caller, kind: str, limit: str) -> Outcome:
        async def size(tx: Transaction) -> int:
            return int((await open_debt(tx, site, tenant, debt))["remaining_nano"])

        return await self._act(site, caller, kind, {"tenant": tenant, "debt": debt}, limit=limit, size=size)

    async def _act(
        self,
        site: str,
        caller: Caller,
        kind: str,
        body: dict[str, Any],
        *,
        limit: str = "",
        size: Any = None,
        always: str = "",
        unkeyed: tuple[str, ...] = (),
    ) -> Outcome:
        """Perform an act once; by two where its `size` is above a `limit`, or `always` says so."""

        async def act(tx: Transaction, book: JournalBook) -> Outcome:
            policy = await approval_policy(tx, site)
            second = bool(always) and policy.always(always)
            if limit:
                second = second or policy.above(limit, await size(tx))
            return await perform(tx, book, kind, body, caller, second=second)

        keyed = {name: value for name, value in body.items() if name not in unkeyed}
        return await once(self._database, site, caller, (kind, keyed), act)


def _fixed(amount_nano: int) -> Any:
    async def size(_tx: Transaction) -> int:
        return amount_nano

    return size


async def _refund(body: dict[str, Any], caller: Caller, tx: Transaction, book: JournalBook) -> Outcome:
    reserved = await refunds.reserve(tx, book, body, _asking(caller, body["tenant"]))
    second = (await approval_policy(tx, book.site)).above("refund_above", body["amount_nano"])
    wish = {"tenant": body["tenant"], "refund": reserved.body["refund"]}
    agreed = await perform(tx, book, "refund.approve", wish, caller, second=second)
    return Outcome({**reserved.body, **agreed.body}, [*reserved.acts, *agreed.acts])


async def _close(
    body: dict[str, Any], caller: Caller, charges_nano: int | None, tx: Transaction, book: JournalBook
) -> Outcome:
    site, tenant = book.site, body["tenant"]
    await must_not_be_closed(tx, site, tenant)
    await account_life.must_be_unsupplied(tx, site, tenant, caller, charges_nano)
    rest = await _settle_rest(body, caller, tx, book)
    closing = {"tenant": tenant, "bill": body["bill"]}
    closed = await perform(tx, book, "account.close", closing, caller, second=False)
    steps = {"rest": rest.body} if rest.body else {}
    return Outcome({**closed.body, **steps}, [*rest.acts, *closed.acts])


async def _settle_rest(body: dict[str, Any], caller: Caller, tx: Transaction, book: JournalBook) -> Outcome:
    """What becomes of the balance; nothing where it is empty, or as small as a rounding difference."""
    tenant, rest = body["tenant"], body["rest"]
    balance_nano = (await wallet_totals(tx, book.site, tenant)).balance_nano
    policy = await approval_policy(tx, book.site)
    if rest == KEEP or abs(balance_nano) < NANO_PER_CENT:
        return Outcome({})
    if balance_nano > 0 and rest == REFUND:
        whole_nano = balance_nano // NANO_PER_CENT * NANO_PER_CENT
        wish = {"tenant": tenant, "payment": "", "amount_nano": whole_nano, "channel": body["channel"]}
        return await _refund(wish, caller, tx, book)
    if balance_nano > 0 and rest == TRANSFER:
        wish = {"tenant": tenant, "to": body["to"], "amount_nano": balance_nano}
        return await perform(tx, book, "transfer", wish, caller, second=policy.above("transfer_above", balance_nano))
    if balance_nano < 0 and rest == WRITE_OFF:
        wish = {"tenant": tenant, "amount_nano": -balance_nano}
        return await perform(tx, book, "write_off", wish, caller, second=policy.above("write_off_above", balance_nano))
    if balance_nano < 0 and rest == DEBT:
        wish = {"tenant": tenant, "amount_nano": -balance_nano, "kind": INSTALMENT, "origin": ARREARS}
        return await perform(tx, book, "debt.create", wish, caller, second=False)
    words = "is left over: refund it or transfer it" if balance_nano > 0 else "is owed: make it a debt or write it off"
    raise MoneyRefusedError("rest", f"the balance {words}; {rest!r} does not fit")


def _asking(caller: Caller, tenant: str) -> Approval:
    return Approval(
        *("", "refund", f"tenant {tenant}", {}, caller.who, caller.why, caller.ts, caller.ts),
        decided_by=caller.who,
        decided_ts=caller.ts,
    )

"""The desk of accounts: what people may do with them, each once for its key, by one person or by two.

Which acts need a second person is the site's setting `approval`; a refund is set aside while it waits.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from adapters.store.journals import approvals
from adapters.store.journals.account_acts import once, perform
from adapters.store.journals.approval_policy import approval_policy
from adapters.store.journals.debts import open_debt
from adapters.store.journals.wallet_booking import wallet_totals
from adapters.store.wallets import move_out, refunds, wallet_acts
from twin.ports import Caller, MoneyRefusedError, Outcome

if TYPE_CHECKING:
    from adapters.store.engine.database import Database, Transaction
    from adapters.store.journals.approvals import Decision
    from adapters.store.journals.journal_book import JournalBook


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
        act = partial(refunds.refund, {**body, "known_charges_nano": charges_nano}, caller)
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
        if body["rest"] not in move_out.RESTS:
            raise MoneyRefusedError("rest", f"what is left becomes one of {', '.join(move_out.RESTS)}")
        act = partial(move_out.close, body, caller, charges_nano)
        return await once(self._database, site, caller, ("close", body), act)

    async def move_out(self, site: str, body: dict[str, Any], caller: Caller) -> Outcome:
        """Hand all meters of a tenant over to vacancy (tenant, at, readings by meter) and begin the closing."""
        return await once(self._database, site, caller, ("move_out", body), partial(move_out.move_out, body, caller))

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

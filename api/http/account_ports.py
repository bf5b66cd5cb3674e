"""What routes need of accounts and of the books, as protocols; the store's own classes fit them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from twin.ports import Caller, Outcome


class Accounts(Protocol):
    """Acts on accounts. All raise LookupError for an unknown site and MoneyRefusedError with a stable code."""

    async def open(self, site: str, entry: dict[str, Any], caller: Caller) -> Outcome:
        """A new tenant with an account, by its entry as a site file says it."""
        ...

    async def reopen(self, site: str, tenant: str, caller: Caller) -> Outcome:
        """A closed account takes money again."""
        ...

    async def correct(self, site: str, tenant: str, original: str, amount_nano: int | None, caller: Caller) -> Outcome:
        """Take back a payment or a manual entry; None is all that is left of it."""
        ...

    async def manual(self, site: str, tenant: str, amount_nano: int, caller: Caller) -> Outcome:
        """Credit a wallet by hand; negative debits it."""
        ...

    async def transfer(
        self, site: str, tenant: str, to: str, amount_nano: int, caller: Caller, *, charges_nano: int | None = None
    ) -> Outcome:
        """Move balance to another wallet."""
        ...

    async def write_off(self, site: str, tenant: str, amount_nano: int | None, caller: Caller) -> Outcome:
        """Give up arrears."""
        ...

    async def create_debt(self, site: str, body: dict[str, Any], caller: Caller) -> Outcome:
        """A debt beside the wallet."""
        ...

    async def cancel_debt(self, site: str, tenant: str, debt: str, caller: Caller) -> Outcome:
        """A debt goes back to where it came from."""
        ...

    async def write_off_debt(self, site: str, tenant: str, debt: str, caller: Caller) -> Outcome:
        """A debt is given up."""
        ...

    async def return_deposit(self, site: str, tenant: str, amount_nano: int, caller: Caller) -> Outcome:
        """A paid deposit goes onto the wallet."""
        ...

    async def guarantee(self, site: str, tenant: str, until: int | None, caller: Caller) -> Outcome:
        """No cutoff for arrears until an instant."""
        ...

    async def refund(
        self, site: str, body: dict[str, Any], caller: Caller, *, charges_nano: int | None = None
    ) -> Outcome:
        """Set a refund aside and ask for agreement."""
        ...

    async def pay_refund(self, site: str, tenant: str, refund: str, reference: str, caller: Caller) -> Outcome:
        """A refund was paid out."""
        ...

    async def fail_refund(self, site: str, tenant: str, refund: str, caller: Caller) -> Outcome:
        """A refund could not be paid out."""
        ...

    async def close(
        self, site: str, body: dict[str, Any], caller: Caller, *, charges_nano: int | None = None
    ) -> Outcome:
        """Settle what is left and close the account."""
        ...

    async def move_out(self, site: str, body: dict[str, Any], caller: Caller) -> Outcome:
        """Hand all meters of a tenant over to vacancy and begin the closing."""
        ...

    async def decide(self, site: str, approval: str, who: str, approve: bool, why: str, ts: int) -> Any:
        """Agree to somebody else's request, or refuse it."""
        ...

    async def cancel_request(self, site: str, approval: str, who: str, why: str, ts: int) -> Any:
        """Take one's own request back."""
        ...

    async def expire_requests(self, site: str, ts: int) -> Sequence[Any]:
        """Settle the requests that nobody decided in time."""
        ...


class AccountReads(Protocol):
    """Plain reads of accounts, newest first."""

    async def account(self, site: str, tenant: str) -> Any:
        """One account; raises MoneyRefusedError `unknown_tenant`."""
        ...

    async def refunds(
        self,
        site: str,
        *,
        tenant: str | None = None,
        state: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Any:
        """A page of refunds."""
        ...

    async def requests(
        self, site: str, *, state: str | None = None, cursor: str | None = None, limit: int = 100
    ) -> Any:
        """A page of requests for a second person's agreement."""
        ...

    async def request(self, site: str, approval: str) -> Any:
        """One request, or None."""
        ...


class Proofs(Protocol):
    """What auditors ask of the books. All raise LookupError for an unknown site."""

    async def trial_balance(self, site: str, *, until: int | None = None, detailed: bool = False) -> Any:
        """Sums of all legs."""
        ...

    async def take_anchor(self, site: str, now: int) -> Any:
        """The anchor of the last day that has ended."""
        ...

    async def anchors(self, site: str, *, from_day: int = 0) -> Sequence[Any]:
        """Anchors, oldest first."""
        ...

    def export(self, site: str, now: int) -> AsyncIterator[bytes]:
        """The ledger as lines of JSON."""
        ...

    def line(self, anchor: Any) -> str:
        """An anchor as one line, to be kept elsewhere."""
        ...

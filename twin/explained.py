"""What finance asks the ledger: where a line comes from, and what a month would have cost by another tariff."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from billing.derivation import Node
from billing.tariff import Tariff

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from billing.whatif import Comparison


class ExplainedLine(msgspec.Struct, frozen=True):
    """A journal, the accounts it moved (nano-units), the tenants whose wallets are among them, and where its amounts
    come from."""

    seq: int
    kind: str
    ts: int
    accounts: dict[str, int]
    tenants: tuple[str, ...]
    tree: Node
    timezone: str


class Explanations(Protocol):
    """Where the amounts of ledger lines come from."""

    async def line(self, site: str, seq: int) -> ExplainedLine | None:
        """Journal `seq` of a site explained; None where there is none. Raises LookupError for an unknown site."""
        ...


class Question(msgspec.Struct, frozen=True):
    """Which tariff of a site is put in question, by which other, for which month, and whom that touches.

    `since_ever` says that the other's first version begins after the month did and was taken as valid before.
    """

    site: str
    month: int
    replaced: str
    tariff: Tariff
    since_ever: bool
    tenants: tuple[str, ...]


class WhatIfs(Protocol):
    """Recorded months lived through by another tariff."""

    async def ask(
        self, site: str, month: int, document: dict[str, Any], *, instead_of: str | None = None
    ) -> tuple[Question, AsyncIterator[Comparison]]:
        """The question, checked, and its answers: one a tenant, computed as they are asked for.

        `instead_of` names the tariff that is replaced; without it the one of the document's own name. Raises
        LookupError for an unknown site or tariff, TariffError for a document that does not compile or is of another
        utility, ValueError for no month; and, while answers are asked for, what rating raises.
        """
        ...

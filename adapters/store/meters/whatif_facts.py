"""What a month would have cost by another tariff, tenant by tenant, from what the ledger recorded.

Nothing is written. Every tenant is read from one instant of the database and forgotten before the next, so a site of
any size fits.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.bills.fee_facts import disconnected_days, load_spans, load_terms
from adapters.store.journals.accounts import wallet
from adapters.store.meters.meter_history import SitePrices, load_history
from billing.monthly_fees import days_of_month
from billing.tariff import TariffError, compile_tariff
from billing.whatif import Comparison, Supply, Wallet, compare
from twin.explained import Question

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from adapters.store.bills.fee_facts import SiteTerms, Span
    from adapters.store.engine.database import Database, Transaction
    from billing.monthly_fees import Day
    from billing.tariff import Tariff

SINCE_EVER = "1970-01-01T00:00:00"
_OWN_CHARGES = ("charge", "adjustment", "fee", "share")
"""Kinds of journals that both sides of a comparison compute for themselves, or leave out alike."""
_OPENING = (
    "SELECT COALESCE(sum(l.amount_nano), 0) FROM leg l JOIN journal j ON j.site = l.site AND j.seq = l.seq"
    " WHERE l.account = ? AND l.site = ? AND j.ts < ?"
)
_CREDITS = (
    "SELECT j.ts, l.amount_nano FROM leg l JOIN journal j ON j.site = l.site AND j.seq = l.seq WHERE l.account = ?"
    " AND l.site = ? AND j.ts >= ? AND j.ts < ? AND j.kind NOT IN (?, ?, ?, ?) ORDER BY j.ts, j.seq"
)
_TENANT = "SELECT mode, emergency_credit_nano FROM tenant WHERE site = ? AND tenant = ?"


class SqlWhatIfs:
    """What-ifs over the SQL store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ask(
        self, site: str, month: int, document: dict[str, Any], *, instead_of: str | None = None
    ) -> tuple[Question, AsyncIterator[Comparison]]:
        """The question, checked, and its answers; see `twin.explained.WhatIfs`."""
        async with self._database.snapshot() as tx:
            terms = await load_terms(tx, site)
            replaced = instead_of or str(document.get("tariff", ""))
            if replaced not in terms.tariffs:
                known = ", ".join(sorted(terms.tariffs)) or "none"
                raise LookupError(f"site {site} has no tariff {replaced!r} to replace; known: {known}")
            days = days_of_month(terms.zone, month)
            tariff, since_ever = _valid_before(document, terms, days[0].start_ms)
            utility = terms.tariffs[replaced].utility
            if tariff.utility != utility:
                raise TariffError("utility", f"is {tariff.utility}, and {replaced} is of {utility}")
            spans = await load_spans(tx, terms, days[0].start_ms, days[-1].end_ms)
        tenants = tuple(sorted({span.tenant for span in spans if span.tariff == replaced}))
        question = Question(site, month, replaced, tariff, since_ever, tenants)
        return question, self._answers(_Asked(question, terms, days))

    async def _answers(self, asked: _Asked) -> AsyncIterator[Comparison]:
        for tenant in asked.question.tenants:
            async with self._database.snapshot() as tx:
                yield await _answer(tx, asked, tenant)


class _Asked(msgspec.Struct, frozen=True):
    """A question with the terms and the days it is answered from."""

    question: Question
    terms: SiteTerms
    days: list[Day]


def _valid_before(document: dict[str, Any], terms: SiteTerms, begin: int) -> tuple[Tariff, bool]:
    """The compiled tariff; its first version since ever where it would begin after the month."""
    timezone = terms.settings["timezone"]
    tariff = compile_tariff(document, timezone)
    if tariff.versions[0].start_ms <= begin:
        return tariff, False
    first, *others = document["versions"]
    return compile_tariff({**document, "versions": [{**first, "from": SINCE_EVER}, *others]}, timezone), True


async def _answer(tx: Transaction, asked: _Asked, tenant: str) -> Comparison:
    question = asked.question
    begin, end = asked.days[0].start_ms, asked.days[-1].end_ms
    spans = await load_spans(tx, asked.terms, begin, end, [tenant])
    supplies: list[Supply] = []
    for meter, own in groupby(sorted(spans, key=lambda span: span.meter), key=lambda span: span.meter):
        supplies += await _supplies(tx, asked, meter, list(own))
    account = wallet(tenant)
    mode, emergency_nano = (await tx.fetch(_TENANT, question.site, tenant))[0]
    opening = (await tx.fetch(_OPENING, account, question.site, begin))[0][0]
    received = await tx.fetch(_CREDITS, account, question.site, begin, end, *_OWN_CHARGES)
    here = Wallet(tenant, int(opening), -int(emergency_nano), mode == "prepaid", [(row[0], row[1]) for row in received])
    return compare(here, supplies, question.month, asked.days)


async def _supplies(tx: Transaction, asked: _Asked, meter: str, spans: Sequence[Span]) -> list[Supply]:
    question, terms = asked.question, asked.terms
    prices = SitePrices(terms.site, terms.settings, terms.tariffs)
    history = await load_history(tx, prices, meter, asked.days[0].start_ms)
    if history is None:
        return []
    then = history.occupancy.with_tariff(question.replaced, question.tariff)
    found: list[Supply] = []
    for span in spans:
        tariff = terms.tariffs[span.tariff]
        found.append(
            Supply(
                meter=meter,
                epochs=history.epochs,
                tenancy=span.tenancy,
                now=history.occupancy,
                then=then,
                tariff_now=tariff,
                tariff_then=question.tariff if span.tariff == question.replaced else tariff,
                disconnected=await disconnected_days(tx, terms.site, span.breaker, asked.days),
            )
        )
    return found

"""People: payers, clerks, electricians. Each wish has a key; who gets no answer asks again with the same key.

`wishes` is what people know: what they paid, and which of it was confirmed to them. The checker holds the ledger
against it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import msgspec

from adapters.store.sites.site_file import SiteError
from api.bootstrap import Platform
from api.http.failures import PASSING
from tests.simulation.loop import OUTSIDE
from tests.simulation.park import SITE, tariffs, tenant_name
from twin.flows.import_site import import_site
from twin.ports import Caller, MoneyRefusedError, PendingAct, SiteDocument, TopUp

if TYPE_CHECKING:
    from tests.simulation.world import World

PATIENCE_S = 25.0
AGAIN = ("busy", "handing_over")
"""Refusals that ask for patience."""
AGAIN_S = 4.0
OTHERWISE = "/x"
"""Behind the key of a payment: what wants another amount under the same key."""


class Wish(msgspec.Struct):
    """Something somebody wants of the platform, once."""

    key: str
    kind: str
    tenant: str
    amount_nano: int
    state: str = "open"
    """`open`, `done`, `refused` (the platform said no, with a reason that it declares) or `failed` (anything else)."""
    answer: Any = None
    why: str = ""


class People:
    """Everybody who talks to the API."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.wishes: dict[str, Wish] = {}
        self.repeats: dict[str, Callable[[Platform], Coroutine[Any, Any, Any]]] = {}
        self.waiting = 0
        self.count = 0

    # --- asking

    def insist(self, wish: Wish, work: Callable[[Platform], Coroutine[Any, Any, Any]], *, at_once: int = 1) -> None:
        """Ask until there is an answer; `at_once` copies of the request come at the same time."""
        self.wishes.setdefault(wish.key, wish)
        self.repeats[wish.key] = work
        for _ in range(at_once):
            self.waiting += 1
            self.world.loop.spawn(OUTSIDE, lambda: self._insist(wish, work))

    async def _insist(self, wish: Wish, work: Callable[[Platform], Coroutine[Any, Any, Any]]) -> None:
        while True:
            asked = self.world.ask(work)
            await asyncio.wait({asked}, timeout=PATIENCE_S)
            if asked.done() and not asked.cancelled():
                error = asked.exception()
                if error is None:
                    wish.state, wish.answer = "done", asked.result()
                    break
                if not _is_passing(error):
                    if wish.state == "open" or not _is_refusal(error):
                        wish.state, wish.why = "refused" if _is_refusal(error) else "failed", repr(error)
                    break
            await asyncio.sleep(AGAIN_S)
        self.waiting -= 1
        self.world.trace.note(self.world.loop.now_ms, "people", f"{wish.kind} {wish.key}: {wish.state} {wish.why}")

    def again(self, *, without: str = "") -> None:
        """What was ever asked for and not refused is asked for again, with its key: a clerk goes through the receipts.

        `without` is a kind of wish that nobody has any more.
        """
        for key, work in list(self.repeats.items()):
            wish = self.wishes[key]
            if wish.state != "refused" and wish.kind != without:
                self.insist(wish, work)

    def failed(self) -> list[Wish]:
        """Wishes that ended with an error that nobody has declared: a caller of the API would see status 500."""
        return [wish for wish in self.wishes.values() if wish.state == "failed"]

    def waits_for(self, kind: str) -> bool:
        """Whether somebody still waits for the answer to a wish of a kind."""
        return any(wish.kind == kind and wish.state == "open" for wish in self.wishes.values())

    def _wish(self, kind: str, tenant: str, amount_nano: int) -> Wish:
        self.count += 1
        return Wish(f"{kind}-{self.count}", kind, tenant, amount_nano)

    # --- wishes

    def top_up(self, tenant: str, nano: int, *, at_once: int = 1) -> Wish:
        """Somebody pays."""
        wish = self._wish("topup", tenant, nano)
        paid = TopUp(tenant, nano, "wechat", f"R-{wish.key}", wish.key, tenant, self.world.platform_ms)

        async def work(api: Platform) -> Any:
            receipt = await api.ledger.top_up(SITE, paid)
            await _deliver_waiting(api, tenant)
            return receipt

        self.insist(wish, work, at_once=at_once)
        return wish

    def top_up_otherwise(self, wish: Wish, nano: int) -> None:
        """The same key with another amount: of the two only one may ever be booked."""
        other = TopUp(wish.tenant, nano, "wechat", f"R-{wish.key}-x", wish.key, wish.tenant, self.world.platform_ms)

        async def work(api: Platform) -> Any:
            return await api.ledger.top_up(SITE, other)

        self.insist(Wish(wish.key + OTHERWISE, "topup", wish.tenant, nano), work)

    def lock(self, breaker: str, kind: str, until: int | None, *, place: bool) -> None:
        """An electrician locks a breaker, or takes a lock off."""
        wish = self._wish("lock" if place else "unlock", breaker, 0)
        said = {"breaker": breaker, "lock": kind, "who": "lin", "why": "works", "ts": self.world.platform_ms}

        async def work(api: Platform) -> Any:
            if place:
                pending = await api.ledger.place_lock(SITE, **said, key=wish.key, until=until)
            else:
                pending = await api.ledger.release_lock(SITE, **said, key=wish.key)
            await _deliver(api, [pending])

        self.insist(wish, work)

    def manual(self, tenant: str, nano: int) -> None:
        """A clerk credits or debits by hand."""
        wish = self._wish("manual", tenant, nano)
        caller = Caller("bob", "goodwill", self.world.platform_ms, wish.key)

        async def work(api: Platform) -> Any:
            outcome = await api.accounts.manual(SITE, tenant, nano, caller)
            await _deliver(api, outcome.acts)
            return outcome

        self.insist(wish, work)

    def correct(self, paid: Wish) -> None:
        """A clerk takes a payment back."""
        wish = self._wish("correction", paid.tenant, 0)
        caller = Caller("bob", "wrong tenant", self.world.platform_ms, wish.key)
        payment = paid.answer.payment

        async def work(api: Platform) -> Any:
            outcome = await api.accounts.correct(SITE, paid.tenant, payment, None, caller)
            await _deliver(api, outcome.acts)
            return outcome

        self.insist(wish, work)

    def hand_over(self, meter: str, giver: str, taker: str, reading: int, at: int) -> Wish:
        """A meter goes from one tenant to the next, with a reading that both agree on."""
        wish = self._wish("handover", giver, 0)
        caller = Caller("bob", "moves", self.world.platform_ms, wish.key)
        body = {
            "tenant": giver,
            "from_tenant": giver,
            "to_tenant": taker,
            "at": at,
            "meters": [meter],
            "readings": {meter: reading},
        }

        async def work(api: Platform) -> Any:
            outcome = await api.meters.act(SITE, "meter.handover", body, caller)
            await _deliver(api, outcome.acts)
            return outcome

        self.insist(wish, work)
        return wish

    def replace(self, meter: str, final: int, opening: int, ts: int) -> Wish:
        """A clerk tells that another register was put in."""
        wish = self._wish("replace", meter, 0)
        caller = Caller("bob", "broken", self.world.platform_ms, wish.key)
        body = {"meter": meter, "ts": ts, "final": final, "opening": opening}

        async def work(api: Platform) -> Any:
            try:
                outcome = await api.meters.act(SITE, "meter.replace", body, caller)
            except MoneyRefusedError as refused:
                if "more than" not in refused.detail:
                    raise
                # He looks again: it went through zero since the platform heard of it.
                again = Caller(caller.who, caller.why, caller.ts, f"{wish.key}-rolled")
                outcome = await api.meters.act(SITE, "meter.replace", {**body, "rolled": True}, again)
            await _deliver(api, outcome.acts)
            return outcome

        self.insist(wish, work)
        return wish

    def change_price(self, new_from: str) -> None:
        """A tariff gets a second price from an instant in the future on."""
        document = self.world.document
        self.world.document = SiteDocument(document.site, tariffs(2, new_from), document.rulesets)
        self.import_again()

    def import_again(self) -> None:
        """The site file is imported once more."""
        wish, document = self._wish("import", "", 0), self.world.document

        async def work(api: Platform) -> Any:
            return await import_site(api, document, who="clerk")

        self.insist(wish, work)


def _is_passing(error: BaseException) -> bool:
    """Whether it is right to ask again: what the API answers with status 503, and two refusals that say so."""
    if isinstance(error, MoneyRefusedError):
        return error.code in AGAIN
    return isinstance(error, PASSING)


def _is_refusal(error: BaseException) -> bool:
    """Whether the platform said no, and meant it: what the API answers with a status of the caller's."""
    return isinstance(error, MoneyRefusedError | SiteError)


async def _deliver(api: Platform, acts: list[PendingAct]) -> None:
    """As `api.http.acts` does it: the act is committed, so a failure here is the sweep's business."""
    with contextlib.suppress(Exception):
        await api.delivery.deliver(acts)


async def _deliver_waiting(api: Platform, tenant: str) -> None:
    with contextlib.suppress(Exception):
        acts = await api.ledger.undelivered(SITE, limit=100)
        await api.delivery.deliver([act for act in acts if act.group == tenant])


__all__ = ["People", "Wish", "tenant_name"]

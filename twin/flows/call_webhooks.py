"""Webhooks: what rules asked outside systems for is called, again and again with growing pauses, until it is had.

The wish stands in SQL since the ledger wrote it, so no crash loses one; a crash between the call and its record only
means that the receiver sees the same delivery id once more. A receiver that refuses for good (4xx) is not asked again,
and one that was not reached in a day and a half is given up, visibly.
"""

from __future__ import annotations

import asyncio
from hashlib import blake2s
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

if TYPE_CHECKING:
    from twin.ports import Clock, WebhookAnswer, WebhookBook, WebhookCall, WebhookCaller

log = structlog.get_logger(__name__)

PAUSES_MS: Final = (10_000, 30_000, 120_000, 600_000, 3_600_000, 10_800_000, 21_600_000, 43_200_000, 43_200_000)
"""Before the second try, the third, and so on; after the last one the call has failed."""
LONGEST_WAIT_MS: Final = 86_400_000
"""A receiver may ask for no longer pause than this (`Retry-After`)."""
WORTH_REPEATING: Final = frozenset({0, 408, 425, 429})
BATCH: Final = 50
EVERY_S: Final = 1.0

DELIVERED, FAILED, WANTED = "delivered", "failed", "wanted"


def delivery_id(site: str, call: WebhookCall) -> str:
    """The same for every try of a call, and of no other call."""
    parts = msgspec.json.encode([site, call.rule, call.twin, call.ts, call.name])
    return blake2s(parts, digest_size=16).hexdigest()


def body_of(site: str, call: WebhookCall) -> bytes:
    """What is sent: who asks, about what, when, and the values that the rule names."""
    return msgspec.json.encode(
        {
            "v": 1,
            "delivery": delivery_id(site, call),
            "webhook": call.name,
            "site": site,
            "rule": call.rule,
            "twin": call.twin,
            "ts": call.ts,
            "data": call.data,
        }
    )


class WebhookCalls:
    """Makes the calls of all sites that are due."""

    def __init__(self, book: WebhookBook, caller: WebhookCaller, clock: Clock) -> None:
        self._book = book
        self._caller = caller
        self._clock = clock
        self.delivered = 0
        self.failed = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Call what is due until told to stop."""
        while not stop.is_set():
            if await self.sweep() < BATCH:
                await asyncio.sleep(EVERY_S)

    async def sweep(self) -> int:
        """Make the calls that are due now, each receiver in its own time; returns how many."""
        due = await self._book.due(self._clock.now(), limit=BATCH)
        await asyncio.gather(*(self._call(site, call) for site, call in due))
        return len(due)

    async def _call(self, site: str, call: WebhookCall) -> None:
        refusal = self._caller.allows(site, call.name)
        if refusal:
            await self._settle(site, call, FAILED, refusal, call.attempts)
            return
        answer = await self._caller.send(call.name, delivery_id(site, call), body_of(site, call))
        attempts = call.attempts + 1
        told = f"{answer.status} {answer.text}".strip() if answer.status else answer.text
        if 200 <= answer.status < 300:
            await self._settle(site, call, DELIVERED, told, attempts)
        elif not _worth_repeating(answer) or attempts > len(PAUSES_MS):
            await self._settle(site, call, FAILED, told, attempts)
        else:
            pause_ms = max(PAUSES_MS[attempts - 1], min(answer.retry_after_ms, LONGEST_WAIT_MS))
            log.warning("webhook will be called again", site=site, webhook=call.name, answer=told, pause_ms=pause_ms)
            await self._book.again(site, call, attempts, self._clock.now() + pause_ms, told)

    async def _settle(self, site: str, call: WebhookCall, state: str, told: str, attempts: int) -> None:
        if state == FAILED:
            self.failed += 1
            log.error("webhook failed for good", site=site, webhook=call.name, rule=call.rule, answer=told)
        else:
            self.delivered += 1
        await self._book.settled(site, call, state, attempts, told, self._clock.now())


def _worth_repeating(answer: WebhookAnswer) -> bool:
    return answer.status in WORTH_REPEATING or answer.status >= 500

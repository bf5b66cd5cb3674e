"""Ten deliberate bugs in the product. Each is put in by replacing functions of the product while its block lasts.

A mutant tells besides how to see that it is there: `applied` is counted up whenever the broken code runs, so a hunt
that never ran it is no hunt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import msgspec

import adapters.mqtt.subscriber
import adapters.store.meters.handovers
import adapters.twins.store
import adapters.twins.stream
import billing.rating
import twin.core.acts
import twin.core.continuity
import twin.core.decide
import twin.core.meter_life
import twin.flows.dispatch_commands
from adapters.twins.keys import site_keys
from twin.core.messages import CreditsPosted

Patch = tuple[Any, Any, Any]


class Mutant:
    """One deliberate bug."""

    def __init__(self, name: str, breaks: Callable[[Mutant], list[Patch]]) -> None:
        self.name = name
        self.applied = 0
        self._breaks = breaks

    def ran(self) -> None:
        """The broken code ran once more."""
        self.applied += 1

    @contextmanager
    def put_in(self) -> Iterator[Mutant]:
        """While the block lasts the product has this bug."""
        self.applied = 0
        with ExitStack() as stack:
            for where, name, broken in self._breaks(self):
                if isinstance(where, dict):
                    stack.enter_context(mock.patch.dict(where, {name: broken}))
                else:
                    stack.enter_context(mock.patch.object(where, name, broken))
            yield self


def _ack_before_commit(mutant: Mutant) -> list[Patch]:
    subscriber = adapters.mqtt.subscriber.MqttSubscriber
    pump = subscriber._pump

    async def early(self: Any, connection: Any, handler: Any, stop: Any) -> None:
        async def acknowledged_first(batch: Any) -> None:
            mutant.ran()
            connection.acknowledge(batch)
            await handler(batch)

        await pump(self, connection, acknowledged_first, stop)

    return [(subscriber, "_pump", early)]


def _double_credit(mutant: Mutant) -> list[Patch]:
    whole = twin.core.acts.on_credits

    def added(draft: Any, act: Any, now: int) -> None:
        mutant.ran()
        tenant = draft.tenant()
        if tenant is not None and act.seq <= draft.group.acts_seq:
            tenant.credits_nano += act.credited_nano
            return
        whole(draft, act, now)

    return [(twin.core.decide.HANDLERS, CreditsPosted, added)]


def _no_revision_check(mutant: Mutant) -> list[Patch]:
    store = adapters.twins.store.RedisTwinStore
    commit = store.commit

    async def forced(self: Any, site: str, changes: Any, **more: Any) -> Any:
        mutant.ran()
        unchecked = []
        for change in changes:
            stored = await self._client.hget(site_keys(site).group(change.before.id), "rev")
            before = msgspec.structs.replace(change.before, revision=int(stored or 0))
            unchecked.append(msgspec.structs.replace(change, before=before))
        return await commit(self, site, unchecked, **more)

    return [(store, "commit", forced)]


def _lost_timer(mutant: Mutant) -> list[Patch]:
    earliest = twin.core.decide.earliest_due

    def forgotten(draft: Any) -> int | None:
        mutant.ran()
        due = earliest(draft)
        return None if any(breaker.locks for breaker in draft.group.breakers.values()) else due

    return [(twin.core.decide, "earliest_due", forgotten)]


def _trimmed_stream(mutant: Mutant) -> list[Patch]:
    stream = adapters.twins.stream.RedisEffectStream

    async def blindly(self: Any, site: str, *, ledger_position: str, keep: int) -> int:
        mutant.ran()
        return int(await self._client.xtrim(site_keys(site).effects, keep))

    return [(stream, "trim", blindly)]


def _float_in_rating(mutant: Mutant) -> list[Patch]:
    exact = billing.rating._slice

    def rounded(*args: Any) -> Any:
        mutant.ran()
        piece = exact(*args)
        yuan = round(piece.quantity * (piece.price_micro / 1e6) / 1000, 4)
        return msgspec.structs.replace(piece, amount_nano=int(yuan * 1e9))

    return [(billing.rating, "_slice", rounded)]


def _stale_fence(mutant: Mutant) -> list[Patch]:
    dispatching = twin.flows.dispatch_commands
    payload = dispatching.command_payload

    def stale(effect: Any) -> bytes:
        """Every command carries the fence of the first one: a device cannot tell which of two is the later."""
        mutant.ran()
        return payload(msgspec.structs.replace(effect, fence=1))

    return [(dispatching, "command_payload", stale)]


def _unordered_outbox(mutant: Mutant) -> list[Patch]:
    def any_later(group: Any, act: Any) -> bool:
        mutant.ran()
        return bool(act.seq > group.acts_seq)

    return [(twin.core.acts, "is_new", any_later), (twin.core.meter_life, "is_new", any_later)]


def _forgotten_tenant_cut(mutant: Mutant) -> list[Patch]:
    async def unheard(*_: Any, **__: Any) -> tuple[str, list[Any]]:
        mutant.ran()
        return "late", []

    return [(adapters.store.meters.handovers, "bring", unheard)]


def _no_plausibility(mutant: Mutant) -> list[Patch]:
    def anything(*_: Any) -> None:
        mutant.ran()

    return [(twin.core.continuity, "plausible_growth", anything)]


MUTANTS = (
    Mutant("ack before commit", _ack_before_commit),
    Mutant("double apply of a credit", _double_credit),
    Mutant("missing revision check", _no_revision_check),
    Mutant("lost timer", _lost_timer),
    Mutant("trimmed stream", _trimmed_stream),
    Mutant("float in rating", _float_in_rating),
    Mutant("stale fence", _stale_fence),
    Mutant("unordered outbox", _unordered_outbox),
    Mutant("forgotten tenant cut", _forgotten_tenant_cut),
    Mutant("skipped plausibility gate", _no_plausibility),
)

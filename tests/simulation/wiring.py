"""The real platform in the simulated world: `api.bootstrap` wires it, and only what opens sockets is replaced.

`wired` holds for one run: it puts simulated clients in place of the adapters' drivers, a drawn token in place of a
random one, and periods that fit virtual time (a loop that asks Redis five times a second costs nothing in production
and everything here). Every process of the simulation is an `api.bootstrap.Platform` run by `api.services.Services`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import structlog

import adapters.mqtt.subscriber
import adapters.twins.rebuild
import adapters.twins.stream
import api.bootstrap.flows
import api.bootstrap.platform
import api.bootstrap.stores
import api.services
import twin.flows.call_webhooks
import twin.flows.carry_tenancies
import twin.flows.consume_effects
import twin.flows.deliver_acts
import twin.flows.hold_messages
import twin.flows.ingest_batch
import twin.flows.keep_books
import twin.flows.policies
import twin.flows.pump_timers
import twin.flows.rerate
import twin.flows.switch_in_bulk
from adapters.mqtt.backoff import Backoff
from adapters.mqtt.subscriber import MqttSubscriber
from adapters.twins.store import RedisTwinStore
from adapters.twins.stream import RedisEffectStream
from api.settings import Settings
from tests.simulation.chance import stream
from tests.simulation.loop import current_process
from tests.simulation.mqtt_clients import BACKOFF, SimMqttConnection, SimPublisher
from tests.simulation.redis_client import SimRedis
from twin.flows.letter_gate import KnownSites, LetterGate
from twin.ports import WebhookAnswer

if TYPE_CHECKING:
    from tests.simulation.world import World

SETTINGS = Settings(
    mqtt_url="mqtt://127.0.0.1:1883",
    redis_url="redis://127.0.0.1:6379/0",
    database_url="sqlite:////nowhere.sqlite3",
    host="sim",
    history_days=0,
)
PERIODS: dict[Any, dict[str, float]] = {
    twin.flows.consume_effects: {"BLOCK_MS": 30_000, "TRIM_EVERY_S": 20.0, "KEEP_ENTRIES": 5, "LONGEST_PAUSE_S": 4.0},
    twin.flows.pump_timers: {"IDLE_S": 3.0},
    twin.flows.deliver_acts: {"SWEEP_EVERY_S": 6.0},
    twin.flows.hold_messages: {"LOOK_EVERY_S": 5.0},
    twin.flows.rerate: {"EVERY_S": 20.0},
    twin.flows.switch_in_bulk: {"IDLE_EVERY_S": 120.0},
    twin.flows.call_webhooks: {"EVERY_S": 600.0},
    twin.flows.keep_books: {"LOOK_EVERY_S": 600.0},
    twin.flows.carry_tenancies: {"LOOK_EVERY_S": 15.0},
    adapters.twins.stream: {"SLICE_MS": 30_000},
    api.services: {"NEW_SITES_EVERY_S": 120.0, "REFRESH_EVERY_S": 120.0, "LOOK_EVERY_S": 20.0, "RESTART_PAUSE_S": 1.0},
    api.bootstrap.flows: {"SETTLEMENT_EVERY_S": 600.0},
}
SWEPT_WITHIN_S = 10
"""Every loop of the platform has looked at its work once within so much time."""


class SimClock:
    """The clock of the machine that the platform runs on."""

    kind = "real"

    def __init__(self, world: World) -> None:
        self._world = world

    def now(self) -> int:
        """Unix ms, right or wrong."""
        return self._world.platform_ms

    def observe(self, ts: int) -> None:
        """Samples do not move this clock."""

    async def sleep(self, seconds: float) -> None:
        """Sleep virtual seconds."""
        await asyncio.sleep(seconds)


class _NoWebhooks:
    """Nobody is called from here."""

    def __init__(self, *_: Any) -> None:
        """Nothing to open."""

    def allows(self, site: str, name: str) -> str:
        """No."""
        return "there are no webhooks in the simulation"

    async def send(self, name: str, delivery: str, body: bytes) -> WebhookAnswer:
        """Never asked for."""
        return WebhookAnswer(0)

    async def close(self) -> None:
        """Nothing to close."""


async def _ring(stop: asyncio.Event, _name: str, work: Any, *, every_s: float) -> None:
    """`ring_until` in virtual time."""
    while not stop.is_set():
        await work()
        await asyncio.sleep(every_s)


def quiet_logs() -> None:
    """The product's log lines are not wanted here."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50), cache_logger_on_first_use=True)


@lru_cache(maxsize=64)
def _compiled(_version: str, compile_it: _Once) -> Any:
    return compile_it.run()


class _Once:
    """Work whose result is looked up by the fingerprint beside it."""

    def __init__(self, run: Any) -> None:
        self.run = run

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Once)


_compile_policy = twin.flows.policies.compile_policy


def _compile_once(document: Any, *, skew_ms: int | None) -> Any:
    """Policies are values: the same sources need not be compiled in every process of every seed."""
    key = f"{twin.flows.policies.fingerprint(document)}:{skew_ms}:{document.site.get('aliases')}"
    return _compiled(key, _Once(lambda: _compile_policy(document, skew_ms=skew_ms)))


@contextmanager
def wired(world: World) -> Iterator[None]:
    """Until the end of the block, platforms stand on the servers of this world."""
    draws = stream(world.seed, "tokens")
    seconds = world.loop.time
    way = world.network.reach

    def connect(_url: str, *, timeout_s: float = 5.0, retries: int = 3) -> SimRedis:
        return SimRedis(world.redis, partial(way, current_process()), retries=retries)

    async def open_connection(_address: Any, **_: Any) -> SimMqttConnection:
        return SimMqttConnection(world.broker, current_process(), way)

    def subscriber(*args: Any, **options: Any) -> MqttSubscriber:
        return MqttSubscriber(
            *args, **options, max_batch=world.plan.max_batch, backoff=Backoff(**BACKOFF, jitter=draws.random)
        )

    def publisher(_url: str, client_id: str, *, host: str | None = None) -> SimPublisher:
        return SimPublisher(world.broker, way, client_id, host)

    replaced: dict[Any, dict[str, Any]] = {module: dict(periods) for module, periods in PERIODS.items()}
    replaced[api.bootstrap.stores] = {
        "connect": connect,
        "RedisTwinStore": partial(RedisTwinStore, seconds=seconds, stream_max=world.plan.stream_max),
        "RedisEffectStream": partial(RedisEffectStream, seconds=seconds),
    }
    replaced[api.bootstrap.platform] = {"MqttSubscriber": subscriber}
    replaced[api.bootstrap.flows] |= {
        "MqttPublisher": publisher,
        "WebhookSender": _NoWebhooks,
        "ring_until": _ring,
        "time": SimpleNamespace(time_ns=lambda: world.loop.now_ms * 1_000_000),
    }
    replaced[adapters.mqtt.subscriber] = {"open_connection": open_connection}
    replaced[adapters.twins.rebuild] = {"secrets": SimpleNamespace(token_hex=lambda _: f"{draws.getrandbits(64):016x}")}
    replaced[twin.flows.ingest_batch] = {
        "LetterGate": partial(LetterGate, seconds=seconds),
        "KnownSites": partial(KnownSites, seconds=seconds),
    }
    replaced[twin.flows.policies] = {"compile_policy": _compile_once}
    with ExitStack() as stack:
        for module, names in replaced.items():
            for name, value in names.items():
                stack.enter_context(mock.patch.object(module, name, value))
        yield

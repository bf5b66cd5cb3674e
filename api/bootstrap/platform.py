"""The platform: stores and flows with their sessions at the broker, from the first look at Redis to the last close."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from typing import TYPE_CHECKING

import structlog

from adapters.clock.clocks import open_clock
from adapters.embedded.ports import who_listens
from adapters.mqtt.subscriber import MqttSubscriber
from adapters.store.engine.database import open_database
from adapters.store.engine.migrate import migrate
from api.bootstrap.flows import Flows
from schemas.topics import VERBS_UP, topic_filter
from twin.flows.rebuild_twins import rebuild_where_needed
from twin.flows.record_history import RECORDED_VERBS
from twin.ports import StoreFullError, StoreLostError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from adapters.clock.clocks import RealClock, ScaledClock, TelemetryClock
    from adapters.store.engine.database import Database
    from api.settings import Settings
    from twin.flows.consume_effects import ConsumerLoop
    from twin.flows.keep_leases import LeaseCounters
    from twin.ports import Delivery

log = structlog.get_logger(__name__)

DOUBTED_ACTS = 1_000
"""More acts than people can make in the second that Redis may lose with the power."""
COLLECT_AFTER = (20_000, 20, 20)
"""Thresholds of Python's garbage collector. Every reading makes objects that live on and none that needs collecting:
with the default of 700 the collector took a sixth to a third of a reading's CPU time, and a third of a rebuild's."""
INGEST_WINDOW = 32_000
"""Messages that ingest may have taken and not acknowledged: history that live messages pass must be inside."""


class Platform(Flows):
    """Everything wired together; services are started from it, all in one process or one by one."""

    def __init__(
        self,
        settings: Settings,
        clock: RealClock | ScaledClock | TelemetryClock,
        database: Database,
        *,
        remember: bool = True,
    ) -> None:
        super().__init__(settings, clock, database, remember=remember)
        self.subscriber: MqttSubscriber | None = None
        self.record_subscriber: MqttSubscriber | None = None
        self.overhear: Callable[[Sequence[Delivery]], Awaitable[None]] | None = None
        """Who else looks at what the recorder hears."""
        self.shard_sessions: dict[str, MqttSubscriber] = {}
        """Sessions of the shards that this process owns now."""
        self.lease_counters: dict[str, LeaseCounters] = {}
        """What became of this process's leases by kind of work; empty where nothing is divided."""
        self.loops: dict[str, ConsumerLoop] = {}
        """The consumers that run in this process."""
        self.rebuilt: dict[str, str] = {}
        self._preparing = asyncio.Lock()
        self.service_failures: Counter[str] = Counter()
        self.http_url = ""
        """Where the API listens, once it does."""
        self.http_port = 0
        """The port that the API has bound in this process, listening or not; 0 before it has."""

    async def prepare(self) -> None:
        """Bring the twins in line with SQL before anything listens; several services may ask for it at once.

        Where the effect stream is full, what people did waits for the sweep: only readers of the stream make room in
        it, and they do not run before this has ended.
        """
        async with self._preparing:
            rebuilt = await rebuild_where_needed(
                self.registry, self.store, self.stream, self.clock, self.ledger, self.marks
            )
            self.rebuilt |= rebuilt
            self.vitals.rebuilds.update(rebuilt.keys())
            try:
                await self.delivery.sweep(wait_for_room=False)
            except StoreFullError:
                log.warning("effect stream is full: acts are delivered once the ledger has made room")

    async def recover(self) -> None:
        """After Redis came back from the dead: what it lost with its last second is found out and made good."""
        await self.ledger.doubt_deliveries(DOUBTED_ACTS)
        await self.prepare()

    async def ingest_until(self, stop: asyncio.Event) -> None:
        """Subscribe and decide until told to stop. The handler is ready before the session connects.

        Raises StoreLostError when the twins must be rebuilt. Each session that is opened here asks for every retained
        message: whoever rebuilt the twins, and wherever, what devices reported of themselves comes back with it.
        """
        done = asyncio.Event()
        lost: list[StoreLostError] = []

        async def handle(deliveries: Sequence[Delivery]) -> None:
            try:
                await self.ingest.handle(deliveries)
            except StoreLostError as error:
                lost.append(error)
                done.set()
                raise

        subscriber = self.subscriber = MqttSubscriber(
            self.settings.mqtt_url,
            f"twinmeter-ingest-{self.settings.ingest_shard:02d}",
            [topic_filter(verb) for verb in VERBS_UP],
            receive_maximum=INGEST_WINDOW,
            replay_retained=True,
            live_first=True,
        )
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: done.set())
        try:
            await subscriber.run(handle, done)
        finally:
            stopping.cancel()
        if lost:
            raise lost[0]

    def session(
        self, client_id: str, filters: Sequence[str], may_connect: Callable[[], Awaitable[bool]]
    ) -> MqttSubscriber:
        """The session of a shard at the broker."""
        return MqttSubscriber(
            self.settings.mqtt_url,
            client_id,
            filters,
            receive_maximum=INGEST_WINDOW,
            replay_retained=True,
            live_first=True,
            may_connect=may_connect,
        )

    async def record_until(self, stop: asyncio.Event) -> None:
        """Record what devices send until told to stop, in a session of its own."""
        subscriber = self.record_subscriber = MqttSubscriber(
            self.settings.mqtt_url,
            "twinmeter-recorder" if self.settings.ingest_shards else f"twinmeter-{self.settings.host}-recorder",
            [topic_filter(verb) for verb in RECORDED_VERBS],
            receive_maximum=10_000,
            max_batch=5_000,
        )
        await subscriber.run(self._record, stop)

    async def _record(self, deliveries: Sequence[Delivery]) -> None:
        await self.recorder.handle(deliveries)
        if self.overhear is not None:
            await self.overhear(deliveries)

    async def hear_until(self, hear: Callable[[Sequence[Delivery]], Awaitable[None]], stop: asyncio.Event) -> None:
        """Hear everything that devices send, in a session of its own, where nobody records it."""
        filters = [topic_filter(verb) for verb in VERBS_UP]
        await MqttSubscriber(self.settings.mqtt_url, "twinmeter-strays", filters).run(hear, stop)

    def who_listens(self, port: int) -> str:
        """The process that holds a port of this machine, for messages to people."""
        return who_listens(port)

    async def close(self) -> None:
        """Close every connection."""
        if self.journeys is not None:
            await asyncio.to_thread(self.journeys.close)
        await self.settlement.close()
        await self.presence.stop()
        await self.publisher.stop()
        await self.webhook_sender.close()
        await self.store.close()
        await self.stream.close()
        await self.database.close()


async def open_platform(
    settings: Settings, progress: Callable[[str], object] | None = None, *, remember: bool = True
) -> Platform:
    """Open clock, database (migrated) and connections for settings in which every URL is set; the process collects
    garbage less often from then on."""
    gc.set_threshold(*COLLECT_AFTER)
    say = progress or (lambda _text: None)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    clock = open_clock(settings.clock, settings.data_dir)
    say("migrating the database")
    await migrate(settings.database_url, progress)
    database = await open_database(settings.database_url, answer_within_s=settings.database_timeout_s)
    return Platform(settings, clock, database, remember=remember)

"""The composition root: the one place that picks adapters and wires them to the flows."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import structlog

from adapters.clock.clocks import open_clock
from adapters.documents.files import SiteDocuments
from adapters.documents.fonts import open_font
from adapters.embedded.broker import start_broker
from adapters.embedded.ports import is_free, who_listens
from adapters.embedded.processes import EmbeddedServerError
from adapters.embedded.redis_server import start_redis
from adapters.journeys.follow import MissingPackagesError, open_journeys
from adapters.mqtt.errors import MqttError
from adapters.mqtt.probe import probe_session
from adapters.mqtt.publisher import MqttPublisher
from adapters.mqtt.subscriber import MqttSubscriber
from adapters.notify.log_notifier import LogNotifier
from adapters.notify.webhook_sender import WebhookSender
from adapters.scheduler.ringer import ring_until
from adapters.store.account_reads import SqlAccountReads
from adapters.store.accounts_desk import SqlAccounts
from adapters.store.act_marks import SqlActMarks
from adapters.store.alarm_care import SqlAlarms
from adapters.store.answers import SqlAnswers
from adapters.store.backups import BackupError, create_backup, restore_backup, verify_backup
from adapters.store.bill_reads import SqlBills
from adapters.store.books import SqlBooks
from adapters.store.consents import SqlConsents
from adapters.store.contacts import SqlContacts
from adapters.store.database import Database, DatabaseURLError, open_database
from adapters.store.explained_lines import SqlExplanations
from adapters.store.gauges import SqlGauges
from adapters.store.held_firings import SqlHeldFirings
from adapters.store.history import SqlHistory
from adapters.store.incident_acts import SqlIncidents
from adapters.store.ledger import SqlLedger, SqlNoticeBook
from adapters.store.meter_desk import SqlMeters
from adapters.store.migrate import migrate
from adapters.store.migration_state import migration_state
from adapters.store.partitions import PartitionError, partition_counts, partition_tables
from adapters.store.past import SqlPast
from adapters.store.plans_desk import SqlPlans
from adapters.store.proofs import SqlProofs
from adapters.store.queries import SqlQueries
from adapters.store.registry import SqlRegistry
from adapters.store.report_queries import SqlReports
from adapters.store.rerating import SqlReratings
from adapters.store.rule_book import SqlRuleBook, SqlShadows
from adapters.store.settlement import SqlSettlement
from adapters.store.site_file import SiteError
from adapters.store.switch_history import SqlSwitchings
from adapters.store.switching import SqlSwitching
from adapters.store.tokens import SqlTokens
from adapters.store.webhook_book import SqlWebhookBook
from adapters.store.whatif_facts import SqlWhatIfs
from adapters.twins.connection import connect
from adapters.twins.leases import RedisLeases
from adapters.twins.store import RedisTwinStore
from adapters.twins.stream import RedisEffectStream
from schemas.topics import VERBS_UP, topic_filter
from twin.flows.apply_messages import Applier
from twin.flows.call_webhooks import WebhookCalls
from twin.flows.carry_tenancies import TenancyKeeper
from twin.flows.clear_guards import GuardKeeper
from twin.flows.consume_effects import ConsumerLoop, LedgerWriter
from twin.flows.deliver_acts import ActDelivery
from twin.flows.dispatch_commands import CommandDispatcher
from twin.flows.group_notices import AlarmGroups
from twin.flows.ingest_batch import Ingest
from twin.flows.keep_books import BookKeeper
from twin.flows.notify_people import NoticeSender
from twin.flows.policies import CompiledPolicies
from twin.flows.prove_warnings import ProvingBook
from twin.flows.pump_timers import TimerPump
from twin.flows.rebuild_twins import rebuild_where_needed
from twin.flows.record_history import RECORDED_VERBS, Recorder
from twin.flows.rerate import Rerater
from twin.flows.settlement_room import SettlementRoom
from twin.flows.shadow_rules import ShadowRunner
from twin.flows.switch_in_bulk import BulkSwitching
from twin.flows.vitals import Vitals
from twin.ports import StoreLostError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from adapters.clock.clocks import RealClock, ScaledClock, TelemetryClock
    from adapters.embedded.processes import RunningServer
    from api.settings import Settings
    from twin.flows.keep_leases import LeaseCounters
    from twin.ports import Delivery

log = structlog.get_logger(__name__)

SETTLEMENT_EVERY_S = 60.0
DOUBTED_ACTS = 1_000
"""More acts than people can make in the second that Redis may lose with the power."""

__all__ = [
    "BackupError",
    "DatabaseURLError",
    "Embedded",
    "EmbeddedServerError",
    "MissingPackagesError",
    "MqttError",
    "PartitionError",
    "Platform",
    "SiteError",
    "create_backup",
    "is_free",
    "migration_state",
    "open_database",
    "open_font",
    "open_leases",
    "open_platform",
    "open_recorded",
    "partition_counts",
    "partition_tables",
    "probe_session",
    "recorded_lag",
    "restore_backup",
    "start_embedded",
    "verify_backup",
    "who_listens",
]
"""What the entry points take from here, names of the adapters included: nobody else may import those."""


class Embedded:
    """Child servers of a laptop installation, and the settings that point to them."""

    def __init__(self, settings: Settings, servers: list[RunningServer]) -> None:
        self.settings = settings
        self.servers = servers

    def dead(self) -> list[RunningServer]:
        """The servers that have died."""
        return [server for server in self.servers if not server.is_running]

    def stop(self) -> None:
        """Stop the children, broker first, so that nothing arrives while Redis saves."""
        for server in reversed(self.servers):
            server.stop()


def start_embedded(settings: Settings, progress: Callable[[str], object] | None = None) -> Embedded:
    """Start whatever the settings leave open: Redis, a broker, SQLite. Call from the main thread.

    Raises EmbeddedServerError with the end of the server's log.
    """
    data = settings.data_dir.resolve()
    data.mkdir(parents=True, exist_ok=True)
    servers: list[RunningServer] = []
    if not settings.redis_url:
        executable = settings.embedded_redis or None
        servers.append(start_redis(data / "redis", executable=executable, progress=progress))
        settings = msgspec.structs.replace(settings, redis_url=servers[-1].url)
    if not settings.mqtt_url:
        kind = settings.embedded_broker or "auto"
        servers.append(start_broker(data / "broker", kind=kind, progress=progress))  # type: ignore[arg-type]
        settings = msgspec.structs.replace(settings, mqtt_url=servers[-1].url)
    if not settings.database_url:
        settings = msgspec.structs.replace(settings, database_url=f"sqlite:///{data / 'twinmeter.sqlite3'}")
    return Embedded(settings, servers)


class Platform:
    """Everything wired together; services are started from it, all in one process or one by one.

    `remember` keeps twins in the memory of this process: right where it decides on readings, wrong where others do and
    this one would go on showing, or deciding on, what it read first.
    """

    def __init__(
        self,
        settings: Settings,
        clock: RealClock | ScaledClock | TelemetryClock,
        database: Database,
        *,
        remember: bool = True,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.database = database
        self.redis = connect(settings.redis_url)
        self.store = RedisTwinStore(self.redis) if remember else RedisTwinStore(self.redis, cache_groups=0)
        self.stream = RedisEffectStream(connect(settings.redis_url, retries=0))
        self.ledger = SqlLedger(database)
        self.marks = SqlActMarks(database)
        self.registry = SqlRegistry(database)
        self.queries = SqlQueries(database)
        self.accounts = SqlAccounts(database)
        self.account_reads = SqlAccountReads(database)
        self.proofs = SqlProofs(database)
        self.reports = SqlReports(database)
        self.documents = SiteDocuments()
        self.explanations = SqlExplanations(database)
        self.what_ifs = SqlWhatIfs(database)
        self.meters = SqlMeters(database)
        self.alarms = SqlAlarms(database)
        self.incidents = SqlIncidents(database)
        self.held_firings = SqlHeldFirings(database)
        self.switchings = SqlSwitchings(database)
        self.consents = SqlConsents(database)
        self.tokens = SqlTokens(database)
        self.books = SqlBooks(database)
        self.gauges = SqlGauges(database)
        self.answers = SqlAnswers(database)
        self.skew_ms = None if clock.kind == "telemetry" else 300_000
        """How far a device's clock may be ahead; there is no such thing where time follows telemetry."""
        self.policies = CompiledPolicies(self.registry, skew_ms=self.skew_ms)
        self.journeys = open_journeys(
            logged=settings.log_journeys,
            otlp_url=settings.otlp_url,
            service=settings.host,
            one_of=settings.otlp_one_of,
        )
        self.applier = Applier(self.store, self.policies, clock, self.journeys)
        self.delivery = ActDelivery(self.store, self.ledger, self.applier, self.marks)
        self.book_keeper = BookKeeper(self.registry, self.accounts, self.proofs, self.delivery, clock)
        self.rerater = Rerater(SqlReratings(database), self.delivery, clock)
        self.tenancies = TenancyKeeper(self.meters, self.delivery, clock)
        self.vitals = Vitals()
        self.ingest = Ingest(self.store, self.applier, clock, self.vitals, self.journeys)
        self.pump = TimerPump(self.store, self.registry, self.applier, clock)
        self.publisher = MqttPublisher(settings.mqtt_url, f"twinmeter-{settings.host}-commands")
        self.presence = MqttPublisher(settings.mqtt_url, f"twinmeter-{settings.host}-presence", host=settings.host)
        """Tells gateways that somebody listens; kept by whoever ingests, so that they buffer when nobody does."""
        self.notifier = LogNotifier()
        self._wire_settlement()
        self._wire_switching()
        self._wire_rules()
        self._wire_leases()
        self.subscriber: MqttSubscriber | None = None
        self.record_subscriber: MqttSubscriber | None = None
        self.rebuilt: dict[str, str] = {}
        self._preparing = asyncio.Lock()
        self.service_failures: Counter[str] = Counter()
        self.loops: dict[str, ConsumerLoop] = {}
        """The consumers that run in this process."""
        self.http_url = ""
        """Where the API listens, once it does."""

    def _wire_settlement(self) -> None:
        """Calls to other systems; months, and the bills that come of them."""
        self.webhook_sender = WebhookSender(self.settings.webhook_targets(), lambda: time.time_ns() // 1_000_000)
        self.webhooks = WebhookCalls(SqlWebhookBook(self.database), self.webhook_sender, self.clock)
        self.bills = SqlBills(self.database)
        self.settlement = SettlementRoom(
            *(self, SqlSettlement(self.database), self.bills, SqlReratings(self.database)),
            *(self.delivery, self.notifier, self.clock),
        )

    def _wire_leases(self) -> None:
        """What processes need that divide the work."""
        self.leases = RedisLeases(self.redis)
        self.lease_counters: dict[str, LeaseCounters] = {}
        """What became of this process's leases by kind of work; empty where nothing is divided."""
        self.shard_sessions: dict[str, MqttSubscriber] = {}
        """Sessions of the shards that this process owns now."""

    def _wire_switching(self) -> None:
        """Jobs of bulk switching; twins are read afresh, because other processes decide on them."""
        fresh = self.store.unremembered()
        book = SqlSwitching(self.database)
        self.plans = SqlPlans(self.database)
        self.guards = GuardKeeper(self.registry, self.held_firings, self.clock)
        self.switching = BulkSwitching(fresh, book, self.policies, self.delivery, self.clock)

    def _wire_rules(self) -> None:
        """Recorded history, versions of rules, and what follows them."""
        self.history = SqlHistory(self.database)
        self.past = SqlPast(self.database)
        self.rule_book = SqlRuleBook(self.database)
        self.shadows = SqlShadows(self.database)
        days, follows = self.settings.history_days, self.clock.kind == "telemetry"
        self.recorder = Recorder(self.history, self.registry, self.clock, keep_days=days, follows_telemetry=follows)
        self.shadow_runner = ShadowRunner(self, skew_ms=self.skew_ms)

    def who_listens(self, port: int) -> str:
        """The process that holds a port of this machine, for messages to people."""
        return who_listens(port)

    async def settle_until(self, stop: asyncio.Event) -> None:
        """Fees of the day and settlements that are due, looked after every so often until told to stop."""
        await ring_until(stop, "settlement", self.settlement.timer.tick, every_s=SETTLEMENT_EVERY_S)

    async def prepare(self) -> None:
        """Bring the twins in line with SQL before anything listens; several services may ask for it at once."""
        async with self._preparing:
            rebuilt = await rebuild_where_needed(
                self.registry, self.store, self.stream, self.clock, self.ledger, self.marks
            )
            self.rebuilt |= rebuilt
            self.vitals.rebuilds.update(rebuilt.keys())
            await self.delivery.sweep()

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
            replay_retained=True,
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
        return MqttSubscriber(self.settings.mqtt_url, client_id, filters, replay_retained=True, may_connect=may_connect)

    async def record_until(self, stop: asyncio.Event) -> None:
        """Record what devices send until told to stop, in a session of its own."""
        subscriber = self.record_subscriber = MqttSubscriber(
            self.settings.mqtt_url,
            "twinmeter-recorder" if self.settings.ingest_shards else f"twinmeter-{self.settings.host}-recorder",
            [topic_filter(verb) for verb in RECORDED_VERBS],
            receive_maximum=10_000,
            max_batch=5_000,
        )
        await subscriber.run(self.recorder.handle, stop)

    def consumers(self) -> dict[str, ConsumerLoop]:
        """The consumers of the effect stream by the service they belong to."""
        # Under leases the name belongs to the work: what one owner read and did not finish is the next one's.
        worker = "owner" if self.settings.ingest_shards else f"{self.settings.host}-{self.settings.ingest_shard}"
        ledger = LedgerWriter(self.stream, self.ledger, self.vitals.posted, _wall_ms, self.journeys)
        # The effect is in the stream before whoever committed it has taken note, so a remembered twin may be too old.
        fresh = self.store.unremembered()
        commands = CommandDispatcher(self.stream, fresh, self.applier, self.publisher, self.clock, self.journeys)
        book = ProvingBook(SqlNoticeBook(self.database, self.clock.now), self.applier, self.clock)
        notices = NoticeSender(
            self.stream, self.notifier, book, AlarmGroups(fresh, self.policies), SqlContacts(self.database)
        )
        return {
            "ledger": ConsumerLoop(self.stream, ledger, worker),
            "commands": ConsumerLoop(self.stream, commands, worker),
            "notices": ConsumerLoop(self.stream, notices, worker),
        }

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


def _wall_ms() -> int:
    """The machine's clock (Unix ms), by which Redis dates effects."""
    return time.time_ns() // 1_000_000


async def open_platform(
    settings: Settings, progress: Callable[[str], object] | None = None, *, remember: bool = True
) -> Platform:
    """Open clock, database (migrated) and connections for settings in which every URL is set."""
    say = progress or (lambda _text: None)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    clock = open_clock(settings.clock, settings.data_dir)
    say("migrating the database")
    await migrate(settings.database_url, progress)
    return Platform(settings, clock, await open_database(settings.database_url), remember=remember)


def open_leases(redis_url: str) -> tuple[RedisLeases, Callable[[], Awaitable[None]]]:
    """The leases alone, to look at, and how to close the connection."""
    client = connect(redis_url)
    return RedisLeases(client), client.aclose


async def recorded_lag(settings: Settings) -> int | None:
    """How many seconds the recorded history is behind the newest effect, at the worst site; None without any."""
    if (await migration_state(settings.database_url)).missing:
        return None
    database, client = await open_database(settings.database_url, pool_size=1), connect(settings.redis_url)
    store, gauges = RedisTwinStore(client, cache_groups=0), SqlGauges(database)
    behind: list[int] = []
    try:
        for site in await SqlRegistry(database).sites():
            known, recorded = await store.generation(site), await gauges.recorded(site)
            if known is not None and recorded is not None:
                behind.append(max(0, int(known[1].partition("-")[0]) - recorded) // 1000)
    finally:
        await store.close()
        await database.close()
    return max(behind, default=None)


async def open_recorded(database_url: str) -> tuple[Database, SqlPast, SqlHistory]:
    """The recorded past alone, for a process that only replays; close the database afterwards."""
    database = await open_database(database_url)
    return database, SqlPast(database), SqlHistory(database)

"""A platform for tests of the API: twins in memory, SQLite in a folder, everything else the product's own code."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from httpx import ASGITransport, AsyncClient

from adapters.documents.files import SiteDocuments
from adapters.embedded.ports import who_listens
from adapters.mqtt.publisher import MqttPublisher
from adapters.notify.log_notifier import LogNotifier
from adapters.store.bills.bill_reads import SqlBills
from adapters.store.bills.settlement import SqlSettlement
from adapters.store.engine.database import Database, open_database
from adapters.store.engine.migrate import migrate
from adapters.store.meters.explained_lines import SqlExplanations
from adapters.store.meters.meter_desk import SqlMeters
from adapters.store.meters.rerating import SqlReratings
from adapters.store.past.held_firings import SqlHeldFirings
from adapters.store.past.history import SqlHistory
from adapters.store.past.past import SqlPast
from adapters.store.posting.ledger import SqlLedger
from adapters.store.proofs.books import SqlBooks
from adapters.store.proofs.proofs import SqlProofs
from adapters.store.reports.report_queries import SqlReports
from adapters.store.sites.act_marks import SqlActMarks
from adapters.store.sites.plans_desk import SqlPlans
from adapters.store.sites.queries import SqlQueries
from adapters.store.sites.registry import SqlRegistry
from adapters.store.sites.rule_book import SqlRuleBook, SqlShadows
from adapters.store.wallets.account_reads import SqlAccountReads
from adapters.store.wallets.accounts_desk import SqlAccounts
from adapters.store.wallets.consents import SqlConsents
from adapters.store.wallets.payment_book import SqlPaymentBook
from adapters.store.watching.alarm_care import SqlAlarms
from adapters.store.watching.answers import SqlAnswers
from adapters.store.watching.gauges import SqlGauges
from adapters.store.watching.incident_acts import SqlIncidents
from adapters.store.watching.switch_history import SqlSwitchings
from adapters.store.watching.switching import SqlSwitching
from adapters.store.watching.tokens import SqlTokens
from adapters.twins.memory import MemoryEffectStream, MemoryRedis, MemoryTwinStore
from api.http.app import create_app
from api.settings import Settings
from tests.unit.api import parks
from tests.unit.api.parks import SITE
from twin.core.messages import Birth, ConnectionChanged, StateReported, Telemetry
from twin.flows.apply_messages import Applier
from twin.flows.consume_effects import ConsumerLoop, LedgerWriter
from twin.flows.deliver_acts import ActDelivery
from twin.flows.import_site import import_site
from twin.flows.ingest_batch import Ingest
from twin.flows.policies import CompiledPolicies
from twin.flows.pump_timers import TimerPump
from twin.flows.record_history import Recorder
from twin.flows.settlement_room import SettlementRoom
from twin.flows.switch_in_bulk import BulkSwitching
from twin.flows.take_payments import PaymentDesk
from twin.flows.vitals import Vitals

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from twin.core.messages import Message

ADMIN_SECRET = "an administrator's secret"
START = 1_767_312_000_000
"""2026-01-02T00:00:00Z, inside the supplies of the parks."""


class HandClock:
    """A clock that a test moves by hand."""

    kind = "real"

    def __init__(self, now: int) -> None:
        self.at = now

    def now(self) -> int:
        """Unix ms."""
        return self.at

    def observe(self, ts: int) -> None:
        """Samples do not move it."""

    async def sleep(self, seconds: float) -> None:
        """Nobody sleeps by it."""
        raise AssertionError("the API does not sleep")


class Stage:
    """The platform, as `api.http.backend.Backend` wants it."""

    def __init__(self, settings: Settings, database: Database) -> None:
        redis = MemoryRedis()
        self.settings = settings
        self.clock = HandClock(START)
        self.database = database
        self.store = MemoryTwinStore(redis)
        self.stream = MemoryEffectStream(redis)
        self.ledger = SqlLedger(database)
        self.marks = SqlActMarks(database)
        self.registry = SqlRegistry(database)
        self.queries = SqlQueries(database)
        self.accounts = SqlAccounts(database)
        self.account_reads = SqlAccountReads(database)
        self.proofs = SqlProofs(database)
        self.explanations = SqlExplanations(database)
        self.reports = SqlReports(database)
        self.documents = SiteDocuments()
        self.meters = SqlMeters(database)
        self.alarms = SqlAlarms(database)
        self.incidents = SqlIncidents(database)
        self.held_firings = SqlHeldFirings(database)
        self.switchings = SqlSwitchings(database)
        self.consents = SqlConsents(database)
        self.tokens = SqlTokens(database)
        self.gauges = SqlGauges(database)
        self.answers = SqlAnswers(database)
        self.policies = CompiledPolicies(self.registry)
        self.skew_ms = 300_000
        self.history = SqlHistory(database)
        self.past = SqlPast(database)
        self.rule_book = SqlRuleBook(database)
        self.shadows = SqlShadows(database)
        self.applier = Applier(self.store, self.policies, self.clock)
        self.delivery = ActDelivery(self.store, self.ledger, self.applier, self.marks)
        self.books = SqlBooks(database)
        self.bills = SqlBills(database)
        self.notifier = LogNotifier()
        self.settlement = SettlementRoom(
            *(self, SqlSettlement(database), self.bills, SqlReratings(database)),
            *(self.delivery, self.notifier, self.clock),
        )
        self.plans = SqlPlans(database)
        self.switching = BulkSwitching(self.store, SqlSwitching(database), self.policies, self.delivery, self.clock)
        self.vitals = Vitals()
        self.ingest = Ingest(self.store, self.applier, self.clock, self.vitals)
        self.recorder = Recorder(self.history, self.registry, self.clock, keep_days=62)
        self.webhooks = SimpleNamespace(delivered=0, failed=0)
        channels = settings.payment_channels
        self.payments = PaymentDesk(channels, self.ledger, self.accounts, SqlPaymentBook(database), self.clock)
        self.record_subscriber = None
        self.shard_sessions: dict[str, Any] = {}
        self.lease_counters: dict[str, Any] = {}
        self.pump = TimerPump(self.store, self.registry, self.applier, self.clock)
        self.publisher = MqttPublisher("mqtt://127.0.0.1:1", "stage")
        self.subscriber = None
        self.service_failures: Counter[str] = Counter()
        self.loops: dict[str, ConsumerLoop] = {}
        self.http_url = ""
        self.http_port = 0
        self.writer = LedgerWriter(self.stream, self.ledger)

    def who_listens(self, port: int) -> str:
        """The process that holds a port."""
        return who_listens(port)

    async def play(self, group: str, *messages: Message) -> None:
        """Let something happen to a group of the park."""
        outcome = await self.applier.apply(SITE, {group: messages})
        assert not outcome.failures, outcome.failures

    async def connect(self, group: str, device: str) -> None:
        """A device is born, connected, and its relay is closed (a valve is open)."""
        now = self.clock.now()
        await self.play(
            group, ConnectionChanged(device, "online", "s1", now), Birth(device, "s1", now, "closed"),
            StateReported(device, "closed", now, "s1"),
        )  # fmt: skip

    async def read(self, group: str, device: str, seq: int, **channels: Any) -> None:
        """A meter reports."""
        now = self.clock.now()
        await self.play(group, Telemetry(device, "s1", seq, now, channels, received_at=now))

    async def post(self) -> None:
        """The ledger writes whatever the twins have decided."""
        await self.writer.start(SITE)
        while entries := await self.stream.read(SITE, "ledger", "test", count=500, block_ms=0):
            await self.writer.consume(SITE, entries)
            await self.stream.acknowledge(SITE, "ledger", [entry.id for entry in entries])

    async def token(
        self, role: str, *, name: str | None = None, site: str | None = None, tenant: str | None = None
    ) -> str:
        """The secret of a new token."""
        secret = f"secret of {name or role} {site} {tenant} which is long"
        await self.tokens.create(
            name=name or role, role=role, secret=secret, site=site, tenant=tenant, who="test", now=self.clock.now()
        )
        return secret


@contextlib.asynccontextmanager
async def open_stage(folder: Path, migrated: Path) -> AsyncIterator[Stage]:
    """A platform with both sites imported, on a copy of a migrated database."""
    shutil.copy(migrated, folder / "stage.sqlite3")
    url = f"sqlite:///{folder / 'stage.sqlite3'}"
    database = await open_database(url)
    stage = Stage(Settings(admin_token=ADMIN_SECRET, database_url=url, data=str(folder)), database)
    try:
        for document in (parks.document(), parks.elsewhere()):
            await import_site(stage, document, who="test")
        yield stage
    finally:
        await database.close()


@contextlib.asynccontextmanager
async def open_client(stage: Stage) -> AsyncIterator[AsyncClient]:
    """A client of the API over a stage, on the loop of the test: the database belongs to it."""
    app = create_app(stage)
    started, done = asyncio.Event(), asyncio.Event()

    async def live() -> None:  # a task of its own: fixtures begin and end in different ones
        async with app.lifespan():
            started.set()
            await done.wait()

    living = asyncio.create_task(live())
    await started.wait()
    transport = ASGITransport(app=app, raise_app_exceptions=False)
    try:
        async with AsyncClient(transport=transport, base_url="http://stage") as client:
            yield client
    finally:
        done.set()
        await living


def migrated_database(folder: Path) -> Path:
    """An empty database in the present schema."""
    file = folder / "migrated.sqlite3"
    asyncio.run(migrate(f"sqlite:///{file}"))
    return file


def bearer(secret: str, **headers: str) -> dict[str, str]:
    """Headers of a person."""
    return {"Authorization": f"Bearer {secret}", **headers}


ADMIN = bearer(ADMIN_SECRET)

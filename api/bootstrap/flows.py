"""What an installation does: the flows, each wired to the stores it needs and to the world outside.

A flow added to the product gets its line here; `api.services` says which of them run in a process.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from adapters.journeys.follow import open_journeys
from adapters.mqtt.publisher import MqttPublisher
from adapters.notify.log_notifier import LogNotifier
from adapters.notify.webhook_sender import WebhookSender
from adapters.scheduler.ringer import ring_until
from adapters.store.posting.ledger import SqlNoticeBook
from api.bootstrap.stores import Stores
from twin.flows.apply_messages import Applier
from twin.flows.call_webhooks import WebhookCalls
from twin.flows.carry_tenancies import TenancyKeeper
from twin.flows.clear_guards import GuardKeeper
from twin.flows.consume_effects import GATHER_S, ConsumerLoop, LedgerWriter
from twin.flows.deliver_acts import ActDelivery
from twin.flows.dispatch_commands import CommandDispatcher
from twin.flows.group_notices import AlarmGroups
from twin.flows.hold_messages import HeldMessages
from twin.flows.ingest_batch import Ingest
from twin.flows.keep_books import BookKeeper
from twin.flows.notify_people import NoticeSender
from twin.flows.policies import CompiledPolicies
from twin.flows.prove_warnings import ProvingBook
from twin.flows.pump_timers import TimerPump
from twin.flows.record_history import Recorder
from twin.flows.rerate import Rerater
from twin.flows.settlement_room import SettlementRoom
from twin.flows.shadow_rules import ShadowRunner
from twin.flows.switch_in_bulk import BulkSwitching
from twin.flows.take_payments import PaymentDesk
from twin.flows.tell_links import Links
from twin.flows.vitals import Vitals

if TYPE_CHECKING:
    from adapters.clock.clocks import RealClock, ScaledClock, TelemetryClock
    from adapters.store.engine.database import Database
    from api.settings import Settings

SETTLEMENT_EVERY_S = 60.0


class Flows(Stores):
    """Everything that is done with what is kept; nothing runs before somebody starts it."""

    def __init__(
        self,
        settings: Settings,
        clock: RealClock | ScaledClock | TelemetryClock,
        database: Database,
        *,
        remember: bool,
    ) -> None:
        super().__init__(settings, database, remember=remember)
        self.clock = clock
        self.skew_ms = None if clock.kind == "telemetry" else 300_000
        """How far a device's clock may be ahead; there is no such thing where time follows telemetry."""
        self.vitals = Vitals()
        self.journeys = open_journeys(
            logged=settings.log_journeys,
            otlp_url=settings.otlp_url,
            service=settings.host,
            one_of=settings.otlp_one_of,
        )
        self._wire_outside()
        self._wire_decisions()
        self._wire_books()
        self._wire_settlement()
        self._wire_switching()
        self._wire_rules()

    def _wire_outside(self) -> None:
        """Ways to the world outside: gateways, people, other systems."""
        url, host = self.settings.mqtt_url, self.settings.host
        self.publisher = MqttPublisher(url, f"twinmeter-{host}-commands")
        self.presence = MqttPublisher(url, f"twinmeter-{host}-presence", host=host)
        """Tells gateways that somebody listens; kept by whoever ingests, so that they buffer when nobody does."""
        self.notifier = LogNotifier()
        self.webhook_sender = WebhookSender(self.settings.webhook_targets(), _wall_ms)
        self.webhooks = WebhookCalls(self.webhook_book, self.webhook_sender, self.clock)

    def _wire_decisions(self) -> None:
        """The way of a reading, of a timer and of an act to the twins."""
        self.policies = CompiledPolicies(self.registry, skew_ms=self.skew_ms)
        self.applier = Applier(self.store, self.policies, self.clock, self.journeys)
        links = Links(self.store.unremembered(), self.applier)
        self.delivery = ActDelivery(self.store, self.ledger, self.applier, self.marks, links)
        self.ingest = Ingest(self.store, self.applier, self.clock, self.vitals, self.journeys)
        self.held = HeldMessages(self.store.unremembered(), self.applier, self.ingest.handle)
        self.pump = TimerPump(self.store, self.registry, self.applier, self.clock)

    def _wire_books(self) -> None:
        """What looks after accounts, prices and payers as days go by."""
        self.book_keeper = BookKeeper(self.registry, self.accounts, self.proofs, self.delivery, self.clock)
        self.rerater = Rerater(self.reratings, self.delivery, self.clock)
        self.tenancies = TenancyKeeper(self.meters, self.delivery, self.clock)
        channels = self.settings.payment_channels
        self.payments = PaymentDesk(channels, self.ledger, self.accounts, self.payment_book, self.clock)

    def _wire_settlement(self) -> None:
        """Months, and the bills that come of them."""
        self.settlement = SettlementRoom(
            self, self.months, self.bills, self.reratings, self.delivery, self.notifier, self.clock
        )

    def _wire_switching(self) -> None:
        """Jobs of bulk switching; twins are read afresh, because other processes decide on them."""
        fresh = self.store.unremembered()
        self.guards = GuardKeeper(self.registry, self.held_firings, self.clock)
        self.switching = BulkSwitching(fresh, self.switching_book, self.policies, self.delivery, self.clock)

    def _wire_rules(self) -> None:
        """What is recorded, and versions of rules tried on it."""
        days, follows = self.settings.history_days, self.clock.kind == "telemetry"
        self.recorder = Recorder(self.history, self.registry, self.clock, keep_days=days, follows_telemetry=follows)
        self.shadow_runner = ShadowRunner(self, skew_ms=self.skew_ms)

    async def settle_until(self, stop: asyncio.Event) -> None:
        """Fees of the day and settlements that are due, looked after every so often until told to stop."""
        await ring_until(stop, "settlement", self.settlement.timer.tick, every_s=SETTLEMENT_EVERY_S)

    def consumers(self) -> dict[str, ConsumerLoop]:
        """The consumers of the effect stream by the service they belong to."""
        # Under leases the name belongs to the work: what one owner read and did not finish is the next one's.
        worker = "owner" if self.settings.ingest_shards else f"{self.settings.host}-{self.settings.ingest_shard}"
        ledger = LedgerWriter(self.stream, self.ledger, self.vitals.posted, _wall_ms, self.journeys)
        # The effect is in the stream before whoever committed it has taken note, so a remembered twin may be too old.
        fresh = self.store.unremembered()
        commands = CommandDispatcher(self.stream, fresh, self.applier, self.publisher, self.clock, self.journeys)
        book = ProvingBook(SqlNoticeBook(self.database, self.clock.now), self.applier, self.clock)
        notices = NoticeSender(self.stream, self.notifier, book, AlarmGroups(fresh, self.policies), self.contacts)
        return {
            "ledger": ConsumerLoop(self.stream, ledger, worker, gather_s=GATHER_S),
            "commands": ConsumerLoop(self.stream, commands, worker),
            "notices": ConsumerLoop(self.stream, notices, worker, gather_s=GATHER_S),
        }


def _wall_ms() -> int:
    """The machine's clock (Unix ms), by which Redis dates effects and webhooks are signed."""
    return time.time_ns() // 1_000_000

"""Ingest: a micro-batch from the broker becomes decisions, and only then may it be acknowledged.

A payload that breaks its contract goes to the site's dead letters with the reason and the place, and is
acknowledged: it must never hold up the device's next message. A message of a device nobody knows goes there too, and
those of sites nobody knows to a place of their own, `NO_SITE`. Whoever floods us with such messages fills neither the
store nor the letters: so many are kept (`LetterGate`), all are counted. If the store cannot take the batch, nothing is
acknowledged and the broker keeps it.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import msgspec
import structlog

from schemas.telemetry import ContractError, decode_message, decode_telemetry
from schemas.topics import parse_topic
from twin.core.decide import UnknownDeviceError
from twin.core.messages import ConnectionChanged, LinkChanged
from twin.flows import translate
from twin.flows.hold_messages import is_elsewhere
from twin.flows.letter_gate import KEPT_PAYLOAD_BYTES, NO_SITE, KnownSites, LetterGate, letter_of
from twin.flows.vitals import Vitals
from twin.journeys import wanted_ids
from twin.ports import DeadLetter, HeldMessage

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from twin.core.messages import Message
    from twin.flows.apply_messages import Applier, Failure, Outcome
    from twin.journeys import Journeys
    from twin.ports import Clock, Delivery, TwinStore

log = structlog.get_logger(__name__)


class IngestCounters(msgspec.Struct):
    """What has come in, for metrics and the live view."""

    messages: int = 0
    readings: int = 0
    dead: int = 0
    unknown: int = 0
    failed: int = 0
    held: int = 0
    """Messages of meters on their way from one payer to the next; they are heard, and counted, once more."""
    dead_by: Counter[str] = msgspec.field(default_factory=Counter)
    """Dead letters by what was wrong: `topic`, `contract`, `unknown_site`, `unknown_device`, `undecided`."""
    letters_not_kept: int = 0
    """Of these, counted and not kept: there were too many at once."""


class Ingest:
    """Handles micro-batches of deliveries; `handle` returns when everything in the batch may be acknowledged."""

    def __init__(
        self,
        store: TwinStore,
        applier: Applier,
        clock: Clock,
        vitals: Vitals | None = None,
        journeys: Journeys | None = None,
    ) -> None:
        self._store = store
        self._applier = applier
        self._clock = clock
        self.vitals = vitals or Vitals()
        self._journeys = journeys
        self.counters = IngestCounters()
        self.gate = LetterGate()
        self._sites = KnownSites(store)

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Decide on a batch. Raises when the store cannot take it; then nothing of it may be acknowledged."""
        now = self._clock.now()
        began_ns, readings_before = time.perf_counter_ns(), self.counters.readings
        self.counters.messages += len(deliveries)
        sites: defaultdict[str, defaultdict[str, list[tuple[Message, int]]]] = defaultdict(lambda: defaultdict(list))
        dead: defaultdict[str, list[DeadLetter]] = defaultdict(list)
        astray: set[tuple[str, str]] = set()
        topics = [parse_topic(delivery.topic) for delivery in deliveries]
        holders = await self._holders(topics)
        for delivery, topic in zip(deliveries, topics, strict=True):
            if topic is None:
                self.put_aside(dead, NO_SITE, "topic", letter_of(delivery, "not a topic of the contract", "", now))
                continue
            site, device, verb = topic
            if site not in holders:
                self.put_aside(dead, NO_SITE, "unknown_site", letter_of(delivery, f"unknown site {site}", "", now))
                continue
            try:
                messages = self._read(verb, device, delivery.payload, now)
            except ContractError as error:
                self.put_aside(dead, site, "contract", letter_of(delivery, error.reason, error.path, now))
                continue
            group = holders[site].get(device)
            if group is None:
                point = await self._applier.point_of(site, device)
                if point is not None:
                    group = await self._store.group_of(site, point)
                    messages = self._read(verb, point, delivery.payload, now)
            if group is None:
                self.counters.unknown += 1
                self.put_aside(dead, site, "unknown_device", letter_of(delivery, f"unknown device {device}", "", now))
                continue
            sites[site][group] += messages
            if self._journeys is not None:
                self._tell_received(site, group, delivery.topic, messages)
        for site, groups in sites.items():
            outcome = await self._applier.apply_timed(site, groups)
            await self._follow_up(site, groups, outcome, dead, astray, now)
        if astray:
            await self._hold(deliveries, astray, dead, now)
        if readings := self.counters.readings - readings_before:
            self.vitals.commit.observe((time.perf_counter_ns() - began_ns) // 1_000_000, readings)
        if self._journeys is not None:
            self._tell_batch(sites, time.time_ns() - (time.perf_counter_ns() - began_ns))
        for site, letters in dead.items():
            await self._store.dead_letter(site, letters)

    async def _holders(self, topics: Iterable[tuple[str, str, str] | None]) -> dict[str, dict[str, str]]:
        """Group by device, by site, asked for all at once where this process does not remember; known sites only."""
        wanted: dict[str, dict[str, None]] = {}
        for topic in topics:
            if topic is not None:
                wanted.setdefault(topic[0], {})[topic[1]] = None
        return {
            site: await self._store.groups_of(site, devices)
            for site, devices in wanted.items()
            if await self._sites.has(site)
        }

    def put_aside(self, dead: defaultdict[str, list[DeadLetter]], site: str, why: str, letter: DeadLetter) -> None:
        """Count a message that is not taken, and put its letter among the others where there is room for it."""
        self.counters.dead += 1
        self.counters.dead_by[why] += 1
        if self.gate.allows(site, why):
            dead[site].append(letter)
        else:
            self.counters.letters_not_kept += 1

    def _tell_received(self, site: str, group: str, topic: str, messages: list[tuple[Message, int]]) -> None:
        assert self._journeys is not None
        now_ns = time.time_ns()
        for message, now in messages:
            ids = wanted_ids(self._journeys, site, group, ((message, now),))
            if ids:
                sent_ns = getattr(message, "ts", now) * 1_000_000
                late_ms = max(0, now - sent_ns // 1_000_000)
                facts = {"topic": topic, "group": group, "late_ms": late_ms}
                self._journeys.step("received", ids, began_ns=now_ns, ended_ns=now_ns, **facts)

    def _tell_batch(self, sites: Mapping[str, Mapping[str, list[tuple[Message, int]]]], began_ns: int) -> None:
        assert self._journeys is not None
        for site, groups in sites.items():
            ids = [name for group, timed in groups.items() for name in wanted_ids(self._journeys, site, group, timed)]
            if ids:
                count = sum(map(len, groups.values()))
                self._journeys.step("batch", ids, began_ns=began_ns, ended_ns=time.time_ns(), site=site, messages=count)

    def _read(self, verb: str, device: str, payload: bytes, now: int) -> list[tuple[Message, int]]:
        if verb == "tele":
            envelopes = decode_telemetry(payload)
            self.counters.readings += len(envelopes)
            timed: list[tuple[Message, int]] = []
            vitals = self.vitals
            for envelope in envelopes:
                if envelope.get("hist"):
                    vitals.late_samples += 1
                else:
                    vitals.receipt.observe(now - envelope["ts"])
                self._clock.observe(envelope["ts"])
                timed.append((translate.telemetry(device, envelope, now), self._clock.now()))
            return timed
        document = decode_message(verb, payload)  # type: ignore[arg-type]
        message = translate.message(verb, device, document, now)
        return [] if message is None else [(message, self._clock.now())]

    async def _follow_up(
        self,
        site: str,
        groups: dict[str, list[tuple[Message, int]]],
        outcome: Outcome,
        dead: defaultdict[str, list[DeadLetter]],
        astray: set[tuple[str, str]],
        now: int,
    ) -> None:
        for failure in outcome.failures:
            if isinstance(failure.error, UnknownDeviceError) and await self._is_astray(site, failure, astray):
                continue
            self.counters.failed += 1
            device = getattr(failure.message, "device", "")
            text = f"{type(failure.error).__name__}: {failure.error}"[:500]
            payload = repr(failure.message).encode()[:KEPT_PAYLOAD_BYTES]
            self.put_aside(dead, site, "undecided", DeadLetter(f"{site}/{device}", payload, text, "", now))
        for group, timed in groups.items():
            after = outcome.groups.get(group)
            if after is None or after.gateway is None:
                continue
            for message, at in timed:
                if isinstance(message, ConnectionChanged) and message.device == after.gateway.id:
                    conn = after.gateway.conn
                    await self._tell_behind(site, LinkChanged(message.device, conn.state, conn.sid, message.ts), at)  # type: ignore[arg-type]

    async def _is_astray(self, site: str, failure: Failure, astray: set[tuple[str, str]]) -> bool:
        """Whether a message was decided on by a group that has let go of its device; `astray` grows by the device."""
        place = (site, getattr(failure.message, "device", ""))
        if place not in astray and await is_elsewhere(self._store, *place, failure.group):
            astray.add(place)
        return place in astray

    async def _hold(
        self,
        deliveries: Sequence[Delivery],
        astray: Collection[tuple[str, str]],
        dead: defaultdict[str, list[DeadLetter]],
        now: int,
    ) -> None:
        """Hold the messages of devices that change hands, as they came (`twin.flows.hold_messages`)."""
        held: defaultdict[str, list[HeldMessage]] = defaultdict(list)
        for delivery in deliveries:
            topic = parse_topic(delivery.topic)
            if topic is None:
                continue
            site, device, _ = topic
            if (site, device) in astray or (site, await self._applier.point_of(site, device)) in astray:
                held[site].append(HeldMessage(delivery.topic, delivery.payload, now))
        for site, messages in held.items():
            taken = await self._store.hold(site, messages)
            self.counters.held += taken
            for message in messages[taken:]:
                self.put_aside(dead, site, "undecided", letter_of(message, "too many messages wait", "", now))

    async def _tell_behind(self, site: str, link: LinkChanged, now: int) -> None:
        """Every device behind a gateway learns that it can, or can no longer, be reached."""
        behind = await self._store.devices_behind(site, link.gateway)
        if behind and link.state in ("online", "offline"):
            await self._applier.apply_timed(site, {group: [(link, now)] for group in behind})

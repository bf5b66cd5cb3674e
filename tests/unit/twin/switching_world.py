"""A small world in virtual time: a real simulated meter with its relay, a broker that mistreats messages, the core with
its stream of effects, SQL behind a ledger that lags, and people. It looks after every step whether something happened
that must never happen."""

from __future__ import annotations

import heapq
from random import Random

import msgspec
import orjson

from rules.ruleset import compile_ruleset
from simulators.devices.contactor import Contactor
from simulators.devices.electricity_meter import ElectricityMeter
from simulators.profiles import Load, LoadProfile
from simulators.wire import RETAINED
from tests.unit.twin.rule_scenes import document
from tests.unit.twin.scene import HOUR, MIDNIGHT, MINUTE, contract_ruleset, make_policy
from tests.unit.twin.switching_books import BREAKER, METER, TENANT, Books
from tests.unit.twin.switching_judge import Judge
from twin.core import decide as core
from twin.core import effects as fx
from twin.core.messages import (
    CommandSent,
    ContractsChanged,
    CreditsPosted,
    LockPlaced,
    LockReleased,
    Telemetry,
    Tick,
)
from twin.core.model import BreakerContract, Contract, Group, MeterContract
from twin.core.view import TWIN_MODEL
from twin.flows import translate

START = MIDNIGHT + 3 * 24 * HOUR + 9 * HOUR
"""Monday 09:00: no friendly window until 16:00."""
SECOND = 1_000
KEEPALIVE_MS = 20 * SECOND
HEALED_WITHIN_MS = 50 * MINUTE
"""From the end of all faults: the longest back-off, a command's life of 15 minutes, and readings for the proof."""
LIMIT_W = 6_000
WARNED_OFF = {
    "id": "warning-cut",
    "scope": {"twin": "tenant"},
    "on": ["account.balance"],
    "when": 'account.balance < money("0.10")',
    "clear": {"when": 'account.balance >= money("0.15")'},
    "then": [{"breaker.lock": {"lock": "warning", "lasts": "3m"}}],
}
_PARAMS = {"grace": "3m", "limit_w": LIMIT_W, "low1": "0.20", "low2": "0.10"}
_WARNS = compile_ruleset(document(WARNED_OFF), TWIN_MODEL)
POLICY = make_policy(params=_PARAMS, interval_ms=MINUTE)
WARNING_POLICY = make_policy(rulesets=[contract_ruleset(), _WARNS], params=_PARAMS, interval_ms=MINUTE)
TOWARDS_EVENING_MS = 6 * HOUR + 20 * MINUTE
"""So much later a world begins in which the time of no cutoffs, from 16:00, comes before the end of the faults."""
CONSTANT = LoadProfile("constant", [100_000], [0])


class World(Judge):
    """One installation; every random draw comes from `seed`, and so does what is agreed and installed: each fourth may
    be closed on site alone, each third warns by a cut, each fifth is explored towards the evening."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.remote_close = seed % 4 != 3
        self.policy = WARNING_POLICY if seed % 3 == 2 else POLICY
        self.start = START + (TOWARDS_EVENING_MS if seed % 5 == 4 else 0)
        self.now = self.start
        self.queue: list = []
        self.count = 0
        self.contactor = Contactor(travel_ms=300)
        self.load = Load(CONSTANT, 1_000, 0)
        self.device = ElectricityMeter(
            METER,
            Random(seed),
            self.load,
            start_ms=self.start,
            opening_wh=1_000,
            contactor=self.contactor,
            interval_ms=MINUTE,
        )
        self.linked, self.session_kept = True, True
        self.waiting_down: list = []
        self.loss = self.twice = self.slow = 0.0
        self.retained: dict[str, tuple] = {}
        self.ingesting, self.waiting_up = True, []
        self.books = Books(self.start, 1_000)
        self.ledger_runs = True
        self.stream: list = []
        self.posted = self.dispatched = 0
        self.dispatching = True
        self.group = Group("park-1", TENANT)
        self.issued: dict[str, fx.CommandChanged] = {}
        self.executed_open_fence = 0
        self.done: set[str] = set()
        self.told_by_hand: dict[str, int] = {}
        self.reason_to_move: dict[str, int] = {"open": self.start, "closed": self.start}
        self.standing: set[str] = set()
        self.moved_by = "nobody"
        self.has_lied = self.has_lost = False
        contract = Contract(TENANT, mode="prepaid", account=TENANT)
        meter = MeterContract(
            METER, tariff="flat", breaker=BREAKER, interval_ms=MINUTE, max_rate=13_800, supply_from=self.start
        )
        self.contracts = {
            "contract": contract,
            "meters": (meter,),
            "breakers": (BreakerContract(BREAKER, remote_close=self.remote_close, meters=(METER,)),),
        }
        opened = {METER: 1_000}
        self.act(ContractsChanged, self.start, contract, (meter,), self.contracts["breakers"], None, opened, late=0)
        self.run_until(self.start)
        self.say(self.device.boot(self.start))
        self.at(self.start + MINUTE, self._report)
        self.at(self.start + SECOND, self._look_at_stream)

    # --- time

    def at(self, when: int, what, *args) -> None:
        self.count += 1
        heapq.heappush(self.queue, (when, self.count, what, args))

    def run_until(self, until: int) -> None:
        while True:
            wake = self.group.wake if self.ingesting else None
            first = self.queue[0][0] if self.queue else until + 1
            if wake is not None and wake < first and wake <= until:
                self.now = max(self.now, wake)
                self.decide(Tick())
                continue
            if first > until:
                self.now = max(self.now, until)
                return
            when, _, what, args = heapq.heappop(self.queue)
            self.now = max(self.now, when)
            what(*args)

    # --- device and broker

    def say(self, messages) -> None:
        """The device's messages set out for the broker; without a link they are lost."""
        for message in messages:
            if not self.linked or (self.rng.random() < self.loss and message.verb != "birth"):
                continue  # a birth is said until the broker has it: no other word of the session comes before it
            if message.verb in RETAINED:
                self.retained[message.verb] = (message.verb, message.body)
            for _ in range(2 if self.rng.random() < self.twice else 1):
                self.at(self.now + self.latency(), self._arrive_up, message.verb, message.body)
        due = self.device.due_ms()
        if due is not None:
            self.at(max(due, self.now), self._settle)

    def latency(self) -> int:
        return self.rng.randint(20, 200) if self.rng.random() >= self.slow else self.rng.randint(200, 40_000)

    def _settle(self) -> None:
        due = self.device.due_ms()
        if due is not None and due <= self.now:
            before = self.contactor.position
            messages = self.device.settle(self.now)
            self._note_mover(before, "command")
            self._judge_execution(messages)
            self.say(messages)

    def _note_mover(self, before: str, who: str) -> None:
        """Who moved the contacts last: a command, or a hand."""
        if self.contactor.position != before:
            self.moved_by = who

    def _report(self) -> None:
        self.say(self.device.report(self.now))
        self.at(self.now + MINUTE, self._report)

    def _arrive_up(self, verb: str, body) -> None:
        if not self.ingesting:
            self.waiting_up.append((verb, body))
            return
        if verb == "tele":
            self.decide(translate.telemetry(METER, body, self.now))
            return
        message = translate.message(verb, METER, body, self.now)
        if message is not None:
            self.decide(message)

    def _arrive_retained(self, verb: str, body) -> None:
        """The broker's copy comes to a new subscription: never after what the device said later on the same topic."""
        if self.retained.get(verb) == (verb, body):
            self._arrive_up(verb, body)

    def _send_down(self, effect: fx.CommandChanged) -> None:
        if self.rng.random() < self.loss:
            return
        for _ in range(2 if self.rng.random() < self.twice else 1):
            self.at(self.now + self.latency(), self._arrive_down, translate.command_payload(effect))

    def _arrive_down(self, payload: bytes) -> None:
        if not self.linked:
            self.waiting_down.append(payload)
            return
        before = self.contactor.position
        messages = self.device.receive(orjson.loads(payload), self.now)
        self._note_mover(before, "command")
        self._judge_execution(messages)
        self.say(messages)

    def unlink(self) -> None:
        """The device's connection breaks; the broker notices after a while and publishes its will."""
        if not self.linked:
            return
        self.linked = False
        self.at(self.now + KEEPALIVE_MS, self._will, self.device.session.sid)

    def _will(self, sid: str) -> None:
        if self.linked and self.device.powered and sid == self.device.session.sid:
            return
        body = {"v": 1, "s": "offline", "sid": sid}
        self.retained["conn"] = ("conn", body)
        self._arrive_up("conn", body)

    def link(self, restart: bool) -> None:
        """The connection is back, in the same session or after a restart."""
        if not self.device.powered:
            messages = self.device.regain_power(self.now)
        elif self.linked:
            return
        else:
            messages = self.device.boot(self.now) if restart else self.device.announce(self.now)
        self.linked = True
        waiting, self.waiting_down = self.waiting_down, []
        self.say(messages)
        for payload in waiting if self.session_kept else ():
            self.at(self.now + self.latency(), self._arrive_down, payload)

    def darken(self) -> None:
        """The device loses power; its will is published for it."""
        if self.device.powered:
            self.unlink()
            self.device.lose_power(self.now)

    def move_by_hand(self, position: str) -> None:
        """A lever moves the contacts, as on a breaker with a handle."""
        if not self.device.powered or self.contactor.stuck or self.contactor.welded or self.contactor.moving_to:
            return
        if self.contactor.position == position:
            return
        self.contactor.set_position(position, self.now)
        self.moved_by = "hand"
        self.say([*self.device.state(self.now, "lever"), *self.device.report(self.now)])

    def lie(self) -> None:
        """From now on the contacts do not move, and the device claims that they did."""
        self.contactor.stuck = self.contactor.lying = self.has_lied = True

    def press_key(self) -> None:
        """Somebody presses the key on the device."""
        before = self.contactor.position
        messages = self.device.press_key(self.now)
        self._note_mover(before, "hand")
        self.say(messages)

    # --- platform

    def decide(self, message) -> None:
        decision = core.decide(self.group, message, self.now, self.policy)
        before, self.group = self.group, decision.group
        for effect in decision.effects:
            self._judge(effect, before)
            self.stream.append(effect)
        if isinstance(message, Telemetry):
            self._judge_reading(message)

    def act(self, kind, *args, late: int | None = None) -> None:
        """A person's act: in SQL now, in the twin a little later, in order."""
        act = kind(len(self.books.acts) + 1, *args)
        self.books.act(act)
        self.at(self.now + (self.rng.randint(0, 3_000) if late is None else late), self._deliver)

    def _deliver(self) -> None:
        if not self.ingesting:
            self.at(self.now + SECOND, self._deliver)
            return
        while self.group.acts_seq < len(self.books.acts):
            self.decide(self.books.acts[self.group.acts_seq])

    def _look_at_stream(self) -> None:
        while self.dispatching and self.dispatched < len(self.stream):
            effect = self.stream[self.dispatched]
            self.dispatched += 1
            if isinstance(effect, fx.CommandChanged) and effect.state == "created":
                self._dispatch(effect)
        if self.ledger_runs:
            self.post_all()
        self.at(self.now + 250, self._look_at_stream)

    def post_all(self) -> None:
        while self.posted < len(self.stream):
            self.books.post(self.stream[self.posted])
            self.posted += 1

    def _dispatch(self, effect: fx.CommandChanged) -> None:
        command = self.group.breakers[BREAKER].command
        overtaken = self.group.breakers[BREAKER].fence > effect.fence
        if self.now >= effect.exp or overtaken:
            return
        if command is not None and command.id == effect.cmd and command.state != "created":
            return
        self._send_down(effect)
        self.decide(CommandSent(BREAKER, effect.cmd, self.now))

    def crash_dispatcher(self, back: int) -> None:
        """It dies before or after publishing, and has not noted it: what was pending comes again."""
        self.dispatched = max(0, self.dispatched - back)

    def lose_store(self) -> None:
        """Redis is gone with what SQL has not: the twins are made anew, and the broker tells what it retained."""
        del self.stream[self.posted :]
        self.has_lost = True
        self.dispatched = min(self.dispatched, self.posted)
        self.group = self.books.rebuilt(self.contracts)
        self.group.wake = self.now
        self.standing = set(self.group.breakers[BREAKER].locks)
        for verb, body in list(self.retained.values()):
            self.at(self.now + self.latency(), self._arrive_retained, verb, body)
        self.told_by_hand.clear()

    def stop_ingest(self) -> None:
        self.ingesting = False

    def start_ingest(self, resubscribe: bool) -> None:
        """The broker has kept what came meanwhile; a new subscription gets the retained messages besides."""
        if self.ingesting:
            return
        self.has_lost |= resubscribe
        self.ingesting = True
        waiting, self.waiting_up = self.waiting_up, []
        for verb, body in ([*self.retained.values()] if resubscribe else []) + waiting:
            self._arrive_up(verb, body)

    # --- people

    def top_up(self, nano: int) -> None:
        self.books.credits_nano += nano
        self.books.credits_seq = len(self.books.acts) + 1
        self.act(CreditsPosted, self.books.credits_nano, nano, self.now)

    def lock(self, kind: str, until: int | None = None) -> None:
        self.act(LockPlaced, BREAKER, kind, "lin", "works", self.now, until)

    def unlock(self, kind: str) -> None:
        if kind in self.books.standing() or kind in self.group.breakers[BREAKER].locks:
            self.act(LockReleased, BREAKER, kind, "lin", "done", self.now)

    def contract(self, **changed) -> None:
        new = msgspec.structs.replace(self.contracts["contract"], **changed)
        self.contracts = {**self.contracts, "contract": new}
        self.act(ContractsChanged, self.now, new, self.contracts["meters"], self.contracts["breakers"], None, {})

    def draw(self, watts: int) -> None:
        self.device.count_until(self.now)
        self.load.peak_w = watts

    # --- the end

    def heal(self) -> None:
        """All faults end: links, services, the device's defects and its clock (whoever repairs it switches it off and
        on). Whoever is there presses the key where that is asked for."""
        self.at(self.now + HEALED_WITHIN_MS - 5 * MINUTE, self._confirm)
        if self.device.skew_ms:
            self.device.skew_ms = 0
            self.say(self.device.boot(self.now))
        self.loss = self.twice = self.slow = 0.0
        self.ledger_runs = self.dispatching = True
        self.start_ingest(resubscribe=True)
        if self.contactor.stuck or self.contactor.welded:
            self.contactor.repair(self.now)
            self.darken()
            self.run_until(self.now + 2 * KEEPALIVE_MS)
        if not self.device.powered or not self.linked:
            self.link(restart=True)
        self.draw(1_000)

    def _confirm(self) -> None:
        """The consumer restores the supply where the breaker waits for that, and nothing locks it."""
        if self.contactor.position == "armed" and not self.group.breakers[BREAKER].locks:
            self.press_key()

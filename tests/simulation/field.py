"""The field: simulated meters with relays, their own clocks and buffers, and the network in front of the broker.

Devices are those of `simulators`, which share only the wire contract with the platform. What is true (the register,
the contacts) is asked here by the checker; what the platform knows comes over the broker.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import orjson

from schemas.topics import device_topic
from simulators.devices.contactor import Contactor
from simulators.devices.electricity_meter import ElectricityMeter
from simulators.profiles import Load, LoadProfile
from simulators.wire import RETAINED, Message
from tests.simulation.broker import Note, Sent
from tests.simulation.chance import stream
from tests.simulation.park import REPORT_MS, SECOND, SITE, meter_name

if TYPE_CHECKING:
    from tests.simulation.world import World

CONSTANT = LoadProfile("constant", [100_000], [0])
KEEPALIVE_MS = 20 * SECOND
RETRY_MS = 3 * SECOND
BACKLOG_MAX = 500
CLOCK_READ_MS = SECOND
"""The clock is read before others are waited for, so of two commands the second may bear a slightly earlier instant."""
LATEST_COMMAND_MS = 50 * SECOND
"""A command may be on its way for so long; it expires after a minute."""


class Sample:
    """One sample as it left a device, for the count of what became of it."""

    __slots__ = ("at", "epoch", "meter", "raw", "seq", "sid", "ts")

    def __init__(self, meter: str, body: dict[str, Any], at: int, epoch: int) -> None:
        self.meter, self.sid, self.seq = meter, body["sid"], body["seq"]
        self.raw, self.ts, self.at, self.epoch = body["d"]["import_wh"], body["ts"], at, epoch


class House:
    """One meter with its relay, and its way to the broker."""

    def __init__(self, world: World, number: int, opening: int, modulus: int) -> None:
        self.world = world
        self.id = meter_name(number)
        self.number = number
        self.rng = stream(world.seed, "house", number)
        self.down = stream(world.seed, "down", number)
        self.contactor = Contactor(travel_ms=300)
        self.load = Load(CONSTANT, self.rng.choice((500, 1_000, 2_000)), 0)
        now = world.loop.now_ms
        self.device = ElectricityMeter(
            self.id, stream(world.seed, "device", number), self.load, start_ms=now, opening_wh=opening,
            modulus_wh=modulus, contactor=self.contactor, interval_ms=REPORT_MS,
        )  # fmt: skip
        self.opening = opening
        self.linked = True
        self.session_kept = True
        self.backlog: deque[Message] = deque()
        self.epoch = 1
        self.changed_by_hand = False
        self.replace_wish: Any = None
        """What the clerk told of its new register."""
        self.spike_wh = 0
        self.sent: list[Sample] = []
        self.lost_samples = 0
        self.said: list[Message] = []
        """Readings as they were, for who plays them back."""
        self.by_hand = False
        """Somebody pressed the key: the relay need not be where the platform wants it."""
        self.clock_was_wrong = False
        self.doubted = False
        """A reading that was a little too low may have been heard before a true one from before it: nobody can tell
        then which of the two is false."""
        self.swapped = False
        self.past_wh = 0
        """What registers before this one have counted."""
        self.cuts: list[tuple[int, str, str]] = []
        """(Wh counted since the start, giver, taker) of every hand-over."""
        self.hand_over_wish: Any = None
        self.obeyed_ms = 0
        """When the platform issued the newest command that the relay has acted on."""
        self.overtaken = ""
        """A command that the relay acted on after one that was issued later."""
        self._settling: int | None = None
        self._connected = False

    # --- life

    def start(self) -> None:
        """Connect and boot; report for ever."""
        self.connect()
        self.say(self.device.boot(self.world.loop.now_ms))
        self.world.later(self.rng.randrange(REPORT_MS), self._report)

    def _report(self) -> None:
        self.say(self.device.report(self.world.loop.now_ms))
        self.world.later(REPORT_MS, self._report)

    def connect(self) -> None:
        """Open the session at the broker, with the will in it."""
        will = self.device.connection("offline", 0)
        try:
            self.world.broker.connect(
                self.id, self._command, self._dropped, clean=not self.session_kept,
                will=Note(device_topic(SITE, self.id, "conn"), orjson.dumps(will.body), retain=True),
            )  # fmt: skip
            self.world.broker.subscribe(self.id, [device_topic(SITE, self.id, "cmd")])
            self._connected = True
        except OSError:
            self._connected = False

    def _dropped(self) -> None:
        self._connected = False
        if self.linked:
            self.world.later(self.rng.randrange(RETRY_MS), self._reconnect)

    def _reconnect(self) -> None:
        if not self.linked or not self.device.powered or self._connected:
            return
        self.connect()
        if self._connected:
            self.say(self.device.announce(self.world.loop.now_ms))
        else:
            self.world.later(RETRY_MS, self._reconnect)

    @property
    def unheard(self) -> bool:
        """Another register was put in and the clerk refused: a wrong clock put charged readings ahead."""
        wish = self.replace_wish
        return wish is not None and wish.state == "refused" and "it must have been then" in wish.why

    @property
    def broken(self) -> bool:
        """The platform was not told of its other register: what it shows is no longer what flowed."""
        return self.changed_by_hand or self.unheard

    @property
    def in_order(self) -> bool:
        """Whether what it says now is heard after all that it has said before."""
        return self.linked and self._connected and not self.backlog and not self.world.dials.delayed

    # --- up

    def say(self, messages: list[Message]) -> None:
        """Messages leave the device; what cannot is kept, as samples of the past or as the newest state."""
        dials = self.world.dials
        for message in messages:
            if message.verb == "tele":
                self._count(message)
            if not self.linked or not self._connected:
                self._keep(message)
                continue
            if self.rng.random() < dials.loss and not message.retained:
                self._lost(message)
                continue
            for _ in range(2 if self.rng.random() < dials.twice else 1):
                is_late = self.rng.random() < dials.delayed
                late = self.rng.randrange(200, 90_000) if is_late else self.rng.randrange(5, 60)
                self.world.later(late if not message.retained else 5, self._publish, message)
        due = self.device.due_ms()
        if due is not None and self._settling != due:
            self._settling = due
            self.world.later(max(0, due - self.world.loop.now_ms), self._settle)

    def _publish(self, message: Message) -> None:
        try:
            self.world.broker.publish(_note(message))
        except OSError:
            self._keep(message)

    def _keep(self, message: Message) -> None:
        if message.verb == "conn" or not self.device.powered:
            return
        self.backlog.append(message)
        while len(self.backlog) > BACKLOG_MAX:
            self._lost(self.backlog.popleft())

    def _lost(self, message: Message) -> None:
        if message.verb == "tele":
            self.lost_samples += 1

    def _count(self, message: Message) -> None:
        if self.spike_wh:
            message.body["d"]["import_wh"] += self.spike_wh
        epoch = -1 if self.spike_wh else self.epoch
        if not self.spike_wh:
            self.said.append(message)
        self.sent.append(Sample(self.id, message.body, self.world.loop.now_ms, epoch))

    def _settle(self) -> None:
        self._settling = None
        due = self.device.due_ms()
        if due is not None and due <= self.world.loop.now_ms:
            self.say(self.device.settle(self.world.loop.now_ms))

    # --- down

    def _command(self, sent: Sent) -> None:
        delay = self.rng.randrange(5, 200)
        if self.down.random() < self.world.dials.delayed:  # a gateway in between kept it for a while
            delay += self.down.randrange(1_000, LATEST_COMMAND_MS)
        self.world.later(delay, self._obey, sent)

    def _obey(self, sent: Sent) -> None:
        if not self.linked or not self.device.powered:
            return
        self.world.broker.acknowledge(self.id, [sent.packet_id])
        self.world.trace.note(self.world.loop.now_ms, self.id, f"command {sent.note.payload.decode()}")
        command = orjson.loads(sent.note.payload)
        answers = self.device.receive(command, self.world.loop.now_ms)
        if any(said.body.get("cmd") == command["cmd"] and said.body.get("st") == "received" for said in answers):
            if command["issued"] < self.obeyed_ms - CLOCK_READ_MS:
                self.overtaken = f"{command['target']} of {command['issued']} was obeyed after one of {self.obeyed_ms}"
            self.obeyed_ms = max(self.obeyed_ms, command["issued"])
        self.say(answers)

    # --- what happens to it

    def unlink(self) -> None:
        """The way to the broker breaks; the broker notices after its keepalive and publishes the will."""
        if not self.linked:
            return
        self.linked = False
        self.world.later(KEEPALIVE_MS, self._will)

    def _will(self) -> None:
        if not self.linked:
            self.world.broker.disconnect(self.id, graceful=False)

    def link(self, *, restart: bool = False) -> None:
        """The way is free again: the newest state goes first, then what was kept, marked as history."""
        now = self.world.loop.now_ms
        if not self.device.powered:
            messages = self.device.regain_power(now)
        elif self.linked and self._connected:
            return
        else:
            messages = self.device.boot(now) if restart else self.device.announce(now)
        self.linked = True
        self.connect()
        kept, self.backlog = self.backlog, deque()
        self.say(messages)
        for message in kept:
            if message.verb == "tele":
                past = Message(message.device, "tele", message.body | {"hist": True}, now)
                self.world.later(self.rng.randrange(20, 2_000), self._publish, past)
            elif message.verb not in RETAINED:
                self.world.later(20, self._publish, message)

    def darken(self) -> None:
        """The device loses power."""
        if self.device.powered:
            self.unlink()
            self.device.lose_power(self.world.loop.now_ms)

    def draw(self, watts: int) -> None:
        """The load behind the relay changes."""
        self.device.count_until(self.world.loop.now_ms)
        self.load.peak_w = watts

    def swap(self, opening: int) -> tuple[int, int]:
        """Another register counts from now on; what the old one showed last and the new one shows first."""
        now = self.world.loop.now_ms
        self.device.count_until(now)
        final = self.device.register.shown
        self.past_wh += self.device.register.counted
        self.swapped, self.epoch = True, self.epoch + 1
        self.said.clear()
        self.say(self.device.reset_register(now, opening))
        return final, opening

    def hand_over(self, giver: str, taker: str) -> None:
        """Both read the meter."""
        self.cuts.append((self.past_wh + self.true_wh(), giver, taker))

    def true_wh(self) -> int:
        """Wh that have flowed through this register since it began to count."""
        self.device.count_until(self.world.loop.now_ms)
        return self.device.register.counted


def _note(message: Message) -> Note:
    return Note(device_topic(SITE, message.device, message.verb), orjson.dumps(message.body), retain=message.retained)

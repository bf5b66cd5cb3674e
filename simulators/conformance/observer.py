"""The kit's end of the wire: everything one device says, in order, and a way to command it.

What was heard before an observer connected (the broker's retained messages) is marked as retained. Waiting looks only
at what comes after a mark, so an answer to an earlier command can never be taken for one to a later.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Any

import aiomqtt
import msgspec
import orjson

from schemas.clock_spec import ClockSpec, scaled_now
from schemas.topics import VERBS_UP, device_topic, parse_topic, topic_filter
from simulators.broker import Broker

FINAL = ("executed", "rejected", "expired", "failed")
_CONNECT_TIMEOUT_S = 10.0


class Heard(msgspec.Struct, frozen=True):
    """One message of the device. `body` is None where the payload is no JSON; `at_ms` is the kit's clock."""

    verb: str
    body: Any
    retained: bool
    at_ms: int


class Command(msgspec.Struct, frozen=True):
    """A command that was sent, and how much had been heard before."""

    body: dict[str, Any]
    mark: int

    @property
    def cmd(self) -> str:
        """Its id."""
        return str(self.body.get("cmd"))


class Observer:
    """Listens to one device and commands it."""

    def __init__(self, client: aiomqtt.Client, site: str, device: str, clock: ClockSpec, seed: int) -> None:
        self.site = site
        self.device = device
        self.heard: list[Heard] = []
        self._client = client
        self._clock = clock
        self._random = Random(seed)
        self._news = asyncio.Event()

    def now_ms(self) -> int:
        """Unix ms of the clock that kit and device share."""
        return scaled_now(self._clock, time.time_ns() // 1_000_000)

    @property
    def mark(self) -> int:
        """How much has been heard so far; what comes later has a place at or after it."""
        return len(self.heard)

    def since(self, mark: int, verb: str) -> list[Heard]:
        """Messages of a verb heard after a mark."""
        return [heard for heard in self.heard[mark:] if heard.verb == verb]

    def last(self, verb: str) -> Heard | None:
        """The newest message of a verb."""
        return next((heard for heard in reversed(self.heard) if heard.verb == verb), None)

    async def wait(self, mark: int, verb: str, matches: Callable[[Any], bool], seconds: float) -> Heard | None:
        """The first message after a mark whose body matches, waiting for it; None where it does not come in time."""
        deadline = time.monotonic() + seconds
        seen = mark
        while True:
            for heard in self.heard[seen:]:
                if heard.verb == verb and isinstance(heard.body, dict | list) and matches(heard.body):
                    return heard
            seen = self.mark
            self._news.clear()
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return None
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), left_s)

    async def command(self, fields: dict[str, Any], without: tuple[str, ...] = ()) -> Command:
        """Publish a command; what is missing is filled in as the platform would, names in `without` left out."""
        now_ms = self.now_ms()
        body = {"v": 1, "cmd": self.new_id(), "issued": now_ms, "exp": now_ms + 3_600_000} | fields
        body = {name: value for name, value in body.items() if name not in without}
        return await self.publish(Command(body, self.mark))

    async def publish(self, command: Command) -> Command:
        """Publish a command's document again, as a broker or a platform that lost its memory would."""
        again = Command(command.body, self.mark)
        await self.publish_bytes(orjson.dumps(command.body))
        return again

    async def publish_bytes(self, payload: bytes) -> None:
        """Publish anything on the command topic."""
        await self._client.publish(device_topic(self.site, self.device, "cmd"), payload, qos=1)

    async def configure(self, ver: int, settings: dict[str, Any]) -> int:
        """Publish a configuration, retained; returns the mark before it."""
        mark = self.mark
        body = {"v": 1, "ver": ver, "issued": self.now_ms(), "set": settings}
        await self.publish_configuration(orjson.dumps(body), retain=True)
        return mark

    async def publish_configuration(self, payload: bytes, *, retain: bool = False) -> None:
        """Publish anything on the configuration topic."""
        await self._client.publish(device_topic(self.site, self.device, "cfg"), payload, qos=1, retain=retain)

    async def ack(self, command: Command, states: tuple[str, ...], seconds: float) -> dict[str, Any] | None:
        """The first acknowledgement of a command in one of the states; None where none comes in time."""
        found = await self.wait(
            command.mark, "ack", lambda body: body.get("cmd") == command.cmd and body.get("st") in states, seconds
        )
        return None if found is None else found.body

    def new_id(self) -> str:
        """A UUID of version 7 for the present instant."""
        tail = self._random.getrandbits(74)
        value = self.now_ms() << 80 | 7 << 76 | (tail >> 62) << 64 | 2 << 62 | tail & (1 << 62) - 1
        text = f"{value:032x}"
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))

    async def listen(self) -> None:
        """Take in what comes until cancelled."""
        async for message in self._client.messages:
            topic = parse_topic(str(message.topic))
            if topic is None:
                continue
            self.heard.append(Heard(topic.verb, _json(message.payload), bool(message.retain), self.now_ms()))
            self._news.set()


@contextlib.asynccontextmanager
async def observing(broker: Broker, site: str, device: str, clock: ClockSpec, seed: int) -> AsyncIterator[Observer]:
    """An observer that is connected, subscribed to all the device says, and listening."""
    async with broker.client(f"conformance-{device}-{seed:x}", None, _CONNECT_TIMEOUT_S) as client:
        observer = Observer(client, site, device, clock, seed)
        for verb in VERBS_UP:
            await client.subscribe(topic_filter(verb, site, device), qos=1)
        listening = asyncio.create_task(observer.listen())
        try:
            yield observer
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


def _json(payload: Any) -> Any:
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None

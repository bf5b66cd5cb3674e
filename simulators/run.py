"""Run a fleet against a broker: one MQTT connection for each gateway and each group of direct devices.

Theory of operation
-------------------
All behaviour lives in `Station`, which has no I/O. This module gives each station a connection, the time and the
broker's messages, and publishes what it answers: QoS 1, at most `IN_FLIGHT_MAX` unconfirmed at a time, in order. What
the broker had not confirmed when a connection broke goes back into the station's buffer and is sent again as history.
While the broker is away the station goes on living and buffers; reconnection backs off exponentially with jitter.

On rumqttd (the embedded broker) every client must speak MQTT 5: there, a message with MQTT 5 properties that reaches a
3.1.1 client takes the 3.1.1 listener down.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import aiomqtt
import msgspec
import orjson

from schemas.clock_spec import ClockSpec, anchored, parse_clock_spec, scaled_now, scaled_sleep
from schemas.documents import DocumentError
from schemas.topics import device_topic, host_status_filter, parse_host_status_topic, parse_topic
from simulators.broker import (
    BACKOFF_MAX_S,
    CONNECT_TIMEOUT_S,
    IN_FLIGHT_MAX,
    Broker,
    negotiate,
    parse_broker,
    wait_for_stop,
)
from simulators.fleet import Fleet
from simulators.people import People
from simulators.scenario import Scenario, load_scenario
from simulators.state_file import load_state, save_state
from simulators.station import Station
from simulators.wire import Message

log = logging.getLogger("simulators")

TICK_MAX_S = 0.25
TICK_MIN_S = 0.005
TOKEN_VARIABLE = "TWINMETER_ADMIN_TOKEN"  # noqa: S105 - the name of a variable


class Counters(msgspec.Struct):
    """What a live view shows of a running fleet. Messages are counted as published to the broker, not as readings."""

    devices: int = 0
    connections: int = 0
    connected: int = 0
    published: int = 0
    acked: int = 0
    commands: int = 0
    reconnects: int = 0
    buffered: int = 0
    topups: int = 0


class Runner:
    """One station on its connection."""

    def __init__(self, station: Station, broker: Broker, clock: ClockSpec, counters: Counters, identifier: str) -> None:
        self._station = station
        self._broker = broker
        self._clock = clock
        self._counters = counters
        self._identifier = identifier
        self._backoff = Random(identifier)
        self._unconfirmed: dict[int, Message] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._window = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._broken = asyncio.Event()
        self._count = 0

    def now_ms(self) -> int:
        """The simulated time."""
        return scaled_now(self._clock, time.time_ns() // 1_000_000)

    async def run(self, stop: asyncio.Event) -> None:
        """Live until `stop`: connect, serve, and come back after every loss."""
        failures = 0
        while not stop.is_set():
            if not self._station.wants_link(self.now_ms()):
                await self._live_unconnected(stop, 0.2)
                continue
            try:
                await self._serve(stop)
                failures = 0
            except (aiomqtt.MqttError, OSError) as error:
                failures += 1
                self._counters.reconnects += 1
                log.info("%s: connection lost: %s", self._station.name, error)
            if not stop.is_set():
                await self._live_unconnected(stop, self._pause_s(failures))

    def _pause_s(self, failures: int) -> float:
        longest_s: float = min(BACKOFF_MAX_S, 0.2 * 2.0 ** min(failures, 10))
        return longest_s * (0.5 + self._backoff.random() / 2)

    async def _live_unconnected(self, stop: asyncio.Event, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not stop.is_set() and time.monotonic() < until:
            self._station.advance(self.now_ms())
            await wait_for_stop(stop, min(TICK_MAX_S, max(TICK_MIN_S, until - time.monotonic())))

    async def _serve(self, stop: asyncio.Event) -> None:
        farewell = self._station.farewell(self.now_ms())
        will = aiomqtt.Will(self._topic(farewell), orjson.dumps(farewell.body), qos=1, retain=True)
        async with self._broker.client(self._identifier, will, CONNECT_TIMEOUT_S) as client:
            self._counters.connected += 1
            self._broken.clear()
            tasks: list[asyncio.Task[None]] = []
            try:
                await self._greet(client)
                ticking = asyncio.create_task(self._tick(client, stop))
                listening = asyncio.create_task(self._listen(client))
                tasks = [ticking, listening, asyncio.create_task(self._notice_break())]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                if ticking.done() and ticking.exception() is None:
                    await self._take_leave(client, listening, stop)
                for task in tasks:
                    if task.done():
                        task.result()
            finally:
                self._counters.connected -= 1
                await self._hang_up(*tasks)

    async def _notice_break(self) -> None:
        await self._broken.wait()
        raise aiomqtt.MqttError("a message was not confirmed")

    async def _greet(self, client: aiomqtt.Client) -> None:
        await client.subscribe(host_status_filter(), qos=1)
        own = [self._station.gateway.id] if self._station.gateway is not None else []
        for name in (*own, *self._station.devices):
            await client.subscribe(device_topic(self._station.site, name, "cmd"), qos=1)
            await client.subscribe(device_topic(self._station.site, name, "cfg"), qos=1)
        await self._publish_all(client, self._station.connected(self.now_ms()))

    async def _listen(self, client: aiomqtt.Client) -> None:
        async for arrived in client.messages:
            await self._publish_all(client, self._heard(str(arrived.topic), arrived.payload, bool(arrived.retain)))

    def _heard(self, topic: str, payload: Any, retained: bool) -> list[Message]:
        host = parse_host_status_topic(topic)
        document = _json(payload)
        if host is not None:
            return self._station.hear_host(host, document, self.now_ms())
        parsed = parse_topic(topic)
        if parsed is not None and parsed.verb == "cfg":
            return self._station.configure(parsed.device, document, self.now_ms())
        # A command is never retained; one that comes out of a broker's store is junk of unknown age.
        if parsed is None or parsed.verb != "cmd" or retained:
            return []
        self._counters.commands += 1
        return self._station.receive(parsed.device, document, self.now_ms())

    async def _tick(self, client: aiomqtt.Client, stop: asyncio.Event) -> None:
        while not stop.is_set() and self._station.wants_link(self.now_ms()):
            await self._publish_all(client, self._station.advance(self.now_ms()))
            due_ms = self._station.next_due_ms(self.now_ms())
            ahead_s = TICK_MAX_S if due_ms is None else scaled_sleep(self._clock, (due_ms - self.now_ms()) / 1000)
            await wait_for_stop(stop, min(TICK_MAX_S, max(TICK_MIN_S, ahead_s)))

    async def _publish_all(self, client: aiomqtt.Client, messages: Sequence[Message]) -> None:
        keyed = list(enumerate(messages, self._count + 1))
        self._count += len(keyed)
        self._unconfirmed.update(keyed)
        for key, message in keyed:
            await self._window.acquire()
            task = asyncio.create_task(self._publish(client, key, message))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _publish(self, client: aiomqtt.Client, key: int, message: Message) -> None:
        self._counters.published += 1
        try:
            await client.publish(self._topic(message), orjson.dumps(message.body), qos=1, retain=message.retained)
            self._counters.acked += 1
            del self._unconfirmed[key]
        except aiomqtt.MqttError:
            self._broken.set()
        finally:
            self._window.release()

    async def _take_leave(self, client: aiomqtt.Client, listening: asyncio.Task[None], stop: asyncio.Event) -> None:
        if not stop.is_set():
            # An outage has no farewell: cutting the socket makes the broker publish the will. The listener notices
            # the loss as it would any other.
            wire = client._client.socket()
            if isinstance(wire, socket.socket):
                wire.shutdown(socket.SHUT_RDWR)
            await asyncio.wait([listening], timeout=CONNECT_TIMEOUT_S)
            return
        if self._station.gateway is not None:
            goodbye = self._station.gateway.connection("offline", self.now_ms())
            await self._publish_all(client, [goodbye])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.gather(*self._sending)

    async def _hang_up(self, *tasks: asyncio.Task[None]) -> None:
        for task in (*tasks, *self._sending):
            task.cancel()
        await asyncio.gather(*tasks, *self._sending, return_exceptions=True)
        unconfirmed = [message for _, message in sorted(self._unconfirmed.items())]
        self._unconfirmed.clear()
        self._station.disconnected(unconfirmed)

    def _topic(self, message: Message) -> str:
        return device_topic(self._station.site, message.device, message.verb)


async def run_fleet(
    scenario: Scenario,
    mqtt_url: str,
    clock_spec: ClockSpec,
    stop_event: asyncio.Event,
    *,
    counters: Counters | None = None,
    state_path: Path | None = None,
    people: People | None = None,
) -> Counters:
    """Run a scenario until `stop_event` is set; returns the counters, which a caller may also give and watch.

    Under a scaled clock that has reached the scenario's start, registers open at that start and have counted since;
    otherwise they open now. With `state_path`, registers and command memories are kept there between runs.
    Raises ValueError for a telemetry clock (`simulators.replay` is for that) and for a bad URL, ScenarioError for a
    scenario that does not fit together.
    """
    clock = anchored(clock_spec, time.time_ns() // 1_000_000)
    begin_ms = now_ms = scaled_now(clock, time.time_ns() // 1_000_000)
    if clock.kind == "scaled" and scenario.start_ms <= now_ms:
        begin_ms = scenario.start_ms
    fleet = Fleet(scenario, begin_ms)
    load_state(fleet, state_path)
    tally = counters if counters is not None else Counters()
    tally.devices, tally.connections = len(fleet.devices), len(fleet.stations)
    broker = await negotiate(parse_broker(mqtt_url), f"sim-{scenario.site}", stop_event)
    for station in fleet.stations:
        station.start(scaled_now(clock, time.time_ns() // 1_000_000))
    runners = [
        Runner(station, broker, clock, tally, f"sim-{scenario.site}-{station.name}") for station in fleet.stations
    ]
    async with asyncio.TaskGroup() as group:
        for runner in runners:
            group.create_task(runner.run(stop_event))
        group.create_task(_watch(fleet, tally, people, stop_event))
        if people is not None:
            group.create_task(people.run(scenario, clock, stop_event))
    save_state(fleet, state_path)
    return tally


async def _watch(fleet: Fleet, counters: Counters, people: People | None, stop: asyncio.Event) -> None:
    while not stop.is_set():
        counters.buffered = sum(station.modem.buffered for station in fleet.stations)
        counters.topups = people.topups if people is not None else 0
        await wait_for_stop(stop, 0.5)


def _json(payload: Any) -> Any:
    try:
        return orjson.loads(payload) if isinstance(payload, bytes | bytearray | str) else None
    except orjson.JSONDecodeError:
        return None


def main(argv: Sequence[str] | None = None) -> int:
    """Command line: run a scenario file against a broker until interrupted. Exit code 2 for a file that is wrong."""
    parser = argparse.ArgumentParser(prog="simulate", description="Run a simulated fleet against an MQTT broker.")
    parser.add_argument("scenario", type=Path, help="fleet scenario (YAML)")
    parser.add_argument("--mqtt-url", default="mqtt://127.0.0.1:1883")
    parser.add_argument("--clock", default="real", help="as TWINMETER_CLOCK: real, or scaled:START,RATE[,ANCHOR]")
    parser.add_argument("--for", dest="seconds", type=float, default=None, help="stop after so many real seconds")
    parser.add_argument("--state", type=Path, default=None, help="keep registers and command memories in this file")
    parser.add_argument("--api-url", default=None, help="let simulated tenants recharge at this HTTP address")
    parser.add_argument(
        "--api-token-file", type=Path, default=None, help=f"file with the bearer token; ${TOKEN_VARIABLE} when left out"
    )
    parser.add_argument("--progress", action="store_true", help="print the counters as a JSON line every second")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    try:
        scenario, clock = load_scenario(options.scenario), parse_clock_spec(options.clock)
        people = _people(options)
        counters = asyncio.run(_run_until_interrupted(scenario, clock, people, options))
    except (DocumentError, ValueError, OSError) as error:
        log.error("%s", error)
        return 2
    log.info("%s", counters)
    return 0


def _people(options: argparse.Namespace) -> People | None:
    if options.api_url is None:
        return None
    given = options.api_token_file.read_text() if options.api_token_file is not None else None
    token = (given if given is not None else os.environ.get(TOKEN_VARIABLE, "")).strip()
    return People(options.api_url, token, run_id=f"{time.time_ns() // 1_000_000:x}")


async def _run_until_interrupted(
    scenario: Scenario, clock: ClockSpec, people: People | None, options: argparse.Namespace
) -> Counters:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if options.seconds is not None:
        loop.call_later(options.seconds, stop.set)
    counters = Counters()
    reporting = asyncio.create_task(_report(counters, stop)) if options.progress else None
    try:
        return await run_fleet(
            scenario, options.mqtt_url, clock, stop, counters=counters, state_path=options.state, people=people
        )
    finally:
        stop.set()
        if reporting is not None:
            await reporting


async def _report(counters: Counters, stop: asyncio.Event) -> None:
    """Print the counters every second for whoever started this process."""
    while not stop.is_set():
        sys.stdout.write(msgspec.json.encode(counters).decode() + "\n")
        sys.stdout.flush()
        await wait_for_stop(stop, 1.0)


if __name__ == "__main__":
    raise SystemExit(main())

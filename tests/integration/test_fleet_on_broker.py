"""A small fleet on a real broker: what it says is the contract, what it is told it does, what is lost comes back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiomqtt
import orjson
import pytest

import simulators.run
from schemas.clock_spec import ClockSpec
from schemas.registry import problems
from schemas.topics import parse_topic
from simulators.broker import Broker, negotiate, parse_broker
from simulators.run import Counters, main, run_fleet
from simulators.scenario import Scenario, parse_scenario
from tests.integration.servers import BROKER_KINDS, broker_at, kill9

START = "2026-01-12T09:00:00"


@pytest.fixture(params=BROKER_KINDS)
def broker_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A broker of the test's own: what it keeps (retained hosts, sessions) must not reach another test."""
    with broker_at(tmp_path, request.param) as server:
        yield server.url


async def _until(condition: Callable[[], Any], seconds: float = 90.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - conditions look at counters of other tasks, too
            await asyncio.sleep(0.02)


class Listener:
    """Everything the fleet publishes, and a way to publish to it."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self.client = client
        self.heard: list[tuple[str, str, Any, bool]] = []

    async def listen(self) -> None:
        async for message in self.client.messages:
            topic = parse_topic(str(message.topic))
            if topic is not None:
                body = orjson.loads(bytes(message.payload))
                self.heard.append((topic.device, topic.verb, body, bool(message.retain)))

    def of(self, device: str, verb: str) -> list[Any]:
        return [body for heard, kind, body, _ in self.heard if (heard, kind) == (device, verb)]

    async def until(self, condition: Any) -> None:
        await _until(condition)

    async def command(self, device: str, number: int, **changes: Any) -> str:
        now_ms = START_MS + 3_600_000
        cmd = f"0193a5b2-7c1e-7d20-9a41-{number:012x}"
        body = {"v": 1, "cmd": cmd, "op": "breaker.set", "target": "open", "fence": number, "issued": now_ms}
        body |= {"exp": now_ms + 86_400_000} | changes
        assert not problems("cmd", body)
        await self.client.publish(f"twinmeter/v1/park-t/{device}/cmd", orjson.dumps(body), qos=1)
        return cmd


START_MS = 1_768_179_600_000


def _document(**more: Any) -> dict[str, Any]:
    document: dict[str, Any] = {
        "apiVersion": "twinmeter.fleet/v1",
        "site": "park-t",
        "seed": 5,
        "timezone": "Asia/Shanghai",
        "start": START,
        "interval": "1m",
        "groups": [
            {"name": "gateways", "kind": "gateway", "ids": ["gw-01", "gw-02"]},
            {
                "name": "shops",
                "kind": "electricity_meter",
                "ids": {"pattern": "em-{n:03d}", "from": 1, "to": 6},
                "gateways": ["gw-01", "gw-02"],
                "profile": ["G0-A", "G4-A"],
                "peak_w": [3000, 9000],
                "opening_wh": 1000,
                "relay": True,
                "rates": True,
            },
            {"name": "direct", "kind": "water_meter", "ids": ["wm-001"], "peak_lph": 900, "valve": True},
            {"name": "breakers", "kind": "breaker", "ids": ["br-001"], "meters": ["em-002"], "gateways": ["gw-02"]},
        ],
    } | more
    assert not problems("fleet", document)
    return document


def _scenario(**more: Any) -> Scenario:
    return parse_scenario(_document(**more))


@contextlib.asynccontextmanager
async def _running(url: str, scenario: Scenario, rate: float = 60.0, clock: ClockSpec | None = None) -> Any:
    stop = asyncio.Event()
    broker: Broker = await negotiate(parse_broker(url), "test", stop)
    async with broker.client("test-listener", None, 60.0) as client:
        listener = Listener(client)
        await client.subscribe("twinmeter/v1/park-t/+/+", qos=1)
        listening = asyncio.create_task(listener.listen())
        clock = clock or ClockSpec("scaled", START_MS, rate, time.time_ns() // 1_000_000)
        counters = Counters()
        fleet = asyncio.create_task(run_fleet(scenario, url, clock, stop, counters=counters))
        try:
            yield listener, counters
        finally:
            stop.set()
            await asyncio.wait_for(fleet, 90)
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


async def test_every_payload_satisfies_its_schema(broker_url: str) -> None:
    async with _running(broker_url, _scenario()) as (listener, counters):
        await listener.until(lambda: all(len(listener.of(f"em-{n:03d}", "tele")) >= 3 for n in range(1, 7)))
        await listener.command("em-001", 1)
        await listener.command("wm-001", 1, op="valve.set", target="closed")
        await listener.until(lambda: len(listener.of("em-001", "ack")) == 2 and len(listener.of("wm-001", "ack")) == 2)
        assert counters.acked > 0
    verbs = {verb for _, verb, _, _ in listener.heard}
    assert verbs >= {"birth", "conn", "tele", "state", "ack"}
    broken = [(device, verb, problems(verb, body)) for device, verb, body, _ in listener.heard if problems(verb, body)]
    assert broken == []
    assert [ack["st"] for ack in listener.of("em-001", "ack")] == ["received", "executed"]
    assert listener.of("wm-001", "state")[-1]["valve"] == "closed"
    assert listener.of("gw-01", "conn")[-1]["s"] == "offline"


async def test_open_relay_stops_the_register_and_a_close_starts_it(broker_url: str) -> None:
    async with _running(broker_url, _scenario(), rate=600.0) as (listener, _):
        await listener.until(lambda: listener.of("br-001", "birth"))
        await listener.command("br-001", 1)
        await listener.until(lambda: [ack["st"] for ack in listener.of("br-001", "ack")] == ["received", "executed"])
        seen = len(listener.of("em-002", "tele"))
        await listener.until(lambda: len(listener.of("em-002", "tele")) >= seen + 5)
        flat = listener.of("em-002", "tele")[seen + 1 :]
        assert len({sample["d"]["import_wh"] for sample in flat}) == 1
        assert {sample["d"]["power_w"] for sample in flat} == {0}
        await listener.command("br-001", 2, target="closed")
        await listener.until(lambda: listener.of("em-002", "tele")[-1]["d"]["import_wh"] > flat[-1]["d"]["import_wh"])


async def test_host_offline_is_buffered_and_replayed_as_history(broker_url: str) -> None:
    status = "twinmeter/v1/$host/h-1/status"
    async with _running(broker_url, _scenario(), rate=600.0) as (listener, counters):
        await listener.until(lambda: len(listener.of("em-001", "tele")) >= 2)
        await listener.client.publish(status, b'{"v":1,"s":"offline"}', qos=1, retain=True)
        await listener.until(lambda: counters.buffered >= 20)
        quiet = len(listener.of("em-001", "tele"))
        await listener.client.publish(status, b'{"v":1,"s":"online"}', qos=1, retain=True)
        await listener.until(lambda: any(isinstance(body, list) for body in listener.of("em-001", "tele")))
        await listener.until(lambda: len(listener.of("em-001", "tele")) > quiet + 2)
        await listener.until(lambda: _is_live(listener.of("em-001", "tele")[-1]))
    samples = [
        sample for body in listener.of("em-001", "tele") for sample in (body if isinstance(body, list) else [body])
    ]
    sequence = [sample["seq"] for sample in samples]
    assert sequence == list(range(1, len(sequence) + 1))
    assert any(sample.get("hist") for sample in samples)
    registers = [sample["d"]["import_wh"] for sample in samples]
    assert registers == sorted(registers)


def _heard_of(samples: list[Any], minute: int) -> bool:
    """Whether the sample of the minute that ends now has come."""
    return bool(samples) and samples[-1]["ts"] > START_MS + (minute - 1) * 60_000


def _is_live(body: Any) -> bool:
    return not isinstance(body, list) and not body.get("hist")


class HandClock:
    """The wall clock of the fleet, which stands until the test moves it: an outage may be as long as one likes for the
    machine, and has its length for the fleet."""

    def __init__(self) -> None:
        self.minute = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def time_ns(self) -> int:
        return int((START_MS + self.minute * 60_000) * 1_000_000)


async def test_gateway_outage_fires_its_will_and_history_follows(
    broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = HandClock()
    monkeypatch.setattr(simulators.run, "time", clock)
    fault = {"fault": "offline", "devices": ["gw-01"], "from": "10m", "to": "30m"}
    real = ClockSpec("real")
    async with _running(broker_url, _scenario(faults=[fault]), clock=real) as (listener, _):
        await listener.until(lambda: listener.of("gw-01", "conn"))
        for minute in range(2, 10):
            clock.minute = minute
            await listener.until(lambda minute=minute: _heard_of(listener.of("em-001", "tele"), minute))
        for minute in range(10, 31):
            clock.minute = minute
            await listener.until(lambda minute=minute: len(listener.of("gw-01", "conn")) >= (2 if minute < 30 else 3))
        await listener.until(lambda: any(isinstance(body, list) for body in listener.of("em-001", "tele")))
    online, gone, back = listener.of("gw-01", "conn")[:3]
    assert (online["s"], gone["s"], back["s"]) == ("online", "offline", "online")
    assert online["sid"] == gone["sid"] != back["sid"]
    kept = next(body for body in listener.of("em-001", "tele") if isinstance(body, list))
    assert {sample["hist"] for sample in kept} == {True}
    assert all(START_MS + 540_000 <= sample["ts"] <= START_MS + 1_900_000 for sample in kept)


@pytest.mark.parametrize("kind", BROKER_KINDS)
async def test_a_broker_that_dies_is_buffered_over_and_found_again(kind: str, tmp_path: Path) -> None:
    stop, counters = asyncio.Event(), Counters()
    clock = ClockSpec("scaled", START_MS, 600.0, time.time_ns() // 1_000_000)
    with broker_at(tmp_path / "first", kind) as first:
        port = first.port
        fleet = asyncio.create_task(run_fleet(_scenario(), first.url, clock, stop, counters=counters))
        await _until(lambda: counters.connected == 3 and counters.acked > 50)
        kill9(first)
        await _until(lambda: counters.connected == 0 and counters.buffered >= 40)
    with broker_at(tmp_path / "second", kind, port=port) as second:
        assert second.port == port
        before = counters.acked
        await _until(lambda: counters.connected == 3 and counters.buffered == 0 and counters.acked > before + 50)
        assert counters.reconnects >= 3
        async with (await negotiate(parse_broker(second.url), "test", stop)).client("t", None, 60.0) as client:
            await client.subscribe("twinmeter/v1/park-t/em-001/birth", qos=1)
            birth = await asyncio.wait_for(anext(aiter(client.messages)), 60)
            assert birth.retain
        stop.set()
        await asyncio.wait_for(fleet, 90)


async def test_a_broker_that_speaks_only_the_older_protocol_is_served_in_it(tmp_path: Path) -> None:
    stop, counters = asyncio.Event(), Counters()
    with broker_at(tmp_path, "iotcore") as server:
        older = server.other_urls["mqtt3.1.1"]
        broker = await negotiate(parse_broker(older), "test", stop)
        assert broker.protocol == aiomqtt.ProtocolVersion.V311
        clock = ClockSpec("scaled", START_MS, 600.0, time.time_ns() // 1_000_000)
        fleet = asyncio.create_task(run_fleet(_scenario(), older, clock, stop, counters=counters))
        await _until(lambda: counters.connected == 3 and counters.acked > 50)
        stop.set()
        await asyncio.wait_for(fleet, 90)


def test_the_command_line_runs_a_fleet_and_reports_its_progress(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = tmp_path / "fleet.json"
    fleet.write_bytes(orjson.dumps(_document()))
    with broker_at(tmp_path / "broker", "mosquitto") as server:
        clock = f"scaled:{START}+08:00,600"
        for seconds in ("3", "15", "60"):  # three are enough, where one is scheduled in them
            state = tmp_path / f"state-{seconds}.json"
            arguments = [str(fleet), "--mqtt-url", server.url, "--clock", clock, "--for", seconds]
            assert main([*arguments, "--state", str(state), "--progress"]) == 0
            lines = [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]
            if lines[-1]["connected"] == 3 and lines[-1]["acked"] > 50:
                break
    assert lines[0]["devices"] == 10
    assert lines[-1]["connected"] == 3
    assert lines[-1]["acked"] > 50
    saved = orjson.loads(state.read_bytes())["devices"]
    assert saved["em-001"]["units"] > 0

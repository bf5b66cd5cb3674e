"""A load limit reaches its device and is kept there, on real processes: told by the API, retained by the broker, taken
by a simulated meter, and taken later by one that was away; a kill -9 right after the order loses nothing; of a device
that never takes it an incident tells, which heals with the device's word."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from adapters.embedded import start_redis
from schemas.registry import problems
from schemas.topics import device_topic
from simulators.replay import MeterSeries
from tests.e2e.http_client import Client
from tests.e2e.installation import Installation
from tests.integration.park import ZONE, site_document
from tests.integration.servers import broker_at

CLOCK = "scaled:2026-01-12T10:00:00+08:00,60"
START_MS = int(datetime(2026, 1, 12, 10, tzinfo=ZONE).timestamp() * 1000)
PLANS = "/sites/park-1/plans/limits"
FLEET = {
    "apiVersion": "twinmeter.fleet/v1",
    "site": "park-1",
    "seed": 3,
    "timezone": "Asia/Shanghai",
    "start": "2026-01-12T10:00:00",
    "interval": "1m",
    "groups": [
        {
            "name": "shops",
            "kind": "electricity_meter",
            "ids": ["em-001"],
            "profile": "constant",
            "peak_w": 2000,
            "opening_wh": 1000,
            "relay": True,
        }
    ],
}


class Bench:
    """A platform, a broker, and a fleet that comes and goes."""

    def __init__(self, folder: Path, place: Installation, mqtt_url: str) -> None:
        self.folder, self.place, self.mqtt_url = folder, place, mqtt_url
        self._fleet: subprocess.Popen[bytes] | None = None

    @property
    def client(self) -> Client:
        return Client(self.place.http_url, self.place.environment["TWINMETER_ADMIN_TOKEN"])

    def fleet_comes(self) -> None:
        file = self.folder / "fleet.json"
        file.write_text(json.dumps(FLEET))
        clock = json.loads((self.place.folder / "data" / "running.json").read_text())["clock"]
        arguments = [str(file), "--mqtt-url", self.mqtt_url, "--clock", clock, "--state", str(self.folder / "state")]
        self._fleet = subprocess.Popen([sys.executable, "-m", "simulators.run", *arguments])

    def fleet_goes(self) -> None:
        if self._fleet is not None:
            self._fleet.terminate()
            self._fleet.wait(60)
            self._fleet = None

    def define(self, name: str, limit_w: int) -> None:
        body = {"limit_w": limit_w, "reason": "house rules"}
        status, answer = self.client.call("PUT", f"{PLANS}/{name}", body, Idempotency_Key=f"{name}-{limit_w}")
        assert status == 200, answer

    def assign(self, name: str, device: str) -> None:
        body = {"devices": [device], "plan": name, "reason": "house rules"}
        status, answer = self.client.call("POST", f"{PLANS}/assignments", body, Idempotency_Key=f"{name}-{device}")
        assert status == 200, answer

    def wait_limit(self, device: str, watts: int, kept_by: str) -> dict[str, Any]:
        def holds(why: dict[str, Any]) -> bool:
            told = why["load_limit"] or {}
            return (told.get("limit_w"), told.get("kept_by")) == (watts, kept_by)

        return self.client.wait(f"/sites/park-1/devices/{device}/why", holds, 120)

    def kept_by_broker(self, device: str) -> dict[str, Any]:
        """The configuration that the broker keeps for a device."""

        async def ask() -> Any:
            async with asyncio.timeout(60), self._connection() as client:
                await client.subscribe(device_topic("park-1", device, "cfg"), qos=1)
                message = await anext(aiter(client.messages))
                assert message.retain
                return json.loads(message.payload)

        document = asyncio.run(ask())
        assert problems("cfg", document) == []
        return document

    def says(self, device: str, verb: str, **fields: Any) -> None:
        """A device of our own says something."""

        async def say() -> None:
            async with asyncio.timeout(60), self._connection() as client:
                body = json.dumps({"v": 1, "sid": "own", **fields})
                await client.publish(device_topic("park-1", device, verb), body, qos=1, retain=True)

        asyncio.run(say())

    def _connection(self) -> aiomqtt.Client:
        host, _, port = self.mqtt_url.removeprefix("mqtt://").partition(":")
        return aiomqtt.Client(host, int(port), protocol=aiomqtt.ProtocolVersion.V5)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    meters = [MeterSeries(f"em-00{number}", "constant", 2_000, 1_000) for number in (1, 2)]
    document = site_document(meters, dict.fromkeys(("em-001", "em-002"), "flat"), START_MS)
    for device in document.site["devices"]:
        device["interval"] = "1m"
        device.pop("gateway")
    with start_redis(tmp_path / "redis") as memory, broker_at(tmp_path / "broker") as broker:
        database = f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
        place = Installation(tmp_path / "installation", redis=memory.url, mqtt=broker.url, database=database)
        place.set(TWINMETER_CLOCK=CLOCK)
        place.take_over_soon()
        made = Bench(tmp_path, place, broker.url)
        try:
            imported = place.import_site(document)
            assert imported.returncode == 0, imported.stderr
            place.start()
            yield made
        finally:
            made.fleet_goes()
            if place.up is not None and place.up.poll() is None:
                place.stop()


def test_a_limit_is_kept_by_its_device_through_deaths_and_absences(bench: Bench):
    bench.fleet_comes()
    bench.says("em-002", "conn", s="online")
    bench.says("em-002", "state", ts=START_MS, relay="closed")  # and never a word of its configuration
    bench.define("room", 20_000)
    bench.assign("room", "em-001")
    bench.assign("room", "em-002")
    first = bench.wait_limit("em-001", 20_000, "device")
    retained = bench.kept_by_broker("em-001")
    assert (retained["ver"], retained["set"]["limit_w"]) == (first["load_limit"]["ver"], 20_000)
    assert "设备自" in first["text"]["zh"]
    assert "the device itself keeps it" in first["text"]["en"]

    bench.define("room", 15_000)
    bench.place.kill()  # between the decision and whatever was to follow
    bench.place.start()
    second = bench.wait_limit("em-001", 15_000, "device")
    assert second["load_limit"]["ver"] > first["load_limit"]["ver"]

    bench.fleet_goes()
    bench.define("room", 12_000)
    away = bench.wait_limit("em-001", 12_000, "waiting")
    assert "尚未确认" in away["text"]["zh"]
    bench.fleet_comes()
    third = bench.wait_limit("em-001", 12_000, "device")
    assert third["load_limit"]["ver"] == away["load_limit"]["ver"] == bench.kept_by_broker("em-001")["ver"]

    def untaken(open_only: str) -> Any:
        return lambda page: (
            [one["kind"] for one in page["items"] if one["kind"] == "config_not_taken"]
            == (["config_not_taken"] if open_only == "true" else [])
        )

    path = "/sites/park-1/incidents?open=true&device=em-002"
    bench.client.wait(path, untaken("true"), 120)
    waiting = bench.wait_limit("em-002", 12_000, "waiting")
    bench.says("em-002", "state", ts=waiting["at"], relay="closed", cfg=waiting["load_limit"]["ver"])
    bench.client.wait(path, untaken("false"), 120)
    bench.wait_limit("em-002", 12_000, "device")
    assert bench.place.verify().returncode == 0

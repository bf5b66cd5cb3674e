"""The conformance kit on real brokers: our simulated devices pass it, and devices that break the contract do not."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.clock_spec import ClockSpec
from simulators.conformance.clause import Finding, Limits
from simulators.conformance.run import CLAUSES, Target, examine, junit, main, parse_target
from simulators.devices import command_obedience, configuration
from simulators.devices.device import Device
from simulators.run import run_fleet
from simulators.scenario import parse_scenario
from tests.integration.servers import BROKER_KINDS, broker_at, free_port

START_MS = 1_768_179_600_000
LIMITS = Limits(answer_s=20.0, travel_s=20.0, interval_s=3.0, skew_ms=1_800_000)
"""What no device of ours needs, unless the machine lets it and us wait: half an hour here is half a minute there."""
SHORT = Limits(answer_s=5.0, travel_s=5.0, interval_s=1.0, skew_ms=300_000)
"""Where the one clause that is tried is to fail."""


@pytest.fixture(params=BROKER_KINDS)
def broker_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with broker_at(tmp_path, request.param) as server:
        yield server.url


def _document(**meter: Any) -> dict[str, Any]:
    return {
        "apiVersion": "twinmeter.fleet/v1",
        "site": "park-t",
        "seed": 5,
        "timezone": "Asia/Shanghai",
        "start": "2026-01-12T09:00:00",
        "interval": "1m",
        "groups": [
            {
                "name": "shop",
                "kind": "electricity_meter",
                "ids": ["em-001"],
                "profile": ["G0-A"],
                "peak_w": [3000, 9000],
                "opening_wh": 1000,
                "relay": True,
                **meter,
            },
            {"name": "water", "kind": "water_meter", "ids": ["wm-001"], "peak_lph": 900, "valve": True},
        ],
    }


class Bench:
    """A fleet that can be restarted, on its clock."""

    def __init__(self, url: str, folder: Path, **meter: Any) -> None:
        self.clock = ClockSpec("scaled", START_MS, 60.0, time.time_ns() // 1_000_000)
        self._url = url
        self._state = folder / "fleet.json"
        self._scenario = parse_scenario(_document(**meter))
        self._stop = asyncio.Event()
        self._running: asyncio.Task[Any] | None = None

    async def start(self) -> None:
        self._stop = asyncio.Event()
        self._running = asyncio.create_task(
            run_fleet(self._scenario, self._url, self.clock, self._stop, state_path=self._state)
        )

    async def stop(self) -> None:
        self._stop.set()
        assert self._running is not None
        await self._running

    async def restart(self) -> None:
        await self.stop()
        await self.start()


@contextlib.asynccontextmanager
async def _fleet(url: str, folder: Path, **meter: Any) -> AsyncIterator[Bench]:
    bench = Bench(url, folder, **meter)
    await bench.start()
    try:
        yield bench
    finally:
        await bench.stop()


def _failed(findings: list[Finding]) -> dict[str, str]:
    return {finding.number: finding.seen for finding in findings if finding.verdict == "failed"}


def _skipped(findings: list[Finding]) -> set[str]:
    return {finding.number for finding in findings if finding.verdict == "skipped"}


async def test_a_simulated_meter_passes_every_clause(broker_url: str, tmp_path: Path):
    port = free_port()
    async with _fleet(f"mqtt://127.0.0.1:{port}", tmp_path, remote_close=True) as bench:
        target = Target(
            f"{broker_url}/park-t/em-001", bench.clock, LIMITS, may_close=True, link=f"127.0.0.1:{port}", seed=1
        )
        findings = await examine(target, restart=bench.restart)
    assert _failed(findings) == {}
    assert _skipped(findings) == set()
    assert [finding.number for finding in findings] == [clause.number for clause in CLAUSES]


async def test_a_simulated_valve_passes_what_applies_to_valves(broker_url: str, tmp_path: Path):
    async with _fleet(broker_url, tmp_path) as bench:
        target = Target(f"{broker_url}/park-t/wm-001", bench.clock, LIMITS, may_close=True, seed=2)
        findings = await examine(target)
    assert _failed(findings) == {}
    assert _skipped(findings) == {"TM-203", "TM-231", "TM-232", "TM-241", "TM-242", "TM-304", "TM-311"}


BREAKS = {
    "TM-213": "if fence < self.memory.fence:",
    "TM-214": "if now_ms >= exp:",
    "TM-212": "if known is not None:",
}
"""Clause -> the line of our own devices without which it no longer holds."""


@pytest.mark.parametrize("number", BREAKS)
async def test_a_device_that_breaks_the_contract_is_found_out(number: str, tmp_path: Path, monkeypatch: Any):
    source = inspect.getsource(command_obedience)
    assert source.count(BREAKS[number]) == 1
    broken: dict[str, Any] = {"__name__": "broken"}
    exec(compile(source.replace(BREAKS[number], "if False:"), "broken", "exec"), broken)
    for method in ("receive", "_refusal"):
        monkeypatch.setattr(command_obedience.Obedience, method, broken["Obedience"].__dict__[method])
    with broker_at(tmp_path, BROKER_KINDS[0]) as server:
        async with _fleet(server.url, tmp_path) as bench:
            target = Target(f"{server.url}/park-t/em-001", bench.clock, LIMITS, may_close=True, only=tuple(BREAKS))
            findings = await examine(target)
    assert set(_failed(findings)) == {number}


CONFIGURATION = {
    "TM-301": ("if ver <= self.ver:", "if True:"),
    "TM-302": ("if ver <= self.ver:", "if False:"),
    "TM-303": (
        'if not isinstance(document, dict) or document.get("v") != 1:',
        "self.ver += document is None\n        if not isinstance(document, dict):",
    ),
    "TM-311": ("if power_w <= limit_w:", "if True:"),
}
"""Clause -> a line of our own devices, and what stands there in a device that does not keep it."""


@pytest.mark.parametrize("number", CONFIGURATION)
async def test_a_device_that_does_not_keep_its_configuration_is_found_out(
    number: str, tmp_path: Path, monkeypatch: Any
):
    source, (line, otherwise) = inspect.getsource(configuration), CONFIGURATION[number]
    assert source.count(line) == 1
    broken: dict[str, Any] = {"__name__": "broken"}
    exec(compile(source.replace(line, otherwise), "broken", "exec"), broken)
    monkeypatch.setattr(configuration.Configuration, "receive", broken["Configuration"].receive)
    monkeypatch.setattr(configuration.LoadGuard, "look", broken["LoadGuard"].look)
    with broker_at(tmp_path, BROKER_KINDS[0]) as server:
        async with _fleet(server.url, tmp_path, remote_close=True) as bench:
            target = Target(f"{server.url}/park-t/em-001", bench.clock, SHORT, may_close=True, only=(number,))
            findings = await examine(target)
    assert set(_failed(findings)) == {number}


async def test_a_configuration_that_is_lost_in_a_restart_is_found_out(tmp_path: Path, monkeypatch: Any):
    kept = Device.snapshot
    monkeypatch.setattr(Device, "snapshot", lambda self: {**kept(self), "configuration": {}})
    with broker_at(tmp_path, BROKER_KINDS[0]) as server:
        async with _fleet(server.url, tmp_path) as bench:
            target = Target(f"{server.url}/park-t/em-001", bench.clock, SHORT, only=("TM-304",))
            findings = await examine(target, restart=bench.restart)
    assert set(_failed(findings)) == {"TM-304"}


async def test_a_device_that_is_not_there_fails_and_is_never_passed(tmp_path: Path):
    with broker_at(tmp_path, BROKER_KINDS[0]) as server:
        limits = Limits(answer_s=0.3, travel_s=0.3, interval_s=0.3)
        findings = await examine(Target(f"{server.url}/park-t/em-404", limits=limits, seed=4))
    assert {finding.verdict for finding in findings} == {"failed", "skipped"}
    assert "must be published retained" in _failed(findings)["TM-101"]


def test_usage_is_explained(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    assert main(["--list"]) == 0
    assert capsys.readouterr().out.count("TM-") == len(CLAUSES)
    assert main([]) == 2
    assert main(["mqtt://127.0.0.1:1/park-t"]) == 2
    assert "site and the device" in capsys.readouterr().err
    with pytest.raises(ValueError, match="1 to 64"):
        parse_target("mqtt://127.0.0.1/park t/em")
    assert "<failure" in junit("x", [Finding("TM-101", "birth", "failed", "none")])

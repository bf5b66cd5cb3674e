"""Many breakers opened by one order on real processes: a second person agrees, a fifth of the devices never answer, the
platform is killed in the middle, somebody stops it half-way and resumes it, and the report says it all.

The normal suite does it with 100 breakers, `make soak` with 500; both print their figures.
"""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from adapters.embedded import start_redis
from simulators.replay import MeterSeries
from tests.e2e.http_client import Client
from tests.e2e.installation import Installation
from tests.integration.park import ZONE, site_document
from tests.integration.servers import broker_at

RATE = 10
CLOCK = f"scaled:2026-01-12T10:00:00+08:00,{RATE}"
START_MS = int(datetime(2026, 1, 12, 10, tzinfo=ZONE).timestamp() * 1000)
SILENT_EVERY = 5
ANSWER_S = 60
"""Of the site's clock: six seconds of the wall's."""
JOBS = "/sites/park-1/switch-jobs"
SELECT = {"operation": "open", "select": {"query": 'breaker.relay == "closed"'}}


def park(size: int) -> tuple[Any, list[str]]:
    meters = [MeterSeries(f"em-{number:03d}", "constant", 2_000, 1_000) for number in range(1, size + 1)]
    document = site_document(meters, {meter.device: "flat" for meter in meters}, START_MS)
    for device in document.site["devices"]:
        device["interval"] = "1m"
    return document, [meter.device for meter in meters]


def fleet_file(folder: Path, names: list[str], silent: list[str]) -> Path:
    file = folder / "fleet.json"
    shops = {
        "name": "shops",
        "kind": "electricity_meter",
        "ids": names,
        "gateways": ["gw-01"],
        "travel": "200ms",
        "profile": "constant",
        "peak_w": 2000,
        "opening_wh": 1000,
        "relay": True,
    }
    fleet = {
        "apiVersion": "twinmeter.fleet/v1",
        "site": "park-1",
        "seed": 3,
        "timezone": "Asia/Shanghai",
        "start": "2026-01-12T10:00:00",
        "interval": "1m",
        "groups": [{"name": "gateways", "kind": "gateway", "ids": ["gw-01"]}, shops],
        "faults": [{"fault": "lost_commands", "devices": silent}],
    }
    file.write_text(json.dumps(fleet))
    return file


class Operator:
    """A person at the API, who outlives the processes behind it."""

    def __init__(self, place: Installation, token: str) -> None:
        self.place = place
        self.token = token

    def post(self, path: str, body: dict[str, Any], key: str = "") -> dict[str, Any]:
        headers = {"Idempotency_Key": key} if key else {}
        status, answer = Client(self.place.http_url, self.token).call("POST", path, body, **headers)
        assert status < 300, answer
        return answer

    def get(self, path: str) -> dict[str, Any]:
        return Client(self.place.http_url, self.token).get(path)

    def job(self) -> dict[str, Any]:
        return self.get(f"{JOBS}/S1")

    def wait(self, holds: Any, within_s: float = 60.0) -> dict[str, Any]:
        return Client(self.place.http_url, self.token).wait(f"{JOBS}/S1", holds, within_s)


def wait_for_fleet(person: Operator, size: int) -> str:
    """The preview's code, once every breaker has reported that it is closed."""
    deadline = time.monotonic() + 60
    while (seen := person.post("/sites/park-1/switch-previews", SELECT))["taking_part"] < size:
        assert time.monotonic() < deadline, (seen["taking_part"], seen["skips"])
        time.sleep(0.3)
    assert seen["needs_approval"]
    return seen["code"]


def settled(job: dict[str, Any]) -> int:
    return sum(job["tally"][state] for state in ("verified", "failed", "silent"))


def run(folder: Path, size: int, wave: int) -> dict[str, Any]:
    """The whole story; returns its figures."""
    document, names = park(size)
    silent = names[SILENT_EVERY - 1 :: SILENT_EVERY]
    memory = start_redis(folder / "redis")
    broker = broker_at(folder / "broker")
    place, fleet = None, None
    try:
        database = f"sqlite:///{folder / 'ledger.sqlite3'}"
        place = Installation(folder / "installation", redis=memory.url, mqtt=broker.url, database=database)
        place.set(TWINMETER_CLOCK=CLOCK)
        imported = place.import_site(document)
        assert imported.returncode == 0, imported.stderr
        place.start()
        clock = json.loads((place.folder / "data" / "running.json").read_text())["clock"]
        arguments = [str(fleet_file(folder, names, silent)), "--mqtt-url", broker.url, "--clock", clock]
        fleet = subprocess.Popen([sys.executable, "-m", "simulators.run", *arguments])
        return story(Operator(place, place.environment["TWINMETER_ADMIN_TOKEN"]), place, names, silent, wave)
    finally:
        if fleet is not None:
            fleet.terminate()
            fleet.wait(20)
        if place is not None and place.up is not None and place.up.poll() is None:
            place.up.kill()
        broker.stop()
        memory.stop()


def story(person: Operator, place: Installation, names: list[str], silent: list[str], wave: int) -> dict[str, Any]:
    token = person.post("/tokens", {"name": "second", "role": "manager"})["token"]
    pace = {"wave": wave, "pause_s": 0, "answer_s": ANSWER_S, "most_percent": 40}
    code = wait_for_fleet(person, len(names))
    begun = time.monotonic()
    order = {**SELECT, **pace, "code": code, "reason": "mains works"}
    asked = person.post(JOBS, order, "order")
    assert (asked["state"], asked["tally"]["waiting"]) == ("asked", len(names))
    assert person.post(JOBS, order, "order")["id"] == "S1"
    second = Operator(place, token)
    second.post(f"/sites/park-1/approvals/{asked['approval']}/approve", {"reason": "agreed"})

    person.wait(lambda job: job["tally"]["sent"] > 0 and job["tally"]["verified"] > 0)
    place.kill()
    place.start()
    half = person.wait(lambda job: settled(job) >= len(names) // 2)
    stopped = person.post(f"{JOBS}/S1/stop", {"reason": "somebody called"})
    assert stopped["state"] == "stopped"
    resting = person.wait(lambda job: job["tally"]["sent"] == 0)
    time.sleep(2)
    still = person.job()
    assert still["tally"] == resting["tally"], "a stopped job sends nothing"
    assert 0 < still["tally"]["waiting"] < len(names)
    person.post(f"{JOBS}/S1/resume", {"reason": "go on"})
    done = person.wait(lambda job: job["state"] == "done")
    took_s = time.monotonic() - begun

    assert done["tally"]["verified"] == len(names) - len(silent), done
    assert done["tally"]["silent"] == len(silent), done
    report = place.run("switch", "report", "S1", "--lang", "en")
    assert report.returncode == 0, report.stderr
    rows = list(csv.DictReader(io.StringIO(report.stdout)))
    by_device = {row["Device"]: row for row in rows}
    assert len(rows) == len(by_device) == len(names)
    assert {name for name, row in by_device.items() if row["State"] == "silent"} == set(silent)
    assert {row["Why"] for row in rows if row["State"] == "silent"} == {"no answer"}
    assert {row["Position now"] for row in rows if row["State"] == "verified"} == {"open"}
    assert {row["Position now"] for row in rows if row["State"] == "silent"} == {"closed"}
    assert rows[0]["State"] == "silent", "what somebody has to look at stands first"
    listed = place.run("switch", "show", "S1", "--json")
    assert json.loads(listed.stdout)["changed_by"] == "platform"
    reasons = Counter(f"{row['State']} {row['Why']}".strip() for row in rows)
    return {
        "breakers": len(names), "wave": wave, "seconds": round(took_s, 1),
        "at the stop": half["tally"], "report": dict(reasons),
    }  # fmt: skip


def test_many_breakers_killed_stopped_resumed_with_a_fifth_silent(tmp_path: Path) -> None:
    figures = run(tmp_path, 100, 25)
    print("\nbulk switching:", figures)
    assert figures["seconds"] < 90


@pytest.mark.soak
def test_five_hundred_breakers(tmp_path: Path) -> None:
    figures = run(tmp_path, 500, 125)
    print("\nbulk switching:", figures)

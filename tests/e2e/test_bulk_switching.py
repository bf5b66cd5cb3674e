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

import msgspec
import pytest

from adapters.embedded import start_redis
from simulators.replay import MeterSeries
from tests.e2e.http_client import Client
from tests.e2e.installation import Installation
from tests.integration.park import ZONE, site_document
from tests.integration.servers import broker_at

RATE = 15
CLOCK = f"scaled:2026-01-12T10:00:00+08:00,{RATE}"
START_MS = int(datetime(2026, 1, 12, 10, tzinfo=ZONE).timestamp() * 1000)
ANSWER_S = 240
"""Of the site's clock: sixteen seconds of the wall's. In so much time the platform has to come back from its death, or
all that were under way then are silent."""
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

    def wait(self, holds: Any, within_s: float = 120.0) -> dict[str, Any]:
        return Client(self.place.http_url, self.token).wait(f"{JOBS}/S1", holds, within_s)


def wait_for_fleet(person: Operator, size: int) -> str:
    """The preview's code, once every breaker has reported that it is closed."""
    deadline = time.monotonic() + 120
    while (seen := person.post("/sites/park-1/switch-previews", SELECT))["taking_part"] < size:
        assert time.monotonic() < deadline, (seen["taking_part"], seen["skips"])
        time.sleep(0.3)
    assert seen["needs_approval"]
    return seen["code"]


def settled(job: dict[str, Any]) -> int:
    return sum(job["tally"][state] for state in ("verified", "failed", "silent"))


class Story(msgspec.Struct, frozen=True):
    """How an order went. Tallies are counts by state; `rows` is the report, a row a breaker."""

    names: list[str]
    silent: list[str]
    asked: dict[str, Any]
    repeated: str
    """The job that the same request with the same key named."""
    half: dict[str, int]
    resting: dict[str, int]
    later: dict[str, int]
    """Two seconds after everything had come to rest, still stopped."""
    done: dict[str, Any]
    rows: list[dict[str, str]]
    changed_by: str
    seconds: float

    def devices(self, state: str, column: str = "Device") -> set[str]:
        """What a column of the report says of breakers in a state."""
        return {row[column] for row in self.rows if row["State"] == state}

    def figures(self) -> dict[str, Any]:
        """For people."""
        reasons = Counter(f"{row['State']} {row['Why']}".strip() for row in self.rows)
        told = {"breakers": len(self.names), "seconds": round(self.seconds, 1), "at the stop": self.half}
        return told | {"report": dict(reasons)}


def run(folder: Path, size: int, wave: int) -> Story:
    """The whole story of one order."""
    document, names = park(size)
    silent = names[size // 2 : size // 2 + size // 5]  # all in the third of four waves: it is waited for them once
    memory = start_redis(folder / "redis")
    broker = broker_at(folder / "broker")
    place, fleet = None, None
    try:
        database = f"sqlite:///{folder / 'ledger.sqlite3'}"
        place = Installation(folder / "installation", redis=memory.url, mqtt=broker.url, database=database)
        place.set(TWINMETER_CLOCK=CLOCK)
        place.take_over_soon()
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
            fleet.wait(60)
        if place is not None and place.up is not None and place.up.poll() is None:
            place.up.kill()
        broker.stop()
        memory.stop()


def story(person: Operator, place: Installation, names: list[str], silent: list[str], wave: int) -> Story:
    token = person.post("/tokens", {"name": "second", "role": "manager"})["token"]
    pace = {"wave": wave, "pause_s": 0, "answer_s": ANSWER_S, "most_percent": 100}
    code = wait_for_fleet(person, len(names))
    begun = time.monotonic()
    order = {**SELECT, **pace, "code": code, "reason": "mains works"}
    asked = person.post(JOBS, order, "order")
    repeated = person.post(JOBS, order, "order")["id"]
    second = Operator(place, token)
    second.post(f"/sites/park-1/approvals/{asked['approval']}/approve", {"reason": "agreed"})

    person.wait(lambda job: job["tally"]["sent"] > 0 and job["tally"]["verified"] > 0)
    place.kill()
    place.start()
    half = person.wait(lambda job: settled(job) >= len(names) // 2)
    stopped = person.post(f"{JOBS}/S1/stop", {"reason": "somebody called"})
    assert stopped["state"] == "stopped", stopped
    resting = person.wait(lambda job: job["tally"]["sent"] == 0)
    time.sleep(2)
    still = person.job()
    person.post(f"{JOBS}/S1/resume", {"reason": "go on"})
    done = person.wait(lambda job: job["state"] == "done")
    took_s = time.monotonic() - begun

    report = place.run("switch", "report", "S1", "--lang", "en")
    assert report.returncode == 0, report.stderr
    rows = list(csv.DictReader(io.StringIO(report.stdout)))
    listed = json.loads(place.run("switch", "show", "S1", "--json").stdout)
    return Story(
        names, silent, asked, repeated, half["tally"], resting["tally"], still["tally"], done, rows,
        listed["changed_by"], took_s,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("size", "wave", "within_s"),
    [(100, 25, 180.0), pytest.param(500, 125, 300.0, marks=pytest.mark.soak)],
    ids=["a-hundred", "five-hundred"],
)
@pytest.mark.timeout(600)
def test_many_breakers_killed_stopped_resumed_with_a_fifth_silent(
    tmp_path: Path, size: int, wave: int, within_s: float
) -> None:
    story = run(tmp_path, size, wave)
    print("\nbulk switching:", story.figures())
    assert (story.asked["state"], story.asked["tally"]["waiting"]) == ("asked", size), "a second person is needed"
    assert story.repeated == story.asked["id"] == "S1", "the same key orders once"

    assert story.later == story.resting, "a stopped job sends nothing"
    assert 0 < story.later["waiting"] < size, "it was stopped half-way"

    tally = story.done["tally"]
    assert (tally["verified"], tally["silent"]) == (size - len(story.silent), len(story.silent))
    assert sorted(row["Device"] for row in story.rows) == sorted(story.names), "each breaker stands in the report once"
    assert story.devices("silent") == set(story.silent)
    assert story.devices("silent", "Why") == {"no answer"}
    assert story.devices("verified", "Position now") == {"open"}
    assert story.devices("silent", "Position now") == {"closed"}
    assert story.rows[0]["State"] == "silent", "what somebody has to look at stands first"
    assert story.changed_by == "platform"
    assert story.seconds < within_s

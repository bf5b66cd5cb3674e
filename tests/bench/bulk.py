"""Many breakers opened by one order, a fifth of which never answer: how long it takes until each is proved or told.

`python -m tests.bench.bulk --breakers 500` prints what the order took, how many breakers were proved open, how long
that took from the order of each, and how many were told to be silent. Everything is real: `twinmeter up`, Mosquitto,
Redis, SQLite, devices as a process of their own. A wave waits for its silent breakers, so the order takes at least as
many answer times as it has waves; what it takes beyond them is the platform's.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from adapters.embedded import start_redis
from tests.e2e.installation import Installation
from tests.e2e.test_bulk_switching import (
    CLOCK,
    JOBS,
    RATE,
    SELECT,
    SILENT_EVERY,
    Operator,
    fleet_file,
    park,
    wait_for_fleet,
)
from tests.integration.servers import broker_at

BREAKERS, WAVE = 500, 250
ANSWER_S = 150
"""Of the site's clock: fifteen seconds of the wall's, which a busy machine needs for a wave."""
MOST_PERCENT = 60
DONE_WITHIN_S = 300.0
STEPS_A_PAGE = 200


class Figures(msgspec.Struct, frozen=True):
    """What an order took. Seconds are those of the wall."""

    breakers: int
    wave: int
    waves: int
    seconds: float
    waiting_for_silent_s: float
    """What the waves wait for breakers that do not answer: the answer time of the order, once a wave."""
    verified: int
    silent: int
    failed: int
    verified_p50_s: float
    verified_max_s: float
    unfinished: int = 0
    """Breakers that nothing was told of when the time was up."""

    def render(self) -> str:
        """For people."""
        return (
            f"{self.breakers} breakers opened by one order in {self.waves} waves of {self.wave}: {self.seconds:.1f} s,"
            f" of which {self.waiting_for_silent_s:.1f} s waiting for silent ones\n"
            f"proved open: {self.verified}, {self.verified_p50_s:.1f} s after the order of each (median),"
            f" {self.verified_max_s:.1f} s at most; told to be silent: {self.silent}; failed: {self.failed}"
            + (f"\nnothing was told of when the time was up: {self.unfinished}" if self.unfinished else "")
        )


def run_bulk(folder: Path, breakers: int, wave: int, within_s: float = DONE_WITHIN_S) -> Figures:
    """A whole installation with `breakers` of which every fifth never hears a command; one order opens them all.
    What has become of them after `within_s` is told in any case."""
    document, names = park(breakers)
    silent = names[SILENT_EVERY - 1 :: SILENT_EVERY]
    memory, broker = start_redis(folder / "redis"), broker_at(folder / "broker")
    place = Installation(
        folder / "installation", redis=memory.url, mqtt=broker.url, database=f"sqlite:///{folder / 'ledger.sqlite3'}"
    )
    fleet = None
    try:
        place.set(TWINMETER_CLOCK=CLOCK)
        imported = place.import_site(document)
        assert imported.returncode == 0, imported.stderr
        place.start()
        clock = json.loads((place.folder / "data" / "running.json").read_text())["clock"]
        arguments = [str(fleet_file(folder, names, silent)), "--mqtt-url", broker.url, "--clock", clock]
        fleet = subprocess.Popen([sys.executable, "-m", "simulators.run", *arguments])
        return order(Operator(place, place.environment["TWINMETER_ADMIN_TOKEN"]), place, names, wave, within_s)
    finally:
        if fleet is not None:
            fleet.terminate()
            fleet.wait(20)
        if place.up is not None and place.up.poll() is None:
            place.stop()
        broker.stop()
        memory.stop()


def order(person: Operator, place: Installation, names: list[str], wave: int, within_s: float) -> Figures:
    """Order, agree, and wait for the end."""
    token = person.post("/tokens", {"name": "second", "role": "manager"})["token"]
    code = wait_for_fleet(person, len(names))
    pace = {"wave": wave, "pause_s": 0, "answer_s": ANSWER_S, "most_percent": MOST_PERCENT}
    asked = person.post(JOBS, {**SELECT, **pace, "code": code, "reason": "mains works"}, "order")
    agreed = f"/sites/park-1/approvals/{asked['approval']}/approve"
    Operator(place, token).post(agreed, {"reason": "agreed"})
    began = time.monotonic()
    while (done := person.job())["state"] not in ("done", "halted") and time.monotonic() - began < within_s:
        time.sleep(0.1)
    seconds = time.monotonic() - began
    assert done["state"] != "halted", done
    proved = [step for step in steps_of(person) if step["state"] == "verified"]
    lags = sorted((step["settled_ts"] - step["sent_ts"]) / 1_000 / RATE for step in proved)
    tally, waves = done["tally"], math.ceil(len(names) / wave)
    return Figures(
        len(names), wave, waves, seconds, waves * ANSWER_S / RATE, tally["verified"], tally["silent"], tally["failed"],
        lags[len(lags) // 2] if lags else 0.0, lags[-1] if lags else 0.0,
        len(names) - tally["verified"] - tally["silent"] - tally["failed"],
    )  # fmt: skip


def steps_of(person: Operator) -> list[dict[str, Any]]:
    """What became of each breaker, page by page."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = person.get(f"{JOBS}/S1/steps?limit={STEPS_A_PAGE}{cursor}")
        found += page["items"]
        if not page["next"]:
            return found
        cursor = f"&cursor={page['next']}"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--breakers", type=int, default=BREAKERS)
    parser.add_argument("--wave", type=int, default=WAVE)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="twinmeter-bulk-") as folder:
        print(run_bulk(Path(folder), options.breakers, options.wave).render())


if __name__ == "__main__":
    main()

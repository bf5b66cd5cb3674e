"""C4 and C6: workers that die or fall asleep at the worst instants, each service a process of its own.

The link between the command service and the broker makes the instants exact: where nothing passes to the broker, a
command is committed and not published; where nothing comes back, it is published and not marked as sent.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.faults.link import TO_CLIENT, TO_SERVER
from tests.faults.stage import Stage, park, shops
from tests.integration.park import SITE

METERS = shops(10)
UNPUBLISHED, UNMARKED = METERS[0].device, METERS[-1].device
LATER = [one.device for one in METERS[1:-1]]
OPENING_CREDIT_NANO = 500 * 10**9


def wait_for_command(stage: Stage, device: str, state: str, within_s: float = 60) -> Any:
    """The device once its command is in a state."""
    path = f"/sites/{SITE}/devices/{device}"
    return stage.api().wait(path, lambda body: (body["commanded"] or {}).get("state") == state, within_s)


@pytest.fixture
def dying(tmp_path: Path) -> Iterator[Stage]:
    """Meters that run dry one after another, the last one well behind the others."""
    credit = {f"t-{number:03d}": f"{0.25 + 0.09 * number:.2f}" for number in range(1, 10)} | {"t-010": "2.80"}
    with Stage(tmp_path, park(METERS, credit_of=credit, expires="60m"), through=("mqtt",)) as stage:
        stage.serve("commands", wait=False)
        for name in ("ingest", "ledger", "scheduler", "api"):
            stage.serve(name, wait=False, mqtt=stage.direct["mqtt"])
        for name in ("commands", "ingest", "ledger", "scheduler", "api"):
            stage.until_running(name)
        yield stage


@pytest.mark.soak  # the last meter must run dry while the link is half cut, which a slow machine does not always manage
def test_a_command_service_that_dies_at_any_instant_sends_every_command_once_in_meaning(dying: Stage) -> None:
    stage, link = dying, dying.links["mqtt"]
    link.partition(TO_SERVER)
    stage.start_fleet(METERS, faults=[{"fault": "lost_commands", "devices": [UNMARKED], "to": "70m"}])

    # committed and not published
    wait_for_command(stage, UNPUBLISHED, "created")
    time.sleep(0.5)
    stage.kill("commands")
    assert stage.tap.commands() == []
    link.heal(reset=True)
    stage.serve("commands")
    assert stage.tap.wait(1, UNPUBLISHED, "cmd")["target"] == "open"
    wait_for_command(stage, UNPUBLISHED, "verified")

    # published and not marked as sent; the device has not heard it either
    link.partition(TO_CLIENT)
    first = stage.tap.wait(1, UNMARKED, "cmd")
    time.sleep(0.3)
    stage.kill("commands")
    assert wait_for_command(stage, UNMARKED, "created")["commanded"]["id"] == first["cmd"]
    link.heal(reset=True)

    # at whatever instants
    rng = Random(46)
    for _ in range(2):
        stage.serve("commands")
        time.sleep(rng.uniform(0.0, 1.0))
        stage.kill("commands")
    stage.serve("commands")
    assert stage.tap.wait(2, UNMARKED, "cmd", cmd=first["cmd"]) == first, "published again, word for word"
    for device in LATER:
        wait_for_command(stage, device, "verified", 90)
        assert {body["target"] for body in stage.tap.commands(device)} == {"open"}
        assert stage.tap.moves(device)[-1] == "open"
    assert stage.tap.broken_promises() == []


def test_a_worker_that_wakes_up_after_another_took_over_changes_nothing(tmp_path: Path) -> None:
    credit = {f"t-{number:03d}": "500.00" if number > 5 else f"{0.3 + 0.2 * number:.2f}" for number in range(1, 11)}
    # PostgreSQL: whoever sleeps within a transaction of SQLite holds the whole file until it wakes up
    with Stage(tmp_path, park(METERS, credit_of=credit), postgres=True) as stage:
        stage.serve_all()
        stage.start_fleet(METERS)
        zombies = ("ingest", "ledger", "commands")
        stage.tap.wait(1, METERS[0].device, "cmd", target="open")
        for name in zombies:
            stage.freeze(name)
        for name in zombies:
            stage.serve(name, f"second {name}", wait=False)
        stage.tap.wait(1, METERS[3].device, "cmd", 150, target="open")
        stage.wait_minutes(3)
        for name in zombies:
            stage.thaw(name)
        stage.wait_minutes(6)  # now there are two of each, and they are at odds over their sessions
        for name in zombies:
            stage.kill(name)
        for one in METERS[:5]:
            wait_for_command(stage, one.device, "verified", 120)
        stage.stop_fleet()
        deadline = time.monotonic() + 60
        while wrong := [text for one in METERS[5:] if (text := stage.uncharged(one.device, OPENING_CREDIT_NANO))]:
            assert time.monotonic() < deadline, wrong
            time.sleep(0.5)
        assert stage.tap.broken_promises() == []
        for one in METERS[:5]:
            assert {body["target"] for body in stage.tap.commands(one.device)} == {"open"}
            assert len({body["cmd"] for body in stage.tap.commands(one.device)}) == 1
        proved = stage.place.verify()
        assert proved.returncode == 0, proved.stdout + proved.stderr

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

METERS = shops(14)
UNPUBLISHED, UNMARKED = METERS[0].device, METERS[1].device
LATER = [one.device for one in METERS[2:]]
OPENING_CREDIT_NANO = 500 * 10**9


def wait_for_command(stage: Stage, device: str, state: str, within_s: float = 60) -> Any:
    """The device once its command is in a state."""
    path = f"/sites/{SITE}/devices/{device}"
    return stage.api().wait(path, lambda body: (body["commanded"] or {}).get("state") == state, within_s)


@pytest.fixture
def dying(tmp_path: Path) -> Iterator[Stage]:
    """Meters that run dry one after another; the second one never hears its commands."""
    credit = {f"t-{number:03d}": f"{0.25 + 0.09 * number:.2f}" for number in range(1, 15)}
    with Stage(tmp_path, park(METERS, credit_of=credit), through=("mqtt",)) as stage:
        for name in ("ingest", "ledger", "scheduler", "api"):
            stage.serve(name, wait=False, mqtt=stage.direct["mqtt"])
        stage.serve("commands")
        for name in ("ingest", "ledger", "scheduler", "api"):
            stage.until_running(name)
        yield stage


def test_a_command_service_that_dies_at_any_instant_sends_every_command_once_in_meaning(dying: Stage) -> None:
    stage, link = dying, dying.links["mqtt"]
    link.partition(TO_SERVER)
    stage.start_fleet(METERS, faults=[{"fault": "lost_commands", "devices": [UNMARKED], "to": "25m"}])

    wait_for_command(stage, UNPUBLISHED, "created")
    time.sleep(0.5)
    stage.kill("commands")
    assert stage.tap.commands() == [], "committed, and not published"
    link.heal(reset=True)
    link.partition(TO_CLIENT)
    stage.serve("commands", wait=False)
    time.sleep(2.0)
    link.heal()
    assert stage.tap.wait(1, UNPUBLISHED, "cmd")["target"] == "open"
    wait_for_command(stage, UNPUBLISHED, "verified")

    stage.tap.wait(1, UNMARKED, "cmd")
    link.partition(TO_CLIENT)
    stage.kill("commands")
    link.heal(reset=True)
    rng = Random(46)
    for _ in range(3):
        stage.serve("commands")
        time.sleep(rng.uniform(0.0, 1.5))
        stage.kill("commands")
    stage.serve("commands")
    for device in [UNMARKED, *LATER]:
        wait_for_command(stage, device, "verified", 90)
    assert stage.tap.broken_promises() == []
    for device in [UNPUBLISHED, *LATER]:
        told = stage.tap.commands(device)
        assert {body["target"] for body in told} == {"open"}
        assert stage.tap.moves(device)[-1] == "open"


def test_a_command_published_and_not_marked_is_published_again_word_for_word(dying: Stage) -> None:
    stage, link = dying, dying.links["mqtt"]
    stage.start_fleet(METERS, faults=[{"fault": "lost_commands", "devices": [UNMARKED], "to": "20m"}])
    wait_for_command(stage, UNPUBLISHED, "verified")
    link.partition(TO_CLIENT)
    first = stage.tap.wait(1, UNMARKED, "cmd")
    time.sleep(0.3)
    stage.kill("commands")
    assert wait_for_command(stage, UNMARKED, "created")["commanded"]["id"] == first["cmd"]
    link.heal(reset=True)
    stage.serve("commands")
    again = stage.tap.wait(2, UNMARKED, "cmd", cmd=first["cmd"])
    assert again == first
    wait_for_command(stage, UNMARKED, "verified", 90)
    assert stage.tap.broken_promises() == []


def test_a_worker_that_wakes_up_after_another_took_over_changes_nothing(tmp_path: Path) -> None:
    credit = {f"t-{number:03d}": "500.00" if number > 6 else f"{0.3 + 0.2 * number:.2f}" for number in range(1, 15)}
    with Stage(tmp_path, park(METERS, credit_of=credit)) as stage:
        stage.serve_all()
        stage.start_fleet(METERS)
        zombies = ("ingest", "ledger", "commands")
        stage.tap.wait(1, METERS[0].device, "cmd", target="open")
        for name in zombies:
            stage.freeze(name)
        for name in zombies:
            stage.serve(name, f"second {name}", wait=False)
        stage.tap.wait(1, METERS[3].device, "cmd", 90, target="open")
        stage.wait_minutes(3)
        for name in zombies:
            stage.thaw(name)
        stage.wait_minutes(6)  # now there are two of each, and they are at odds over their sessions
        for name in zombies:
            stage.kill(name)
        for one in METERS[:6]:
            wait_for_command(stage, one.device, "verified", 120)
        stage.stop_fleet()
        deadline = time.monotonic() + 60
        while wrong := [text for one in METERS[6:] if (text := stage.uncharged(one.device, OPENING_CREDIT_NANO))]:
            assert time.monotonic() < deadline, wrong
            time.sleep(0.5)
        assert stage.tap.broken_promises() == []
        for one in METERS[:6]:
            assert {body["target"] for body in stage.tap.commands(one.device)} == {"open"}
            assert len({body["cmd"] for body in stage.tap.commands(one.device)}) == 1
        proved = stage.place.verify()
        assert proved.returncode == 0, proved.stdout + proved.stderr

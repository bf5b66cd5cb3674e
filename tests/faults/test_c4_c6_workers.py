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
LONG = {"expires": "12h", "verify_within": "12h"}
"""Twelve minutes of the wall: no command gives way to another one because a machine took long to start a service."""


def wait_for_command(stage: Stage, device: str, state: str, within_s: float = 120) -> Any:
    """The device once its command is in a state."""
    path = f"/sites/{SITE}/devices/{device}"
    return stage.api().wait(path, lambda body: (body["commanded"] or {}).get("state") == state, within_s)


@pytest.fixture
def dying(tmp_path: Path) -> Iterator[Stage]:
    """Meters with plenty of money: who runs dry, and when, is for the story to say, however slow the machine is."""
    credit = {f"t-{number:03d}": "50.00" for number in range(1, 11)}
    with Stage(tmp_path, park(METERS, credit_of=credit, **LONG), through=("mqtt",)) as stage:
        stage.serve("commands", wait=False)
        for name in ("ingest", "ledger", "scheduler", "api"):
            stage.serve(name, wait=False, mqtt=stage.direct["mqtt"])
        for name in ("commands", "ingest", "ledger", "scheduler", "api"):
            stage.until_running(name)
        yield stage


def run_dry(stage: Stage, device: str) -> None:
    """Take all of the money off the wallet by hand: the cutoff for arrears is due after its minute of grace."""
    body = {"amount": "-60.00", "reason": "paid by a cheque that bounced"}
    path = f"/sites/{SITE}/tenants/t-{device.removeprefix('em-')}/entries"
    status, answer = stage.api().call("POST", path, body, Idempotency_Key=f"dry-{device}")
    assert status in (200, 201), answer


def test_a_command_service_that_dies_at_any_instant_sends_every_command_once_in_meaning(dying: Stage) -> None:
    stage, link = dying, dying.links["mqtt"]
    stage.start_fleet(METERS, faults=[{"fault": "lost_commands", "devices": [UNMARKED], "to": "24h"}])
    for one in METERS:
        stage.tap.wait(2, one.device, "tele", 120)

    # committed and not published
    link.partition(TO_SERVER)
    run_dry(stage, UNPUBLISHED)
    wait_for_command(stage, UNPUBLISHED, "created", 120)
    time.sleep(0.5)
    stage.kill("commands")
    assert stage.tap.commands() == [], "nothing passed to the broker"
    link.heal(reset=True)
    stage.serve("commands")
    assert stage.tap.wait(1, UNPUBLISHED, "cmd", 120)["target"] == "open"
    wait_for_command(stage, UNPUBLISHED, "verified", 120)

    # published and not marked as sent; the device has not heard it either
    link.partition(TO_CLIENT)
    run_dry(stage, UNMARKED)
    first = stage.tap.wait(1, UNMARKED, "cmd", 120)
    time.sleep(0.3)
    stage.kill("commands")
    assert wait_for_command(stage, UNMARKED, "created", 120)["commanded"]["id"] == first["cmd"]
    assert stage.tap.commands(UNMARKED) == [first], "published once so far"
    link.heal(reset=True)

    # at whatever instants, with commands under way
    rng = Random(46)
    for pair in (LATER[:2], LATER[2:4], LATER[4:6]):
        stage.serve("commands", wait=False)
        for device in pair:
            run_dry(stage, device)
        time.sleep(rng.uniform(0.5, 3.0))
        stage.kill("commands")
    for device in LATER[6:]:
        run_dry(stage, device)
    stage.serve("commands")
    assert stage.tap.wait(2, UNMARKED, "cmd", 120, cmd=first["cmd"]) == first, "published again, word for word"
    for device in LATER:
        wait_for_command(stage, device, "verified", 120)
        assert {body["target"] for body in stage.tap.commands(device)} == {"open"}
        assert stage.tap.moves(device)[-1] == "open"
    told = {(one.device, one.body["cmd"]): set[bytes]() for one in stage.tap.heard if one.verb == "cmd"}
    for one in stage.tap.heard:
        if one.verb == "cmd":
            told[one.device, one.body["cmd"]].add(one.payload)
    assert {device for device, _ in told} == {one.device for one in METERS}, "every decision reached its device"
    assert all(len(payloads) == 1 for payloads in told.values()), (
        "a command that comes again is the same, byte for byte"
    )
    fences = [(one.device, one.body["fence"], one.body["cmd"]) for one in stage.tap.heard if one.verb == "cmd"]
    assert len({(device, fence) for device, fence, _ in fences}) == len(set(fences)), "a fence stands for one command"
    assert stage.tap.broken_promises() == []


@pytest.mark.timeout(600)
def test_a_worker_that_wakes_up_after_another_took_over_changes_nothing(tmp_path: Path) -> None:
    credit = {f"t-{number:03d}": "500.00" if number > 5 else f"{0.3 + 0.2 * number:.2f}" for number in range(1, 11)}
    # PostgreSQL: whoever sleeps within a transaction of SQLite holds the whole file until it wakes up
    with Stage(tmp_path, park(METERS, credit_of=credit, **LONG), postgres=True) as stage:
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
        deadline = time.monotonic() + 120
        while wrong := [text for one in METERS[5:] if (text := stage.uncharged(one.device, OPENING_CREDIT_NANO))]:
            assert time.monotonic() < deadline, wrong
            time.sleep(0.5)
        assert stage.tap.broken_promises() == []
        for one in METERS[:5]:
            assert {body["target"] for body in stage.tap.commands(one.device)} == {"open"}
            assert len({body["cmd"] for body in stage.tap.commands(one.device)}) == 1
        proved = stage.place.verify()
        assert proved.returncode == 0, proved.stdout + proved.stderr

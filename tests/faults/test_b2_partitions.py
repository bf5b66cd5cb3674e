"""B2: the links to broker, Redis and PostgreSQL are cut, one way and both, slow, half-open; they heal, and all is as if
nothing had happened: money, breakers, and one meaning a command.

Meanwhile time goes on for everybody: devices report, tenants run dry and pay.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from tests.faults.link import TO_CLIENT, TO_SERVER, Link, Way
from tests.faults.stage import Stage, park, shops
from tests.integration.park import SITE

METERS = shops(12)
RICH = [one.device for one in METERS[6:]]
POOR = [one.device for one in METERS[:6]]
RICH_CREDIT_NANO = 500 * 10**9
LINKS = ("mqtt", "redis", "database")
HEALS_WITHIN_S = 120.0


def open_stage(folder: Path, seed: int) -> Stage:
    """Half of the tenants run dry one after another, the others are rich."""
    credit = {f"t-{number:03d}": f"{0.30 + 0.40 * number:.2f}" if number <= 6 else "500.00" for number in range(1, 13)}
    return Stage(folder, park(METERS, credit_of=credit), through=LINKS, postgres=True, seed=seed)


def break_link(link: Link, how: str, seconds: float) -> None:
    """One fault of one link for some seconds, and its end."""
    ways: dict[str, tuple[Way, ...]] = {"both": (), "up": (TO_SERVER,), "down": (TO_CLIENT,)}
    if how in ways:
        link.partition(*ways[how])
    elif how == "half-open":
        link.swallow()
    elif how == "slow":
        link.slow(0.05, jitter_s=0.1)
    else:
        link.reset()
    time.sleep(seconds)
    link.heal(reset=seconds > 4)


def ready(stage: Stage) -> Any:
    """Whether the API finds everything that it needs."""
    import http.client
    import urllib.request

    try:
        with urllib.request.urlopen(f"{stage.place.http_url}/health/ready", timeout=10) as answer:
            return answer.status == 200
    except (OSError, http.client.HTTPException):
        return False


class Healed(msgspec.Struct, frozen=True):
    """After the last fault. `poor`: relay and state of the command of each who ran dry; `paid`: the relay of the one
    who then paid; `uncharged`: what is wrong with the money of the rich; `targets`: all that the others were told."""

    poor: set[tuple[str, str]]
    paid: str
    uncharged: list[str]
    targets: set[str]
    broken_promises: list[str]
    proof: str


def healed(stage: Stage) -> Healed:
    """Wait until breakers are as balances and all that was told is charged; then how it all stands."""
    deadline = time.monotonic() + HEALS_WITHIN_S
    while not ready(stage):
        assert time.monotonic() < deadline, stage.log()[-3000:]
        time.sleep(0.2)
    poor = set()
    for device in POOR:
        found = stage.api().wait(
            f"/sites/{SITE}/devices/{device}",
            lambda body: (
                (body["reported"]["relay"], body["commanded"]["state"]) == ("open", "verified")
                if body["commanded"]
                else False
            ),
            HEALS_WITHIN_S,
        )
        poor.add((found["reported"]["relay"], found["commanded"]["state"]))
    tenant = "t-001"
    stage.top_up(tenant, "200.00", "after-all")
    paid = stage.api().wait(
        f"/sites/{SITE}/devices/{POOR[0]}", lambda body: body["reported"]["relay"] == "closed", HEALS_WITHIN_S
    )
    stage.stop_fleet()
    while wrong := [text for device in RICH if (text := stage.uncharged(device, RICH_CREDIT_NANO))]:
        if time.monotonic() >= deadline + HEALS_WITHIN_S:
            break
        time.sleep(0.5)
    targets = {body["target"] for device in POOR[1:] for body in stage.tap.commands(device)}
    proved = stage.place.verify()
    proof = "" if proved.returncode == 0 else proved.stdout + proved.stderr
    return Healed(poor, paid["reported"]["relay"], wrong, targets, stage.tap.broken_promises(), proof)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with open_stage(tmp_path, seed=2) as found:
        yield found


def test_every_link_is_cut_in_every_way_and_heals(stage: Stage) -> None:
    stage.up()
    stage.start_fleet(METERS)
    stage.tap.wait(1, POOR[0], "tele")
    faults = [
        *(("mqtt", how, 1.5) for how in ("both", "up", "down")), ("mqtt", "reset", 0.5),
        *(("redis", how, 1.5) for how in ("both", "down")), ("redis", "half-open", 5.0), ("redis", "reset", 0.5),
        *(("database", how, 1.5) for how in ("both", "up")), ("database", "half-open", 5.0), ("database", "slow", 1.5),
    ]  # fmt: skip
    for name, how, seconds in faults:
        break_link(stage.links[name], how, seconds)
    stage.links["mqtt"].swallow()
    time.sleep(5)
    stage.links["mqtt"].heal()
    found = healed(stage)
    assert found.poor == {("open", "verified")}, "whoever ran dry is off, and it is proved"
    assert found.targets == {"open"}, "and was told nothing else"
    assert found.paid == "closed", "whoever paid has power again"
    assert found.uncharged == [], "all that was told is charged, once"
    assert found.broken_promises == [], "a command and a fence have one meaning"
    assert found.proof == "", "and twinmeter verify agrees"


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(6))
def test_long_and_manifold_partitions_heal(tmp_path: Path, seed: int) -> None:
    rng = Random(seed)
    with open_stage(tmp_path, seed) as stage:
        stage.up()
        stage.start_fleet(METERS)
        for _ in range(12):
            names = rng.sample(LINKS, rng.choice((1, 1, 2)))
            hows = [rng.choice(("both", "up", "down", "half-open", "slow", "reset")) for _ in names]
            for name, how in zip(names, hows, strict=True):
                break_link(stage.links[name], how, rng.choice((1.0, 5.0, 20.0, 60.0)))
        found = healed(stage)
        assert found.poor == {("open", "verified")}, "whoever ran dry is off, and it is proved"
        assert found.targets == {"open"}, "and was told nothing else"
        assert found.paid == "closed", "whoever paid has power again"
        assert found.uncharged == [], "all that was told is charged, once"
        assert found.broken_promises == [], "a command and a fence have one meaning"
        assert found.proof == "", "and twinmeter verify agrees"

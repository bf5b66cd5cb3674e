"""What a kill -9 half-way takes from each: the platform, and Node-RED, on the same readings at QoS 1.

Both keep a persistent session at their broker, so what they had not acknowledged comes again. What they had
acknowledged is theirs to remember. The readings are published, the process is killed when about half have been taken,
started again, and asked twice: before the other half is published, and at the end.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from tests.bench.apart import Keep
from tests.bench.child import Child, counter
from tests.bench.load import opening_wh
from tests.bench.nodered_role import NodeRedRole
from tests.bench.nodered_server import NodeRed
from tests.bench.roles import PlatformRole, PublisherRole
from tests.bench.runs import CONNECTIONS, WINDOW, Say, Stand, child, stand

SITE = "lost"
PATIENCE_S = 120.0


def measure_losses(meters: int, rounds: int, folder: Path, say: Say, keep: Keep) -> dict[str, Any]:
    """Both, one after the other, each kept; energy in Wh, charged money by its postings, restart times in s."""
    energy_wh = sum(_energy_wh(number, rounds) for number in range(meters))
    found: dict[str, Any] = {"meters": meters, "readings": meters * rounds, "energy_wh": energy_wh}
    with stand(folder / "losses", say, ("broker", "node-red broker")) as here:
        for name in ("platform", "node_red"):
            measure = _platform if name == "platform" else _node_red
            told = found[name] = measure(here, folder, meters, rounds)
            keep(found)
            say(
                f"kill -9, {name}: {told['meters_after_restart']} of {meters} meters known right after the restart,"
                f" {told['energy_wh'] / 1000:,.1f} of {energy_wh / 1000:,.1f} kWh at the end"
            )
    return found


def _platform(here: Stand, _folder: Path, meters: int, rounds: int) -> dict[str, Any]:
    half, acked = meters * rounds // 2, counter()
    with child("publisher", PublisherRole, here.servers["broker"].url, CONNECTIONS, acked) as publisher:
        first = Child("platform", PlatformRole, here.settings, acked)
        first.call("open")
        first.call("import_site", SITE, meters)
        first.call("start")
        publisher.call("prepare", SITE, meters, 0, half)
        publisher.send("go", WINDOW)
        _wait(lambda: acked.value >= half // 2)
        os.kill(first.pid, signal.SIGKILL)
        first.process.join()
        acked.value = 1 << 40  # whoever publishes goes on: the broker keeps it for the session
        publisher.result()
        began = time.monotonic()
        with child("platform", PlatformRole, here.settings, counter()) as second:
            second.call("open")
            known = second.call("known", SITE)
            second.call("start")
            restart_s = time.monotonic() - began
            publisher.call("prepare", SITE, meters, half, meters * rounds - half)
            publisher.call("go", 1 << 40)
            wanted = sum(opening_wh(number) + _energy_wh(number, rounds) for number in range(meters))
            _wait(lambda: second.call("known", SITE)["registers_wh"] >= wanted)
            second.call("wait_drained", SITE)
            energy = second.call("known", SITE)["registers_wh"] - sum(opening_wh(number) for number in range(meters))
            postings, counters = second.call("postings", SITE), second.call("counters")
            second.call("stop")
    return {
        "meters_after_restart": known["meters"],
        "energy_wh": energy,
        "restart_s": restart_s,
        "postings": postings,
        "readings_after_restart": counters["readings"],
    }


def _node_red(here: Stand, folder: Path, meters: int, rounds: int) -> dict[str, Any]:
    half, acked, url = meters * rounds // 2, counter(), here.servers["node-red broker"].url
    with (
        child("publisher", PublisherRole, url, CONNECTIONS, acked) as publisher,
        NodeRed(folder / "losses" / "node-red", url) as node,
    ):
        with child("ear", NodeRedRole, url, acked) as ear:
            ear.call("start")
            publisher.call("prepare", SITE, meters, 0, half)
            publisher.send("go", WINDOW)
            _wait(lambda: acked.value >= half // 2)
            node.kill9()
            acked.value = 1 << 40
            publisher.result()
        began = time.monotonic()
        node.start()
        restart_s = time.monotonic() - began
        with child("ear", NodeRedRole, url, counter()) as ear:
            ear.call("start")
            publisher.call("prepare", SITE, meters, half, meters * rounds - half)
            again = ear.call("known")
            publisher.call("go", 1 << 40)
            end = ear.call("known")
    return {
        "meters_after_restart": again["meters"],
        "readings_again": again["readings"],
        "energy_wh": end["energy_wh"],
        "readings_known": end["readings"],
        "restart_s": restart_s,
    }


def _energy_wh(number: int, rounds: int) -> int:
    """What a meter's register grows by over the rounds, as `load.reading` has it."""
    return rounds * (5 + number % 78)


def _wait(done: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError("what was waited for did not come")
        time.sleep(0.002)

"""A gateway storm: thousands of meters return with a day of readings each, while others report live and run dry.

`python -m tests.bench.backlog --meters 10000` prints how fast the backlog drains, how old the live twins become
meanwhile, how long a cutoff takes from the reading that is due to the command on the wire, and the most memory that the
platform took. Everything is real: `twinmeter up`, Mosquitto, Redis, SQLite, devices as a process of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path

import aiomqtt
import msgspec
import orjson

from adapters.twins.connection import connect
from adapters.twins.store import RedisTwinStore
from simulators.replay import MeterSeries
from tests.faults.stage import PRICE_NANO, Stage, at_local, park
from tests.integration.park import SITE

LIVE, POOR = 10, 5
HOURS, INTERVAL_MS, BATCH = 24, 900_000, 50
DAY_BEFORE = "2026-01-11T09:00:00"
START_MS = at_local("2026-01-12T10:00:00")
CONNECTIONS, IN_FLIGHT = 8, 20
WATT_LIVE = 6_000


class Figures(msgspec.Struct):
    """What a storm showed. Ages and lags in seconds, memory in MiB."""

    meters: int
    readings: int
    drained_s: float
    readings_per_s: float
    live_age_before_s: float
    live_age_p50_s: float
    live_age_max_s: float
    cutoff_lags_s: list[float]
    peak_mib_before: float
    peak_mib: float
    uncharged: int
    cpu_us: float
    """CPU of the platform a reading of the backlog, whatever else it did meanwhile."""
    left: int = 0
    """Meters that had not been seen to their end when the time was up; the readings are those that were drained."""

    def render(self) -> str:
        """For people."""
        lags = ", ".join(f"{lag:.1f}" for lag in self.cutoff_lags_s)
        return (
            f"{self.meters} meters with {HOURS} h each: {self.readings} readings drained in {self.drained_s:.1f} s,"
            f" {self.readings_per_s:.0f}/s\n"
            f"live twins meanwhile: {self.live_age_p50_s:.1f} s old (median), {self.live_age_max_s:.1f} s at most"
            f" ({self.live_age_before_s:.1f} s before; one reading a second)\n"
            f"cutoffs, from the reading that is due to the command: {lags} s (1 s of it is grace)\n"
            f"CPU of the platform: {self.cpu_us:.0f} us a reading\n"
            f"memory of the platform: {self.peak_mib_before:.0f} MiB before, {self.peak_mib:.0f} MiB at most\n"
            f"meters not charged for all they told: {self.uncharged}"
            + (f"\nmeters that were not done when the time was up: {self.left}" if self.left else "")
        )


def backlog_of(number: int, hours: int) -> list[bytes]:
    """A day of one meter as its gateway sends it: arrays of history, 100 Wh a quarter of an hour."""
    count = hours * 3_600_000 // INTERVAL_MS
    first = START_MS - count * INTERVAL_MS
    samples = [
        {"v": 1, "sid": f"{number:08x}", "seq": step + 1, "ts": first + step * INTERVAL_MS, "hist": True}
        | {"d": {"import_wh": 1_000 + 100 * (step + 1), "power_w": 400, "relay": "closed"}}
        for step in range(count)
    ]
    return [orjson.dumps(samples[at : at + BATCH]) for at in range(0, count, BATCH)]


async def send(url: str, numbers: list[int], hours: int) -> None:
    """One gateway's connection: all that it kept, as fast as the broker confirms it."""
    host, _, port = url.removeprefix("mqtt://").rpartition(":")
    async with aiomqtt.Client(host, int(port), protocol=aiomqtt.ProtocolVersion.V5) as client:
        room = asyncio.Semaphore(IN_FLIGHT)

        async def publish(number: int, payload: bytes) -> None:
            async with room:
                await client.publish(f"twinmeter/v1/{SITE}/em-{number:05d}/tele", payload, qos=1, timeout=600)

        async with asyncio.TaskGroup() as group:
            for number in numbers:
                for payload in backlog_of(number, hours):
                    group.create_task(publish(number, payload))


async def ages(store: RedisTwinStore, stage: Stage, stop: asyncio.Event) -> list[float]:
    """How old the newest live reading of a rich meter is, looked at ten times a second."""
    found: list[float] = []
    while not stop.is_set():
        at = (await store.load(SITE, [f"t-{LIVE:05d}"]))[f"t-{LIVE:05d}"].meters[f"em-{LIVE:05d}"].at
        if at is not None:
            found.append((stage.now_ms() - at) / 1_000)
        await asyncio.sleep(0.1)
    return found


async def drained(store: RedisTwinStore, numbers: list[int], last: int, within_s: float) -> list[int]:
    """Until every meter of the backlog has been seen at its last register; the numbers of those that were not in
    time."""
    deadline = time.monotonic() + within_s
    left = list(numbers)
    while left and time.monotonic() < deadline:
        asked = left[-200:]
        groups = await store.load(SITE, [f"t-{number:05d}" for number in asked])
        left = left[:-200] + [n for n in asked if groups[f"t-{n:05d}"].meters[f"em-{n:05d}"].register.seen < last]
        if len(left) > 0 and left[-len(asked) :] == asked:
            await asyncio.sleep(0.2)
    return left


def peak_mib(pid: int) -> float:
    """The most memory that a process has held so far."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cutoff_lags(stage: Stage, credit: dict[str, str]) -> list[float]:
    """For each cutoff: from the instant that the reading which is due was heard to the command on the wire."""
    lags = []
    for number in range(1, POOR + 1):
        device = f"em-{number:05d}"
        wh = float(credit[f"t-{number:05d}"]) * 1e9 / PRICE_NANO
        due = [
            one.at_s
            for one in stage.tap.heard
            if (one.device, one.verb) == (device, "tele")
            and isinstance(one.body, dict)
            and one.body["d"]["import_wh"] - 1_000 >= wh
        ]
        told = [one.at_s for one in stage.tap.heard if (one.device, one.verb) == (device, "cmd")]
        if due and told:
            lags.append(told[0] - due[0])
    return lags


async def storm(stage: Stage, meters: int, hours: int, credit: dict[str, str], within_s: float) -> Figures:
    """Let the storm loose on a running stage, and measure."""
    assert stage.place.up is not None
    pid = stage.place.up.pid
    stage.tap.keeps_history = False
    numbers = list(range(LIVE + 1, LIVE + meters + 1))
    last = 1_000 + 100 * (hours * 3_600_000 // INTERVAL_MS)
    store = RedisTwinStore(connect(stage.direct["redis"]), cache_groups=0)
    stop = asyncio.Event()
    quiet = asyncio.create_task(ages(store, stage, stop))
    await asyncio.sleep(5)
    stop.set()
    before, memory = await quiet, peak_mib(pid)
    stop = asyncio.Event()
    watching = asyncio.create_task(ages(store, stage, stop))
    began, used = time.monotonic(), cpu_s(pid)
    async with asyncio.TaskGroup() as group:
        parts = [numbers[part::CONNECTIONS] for part in range(CONNECTIONS)]
        senders = [group.create_task(send(stage.direct["mqtt"], part, hours)) for part in parts]
        left = set(await drained(store, numbers, last, within_s))
        for sender in senders if left else ():
            sender.cancel()
    seconds, used = time.monotonic() - began, cpu_s(pid) - used
    stop.set()
    during = sorted(await watching)
    for number in range(1, POOR + 1):
        await asyncio.to_thread(stage.tap.wait, 1, f"em-{number:05d}", "cmd", 120)
    groups = [group async for group in await store.groups(SITE)]
    expected = (last - 1_000) * PRICE_NANO
    backlog = {f"t-{number:05d}" for number in numbers}
    seen = sum(meter.register.seen - 1_000 for one in groups if one.id in backlog for meter in one.meters.values())
    backlog -= {f"t-{number:05d}" for number in left}
    wrong = sum(1 for one in groups if one.id in backlog and one.tenant and one.tenant.charges_nano != expected)
    await store.close()
    readings = max(1, seen // 100)
    return Figures(
        meters, readings, seconds, readings / seconds, max(before), during[len(during) // 2], during[-1],
        cutoff_lags(stage, credit), memory, peak_mib(pid), wrong, used * 1e6 / readings,
        len(left),
    )  # fmt: skip


def run_storm(
    folder: Path, meters: int, hours: int = HOURS, within_s: float = 600.0, dry: tuple[float, float] = (0.025, 0.005)
) -> Figures:
    """A whole installation with `meters` that return at once, beside ten that report every second. `dry`: the credit
    of the first who runs dry, and how much more each of the others has; 0.0014 of it last a second."""
    devices = [MeterSeries(f"em-{number:05d}", "constant", WATT_LIVE, 1_000) for number in range(1, LIVE + meters + 1)]
    credit = {f"t-{number:05d}": f"{dry[0] + dry[1] * (number - 1):.4f}" for number in range(1, POOR + 1)}
    rich = {f"t-{number:05d}": "100.00" for number in range(POOR + 1, LIVE + meters + 1)}
    document = park(devices, DAY_BEFORE, credit_of=credit | rich, grace="1s")
    for device in document.site["devices"][:LIVE]:
        device["interval"] = "1s"
    with Stage(folder, document, rate=1) as stage:
        stage.up()
        stage.start_fleet(devices[:LIVE], interval="1s")
        stage.tap.wait(3, f"em-{LIVE:05d}", "tele")
        figures = asyncio.run(storm(stage, meters, hours, credit, within_s))
        assert stage.tap.broken_promises() == []
        return figures


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--meters", type=int, default=10_000)
    parser.add_argument("--hours", type=int, default=HOURS)
    parser.add_argument("--within", type=float, default=3_600.0, help="seconds")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="twinmeter-storm-") as folder:
        print(run_storm(Path(folder), options.meters, options.hours, options.within).render())


if __name__ == "__main__":
    main()

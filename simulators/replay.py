"""Recorded series, replayed: every meter's readings over some hours, in order or mistreated, as fast as a broker takes.

`build_day` makes the series, `mistreat` triples, shuffles and thins it by seed, `publish_readings` sends it. Together
with `TWINMETER_CLOCK=telemetry` a day passes in seconds, and an independent calculation over the same series says what
must have been charged.

Shuffling is bounded: a reading moves at most half the window either way, so two readings change places only if they lie
within the window of each other, as in a network that delays messages for up to that long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from typing import Any

import aiomqtt
import msgspec
import orjson

from schemas.topics import device_topic
from simulators.profiles import UNITS_PER_WH, Load, LoadProfile, load_profiles, year_begin_ms

TWO_HOURS_MS = 7_200_000


class MeterSeries(msgspec.Struct, frozen=True):
    """A meter whose readings are to be replayed. For water, `peak` is in l/h and `opening` in litres."""

    device: str
    profile: str
    peak: int
    opening: int = 0
    modulus: int = 1_000_000_000
    kind: str = "electricity_meter"
    shift_ms: int = 0
    offset_ms: int = 0
    """How long after each full step this meter is read."""


class Reading(msgspec.Struct):
    """One envelope of one device; `body` is the telemetry document."""

    device: str
    body: dict[str, Any]

    @property
    def ts(self) -> int:
        """Sample time, Unix ms."""
        return int(self.body["ts"])


def spread_meters(count: int, seed: int, profiles: Sequence[str] | None = None) -> list[MeterSeries]:
    """`count` electricity meters over the recorded customers, peaks and openings drawn by seed."""
    recorded = [name for name in load_profiles() if name not in ("water", "constant")]
    names = list(profiles) if profiles is not None else recorded
    meters = []
    for number in range(1, count + 1):
        rng = Random(f"{seed}:replay:{number}")
        opening, peak = rng.randint(0, 900_000_000), rng.randint(2_000, 15_000)
        meters.append(MeterSeries(f"em-{number:03d}", names[(number - 1) % len(names)], peak, opening))
    return meters


def build_day(
    profiles: Mapping[str, LoadProfile],
    meters: Sequence[MeterSeries],
    start_ms: int,
    hours: int,
    step_s: int,
    *,
    zone: str = "Asia/Shanghai",
    seed: int = 0,
) -> list[Reading]:
    """Readings of every meter each `step_s` over `hours` from `start_ms`, both ends included, in order of time.

    The first reading shows the opening register at `start_ms` itself; the last one lies at the end.
    """
    begin_ms = year_begin_ms(start_ms, zone)
    steps = hours * 3600 // step_s
    end_ms = start_ms + hours * 3_600_000
    readings: list[Reading] = []
    for meter in meters:
        load = Load(profiles[meter.profile], meter.peak, begin_ms, meter.shift_ms)
        sid = f"{Random(f'{seed}:{meter.device}').getrandbits(32):08x}"
        instants = {start_ms, end_ms}
        instants |= {start_ms + step * step_s * 1000 + meter.offset_ms for step in range(1, steps)}
        for seq, ts in enumerate(sorted(instants), 1):
            channels = _channels(meter, load, start_ms, ts)
            readings.append(Reading(meter.device, {"v": 1, "sid": sid, "seq": seq, "ts": ts, "d": channels}))
    readings.sort(key=lambda reading: reading.ts)
    return readings


def mistreat(
    readings: Sequence[Reading],
    *,
    seed: int,
    copies: int = 1,
    drop: float = 0.0,
    shuffle_ms: int = 0,
    keep_ends: bool = True,
) -> list[Reading]:
    """Send each reading `copies` times, lose a share of the readings, shuffle within a window.

    With `keep_ends` the first and the last reading of each device are never lost and keep the ends of the series, so
    that what must be charged in all is known: a register that nobody ever saw cannot be charged.
    """
    rng = Random(f"{seed}:mistreat")
    ends = _ends(readings) if keep_ends else set()
    placed: list[tuple[int, int, Reading]] = []
    for reading in readings:
        is_end = id(reading) in ends
        if not is_end and rng.random() < drop:
            continue
        for _ in range(copies):
            moved_ms = 0 if is_end else rng.randint(-shuffle_ms // 2, shuffle_ms // 2)
            placed.append((reading.ts + moved_ms, len(placed), reading))
    if keep_ends and placed:
        first_ms, last_ms = readings[0].ts, readings[-1].ts
        placed = [(min(max(at_ms, first_ms), last_ms), order, reading) for at_ms, order, reading in placed]
        placed.sort(key=lambda item: (item[0], _end_rank(item[2], first_ms, last_ms), item[1]))
    else:
        placed.sort(key=lambda item: item[:2])
    return [reading for _, _, reading in placed]


async def publish_readings(
    client: aiomqtt.Client,
    site: str,
    readings: Iterable[Reading],
    *,
    in_flight: int = 200,
    timeout_s: float = 60.0,
    on_acked: Callable[[int], None] | None = None,
) -> int:
    """Publish readings in order at QoS 1, at most `in_flight` unconfirmed; returns how many the broker confirmed.

    Raises an ExceptionGroup of aiomqtt.MqttError when the connection is lost or a confirmation takes longer than
    `timeout_s`; what was confirmed by then stays confirmed.
    """
    client.pending_calls_threshold = max(client.pending_calls_threshold, 2 * in_flight)
    window = asyncio.Semaphore(in_flight)
    acked = 0

    async def publish(reading: Reading) -> None:
        nonlocal acked
        try:
            topic = device_topic(site, reading.device, "tele")
            await client.publish(topic, orjson.dumps(reading.body), qos=1, timeout=timeout_s)
        finally:
            window.release()
        acked += 1
        if on_acked is not None:
            on_acked(acked)

    async with asyncio.TaskGroup() as group:
        for reading in readings:
            await window.acquire()
            group.create_task(publish(reading))
    return acked


def _channels(meter: MeterSeries, load: Load, start_ms: int, ts: int) -> dict[str, Any]:
    counted = load.units_between(start_ms, ts) // UNITS_PER_WH
    shown = (meter.opening + counted) % meter.modulus
    if meter.kind == "water_meter":
        return {"volume_l": shown, "flow_lph": load.power_at(ts)[0]}
    return {"import_wh": shown, "power_w": load.power_at(ts)[0]}


def _ends(readings: Sequence[Reading]) -> set[int]:
    first: dict[str, Reading] = {}
    last: dict[str, Reading] = {}
    for reading in readings:
        known_first, known_last = first.get(reading.device), last.get(reading.device)
        if known_first is None or reading.ts < known_first.ts:
            first[reading.device] = reading
        if known_last is None or reading.ts >= known_last.ts:
            last[reading.device] = reading
    return {id(reading) for reading in (*first.values(), *last.values())}


def _end_rank(reading: Reading, first_ms: int, last_ms: int) -> int:
    if reading.ts == first_ms:
        return -1
    return 1 if reading.ts == last_ms else 0

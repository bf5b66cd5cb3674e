"""How long from a breaching reading to the command on the wire, under load, beside a raw round trip.

One process is the background load, the meters that break the overload rule, the device that obeys, and the stopwatch.
The overload rule waits for 30 s (`for: 30s`) and fires with the first sample at or after that: each breaching meter
sends one sample with too much power, and 30.3 s of sample time later the one that must be answered; that one is timed.
Sample time follows the load: when every background meter has been read once, a minute has passed, so the background is
the same mix as elsewhere, one posting in fifteen readings. The background flows evenly, in ten portions a slot.

The raw round trip is a message of the same size through the same broker at the same time, from one connection to
another: publish, forward. A command needs two such passages besides all that the platform does.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import mqtt5
import orjson

from tests.bench.gateway import Gateway, connect
from tests.bench.load import START_MS, device_id, frame, opening_wh, payload, reading, topic

SLOT_S = 0.1
PORTIONS = 10
WARM_SLOTS = 10
FOR_MS = 30_000
BREACH_W = 9_000
SETTLE_S = 3.0
ECHO = "bench/echo"


class ProbeRole:
    """Measures latency at one site; breaching meters are those with the highest numbers and serve once each."""

    def __init__(self, url: str, connections: int) -> None:
        self._url = url
        self._connections = connections
        self._gateways: list[Gateway] = []
        self._breaches: Gateway | None = None
        self._device: Gateway | None = None
        self._listener: Gateway | None = None
        self._sent_ns: dict[str, int] = {}
        self._command_ns: dict[str, int] = {}
        self._echo_sent_ns: dict[int, int] = {}
        self._echo_ns: dict[int, int] = {}
        self._packet = 0

    async def open(self, site: str) -> None:
        """Connect; listen to commands and echoes."""
        names = [f"probe-gw-{number}" for number in range(self._connections)]
        self._gateways = [await connect(self._url, name) for name in names]
        self._breaches = await connect(self._url, "probe-breach")
        self._device = await connect(self._url, "probe-device")
        self._listener = await connect(
            self._url, "probe-ear", filters=[f"twinmeter/v1/{site}/+/cmd", ECHO], on_message=self._hear
        )

    async def measure(
        self, site: str, meters: int, first_breach: int, rate: int, first_round: int, slots: int
    ) -> dict[str, Any]:
        """Run so many slots, a breach in each after the first second; latencies in ms, commands that never came.

        `meters` form the background at `rate` readings/s; their rounds go on from `first_round`.
        """
        for known in (self._sent_ns, self._command_ns, self._echo_sent_ns, self._echo_ns):
            known.clear()
        per_slot = round(rate * SLOT_S)
        late_ms = await self._run_slots(site, meters, first_breach, per_slot, first_round, slots)
        deadline = time.monotonic() + SETTLE_S
        while len(self._command_ns) < len(self._sent_ns) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        return {
            "command_ms": [(at - self._sent_ns[name]) / 1e6 for name, at in self._command_ns.items()],
            "echo_ms": [(at - self._echo_sent_ns[number]) / 1e6 for number, at in self._echo_ns.items()],
            "missing": len(self._sent_ns) - len(self._command_ns),
            "readings": per_slot * slots,
            "late_ms": late_ms,
        }

    async def load(self, site: str, meters: int, rate: int, first_round: int, slots: int) -> float:
        """The background alone; returns how late the worst slot began, ms."""
        return await self._run_slots(site, meters, None, round(rate * SLOT_S), first_round, slots)

    async def _run_slots(
        self, site: str, meters: int, first_breach: int | None, per_slot: int, first_round: int, slots: int
    ) -> float:
        """Send everything slot by slot; returns how late the worst slot began, ms: our own slowness."""
        step_ms = 60_000 * per_slot // meters
        began = time.monotonic()
        worst = 0.0
        ahead = self._slot_frames(site, meters, per_slot, first_round, 0)
        for slot in range(slots):
            wait_s = began + slot * SLOT_S - time.monotonic()
            worst = max(worst, -wait_s)
            await asyncio.sleep(max(0.0, wait_s))
            now_ms = START_MS + first_round * 60_000 + slot * step_ms
            if first_breach is not None and slot > WARM_SLOTS:
                self._breach(site, first_breach + slot - 1, now_ms, 2)
            for portion in range(PORTIONS):
                if first_breach is not None and portion == PORTIONS // 2:
                    self._echo(slot)
                    self._breach(site, first_breach + slot, now_ms + step_ms - FOR_MS - 300, 1)
                self._background([share[portion::PORTIONS] for share in ahead])
                due_s = began + (slot + (portion + 0.5) / PORTIONS) * SLOT_S
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            ahead = self._slot_frames(site, meters, per_slot, first_round, slot + 1)
        return worst * 1000

    def _breach(self, site: str, number: int, ts: int, seq: int) -> None:
        """The first or the second sample of a breaching meter; the second is timed."""
        assert self._breaches is not None
        import_wh = opening_wh(number) + 10 * seq
        packet = frame(topic(site, number), payload(number, seq, ts, import_wh, BREACH_W), self._next_packet())
        if seq == 2:
            self._sent_ns[device_id(number)] = time.monotonic_ns()
        self._breaches.publish([packet])

    def _echo(self, slot: int) -> None:
        assert self._breaches is not None
        body = slot.to_bytes(4, "big") + bytes(190)
        packet = frame(ECHO, body, self._next_packet())
        self._echo_sent_ns[slot] = time.monotonic_ns()
        self._breaches.publish([packet])

    def _background(self, packets: list[list[bytes]]) -> None:
        for gateway, share in zip(self._gateways, packets, strict=True):
            if share:
                gateway.publish(share)

    def _slot_frames(self, site: str, meters: int, per_slot: int, first_round: int, slot: int) -> list[list[bytes]]:
        shares: list[list[bytes]] = [[] for _ in self._gateways]
        for index in range(slot * per_slot, (slot + 1) * per_slot):
            round_number, number = divmod(index, meters)
            share = shares[number % len(shares)]
            share.append(frame(topic(site, number), reading(number, first_round + round_number), self._next_packet()))
        return shares

    def _next_packet(self) -> int:
        self._packet = self._packet % 65_535 + 1
        return self._packet

    def _hear(self, packet: mqtt5.PublishPacket) -> None:
        now_ns = time.monotonic_ns()
        if packet.topic == ECHO:
            self._echo_ns.setdefault(int.from_bytes(packet.payload[:4], "big"), now_ns)
            return
        _, _, site, device, _ = packet.topic.split("/")
        command = orjson.loads(packet.payload)
        if command["target"] == "open" and device in self._sent_ns:
            self._command_ns.setdefault(device, now_ns)
        self._obey(site, device, command)

    def _obey(self, site: str, device: str, command: dict[str, Any]) -> None:
        """Do as a breaker does: execute, and say so."""
        assert self._device is not None
        answer = {
            "v": 1, "cmd": command["cmd"], "st": "executed", "relay": command["target"], "ts": command["issued"],
        }  # fmt: skip
        body = orjson.dumps(answer)
        self._device.publish([frame(f"twinmeter/v1/{site}/{device}/ack", body, self._next_packet())])

    async def close(self) -> None:
        """Say goodbye to the broker."""
        for gateway in (*self._gateways, self._breaches, self._device, self._listener):
            if gateway is not None:
                gateway.close()

"""Everything behind one MQTT connection: a gateway and its devices, or devices that share a direct connection.

Theory of operation
-------------------
A station has no I/O and reads no clock. Whoever runs it tells it the time (`advance`), hands it what the broker
delivered (`receive`, `hear_host`), tells it when the connection came or went (`connected`, `disconnected`), and
publishes what it answers, in that order. Inside, one heap holds what is due: readings, movements that end, key presses,
timed acts of the scenario. Every message then passes, in order: the device's own outage (the message is lost), its
wire faults (which may multiply, delay or drop it), the time at which it is due, and the gateway's buffer.

A device that is offline behind a gateway that is online is unreachable on its bus: its readings are lost, not buffered,
and the gateway reports it offline and online again. A gateway that is offline loses its MQTT connection without a
farewell, so that the broker publishes its will, and buffers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from random import Random
from typing import Any

from simulators.devices.device import Device
from simulators.devices.gateway import Gateway
from simulators.faults import Outage, WireFault, any_down, apply_all, arrivals
from simulators.happenings import TimedAct
from simulators.wire import Message

Deed = Callable[[int], list[Message]]


class Station:
    """The devices behind one connection and what is due for them."""

    def __init__(
        self,
        *,
        site: str,
        gateway: Gateway | None,
        devices: Sequence[Device],
        rng: Random,
        wire_faults: dict[str, list[WireFault]],
        outages: dict[str, list[Outage]],
        acts: Sequence[TimedAct],
        jitter: dict[str, int],
        command_faults: dict[str, list[WireFault]] | None = None,
    ) -> None:
        self.site = site
        self.devices = {device.id: device for device in devices}
        self.gateway = gateway
        # A direct connection has a modem that buffers like a gateway and has no identity of its own on the wire.
        self.modem = gateway if gateway is not None else Gateway(f"modem-{rng.getrandbits(32):08x}", rng)
        self._rng = rng
        self._faults = wire_faults
        self._command_faults = command_faults or {}
        self._outages = outages
        self._acts = acts
        self._jitter = jitter
        self._due: list[tuple[int, int, str, Deed]] = []
        self._flow: list[tuple[int, int, Message]] = []
        self._count = 0
        self._settling: dict[str, int] = {}
        self.modem.link_up = False

    @property
    def name(self) -> str:
        """Identity of the connection: the gateway's id, or that of the first device."""
        return self.gateway.id if self.gateway is not None else next(iter(self.devices))

    def start(self, now_ms: int) -> None:
        """Switch everything on. Devices give their first reading at once, later ones spread over their interval."""
        for act in self._acts:
            self._plan(max(now_ms, act.at_ms), act.device, act.act)
        for device in self.devices.values():
            self._emit(device.id, device.boot(now_ms), now_ms)
            spread_ms = self._rng.randint(0, max(0, self._jitter.get(device.id, 0)))
            self._plan(now_ms + device.interval_ms + spread_ms, device.id, self._poll(device))
            self._expect_settle(device.id, now_ms)
            self._watch(device.id, now_ms)

    def advance(self, now_ms: int) -> list[Message]:
        """Let time pass up to `now_ms`; returns what is to be published now, in order."""
        while self._due and self._due[0][0] <= now_ms:
            due_ms, _, device_id, deed = heappop(self._due)
            self._emit(device_id, deed(due_ms), due_ms)
            self._expect_settle(device_id, due_ms)
        ready = []
        while self._flow and self._flow[0][0] <= now_ms:
            ready.append(heappop(self._flow)[2])
        return self.modem.forward(ready, now_ms)

    def next_due_ms(self, now_ms: int) -> int | None:
        """The next instant at which `advance` has something to do, or the connection should go or come."""
        times = [queue[0][0] for queue in (self._due, self._flow) if queue]
        change_ms = self._link_change_ms(now_ms)
        return min([*times, *([change_ms] if change_ms is not None else [])], default=None)

    def receive(self, device_id: str, command: Any, now_ms: int) -> list[Message]:
        """A command document arrived for a device; returns what is to be published now."""
        if device_id in self.devices:
            for at_ms in arrivals(self._command_faults.get(device_id, ()), now_ms):
                if at_ms > now_ms:
                    self._plan(at_ms, device_id, lambda due_ms: self._obey(device_id, command, due_ms))
                else:
                    self._emit(device_id, self._obey(device_id, command, now_ms), now_ms)
            self._expect_settle(device_id, now_ms)
        return self.advance(now_ms)

    def configure(self, device_id: str, document: Any, now_ms: int) -> list[Message]:
        """A configuration arrived for a device; returns what is to be published now."""
        if device_id in self.devices and not any_down(self._outages.get(device_id, ()), now_ms):
            self._emit(device_id, self.devices[device_id].configure(document, now_ms), now_ms)
            self._expect_settle(device_id, now_ms)
        return self.advance(now_ms)

    def _obey(self, device_id: str, command: Any, now_ms: int) -> list[Message]:
        """A command reaches its device, unless the device itself is out of reach."""
        if any_down(self._outages.get(device_id, ()), now_ms):
            return []
        return self.devices[device_id].receive(command, now_ms)

    def hear_host(self, host: str, status: Any, now_ms: int) -> list[Message]:
        """A platform host said whether it listens; None withdraws it. Returns what is to be published now."""
        self.modem.hear_host(host, status)
        return self.advance(now_ms)

    def wants_link(self, now_ms: int) -> bool:
        """Whether the connection should stand: false during an outage of the gateway."""
        return self.gateway is None or not any_down(self._outages.get(self.gateway.id, ()), now_ms)

    def farewell(self, now_ms: int) -> Message:
        """What the broker shall say when the connection breaks. Begins the connection's session: ask once for each."""
        if self.gateway is not None:
            self.gateway.session.restart(now_ms)
            return self.gateway.connection("offline", now_ms)
        return next(iter(self.devices.values())).connection("offline", now_ms)

    def connected(self, now_ms: int) -> list[Message]:
        """The connection stands: who speaks, for whom, and whatever waited."""
        self.modem.link_up = True
        head = self.gateway.announce(now_ms) if self.gateway is not None else []
        for device in self.devices.values():
            if device.powered and not any_down(self._outages.get(device.id, ()), now_ms):
                head += device.announce(now_ms)
        return head + self.advance(now_ms)

    def disconnected(self, unconfirmed: Sequence[Message]) -> None:
        """The connection is gone; messages the broker has not confirmed go back to the buffer."""
        self.modem.link_up = False
        if unconfirmed:
            self.modem.forward(list(unconfirmed), unconfirmed[-1].due_ms)

    def _plan(self, at_ms: int, device_id: str, deed: Deed) -> None:
        self._count += 1
        heappush(self._due, (at_ms, self._count, device_id, deed))

    def _poll(self, device: Device) -> Deed:
        def poll(due_ms: int) -> list[Message]:
            self._plan(due_ms + device.interval_ms, device.id, poll)
            return device.report(due_ms)

        return poll

    def _expect_settle(self, device_id: str, now_ms: int) -> None:
        device = self.devices.get(device_id)
        due_ms = device.due_ms() if device is not None else None
        if device is None or due_ms is None:
            return
        at_ms, planned_ms = max(now_ms, due_ms), self._settling.get(device_id)
        if planned_ms is None or at_ms < planned_ms:  # otherwise a look is planned that is no later
            self._settling[device_id] = at_ms
            self._plan(at_ms, device_id, self._settle(device))

    def _settle(self, device: Device) -> Deed:
        def settle(due_ms: int) -> list[Message]:
            if self._settling.get(device.id) == due_ms:
                del self._settling[device.id]
            return device.settle(due_ms)

        return settle

    def _watch(self, device_id: str, now_ms: int) -> None:
        """Report a device offline and online again when its own connection goes and comes."""
        for outage in self._outages.get(device_id, ()):
            change_ms = now_ms if outage.is_down(now_ms) else outage.next_change_ms(now_ms)
            if change_ms is not None:
                self._plan(change_ms, device_id, self._link_turn(device_id, outage))

    def _link_turn(self, device_id: str, outage: Outage) -> Deed:
        device = self.devices[device_id]

        def turn(due_ms: int) -> list[Message]:
            change_ms = outage.next_change_ms(due_ms)
            if change_ms is not None:
                self._plan(change_ms, device_id, turn)
            if not any_down(self._outages[device_id], due_ms):
                return [*device.announce(due_ms), *device.report(due_ms)]
            self._push(device.connection("offline", due_ms))
            return []

        return turn

    def _emit(self, device_id: str, messages: list[Message], now_ms: int) -> None:
        if messages and not any_down(self._outages.get(device_id, ()), now_ms):
            for message in apply_all(self._faults.get(device_id, ()), messages):
                self._push(message)

    def _push(self, message: Message) -> None:
        self._count += 1
        heappush(self._flow, (message.due_ms, self._count, message))

    def _link_change_ms(self, now_ms: int) -> int | None:
        if self.gateway is None:
            return None
        changes = [outage.next_change_ms(now_ms) for outage in self._outages.get(self.gateway.id, ())]
        return min((change for change in changes if change is not None), default=None)

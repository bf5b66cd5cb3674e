"""What every simulated device shares: identity, session, its own clock, a contactor that obeys commands.

A device is told the true simulated time; everything it writes down carries its own clock, which a fault may skew. It
never sends anything itself: every act returns the messages that it causes.
"""

from __future__ import annotations

from random import Random
from typing import Any, ClassVar

import msgspec

from simulators.devices.command_obedience import CommandMemory, Obedience, command_id
from simulators.devices.configuration import Configuration, LoadGuard
from simulators.devices.contactor import Contactor
from simulators.devices.session import Session
from simulators.wire import Message, Verb


class Device:
    """Base of all device models."""

    kind: ClassVar[str] = "device"
    model: str = "TM-SIM"
    firmware: str = "1.0.0"
    op: ClassVar[str] = "breaker.set"
    position_channel: ClassVar[str] = "relay"

    def __init__(
        self,
        device_id: str,
        rng: Random,
        *,
        interval_ms: int = 60_000,
        contactor: Contactor | None = None,
        gateway: str | None = None,
        press_after_ms: int | None = None,
    ) -> None:
        self.id = device_id
        self.rng = rng
        self.session = Session(rng)
        self.interval_ms = interval_ms
        self.contactor = contactor
        self.gateway = gateway
        self.skew_ms = 0
        self.obedience = Obedience(self.op, contactor) if contactor is not None else None
        self.configuration = Configuration()
        self.guard = LoadGuard(self.configuration)
        self._own_interval_ms = interval_ms
        self._tripped = False
        self.powered = True
        self._press_after_ms = press_after_ms
        self._press_at_ms: int | None = None

    def clock(self, now_ms: int) -> int:
        """What the device believes the time is."""
        return max(0, now_ms + self.skew_ms)

    def boot(self, now_ms: int) -> list[Message]:
        """Start, or start again: a new session, who it is, what its relay really shows and a first reading."""
        self.session.restart(now_ms)
        answers = self.obedience.reboot(self.clock(now_ms)) if self.obedience else []
        messages = [self._birth(now_ms), self.connection("online", now_ms)]
        messages += [self._message("ack", answer, now_ms) for answer in answers]
        return messages + self.state(now_ms, "boot") + self.report(now_ms)

    def announce(self, now_ms: int) -> list[Message]:
        """Repeat identity, connection and state within the same session, as after a lost connection."""
        return [self._birth(now_ms), self.connection("online", now_ms), *self.state(now_ms, "boot")]

    def report(self, now_ms: int) -> list[Message]:
        """One reading, if this device takes readings and has power."""
        channels = self.channels(now_ms) if self.powered else {}
        if not channels:
            return []
        return [self._message("tele", self.envelope(channels, now_ms), now_ms)]

    def receive(self, command: Any, now_ms: int) -> list[Message]:
        """Answer a command document; a device without power stays silent."""
        if not self.powered:
            return []
        if self.obedience is None:
            return self._refuse_command(command, now_ms)
        answers = self.obedience.receive(command, self.clock(now_ms))
        return [self._message("ack", answer, now_ms) for answer in answers] + self.settle(now_ms)

    def configure(self, document: Any, now_ms: int) -> list[Message]:
        """Hear a configuration document; the state tells which version is in force then."""
        if not self.powered or self.contactor is None:
            return []
        taken = self.configuration.receive(document)
        if taken is None:
            return []
        if taken:
            self._apply_configuration()
        return self.state(now_ms, "configuration" if taken else "configuration_kept") + self.settle(now_ms)

    def power_through(self, now_ms: int) -> int | None:  # noqa: ARG002 - kinds that measure need the instant
        """Power that flows through the contactor, W; None for a device that does not measure it."""
        return None

    def settle(self, now_ms: int) -> list[Message]:
        """Finish whatever is due by now: a movement under way, a consumer's key press, a load above its limit."""
        messages: list[Message] = []
        if not self.powered:
            return messages
        if self.obedience is not None and self.contactor is not None:
            before = self.contactor.position
            for answer in self._settle_contactor(now_ms):
                messages.append(self._message("ack", answer, now_ms))
                if answer["st"] == "executed":
                    messages += self.state(now_ms, "command") + self.report(now_ms)
            self._expect_press(before, now_ms)
        if self._press_at_ms is not None and now_ms >= self._press_at_ms:
            messages += self.press_key(now_ms)
        return messages + self._guard_load(now_ms)

    def _guard_load(self, now_ms: int) -> list[Message]:
        """Trip where the load has been above the limit for too long. The device is armed then: whoever has taken the
        load off presses the key."""
        if self.configuration.limit_w is None:
            return []
        power_w = self.power_through(now_ms)
        if power_w is None:
            self.guard.look_at_ms = None
            return []
        if not self.guard.look(power_w, now_ms):
            return []
        assert self.contactor is not None
        if self.contactor.stuck or self.contactor.moving_to is not None:
            return []
        self.contactor.set_position("armed", now_ms)
        self._tripped = True
        event = self.event("overload", {"power_w": power_w, "limit_w": self.configuration.limit_w}, now_ms)
        return [event, *self.state(now_ms, "trip"), *self.report(now_ms)]

    def _apply_configuration(self) -> None:
        self.interval_ms = self.configuration.interval_ms or self._own_interval_ms
        self.guard.over_since_ms = None
        self.guard.look_at_ms = 0  # at once

    def press_key(self, now_ms: int) -> list[Message]:
        """The consumer presses the key: restores supply when armed, cuts it when on."""
        self._press_at_ms = None
        if self.contactor is None or not self.contactor.press_key(now_ms):
            return []
        event = self.event("key_press", {self.position_channel: self.contactor.position}, now_ms)
        return [event, *self.state(now_ms, "key"), *self.report(now_ms)]

    def throw_lever(self, on: bool, now_ms: int) -> list[Message]:
        """Somebody on site moves the lever on or off; it moves also what a command had opened."""
        if self.contactor is None or not self.contactor.throw_lever(on, now_ms):
            return []
        return [*self.state(now_ms, "lever"), *self.report(now_ms)]

    def lose_power(self, now_ms: int) -> list[Message]:
        """Go dark: nothing is measured, sent or obeyed until power comes back. Whoever speaks for it notices."""
        self.channels(now_ms)
        self.powered = False
        return [self.connection("offline", now_ms)]

    def regain_power(self, now_ms: int) -> list[Message]:
        """Power is back: the device starts a new session."""
        self.channels(now_ms)
        self.powered = True
        return self.boot(now_ms)

    def due_ms(self) -> int | None:
        """The next instant at which `settle` has something to do, or None."""
        if not self.powered:
            return None
        moving = self.contactor is not None and self.contactor.moving_to is not None
        times = [self.contactor.ready_ms] if self.contactor is not None and moving else []
        if self._press_at_ms is not None:
            times.append(self._press_at_ms)
        if self.configuration.limit_w is not None and self.guard.look_at_ms is not None:
            times.append(self.guard.look_at_ms)
        return min(times, default=None)

    def channels(self, now_ms: int) -> dict[str, Any]:  # noqa: ARG002 - kinds that measure need the instant
        """The readings of this instant, by channel; empty for a device that takes none."""
        return {}

    def nameplate(self) -> dict[str, Any]:
        """What the birth document says of this kind of device beyond what all of them say."""
        return {}

    def envelope(self, channels: dict[str, Any], now_ms: int) -> dict[str, Any]:
        """A telemetry envelope around readings, with the next sequence number."""
        seq = self.session.next_seq()
        return {"v": 1, "sid": self.session.sid, "seq": seq, "ts": self.clock(now_ms), "d": channels}

    def event(self, kind: str, details: dict[str, Any], now_ms: int) -> Message:
        """Something that happened at the device."""
        body: dict[str, Any] = {"v": 1, "sid": self.session.sid, "seq": self.session.next_event_seq()}
        return self._message("event", body | {"ts": self.clock(now_ms), "kind": kind, "d": details}, now_ms)

    def connection(self, state: str, now_ms: int) -> Message:
        """The conn document of the present session; also what a will says."""
        return self._message("conn", {"v": 1, "s": state, "sid": self.session.sid}, now_ms)

    def snapshot(self) -> dict[str, Any]:
        """What survives the simulator's own restart, as a JSON document."""
        if self.obedience is None or self.contactor is None:
            return {}
        memory = msgspec.to_builtins(self.obedience.memory)
        kept = {"memory": memory, "position": self.contactor.position}
        return kept | ({"configuration": msgspec.to_builtins(self.configuration)} if self.configuration.ver else {})

    def restore(self, saved: dict[str, Any]) -> None:
        """Take up what `snapshot` wrote."""
        if self.obedience is None or self.contactor is None or "memory" not in saved:
            return
        self.obedience.memory = msgspec.convert(saved["memory"], CommandMemory)
        self.contactor.position = saved["position"]
        known = saved.get("configuration", {})
        self.configuration.ver, self.configuration.settings = known.get("ver", 0), known.get("settings", {})
        self._apply_configuration()

    def _settle_contactor(self, now_ms: int) -> list[dict[str, Any]]:
        # The contactor runs on true time; the answer carries the device's clock.
        assert self.obedience is not None
        assert self.contactor is not None
        if self.skew_ms:
            return [answer | {"ts": self.clock(now_ms)} for answer in self.obedience.settle(now_ms)]
        return self.obedience.settle(now_ms)

    def _expect_press(self, before: str, now_ms: int) -> None:
        assert self.contactor is not None
        if self.contactor.position == "armed" and before != "armed" and self._press_after_ms is not None:
            self._press_at_ms = now_ms + self._press_after_ms
        elif self.contactor.position != "armed":
            self._press_at_ms = None

    def _refuse_command(self, command: Any, now_ms: int) -> list[Message]:
        cmd = command_id(command)
        if cmd is None:
            return []
        body = {"v": 1, "cmd": cmd, "st": "rejected", "reason": "no relay", "ts": self.clock(now_ms)}
        return [self._message("ack", body, now_ms)]

    def _birth(self, now_ms: int) -> Message:
        body: dict[str, Any] = {"v": 1, "sid": self.session.sid, "ts": self.clock(now_ms), "kind": self.kind}
        body |= {"vendor": "twinmeter simulators", "model": self.model, "firmware": self.firmware}
        body |= {"interval_s": max(1, self.interval_ms // 1000)} | self.nameplate()
        if self.contactor is not None:
            body |= {self.position_channel: self.contactor.position, "cfg": self.configuration.ver}
        if self.obedience is not None and self.obedience.memory.fence >= 0:
            body["fence"] = self.obedience.memory.fence
        if self.gateway is not None:
            body["gateway"] = self.gateway
        return self._message("birth", body, now_ms)

    def state(self, now_ms: int, cause: str) -> list[Message]:
        """Where the relay or valve really is, and what moved it last; empty for a device without one."""
        if self.contactor is None:
            return []
        body: dict[str, Any] = {"v": 1, "sid": self.session.sid, "ts": self.clock(now_ms), "cause": cause}
        body |= {self.position_channel: self.contactor.position, "cfg": self.configuration.ver}
        self._tripped = self._tripped and self.contactor.position != self.contactor.flowing
        if self._tripped:
            body["locks"] = ["overload"]
        if self.obedience is not None and self.obedience.memory.fence >= 0:
            body["fence"] = self.obedience.memory.fence
        return [self._message("state", body, now_ms)]

    def _message(self, verb: Verb, body: Any, now_ms: int) -> Message:
        return Message(self.id, verb, body, now_ms)

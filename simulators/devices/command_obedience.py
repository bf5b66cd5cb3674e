"""The device's side of the command protocol (CONTRACT.md 2).

Theory of operation
-------------------
A command is a target position with an expiry and a fence, never a toggle. The device answers in this order:

1. A command it has seen is answered from memory, whatever else holds, until that command's expiry.
2. Without an expiry, with an operation or target it does not know, or without a fence: `rejected`. A document without
   a command id of the contract's form gets no answer, because the answer could not name it.
3. At or after its expiry: `expired`; nothing moves.
4. A fence lower than the last one it acted on: `rejected`, so a delayed close cannot undo a later open. So does a
   precondition (`pre`) that does not hold.
5. Otherwise fence and command are put into the memory that survives a reboot, `received` is sent, the contactor moves,
   and `executed` or `failed` follows when it has come to rest. A newer command replaces one that is still moving; the
   older one ends `failed` with the reason `superseded`.

After a reboot in the middle of a movement the command ends by what the contactor then shows: `executed` when it stands
at the target, `failed` with the reason `restarted` when it does not.
"""

from __future__ import annotations

import re
from typing import Any, TypeGuard

import msgspec

from simulators.devices.contactor import POSITIONS, Contactor

MEMORY_MAX = 256
OPERATIONS = {"breaker.set": ("relay", POSITIONS), "valve.set": ("valve", ("open", "closed"))}
"""By operation: the channel that shows the position, and the targets it may have; a valve that can be left with a
trickle knows `limited`, too."""

_UUID7 = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class Result(msgspec.Struct):
    """What a device remembers of one command until `exp`. `st` is `received` while the contactor moves."""

    st: str
    position: str
    reason: str
    exp: int
    target: str = ""


class CommandMemory(msgspec.Struct):
    """The part of a device that survives its reboots: last fence acted on, results by command, movement under way."""

    fence: int = -1
    results: dict[str, Result] = {}
    moving: str | None = None

    def forget_expired(self, now_ms: int) -> None:
        """Drop results past their expiry, and the oldest ones beyond `MEMORY_MAX`."""
        expired = [cmd for cmd, result in self.results.items() if result.exp <= now_ms and cmd != self.moving]
        surplus = len(self.results) - len(expired) - MEMORY_MAX
        kept = [cmd for cmd in self.results if cmd not in set(expired) and cmd != self.moving]
        for cmd in expired + kept[: max(0, surplus)]:
            del self.results[cmd]


class Obedience:
    """Takes commands for one contactor and answers with ack documents. `now_ms` is always the device's own clock."""

    __slots__ = ("channel", "contactor", "memory", "op")

    def __init__(self, op: str, contactor: Contactor, memory: CommandMemory | None = None) -> None:
        self.op = op
        self.channel = OPERATIONS[op][0]
        self.contactor = contactor
        self.memory = memory if memory is not None else CommandMemory()

    @property
    def targets(self) -> tuple[str, ...]:
        """Positions that the contactor can be told to take."""
        return (*OPERATIONS[self.op][1], "limited") if self.contactor.limits else OPERATIONS[self.op][1]

    def receive(self, command: Any, now_ms: int) -> list[dict[str, Any]]:
        """Answer one command document; empty when it has no command id that an answer could name."""
        cmd = command_id(command)
        if cmd is None:
            return []
        self.memory.forget_expired(now_ms)
        known = self.memory.results.get(cmd)
        if known is not None:
            return [self._ack(cmd, known, now_ms)]
        refusal = self._refusal(command, now_ms)
        if refusal is not None:
            return [self._refuse(cmd, command, refusal, now_ms)]
        return self._begin(command, now_ms)

    def settle(self, now_ms: int) -> list[dict[str, Any]]:
        """End a movement that is due with `executed` or `failed`; empty when none is."""
        reached = self.contactor.finish(now_ms)
        if reached is None or self.memory.moving is None:
            return []
        if not reached and self.contactor.lying:
            ack = self._end(True, "", now_ms)
            result = self.memory.results[ack["cmd"]]
            result.position = result.target
            return [ack | {self.channel: result.target}]
        return [self._end(reached, "contactor did not move", now_ms)]

    def reboot(self, now_ms: int) -> list[dict[str, Any]]:
        """Come back after a loss of power: a movement under way ends by what the contactor shows."""
        self.contactor.stop()
        if self.memory.moving is None:
            return []
        result = self.memory.results[self.memory.moving]
        accepted = (result.target, self.contactor.flowing) if result.target == "armed" else (result.target,)
        return [self._end(self.contactor.position in accepted, "restarted", now_ms)]

    def _refusal(self, command: dict[str, Any], now_ms: int) -> tuple[str, str] | None:
        exp, fence = command.get("exp"), command.get("fence")
        if not _is_int(exp):
            return "rejected", "no expiry"
        if command.get("op") != self.op:
            return "rejected", f"unknown operation {command.get('op')!r}, this device does {self.op}"[:200]
        if command.get("target") not in self.targets:
            return "rejected", f"unknown target {command.get('target')!r}"[:200]
        if not _is_int(fence):
            return "rejected", "no fence"
        if now_ms >= exp:
            return "expired", f"expired {now_ms - exp} ms ago"
        if fence < self.memory.fence:
            return "rejected", f"stale fence {fence}, last executed {self.memory.fence}"
        wanted = command["pre"].get(self.channel) if isinstance(command.get("pre"), dict) else None
        if wanted is not None and wanted != self.contactor.position:
            return "rejected", f"precondition: {self.channel} is {self.contactor.position}, not {wanted}"[:200]
        return None

    def _refuse(self, cmd: str, command: dict[str, Any], refusal: tuple[str, str], now_ms: int) -> dict[str, Any]:
        st, reason = refusal
        exp = command.get("exp")
        result = Result(st, self.contactor.position, reason, exp if _is_int(exp) else now_ms)
        if result.exp > now_ms:
            self.memory.results[cmd] = result
        return self._ack(cmd, result, now_ms)

    def _begin(self, command: dict[str, Any], now_ms: int) -> list[dict[str, Any]]:
        acks = []
        if self.memory.moving is not None:
            acks.append(self._end(False, "superseded", now_ms))
        cmd, target = command["cmd"], command["target"]
        self.memory.fence = command["fence"]
        self.memory.moving = cmd
        result = Result("received", self.contactor.position, "", command["exp"], target)
        self.memory.results[cmd] = result
        acks.append(self._ack(cmd, result, now_ms))
        self.contactor.move(target, now_ms)
        return acks

    def _end(self, reached: bool, reason: str, now_ms: int) -> dict[str, Any]:
        cmd = self.memory.moving
        assert cmd is not None
        result = self.memory.results[cmd]
        result.st = "executed" if reached else "failed"
        result.position = self.contactor.position
        result.reason = "" if reached else reason
        self.memory.moving = None
        return self._ack(cmd, result, now_ms)

    def _ack(self, cmd: str, result: Result, now_ms: int) -> dict[str, Any]:
        ack: dict[str, Any] = {"v": 1, "cmd": cmd, "st": result.st, self.channel: result.position, "ts": now_ms}
        if self.memory.fence >= 0:
            ack["fence"] = self.memory.fence
        if result.reason:
            ack["reason"] = result.reason
        return ack


def command_id(command: Any) -> str | None:
    """The id of a command document, or None when it has none of the contract's form (a UUID version 7)."""
    cmd = command.get("cmd") if isinstance(command, dict) else None
    return cmd if isinstance(cmd, str) and _UUID7.fullmatch(cmd) else None


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)

"""What a clause is: a number that never changes, what the contract says, and a trial that shows whether it holds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal

import msgspec

from simulators.conformance.observer import FINAL, Command, Observer

Verdict = Literal["passed", "failed", "skipped"]
NEEDS = ("close", "restart", "cut")
"""What a trial may need beyond a connected device: permission to close, a way to restart it, a way to cut its link."""


class ClauseFailedError(Exception):
    """The device does not keep the clause; the text says what was seen and what would be right."""


class ClauseSkippedError(Exception):
    """The clause cannot be tried on this device; the text says why."""


class Limits(msgspec.Struct, frozen=True):
    """How long the kit waits, in real seconds: for an answer, for the contactor, for the next regular reading."""

    answer_s: float = 5.0
    travel_s: float = 10.0
    interval_s: float = 900.0
    skew_ms: int = 300_000
    idle_w: int = 5
    """Power below this counts as nothing flowing."""


class Trial:
    """What a clause works with: the observer, the limits, and what the kit may do to the device."""

    def __init__(
        self,
        observer: Observer,
        limits: Limits,
        *,
        may_close: bool = False,
        restart: Callable[[], Awaitable[None]] | None = None,
        cut: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        self.observer = observer
        self.limits = limits
        self.may_close = may_close
        self.restart = restart
        self.cut = cut
        self.highest_fence = 0

    @property
    def channel(self) -> str:
        """`relay` or `valve`, as the device reports."""
        state = self.observer.last("state")
        return "valve" if state is not None and "valve" in (state.body or {}) else "relay"

    @property
    def op(self) -> str:
        """The operation that moves this device."""
        return "valve.set" if self.channel == "valve" else "breaker.set"

    @property
    def off(self) -> str:
        """The target at which nothing flows."""
        return "closed" if self.channel == "valve" else "open"

    @property
    def on(self) -> str:
        """The target at which it flows."""
        return "open" if self.channel == "valve" else "closed"

    def position(self) -> str | None:
        """Where the device last said that it stands."""
        state = self.observer.last("state")
        return None if state is None else (state.body or {}).get(self.channel)

    def next_fence(self) -> int:
        """A fence above everything the device has told and the kit has sent."""
        told = [_fence(heard.body) for heard in self.observer.heard]
        self.highest_fence = max(self.highest_fence, *told, 0) + 1
        return self.highest_fence

    async def send(self, target: str, /, **fields: Any) -> Command:
        """Command a target with a fresh fence."""
        return await self.observer.command({"op": self.op, "target": target, "fence": self.next_fence()} | fields)

    async def end_of(self, command: Command, seconds: float | None = None) -> dict[str, Any]:
        """The final acknowledgement of a command; the clause fails without one."""
        wait_s = self.limits.answer_s + self.limits.travel_s if seconds is None else seconds
        ack = await self.observer.ack(command, FINAL, wait_s)
        if ack is None:
            raise ClauseFailedError(f"no final answer to {command.cmd} within {wait_s:g} s")
        return ack

    async def move(self, target: str) -> Command:
        """Bring the device to a position; the clause fails where it does not go."""
        command = await self.send(target)
        ack = await self.end_of(command)
        require(ack["st"] == "executed", f"a plain {target} ended {ack['st']}: {ack.get('reason', 'no reason given')}")
        return command


class Clause(msgspec.Struct, frozen=True):
    """One numbered sentence of the contract and its trial."""

    number: str
    text: str
    trial: Callable[[Trial], Awaitable[None]]
    needs: tuple[str, ...] = ()


class Finding(msgspec.Struct, frozen=True):
    """What came of one clause; `seen` says what happened where it did not simply pass."""

    number: str
    text: str
    verdict: Verdict
    seen: str = ""


def _fence(body: Any) -> int:
    fence = body.get("fence", 0) if isinstance(body, dict) else 0
    return fence if isinstance(fence, int) else 0


def require(holds: bool, otherwise: str) -> None:
    """Fail the clause with a text unless the condition holds."""
    if not holds:
        raise ClauseFailedError(otherwise)


def given(body: dict[str, Any] | None, otherwise: str) -> dict[str, Any]:
    """A message that must be there."""
    if body is None:
        raise ClauseFailedError(otherwise)
    return body

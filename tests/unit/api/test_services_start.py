"""A process that starts while a server is in trouble waits for it a while, and ends with the reason after that; and
one that is told to stop ends, whatever it has in hand."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

import api.services
from api.services import Services
from twin.ports import LedgerUnavailableError


class Troubled:
    """A platform whose servers come back at the third question."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.settings = SimpleNamespace(ingest_shards=0, history_days=0)
        self.asked = 0
        self.begun = asyncio.Event()
        self.vitals = SimpleNamespace(services=())
        self.closed = False

    async def close(self) -> None:
        self.closed = True

    async def recover(self) -> None:
        self.asked += 1
        self.begun.set()
        if self.errors:
            raise self.errors.pop(0)

    def consumers(self) -> dict[str, Any]:
        return {}


class Rebuilding(Troubled):
    """A platform that rebuilds a large site at the start."""

    async def recover(self) -> None:
        self.asked += 1
        self.begun.set()
        await asyncio.sleep(3_600)


class LongWork:
    """Policies that take an hour to read, by way of a library that swallows a cancellation."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.swallowed = 0

    async def refresh_all(self) -> None:
        self.begun.set()
        try:
            await asyncio.sleep(3_600)
        except asyncio.CancelledError:
            self.swallowed += 1
        await asyncio.sleep(3_600)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.services, "RESTART_PAUSE_S", 0.01)


def services(platform: Any) -> Services:
    return Services(platform, ())


async def stopped_once_begun(running: Services) -> None:
    """Run it, and stop it when it has begun to recover."""
    ending = asyncio.create_task(running.run())
    await asyncio.wait_for(running.platform.begun.wait(), 60)  # type: ignore[attr-defined]
    await asyncio.sleep(0.02)
    assert not ending.done()
    running.stop.set()
    await asyncio.wait_for(ending, 60)


async def test_it_waits_for_servers_that_are_away_or_full() -> None:
    platform = Troubled(ConnectionError("out of memory"), LedgerUnavailableError("disk full"), TimeoutError())
    await services(platform)._recover()
    assert platform.asked == 4


async def test_it_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.services, "SERVERS_WITHIN_S", 0.05)
    with pytest.raises(ConnectionError, match="wrong address"):
        await asyncio.wait_for(services(Troubled(*[ConnectionError("wrong address")] * 100))._recover(), 60)


async def test_what_waiting_does_not_mend_ends_it_at_once() -> None:
    platform = Troubled(ValueError("a rule file is broken"))
    with pytest.raises(ValueError, match="rule file"):
        await services(platform)._recover()
    assert platform.asked == 1


async def test_a_stop_is_not_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.services, "RESTART_PAUSE_S", 3_600)
    waiting = services(Troubled(*[ConnectionError("away")] * 100))
    await stopped_once_begun(waiting)
    assert waiting.platform.closed  # type: ignore[attr-defined]


async def test_a_stop_breaks_off_what_is_recovered_at_the_start() -> None:
    starting = services(Rebuilding())
    await stopped_once_begun(starting)
    assert starting.platform.asked == 1  # type: ignore[attr-defined]
    assert starting.platform.closed  # type: ignore[attr-defined]


async def test_what_does_not_end_after_the_stop_is_broken_off_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.services, "ENDS_WITHIN_S", 0.05)
    platform = Troubled()
    work = platform.policies = LongWork()  # type: ignore[attr-defined]
    running = services(platform)
    ending = asyncio.create_task(running.run())
    with capture_logs() as lines:
        await asyncio.wait_for(work.begun.wait(), 60)
        await asyncio.sleep(0.1)
        assert not ending.done()
        running.stop.set()
        await asyncio.wait_for(ending, 60)
    assert work.swallowed == 1
    assert platform.closed
    assert [line["services"] for line in lines] == [["policies"]]

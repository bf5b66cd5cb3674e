"""A process that starts while a server is in trouble waits for it a while, and ends with the reason after that."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

import api.services
from api.services import Services
from twin.ports import LedgerUnavailableError


class Troubled:
    """A platform whose servers come back at the third question."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.settings = SimpleNamespace(ingest_shards=0, history_days=0)
        self.asked = 0
        self.vitals = SimpleNamespace(services=())
        self.closed = False

    async def close(self) -> None:
        self.closed = True

    async def recover(self) -> None:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.services, "RESTART_PAUSE_S", 0.01)


def services(platform: Any) -> Services:
    return Services(platform, ())


async def test_it_waits_for_servers_that_are_away_or_full() -> None:
    platform = Troubled(ConnectionError("out of memory"), LedgerUnavailableError("disk full"), TimeoutError())
    await services(platform)._recover()
    assert platform.asked == 4


async def test_it_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.services, "SERVERS_WITHIN_S", 0.05)
    with pytest.raises(ConnectionError, match="wrong address"):
        await asyncio.wait_for(services(Troubled(*[ConnectionError("wrong address")] * 100))._recover(), 5)


async def test_what_waiting_does_not_mend_ends_it_at_once() -> None:
    platform = Troubled(ValueError("a rule file is broken"))
    with pytest.raises(ValueError, match="rule file"):
        await services(platform)._recover()
    assert platform.asked == 1


async def test_a_stop_is_not_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.services, "RESTART_PAUSE_S", 60)
    waiting = services(Troubled(*[ConnectionError("away")] * 100))
    asyncio.get_running_loop().call_later(0.05, waiting.stop.set)
    await asyncio.wait_for(waiting.run(), 5)
    assert waiting.platform.closed  # type: ignore[attr-defined]

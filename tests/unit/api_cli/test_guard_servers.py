"""The guard of embedded servers: a real one comes back where it was; one that keeps dying is given up."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from adapters.embedded import RunningServer, start_redis
from api.cli import guard_servers
from api.cli.guard_servers import MOST_RESTARTS, WITHIN_S, ServerGuard


class Mayfly:
    """A server that never comes up again."""

    name = "redis"

    def __init__(self) -> None:
        self.tries = 0

    def __repr__(self) -> str:
        return "Mayfly"

    def respawn(self) -> None:
        self.tries += 1

    def wait_ready(self) -> None:
        raise RuntimeError("ended with code 1")

    def log_tail(self) -> str:
        return "out of memory"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_servers, "POLL_S", 0.01)
    monkeypatch.setattr(guard_servers, "FIRST_PAUSE_S", 0.001)


async def nothing() -> None:
    """Nothing to make good."""


async def test_one_that_keeps_dying_is_given_up_with_the_reason() -> None:
    server, said = Mayfly(), []
    guard = ServerGuard(lambda: [server], nothing, said.append)
    await asyncio.wait_for(guard.run(), 60)
    assert server.tries == MOST_RESTARTS
    assert "Mayfly died" in guard.given_up
    assert "out of memory" in guard.given_up
    assert "did not come back: ended with code 1" in "\n".join(said)


async def test_old_deaths_are_forgiven() -> None:
    server = Mayfly()
    clock = iter(range(0, 10_000_000, int(WITHIN_S)))
    guard = ServerGuard(lambda: [server], nothing, lambda _: None, lambda: float(next(clock)))
    running = asyncio.create_task(guard.run())
    while server.tries <= MOST_RESTARTS + 2:  # noqa: ASYNC110 - a counter has no event
        await asyncio.sleep(0.01)
    assert guard.given_up == ""
    running.cancel()


async def test_a_killed_redis_comes_back_at_its_url_and_recovery_is_asked_for(tmp_path: Path) -> None:
    recovered = asyncio.Event()

    async def recover() -> None:
        recovered.set()

    with start_redis(tmp_path) as server:
        url, pid = server.url, server.pid

        def dead() -> list[RunningServer]:
            return [] if server.is_running else [server]

        running = asyncio.create_task(ServerGuard(dead, recover, lambda _: None).run())
        os.kill(pid, signal.SIGKILL)
        await asyncio.wait_for(recovered.wait(), 90)
        assert (server.url, server.is_running) == (url, True)
        assert server.pid != pid
        running.cancel()

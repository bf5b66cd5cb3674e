"""The ringer is told to stop in the middle of a call: quietly, and with nothing half done."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from adapters.scheduler.ringer import ring_until


class Work:
    """A job of several steps, each of which is whole."""

    def __init__(self, steps: int, step_s: float) -> None:
        self.begun = asyncio.Event()
        self.steps, self.step_s = steps, step_s
        self.done = self.calls = 0
        self.rolled_back = False

    async def __call__(self) -> None:
        self.calls += 1
        self.begun.set()
        try:
            for _ in range(self.steps):
                await asyncio.sleep(self.step_s)
                self.done += 1
        except asyncio.CancelledError:
            self.rolled_back = True
            raise


async def stopped_in_the_middle(work: Work, ends_within_s: float) -> float:
    stop = asyncio.Event()
    ringing = asyncio.create_task(ring_until(stop, "fees", work, every_s=60, ends_within_s=ends_within_s))
    await work.begun.wait()
    began = time.monotonic()
    stop.set()
    await ringing
    await asyncio.sleep(0.05)
    return time.monotonic() - began


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


async def test_a_call_in_hand_comes_to_its_end(told: pytest.LogCaptureFixture) -> None:
    work = Work(steps=4, step_s=0.05)
    await stopped_in_the_middle(work, ends_within_s=60)
    assert (work.done, work.calls, work.rolled_back) == (4, 1, False)
    assert [record for record in told.records if record.levelno >= logging.WARNING] == []


async def test_a_call_that_does_not_end_is_cancelled_without_a_traceback(
    told: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    problems: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    work = Work(steps=1, step_s=600)
    took_s = await stopped_in_the_middle(work, ends_within_s=0.2)
    assert work.rolled_back
    assert took_s < 60, "it has ten minutes to go"
    assert problems == []
    assert [record for record in told.records if record.levelno >= logging.WARNING] == []
    printed = capsys.readouterr()
    assert "Traceback" not in printed.out + printed.err
    assert "stopped in the middle of its work" in printed.out + printed.err


async def test_a_failure_is_still_told_and_the_next_call_comes(told: pytest.LogCaptureFixture) -> None:
    calls: list[float] = []

    async def fails() -> None:
        calls.append(time.monotonic())
        raise ValueError("no such month")

    stop = asyncio.Event()
    ringing = asyncio.create_task(ring_until(stop, "fees", fails, every_s=1))
    async with asyncio.timeout(60):
        while len(calls) < 2:  # noqa: ASYNC110 - a counter has no event
            await asyncio.sleep(0.05)
    stop.set()
    await ringing
    assert len(calls) > 1
    assert any("no such month" in (record.exc_text or str(record.exc_info)) for record in told.records)


async def test_whoever_cancels_the_ringer_does_not_wait_for_the_call() -> None:
    work = Work(steps=1, step_s=600)
    ringing = asyncio.create_task(ring_until(asyncio.Event(), "fees", work, every_s=60))
    await work.begun.wait()
    ringing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(ringing, 60)
    assert work.rolled_back

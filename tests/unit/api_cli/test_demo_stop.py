"""A demonstration stops within its time, says what it waits for, and names what does not end."""

from __future__ import annotations

import asyncio

import pytest

from api.cli.demo_stop import ended, in_time, until_nothing_left
from api.cli.errors import CommandError


async def test_it_waits_until_nothing_is_left_and_tells_how_much_is() -> None:
    told: list[tuple[str, float]] = []
    seconds = asyncio.get_running_loop().time

    async def left() -> str:
        return "" if len(told) == 2 else f"{9 - len(told)} effects"

    began = seconds()
    await until_nothing_left(left, within_s=60, told=lambda text: told.append((text, seconds())), say_every_s=0.15)
    (first, first_at), (second, second_at) = told
    assert (first[-9:], second[-9:]) == ("9 effects", "8 effects")
    assert first_at - began >= 0.15
    assert second_at - first_at >= 0.15, "not at every look"


async def test_what_is_left_after_the_limit_is_named() -> None:
    async def left() -> str:
        return "the ledger, 7 effects behind"

    with pytest.raises(CommandError, match=r"0\.2.*the ledger, 7 effects behind"):
        await until_nothing_left(left, within_s=0.2)


async def test_a_question_that_nobody_answers_is_not_waited_for_without_end() -> None:
    async def left() -> str:
        await asyncio.Event().wait()
        return ""

    with pytest.raises(CommandError, match=r"no answer yet|没有回应"):
        await until_nothing_left(left, within_s=0.2)


async def test_work_that_does_not_end_is_told_with_where_it_stands_and_is_ended() -> None:
    stands = ["proving"]
    gone = asyncio.Event()

    async def work() -> None:
        stands.append("comparing")
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()

    with pytest.raises(CommandError, match="comparing"):
        await in_time(work(), lambda: stands[-1], within_s=0.2)
    assert gone.is_set()


async def test_work_that_fails_fails_with_its_own_reason() -> None:
    async def work() -> None:
        raise ValueError("a broken link")

    with pytest.raises(ValueError, match="a broken link"):
        await in_time(work(), lambda: "", within_s=60)


async def test_who_loses_a_cancellation_is_cancelled_again_and_who_never_ends_is_named() -> None:
    lost = []

    async def deaf(times: int) -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                lost.append(times)
                if len(lost) >= times:
                    raise

    async def never() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    release = asyncio.Event()
    assert await ended([asyncio.create_task(deaf(1))], within_s=60) == []
    twice = asyncio.create_task(deaf(3))
    await asyncio.sleep(0)
    assert await ended([twice], within_s=60) == []
    assert lost == [3, 3, 3]
    stubborn = asyncio.create_task(never())
    await asyncio.sleep(0)
    assert await ended([stubborn], within_s=0.3) == [stubborn]
    release.set()
    await stubborn

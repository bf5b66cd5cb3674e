"""Runs in one process have nothing to do with each other, also where one of them was broken off in the middle."""

from __future__ import annotations

from random import Random

import pytest

from tests.simulation.ledger_model import ViolationError
from tests.simulation.loop import OUTSIDE, SimLoop


def test_what_is_broken_off_leaves_nothing_to_the_next_run() -> None:
    heard: list[str] = []

    def speak(loop: SimLoop, word: str) -> None:
        heard.append(word)
        if word == "violation":
            loop.broken = ViolationError("I1 chain", "something happened")

    first = SimLoop(Random(1), 0)
    for word in ("violation", "left over"):
        first.call_soon(speak, first, word)
    with pytest.raises(ViolationError, match="something happened"):
        first.run_until(1)
    first.bury()
    assert not OUTSIDE.queue
    second = SimLoop(Random(1), 0)
    second.call_soon(speak, second, "heard")
    second.run_until(1)
    assert heard == ["violation", "heard"]

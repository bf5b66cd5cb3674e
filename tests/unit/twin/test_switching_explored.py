"""Switching, explored: thousands of days in which everything goes wrong, in virtual time.

A seed gives a plan (people, faults, loads) for `World`; a violation prints the seed and the shortest plan that still
finds it. Three things must hold: the platform never closes under a lock; it opens nothing without a rule that fired, a
person, or the ledger to prove it; and once all faults have ended, the breaker is where the policy wants it within the
time that docs/disconnect.md states.
"""

from __future__ import annotations

import pytest

from tests.unit.twin.switching_mutants import MUTANTS
from tests.unit.twin.switching_plans import found, plan, shortest, told

SEEDS = 60
SOAK_SEEDS = 10_000
MOST_SEEDS_A_MUTANT = 400


def violations(seeds: range) -> list[str]:
    """What the first seed that finds something has found."""
    return next(([told(seed, violation)] for seed in seeds if (violation := found(seed)) is not None), [])


def test_the_breaker_obeys_its_locks_whatever_happens() -> None:
    assert violations(range(SEEDS)) == []


@pytest.mark.soak
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("part", range(10))
def test_ten_thousand_seeds(part: int) -> None:
    each = SOAK_SEEDS // 10
    assert violations(range(part * each, (part + 1) * each)) == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_broken_core_is_found(mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    assert any(found(seed) is not None for seed in range(MOST_SEEDS_A_MUTANT)), mutant.__doc__


def test_a_plan_that_finds_something_is_made_as_short_as_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[5](monkeypatch)
    seed = next(seed for seed in range(MOST_SEEDS_A_MUTANT) if found(seed) is not None)
    short = shortest(seed)
    assert found(seed, short) is not None
    assert len(short) < len(plan(seed)) // 2
    assert all(found(seed, short[:at] + short[at + 1 :]) is None for at in range(len(short)))

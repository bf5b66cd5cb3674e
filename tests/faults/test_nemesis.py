"""The nemesis: a short campaign with every run of the suite, more of them with `make soak`.

One seed of real processes for every hundred of the simulation: `make soak SEEDS=2000` runs twenty.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.nemesis import fight

SOAK_SEEDS = max(5, int(os.environ.get("SEEDS") or 0) // 100)


def test_a_short_campaign(tmp_path: Path) -> None:
    healed = fight(tmp_path, seed=0, rounds=2)
    assert (healed.gaps, healed.money, healed.books) == ([], [], []), "all that was told is charged, once"
    assert healed.breakers == [], "breakers end where balances and locks want them"
    assert healed.switched == [], "nobody with money was switched"
    assert healed.broken_promises == [], "a command and a fence have one meaning"
    assert healed.proof == "", "and twinmeter verify agrees"


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(1, SOAK_SEEDS + 1))
def test_a_campaign(tmp_path: Path, seed: int) -> None:
    healed = fight(tmp_path, seed)
    assert (healed.gaps, healed.money, healed.books) == ([], [], []), "all that was told is charged, once"
    assert healed.breakers == [], "breakers end where balances and locks want them"
    assert healed.switched == [], "nobody with money was switched"
    assert healed.broken_promises == [], "a command and a fence have one meaning"
    assert healed.proof == "", "and twinmeter verify agrees"

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
    fight(tmp_path, seed=0, rounds=2)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(1, SOAK_SEEDS + 1))
def test_a_campaign(tmp_path: Path, seed: int) -> None:
    fight(tmp_path, seed)

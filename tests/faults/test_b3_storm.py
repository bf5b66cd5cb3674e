"""B3: gateways return with a day of readings of every meter behind them; live readings and cutoffs do not wait for it,
memory stays bounded, and every Wh is charged. The full storm of 10 000 meters: `python -m tests.bench.backlog`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.backlog import POOR, Figures, run_storm

LIVE_AGE_S = 15.0
CUTOFF_LAG_S = 15.0
GROWTH_MIB = 400.0


def judged(figures: Figures) -> None:
    print(figures.render())
    assert figures.uncharged == 0
    assert len(figures.cutoff_lags_s) == POOR
    assert max(figures.cutoff_lags_s) < CUTOFF_LAG_S, figures
    assert figures.live_age_max_s < LIVE_AGE_S, figures
    assert figures.peak_mib < figures.peak_mib_before + GROWTH_MIB, figures


def test_a_storm_drains_while_live_readings_are_decided_on(tmp_path: Path) -> None:
    judged(run_storm(tmp_path, meters=200))


@pytest.mark.soak
def test_ten_thousand_meters_return_at_once(tmp_path: Path) -> None:
    judged(run_storm(tmp_path, meters=10_000, within_s=3_600))

"""The recorder's lag is told on the site's clock: effects are dated by the machine, history is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.clock.clocks import TelemetryClock, open_clock, real_now_ms
from api.http.site_metrics import _on_clock

HOUR_MS = 3_600_000


def test_a_scaled_clock_dates_an_effect_as_it_showed_it_then(tmp_path: Path) -> None:
    clock = open_clock("scaled:2026-01-12T09:00:00+08:00,60", tmp_path)
    a_minute_ago = real_now_ms() - 60_000
    behind_ms = clock.now() - _on_clock(clock, a_minute_ago)
    assert behind_ms == pytest.approx(HOUR_MS, abs=60_000)  # sixty times as fast; a second of ours is a minute of it


def test_the_machine_dates_it_where_the_clock_is_real(tmp_path: Path) -> None:
    at = real_now_ms() - 5_000
    assert _on_clock(open_clock("real", tmp_path), at) == at


def test_a_clock_that_follows_telemetry_shows_no_more_than_its_newest_sample() -> None:
    clock = TelemetryClock()
    clock.observe(1_768_000_000_000)
    assert _on_clock(clock, real_now_ms()) == 1_768_000_000_000

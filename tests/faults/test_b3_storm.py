"""B3: gateways return with a day of readings of every meter behind them; live readings and cutoffs do not wait for it,
memory stays bounded, and every Wh is charged. The full storm of 10 000 meters: `python -m tests.bench.backlog`."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from random import Random

import pytest

from adapters.twins.connection import connect
from adapters.twins.store import RedisTwinStore
from simulators.replay import MeterSeries
from tests.bench.backlog import DAY_BEFORE, HOURS, LIVE, POOR, WATT_LIVE, Figures, drained, run_storm, send
from tests.faults.stage import PRICE_NANO, Stage, park
from tests.integration.park import SITE

AGE_S = 10.0
"""A live reading passes the backlog: it is at most its interval of a second and two batches old, plus what a machine
that does other things takes. So is the reading that a cutoff is due with."""
GROWTH_MIB = 400.0
DRY_IN_THE_STORM = (0.015, 0.001)
"""Ten seconds after the fleet has come, or a little later: while a small storm lasts, and nobody waits for long."""


def in_time_s(figures: Figures) -> float:
    """How old a live reading may become. Where a machine takes long for the backlog it takes long for everything, but
    whoever waited for the backlog would wait for all of it."""
    return max(AGE_S, figures.drained_s / 2)


def test_a_storm_drains_while_live_readings_are_decided_on(tmp_path: Path) -> None:
    figures = run_storm(tmp_path, meters=200, dry=DRY_IN_THE_STORM)
    print(figures.render())
    assert figures.left == 0, "every meter is seen to its end"
    assert figures.uncharged == 0, "every Wh is charged"
    assert len(figures.cutoff_lags_s) == POOR, "every cutoff was carried out"
    assert max(figures.cutoff_lags_s) < in_time_s(figures), "no cutoff waits for the backlog"
    assert figures.live_age_max_s < in_time_s(figures), "no live reading does"
    assert figures.peak_mib < figures.peak_mib_before + GROWTH_MIB, "memory is bounded"


@pytest.mark.timeout(600)
def test_a_storm_that_is_killed_again_and_again_is_charged_to_the_last_wh(tmp_path: Path) -> None:
    """What live readings passed was not acknowledged for them: kill -9 in the middle of it loses nothing."""
    meters, kills, rng = 150, 3, Random(7)
    devices = [MeterSeries(f"em-{n:05d}", "constant", WATT_LIVE, 1_000) for n in range(1, LIVE + meters + 1)]
    document = park(devices, DAY_BEFORE, credit_of={f"t-{n:05d}": "100.00" for n in range(1, LIVE + meters + 1)})
    numbers = list(range(LIVE + 1, LIVE + meters + 1))
    last_wh = 1_000 + 100 * HOURS * 4
    with Stage(tmp_path, document, rate=1) as stage:
        stage.up()
        stage.start_fleet(devices[:LIVE], interval="1s")
        stage.tap.wait(2, f"em-{LIVE:05d}", "tele")
        seen_at_kills = []
        first = f"t-{numbers[0]:05d}"

        async def kill_again_and_again(store: RedisTwinStore) -> None:
            while (await store.load(SITE, [first]))[first].meters[f"em-{numbers[0]:05d}"].register.seen == 1_000:  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # the first of the storm is there, and most of it is not, on any machine
            for kill in range(kills):
                await asyncio.sleep(rng.uniform(0.1, 0.6) if kill else 0)
                await asyncio.to_thread(stage.place.kill)
                groups = [group async for group in await store.groups(SITE)]
                seen_at_kills.append(sum(m.register.seen >= last_wh for group in groups for m in group.meters.values()))
                await asyncio.to_thread(stage.place.start)

        async def storm() -> dict[str, int]:
            store = RedisTwinStore(connect(stage.direct["redis"]), cache_groups=0)
            async with asyncio.TaskGroup() as work:
                work.create_task(send(stage.direct["mqtt"], numbers, HOURS))
                work.create_task(kill_again_and_again(store))
            assert await drained(store, numbers, last_wh, 240) == [], "every meter is seen to its end"
            found = {g.id: g.tenant.charges_nano async for g in await store.groups(SITE) if g.tenant is not None}
            await store.close()
            return found

        charges = asyncio.run(storm())
        assert any(count < meters for count in seen_at_kills), f"every kill came after the storm: {seen_at_kills}"
        expected = (last_wh - 1_000) * PRICE_NANO
        wrong = {n: charges[f"t-{n:05d}"] for n in numbers if charges[f"t-{n:05d}"] != expected}
        assert wrong == {}, f"charged something else than {expected}"
        stage.stop_fleet()
        deadline = time.monotonic() + 120
        while uncharged := [text for one in devices[:LIVE] if (text := stage.uncharged(one.device, 100 * 10**9))]:
            assert time.monotonic() < deadline, uncharged
            time.sleep(0.5)
        assert stage.tap.broken_promises() == []
        proved = stage.place.verify()
        assert proved.returncode == 0, proved.stdout + proved.stderr


@pytest.mark.soak
def test_ten_thousand_meters_return_at_once(tmp_path: Path) -> None:
    figures = run_storm(tmp_path, meters=10_000, within_s=3_600)
    print(figures.render())
    assert figures.left == 0, "every meter is seen to its end"
    assert figures.uncharged == 0, "every Wh is charged"
    assert len(figures.cutoff_lags_s) == POOR, "every cutoff was carried out"
    assert max(figures.cutoff_lags_s) < in_time_s(figures), "no cutoff waits for the backlog"
    assert figures.live_age_max_s < in_time_s(figures), "no live reading does"
    assert figures.peak_mib < figures.peak_mib_before + GROWTH_MIB, "memory is bounded"

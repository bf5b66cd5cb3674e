"""What a large site costs grows with it, and no faster: steps are counted, not seconds."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from adapters.store.sites.site_difference import History, compare
from adapters.store.sites.site_import import wanted_state
from adapters.store.sites.site_state import empty_state
from tests.bench.load import site_document


def lines_run(meters: int) -> int:
    """Lines of Python that comparing a new site of so many meters with nothing takes."""
    wanted = wanted_state(site_document("big", meters, gateways=5))
    count = 0

    def step(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return step

    before = sys.gettrace()
    sys.settrace(step)
    try:
        compare(empty_state("big"), wanted, History({}, {}, {}))
    finally:
        sys.settrace(before)
    return count


def test_comparing_a_site_takes_steps_in_proportion_to_its_meters() -> None:
    small, large = lines_run(200), lines_run(800)
    assert large < 5 * small

"""X2: nothing is cut for arrears inside a time of no cutoffs or under a supply guarantee; what is used becomes debt,
the reason stands where people look, and safety does not wait."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.stage import PRICE_NANO, Stage, at_local, park, shops
from tests.integration.park import SITE

METERS = shops(3, watt=5_000)
IN_WINDOW, GUARANTEED, OVERLOADED = (one.device for one in METERS)
BEGINS, WINDOW_ENDS = "2026-01-12T09:40:00", "2026-01-12T10:35:00"
"""Half a minute for a slow machine to start everything, and some of the window left then."""


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    document = park(METERS, BEGINS)
    for ruleset in document.rulesets.values():
        ruleset["calendars"]["friendly"] = [{"times": ["09:00-10:35"]}]
    document.site["tenants"][1]["protected_until"] = "2026-01-13T00:00:00"
    with Stage(tmp_path, document, start=BEGINS, rate=90) as found:
        yield found


def test_a_due_cutoff_waits_for_its_window_and_debt_accrues(stage: Stage) -> None:
    stage.up()
    events = [{"event": "load_step", "devices": [OVERLOADED], "at": "3m", "add_w": 9_000}]
    begin = stage.start_fleet(METERS, events=events)
    assert begin < at_local("2026-01-12T10:25:00"), "too slow a machine for this story"
    api = stage.api()
    tenants = [f"/sites/{SITE}/tenants/t-{number:03d}" for number in range(1, 4)]

    held = [api.wait(tenant, lambda body: body["state"] == "HELD", 60) for tenant in tenants[:2]]
    assert all(body["held"] == ["arrears-cutoff: active"] for body in held), held
    assert all(body["locks"] == [] for body in held)
    told = stage.tap.wait(1, OVERLOADED, "cmd", target="open")
    assert told["issued"] < at_local(WINDOW_ENDS), "safety does not wait for a window to end"
    assert told["why"]["rule"] == "overload"

    debt = float(held[0]["balance"])
    owing = api.wait(tenants[0], lambda body: float(body["balance"]) < debt - 0.2, 60)
    assert owing["locks"] == []
    if stage.now_ms() < at_local(WINDOW_ENDS):
        assert stage.tap.commands(IN_WINDOW) == []

    told = stage.tap.wait(1, IN_WINDOW, "cmd", 90, target="open")
    assert told["issued"] >= at_local(WINDOW_ENDS), "the first command comes after the window"
    assert told["why"]["rule"] == "arrears-cutoff"
    api.wait(tenants[0], lambda body: body["state"] == "OFF_ARREARS")
    assert stage.tap.commands(GUARANTEED) == []
    device = api.get(f"/sites/{SITE}/devices/{GUARANTEED}")
    assert device["reported"]["relay"] == "closed"
    body = api.wait(tenants[1], lambda body: body["held"] == ["arrears-cutoff: inhibited_by"])
    used = device["registers"]["charged"] - 1_000
    assert float(body["balance"]) == pytest.approx(0.30 - used * PRICE_NANO / 1e9, abs=0.2)
    assert float(body["balance"]) < 0
    assert stage.tap.broken_promises() == []
    proved = stage.place.verify()
    assert proved.returncode == 0, proved.stdout + proved.stderr

"""X2: nothing is cut for arrears inside a time of no cutoffs or under a supply guarantee; what is used becomes debt,
the reason stands where people look, and safety does not wait."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.faults.stage import PRICE_NANO, Stage, park, shops
from tests.integration.park import SITE, ZONE
from twin.ports import SiteDocument

METERS = shops(3, watt=5_000)
IN_WINDOW, GUARANTEED, OVERLOADED = (one.device for one in METERS)
MINUTE_MS = 60_000
BEGINS = "2026-01-12T09:40:00"


def no_cutoffs(document: SiteDocument, until: str) -> None:
    """Nobody is cut for arrears from nine o'clock until then."""
    for ruleset in document.rulesets.values():
        ruleset["calendars"]["friendly"] = [{"times": [f"09:00-{until}"]}]
        ruleset["version"] += 1


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    document = park(METERS, BEGINS)
    no_cutoffs(document, "23:00")
    document.site["tenants"][1]["protected_until"] = "2026-01-13T00:00:00"
    with Stage(tmp_path, document, start=BEGINS, rate=90) as found:
        yield found


def end_of_the_window(stage: Stage) -> int:
    """Set the end of the time of no cutoffs at ten minutes or so from now, and return it: only when all that has to
    happen inside it has happened, as nobody knows beforehand how long that takes a machine."""
    ends = (stage.now_ms() // MINUTE_MS + 11) * MINUTE_MS
    no_cutoffs(stage.document, datetime.fromtimestamp(ends / 1000, ZONE).strftime("%H:%M"))
    imported = stage.place.import_site(stage.document)
    assert imported.returncode == 0, imported.stderr
    return ends


def owed(stage: Stage, device: str) -> float:
    """What a tenant who began with 0.30 owes for all that its meter is charged for."""
    charged = stage.api().get(f"/sites/{SITE}/devices/{device}")["registers"]["charged"]
    return (charged - 1_000) * PRICE_NANO / 1e9 - 0.30


def test_a_due_cutoff_waits_for_its_window_and_debt_accrues(stage: Stage) -> None:
    stage.up()
    events = [{"event": "load_step", "devices": [OVERLOADED], "at": "3m", "add_w": 9_000}]
    stage.start_fleet(METERS, events=events)
    api = stage.api()
    tenants = [f"/sites/{SITE}/tenants/t-{number:03d}" for number in range(1, 4)]

    held = [api.wait(tenant, lambda body: body["state"] == "HELD", 120) for tenant in tenants[:2]]
    assert all(body["held"] == ["arrears-cutoff: active"] for body in held), held
    assert all(body["locks"] == [] for body in held)
    told = stage.tap.wait(1, OVERLOADED, "cmd", target="open")
    assert told["why"]["rule"] == "overload", "safety does not wait for a window to end"

    debt = float(held[0]["balance"])
    owing = api.wait(tenants[0], lambda body: float(body["balance"]) < debt - 0.2, 120)
    assert owing["locks"] == []
    assert stage.tap.commands(IN_WINDOW) == []

    ends = end_of_the_window(stage)
    told = stage.tap.wait(1, IN_WINDOW, "cmd", target="open")
    assert told["issued"] >= ends, "the first command comes after the window"
    assert told["why"]["rule"] == "arrears-cutoff"
    api.wait(tenants[0], lambda body: body["state"] == "OFF_ARREARS", 120)
    assert stage.tap.commands(GUARANTEED) == []
    assert api.get(f"/sites/{SITE}/devices/{GUARANTEED}")["reported"]["relay"] == "closed"
    before = owed(stage, GUARANTEED)
    body = api.wait(tenants[1], lambda body: body["held"] == ["arrears-cutoff: inhibited_by"], 120)
    assert 0 < before - 1e-6 <= -float(body["balance"]) <= owed(stage, GUARANTEED) + 1e-6
    assert stage.tap.broken_promises() == []
    proved = stage.place.verify()
    assert proved.returncode == 0, proved.stdout + proved.stderr

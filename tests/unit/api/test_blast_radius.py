"""The blast radius of automatic cutoffs, at a whole site: a wrong tariff empties all wallets at once. The guard of the
arrears rule lets ten cutoffs through, holds the rest, says so once, and waits for a person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from httpx import AsyncClient
from ruamel.yaml import YAML

import rules
from tests.unit.api import parks
from tests.unit.api.parks import SITE
from tests.unit.api.stage import ADMIN, Stage
from twin.core.messages import Telemetry, Tick
from twin.flows.import_site import import_site

BASE = f"/api/v1/sites/{SITE}"
PACK = Path(rules.__file__).parent / "packs" / "dormitory.yaml"
ROOMS = [f"{number:03d}" for number in range(1, 16)]
MOST = 10
MINUTE = 60_000
WORKING_DAY_MS = (4 * 24 + 2) * 60 * MINUTE
"""From the stage's start, in the holidays of the new year, to ten in the morning of a Tuesday."""


async def dormitory(stage: Stage) -> None:
    """Fifteen rooms with a yuan each; the rules of the pack, without its grace and with a smaller guard."""
    document = parks.document()
    tariff = next(iter(name for name, one in document.tariffs.items() if one["utility"] == "electricity"))
    document.rulesets.clear()
    document.rulesets["dormitory"] = YAML(typ="safe").load(PACK.read_text(encoding="utf-8"))
    arrears = next(one for one in document.rulesets["dormitory"]["rules"] if one["id"] == "room-arrears")
    arrears["guard"]["max"] = MOST
    rooms = [f"room-{room}" for room in ROOMS]
    site = document.site
    site["rulesets"] = ["dormitory"]
    site["params"] = {"grace": "0s"}
    site["devices"] += [
        {"id": room, "kind": "electricity_meter", "relay": True, "opening_wh": 0, "max_w": 100_000} for room in rooms
    ]
    site["tenants"] += [
        {"id": f"t-{room}", "mode": "prepaid", "opening_credit": "1.00"}
        | {"supplies": [{"meter": room, "breaker": room, "tariff": tariff, "from": parks.SUPPLIED_FROM}]}
        for room in rooms
    ]
    await import_site(stage, document, who="test")
    await stage.policies.refresh_all()


async def read_all(stage: Stage, import_wh: int) -> None:
    """Every room reports at once, as after a day of a tariff that is a hundred times too high."""
    now = stage.clock.now()
    sample: dict[str, Any] = {"import_wh": import_wh, "power_w": 100}
    messages = {
        f"t-room-{room}": [Telemetry(f"room-{room}", "s1", import_wh, now, sample, received_at=now)] for room in ROOMS
    }
    for group, told in messages.items():
        await stage.play(group, *told)
    await stage.post()


async def cut(stage: Stage) -> set[str]:
    groups = await stage.store.load(SITE, [f"t-room-{room}" for room in ROOMS])
    return {name for group in groups.values() for name, one in group.breakers.items() if "credit" in one.locks}


async def test_ten_are_cut_the_others_wait_and_one_alarm_says_so(client: AsyncClient, stage: Stage) -> None:
    await dormitory(stage)
    stage.clock.at += WORKING_DAY_MS
    await read_all(stage, 1)
    assert await cut(stage) == set()
    stage.clock.at += 15 * MINUTE
    await read_all(stage, 5_000)
    first = await cut(stage)
    assert len(first) == MOST

    alarms = (await client.get(f"{BASE}/alarms", headers=ADMIN)).json()["items"]
    guards = [row for row in alarms if row["rule"] == "@guard_held"]
    assert [(row["twin"], row["severity"], row["active"]) for row in guards] == [("room-arrears", "critical", True)]
    wanted = await stage.stream.read(SITE, "notices-of-the-test", "t", count=5_000, block_ms=0)
    told = {
        (effect.template, effect.to, effect.ts)
        for entry in wanted
        for effect in entry.effects
        if getattr(effect, "template", "") == "guard_held"
    }
    assert len(told) == 1, "one notice, however many wait"

    held = (await client.get(f"{BASE}/held-firings", headers=ADMIN)).json()["items"]
    assert len(held) == len(ROOMS) - MOST
    stage.clock.at += 5 * MINUTE
    await stage.play(held[0]["twin"], Tick())
    assert await cut(stage) == first, "time alone lets nobody through while the window lasts"
    assert await stage.held_firings.clear_settled(SITE, stage.clock.now()) == []

    body = {"rule": "room-arrears", "twins": [row["twin"] for row in held], "reason": "checked: they owe it"}
    answer = await client.post(f"{BASE}/held-firings/approvals", json=body, headers={**ADMIN, "Idempotency-Key": "k"})
    assert answer.status_code == 202, answer.text
    assert len(await cut(stage)) == len(ROOMS)
    await stage.post()
    assert await stage.held_firings.clear_settled(SITE, stage.clock.now()) == ["room-arrears"]
    rows = await stage.database.fetch("SELECT active, because FROM alarm WHERE rule = '@guard_held'")
    assert [(bool(row[0]), msgspec.json.decode(row[1])["max"]) for row in rows] == [(False, MOST)]


async def test_a_guard_counts_over_the_site_and_not_within_one_tenant(client: AsyncClient, stage: Stage) -> None:
    """The window empties: ten minutes later those that waited are cut by the rule itself, where it still holds."""
    await dormitory(stage)
    stage.clock.at += WORKING_DAY_MS
    await read_all(stage, 1)
    stage.clock.at += 15 * MINUTE
    await read_all(stage, 5_000)
    stage.clock.at += 11 * MINUTE
    await read_all(stage, 5_001)
    assert len(await cut(stage)) == len(ROOMS)
    assert await stage.held_firings.clear_settled(SITE, stage.clock.now()) == ["room-arrears"]

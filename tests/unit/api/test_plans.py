"""Schedules and load limits over HTTP: previewed, named, given to circuits, kept by the registry."""

from __future__ import annotations

from typing import Any

from httpx import AsyncClient, Response

from tests.unit.api.parks import SITE
from tests.unit.api.stage import ADMIN, START, Stage, bearer
from tests.unit.api.test_switching import obey, powered
from twin.core.messages import Tick

__all__ = ["powered"]

BASE = f"/api/v1/sites/{SITE}"
SCHEDULES = f"{BASE}/plans/schedules"
NIGHT: dict[str, Any] = {"off": [{"times": ["23:00-06:00"]}], "special": [{"dates": "2026-01-03", "times": []}]}
HOUR = 3_600_000
"""START is 2026-01-02 08:00 in Shanghai, a Friday."""


async def put(client: AsyncClient, name: str, plan: dict[str, Any], key: str = "k", **headers: str) -> Response:
    return await client.put(
        f"{SCHEDULES}/{name}",
        json={**plan, "reason": "lights out"},
        headers={**ADMIN, "Idempotency-Key": key, **headers},
    )


async def assign(
    client: AsyncClient, plan: str | None, *devices: str, key: str = "a", kind: str = "schedules"
) -> Response:
    body = {"devices": list(devices), "plan": plan, "reason": "room"}
    return await client.post(f"{BASE}/plans/{kind}/assignments", json=body, headers={**ADMIN, "Idempotency-Key": key})


async def test_a_draft_shows_its_next_days(client: AsyncClient) -> None:
    answer = await client.post(f"{SCHEDULES}/preview", json=NIGHT, headers=ADMIN, params={"days": 3})
    assert answer.status_code == 200, answer.text
    assert [row["words"] for row in answer.json()["off"]] == [
        "2026-01-02 周五 Fri 23:00 - 2026-01-03 06:00",
        "2026-01-04 周日 Sun 23:00 - 2026-01-05 06:00",
    ]
    limit = {"limit_w": 2000, "at": [{"limit_w": 200, "times": ["23:00-06:00"]}]}
    answer = await client.post(f"{BASE}/plans/limits/preview", json=limit, headers=ADMIN, params={"days": 1})
    assert [(row["words"][-5:], row["limit_w"]) for row in answer.json()["limits"]] == [
        ("23:00", 2000),
        ("06:00", 200),
        ("08:00", 2000),
    ]


async def test_what_is_no_plan_says_where(client: AsyncClient) -> None:
    for plan, field in (
        ({"off": [{"times": ["25:00-26:00"]}]}, "times"),
        ({"off": [{"dates": "holidays/XX"}]}, "dates"),
        ({"limit_w": 5}, "off"),
        ({**NIGHT, "limit_w": 5}, "limit_w"),
        ({"off": []}, "off"),
    ):
        answer = await put(client, "night", plan)
        assert (answer.status_code, answer.json()["errors"][0]["field"].split(".")[-1]) == (422, field), answer.text


async def test_a_circuit_with_a_schedule_is_off_by_it_and_on_again(client: AsyncClient, powered: Stage) -> None:
    assert (await put(client, "night", NIGHT)).json()["groups"] == 0
    answer = await assign(client, "night", "em-001")
    assert (answer.status_code, answer.json()["groups"]) == (200, 1)
    again = await assign(client, "night", "em-001")
    assert again.headers["Idempotency-Hit"] == "true"
    plan = (await client.get(f"{BASE}/devices/em-001/plan", headers=ADMIN, params={"days": 1})).json()
    assert (plan["schedule"], len(plan["off"]), plan["locked_until"]) == ("night", 1, None)

    powered.clock.at = START + 15 * HOUR
    await powered.play("t-001", Tick())
    twin = (await client.get(f"{BASE}/devices/em-001", headers=ADMIN)).json()
    lock = twin["wanted"]["locks"]["schedule"]
    assert (lock["who"], lock["why"], lock["until"]) == ("calendar/schedule", "schedule night", START + 22 * HOUR)
    await obey(powered, "em-001", "open")
    plan = (await client.get(f"{BASE}/devices/em-001/plan", headers=ADMIN)).json()
    assert plan["locked_until"] == START + 22 * HOUR

    hand = await client.post(
        f"{BASE}/devices/em-001/commands",
        json={"target": "closed", "reason": "a party"},
        headers={**ADMIN, "Idempotency-Key": "hand"},
    )
    assert (hand.status_code, hand.json()["locks"]) == (409, ["schedule"])
    assert (await assign(client, None, "em-001", key="off")).status_code == 200
    twin = (await client.get(f"{BASE}/devices/em-001", headers=ADMIN)).json()
    assert twin["wanted"]["locks"] == {}


async def test_a_plan_in_use_stays_and_one_nobody_knows_is_refused(client: AsyncClient, powered: Stage) -> None:
    await put(client, "night", NIGHT)
    await assign(client, "night", "em-001")
    gone = {"reason": "no more"}
    answer = await client.delete(f"{SCHEDULES}/night", params=gone, headers={**ADMIN, "Idempotency-Key": "d1"})
    assert (answer.status_code, answer.json()["code"]) == (409, "plan_in_use")
    assert (await assign(client, "nights", "em-001", key="x")).json()["code"] == "plan"
    assert (await assign(client, "night", "em-999", key="y")).json()["code"] == "unknown_device"
    await assign(client, None, "em-001", key="z")
    answer = await client.delete(f"{SCHEDULES}/night", params=gone, headers={**ADMIN, "Idempotency-Key": "d2"})
    assert answer.status_code == 200
    answer = await client.delete(f"{SCHEDULES}/night", params=gone, headers={**ADMIN, "Idempotency-Key": "d3"})
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_plan")


async def test_the_site_file_tells_what_people_have_set(client: AsyncClient, powered: Stage) -> None:
    await put(client, "night", NIGHT)
    await assign(client, "night", "em-001", "wm-001")
    document = await powered.registry.document(SITE)
    assert document.site["schedules"] == {"night": NIGHT}
    assert [entry["id"] for entry in document.site["devices"] if entry.get("schedule") == "night"] == [
        "em-001",
        "wm-001",
    ]
    assert (await powered.registry.difference(document)).lines == ()
    listed = (await client.get(f"{BASE}/plans", headers=ADMIN)).json()
    assert listed["schedules"]["night"]["devices"] == ["em-001", "wm-001"]


async def test_a_limit_sets_the_parameter_of_the_rules_by_the_clock(client: AsyncClient, powered: Stage) -> None:
    limit = {"limit_w": 2000, "at": [{"limit_w": 200, "times": ["23:00-06:00"]}], "reason": "old cables"}
    answer = await client.put(f"{BASE}/plans/limits/old", json=limit, headers={**ADMIN, "Idempotency-Key": "l"})
    assert answer.status_code == 200
    assert (await assign(client, "old", "em-001", kind="limits")).status_code == 200
    assert await _limit(powered) == 2000
    powered.clock.at = START + 15 * HOUR
    await powered.play("t-001", Tick())
    assert await _limit(powered) == 200


async def _limit(stage: Stage) -> object:
    return (await stage.store.load(SITE, ["t-001"]))["t-001"].meters["em-001"].params["limit_w"]


async def test_roles(client: AsyncClient, powered: Stage) -> None:
    om = bearer(await powered.token("om"))
    assert (await put(client, "night", NIGHT, **om)).status_code == 403
    assert (await client.get(f"{BASE}/plans", headers=om)).status_code == 200

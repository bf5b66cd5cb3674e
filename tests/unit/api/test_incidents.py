"""Incidents closed by people: off the twin, off the alarms, with a reason, once; only by those who may."""

from __future__ import annotations

from httpx import AsyncClient

from tests.unit.api.parks import SITE
from tests.unit.api.stage import ADMIN, START, Stage
from twin.lost_acts import Loss

URL = f"/api/v1/sites/{SITE}/incidents"


def keyed(key: str, who: dict[str, str] = ADMIN) -> dict[str, str]:
    return {**who, "Idempotency-Key": key}


async def a_wrong_clock(stage: Stage) -> None:
    """The meter's clock is two days behind what it said before, and its register goes on."""
    await stage.connect("t-001", "em-001")
    await stage.read("t-001", "em-001", 1, import_wh=120_000, power_w=0)
    now = stage.clock.now()
    stage.clock.at = now - 2 * 86_400_000
    await stage.read("t-001", "em-001", 2, import_wh=120_050, power_w=0)
    stage.clock.at = now + 60_000
    await stage.post()


async def open_ones(client: AsyncClient, kind: str) -> list[dict]:
    rows = (await client.get(URL, params={"open": "true"}, headers=ADMIN)).json()["items"]
    return [row for row in rows if row["kind"] == kind]


async def test_a_closed_incident_is_off_the_twin_and_says_who_and_why(client: AsyncClient, stage: Stage) -> None:
    await a_wrong_clock(stage)
    (row,) = await open_ones(client, "clock_behind")
    body = {"reason": "clock set by hand"}
    answer = await client.post(f"{URL}/{row['id']}/close", json=body, headers=keyed("a"))
    assert answer.status_code == 202, answer.text
    assert (answer.json()["closed_by"], answer.json()["closed_why"]) == ("admin", "clock set by hand")
    assert answer.json()["resolved"] == stage.clock.now()
    assert await open_ones(client, "clock_behind") == []
    group = (await stage.store.load(SITE, ["t-001"]))["t-001"]
    assert "clock_behind" not in group.meters["em-001"].incidents
    again = await client.post(f"{URL}/{row['id']}/close", json=body, headers=keyed("a"))
    assert again.headers["Idempotency-Hit"] == "true"
    assert again.json() == answer.json()
    over = await client.post(f"{URL}/{row['id']}/close", json=body, headers=keyed("b"))
    assert (over.status_code, over.json()["code"]) == (409, "incident_over")
    await stage.post()
    assert await open_ones(client, "clock_behind") == [], "the ledger does not open it again"
    page = await stage.queries.audit(SITE, limit=5)
    assert page.items[0].what == "incident.close"


async def test_if_the_cause_is_still_there_a_new_one_opens(client: AsyncClient, stage: Stage) -> None:
    await a_wrong_clock(stage)
    (row,) = await open_ones(client, "clock_behind")
    await client.post(f"{URL}/{row['id']}/close", json={"reason": "x"}, headers=keyed("a"))
    now, stage.clock.at = stage.clock.now(), START - 86_400_000
    await stage.read("t-001", "em-001", 3, import_wh=120_100, power_w=0)
    stage.clock.at = now
    await stage.post()
    (new,) = await open_ones(client, "clock_behind")
    assert new["id"] != row["id"]


async def test_ledger_went_back_is_closed_by_those_who_book_payments(client: AsyncClient, stage: Stage) -> None:
    await stage.marks.record(SITE, [Loss("t-001", "t-001", 4, 5, 19 * 10**9, ())], stage.clock.now())
    (row,) = await open_ones(client, "ledger_went_back")
    secret = await stage.token("om")
    refused = await client.post(
        f"{URL}/{row['id']}/close", json={"reason": "x"}, headers=keyed("a", {"Authorization": f"Bearer {secret}"})
    )
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    secret = await stage.token("finance")
    closed = await client.post(
        f"{URL}/{row['id']}/close",
        json={"reason": "booked again from the statement"},
        headers=keyed("b", {"Authorization": f"Bearer {secret}"}),
    )
    assert closed.status_code == 202, closed.text
    alarms = (await stage.alarms.page(SITE, now=stage.clock.now(), active=True)).items
    assert [alarm for alarm in alarms if alarm.rule == "@ledger_went_back"] == []
    metrics = (await client.get("/metrics")).text
    assert f'twinmeter_ledger_went_back{{site="{SITE}"}} 0.0' in metrics


async def test_what_is_refused(client: AsyncClient, stage: Stage) -> None:
    unknown = await client.post(f"{URL}/99/close", json={"reason": "x"}, headers=keyed("a"))
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_incident")
    empty = await client.post(f"{URL}/99/close", json={"reason": " "}, headers=keyed("b"))
    assert empty.status_code == 422
    keyless = await client.post(f"{URL}/99/close", json={"reason": "x"}, headers=ADMIN)
    assert keyless.status_code == 422

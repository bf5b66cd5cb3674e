"""Alarms over HTTP: filters, care with idempotency keys, roles, and what the live feed tells of it."""

from __future__ import annotations

import pytest
from httpx import AsyncClient

from api.http.routes.events import Follower
from api.stream.sse import OF_STAFF, TYPES
from tests.unit.api.parks import SITE
from tests.unit.api.stage import ADMIN, START, Stage, bearer
from twin.core.effects import AlarmCareChanged, AlarmChanged
from twin.ports import Entry

ALARMS = f"/api/v1/sites/{SITE}/alarms"
HOUR = 3_600_000


async def raise_alarm(stage: Stage, severity: str = "minor", number: int = 1) -> int:
    """Post an alarm about em-001; returns its id."""
    alarm = AlarmChanged("volts", 1, "em-001", START + number, START + number, severity, True, "t-001")
    await stage.ledger.post(SITE, [Entry(f"{START + number}-0", "t-001", (alarm,))])
    page = await stage.alarms.page(SITE, now=START, shelved="shown")
    return page.items[0].id


def keyed(key: str, headers: dict[str, str] = ADMIN) -> dict[str, str]:
    return {**headers, "Idempotency-Key": key, "Accept-Language": "en"}


async def test_the_life_of_an_alarm(client: AsyncClient, stage: Stage) -> None:
    alarm = await raise_alarm(stage)
    one = f"{ALARMS}/{alarm}"
    answer = await client.post(f"{one}/ack", json={"text": "seen"}, headers=keyed("a"))
    assert answer.status_code == 202
    assert answer.json()["acknowledged"] is True
    assigned = await client.post(f"{one}/assign", json={"assignee": "wang"}, headers=keyed("b"))
    assert assigned.json()["assignee"] == "wang"
    await client.post(f"{one}/comments", json={"text": "电工已到场"}, headers=keyed("c"))
    until = START + HOUR
    shelved = await client.post(f"{one}/shelve", json={"reason": "repair", "until": until}, headers=keyed("d"))
    assert (shelved.json()["shelved"], shelved.json()["shelved_until"]) == (True, until)
    assert (await client.get(ALARMS, headers=ADMIN)).json()["items"] == []
    shown = (await client.get(f"{ALARMS}?shelved=only&assignee=wang&acknowledged=true", headers=ADMIN)).json()["items"]
    assert [row["id"] for row in shown] == [alarm]
    assert (await client.get(one, headers=ADMIN)).json() == shown[0]
    notes = (await client.get(f"{one}/notes", headers=ADMIN)).json()["items"]
    assert [(note["what"], note["text"]) for note in notes] == [
        ("shelve", "repair"), ("comment", "电工已到场"), ("assign", "wang"), ("ack", "seen"),
    ]  # fmt: skip
    assert notes[0]["who"] == "admin"
    ended = await client.post(f"{one}/unshelve", json={}, headers=keyed("e"))
    assert ended.json()["shelved"] is False
    assert [row["id"] for row in (await client.get(ALARMS, headers=ADMIN)).json()["items"]] == [alarm]
    again = await client.post(f"{one}/unshelve", json={}, headers=keyed("f"))
    assert (again.status_code, again.json()["code"]) == (409, "not_shelved")
    assert (await client.post(f"{one}/unack", json={}, headers=keyed("g"))).json()["acknowledged"] is False


async def test_a_shelf_ends_by_itself(client: AsyncClient, stage: Stage) -> None:
    alarm = await raise_alarm(stage)
    await client.post(f"{ALARMS}/{alarm}/shelve", json={"reason": "repair", "until": START + HOUR}, headers=keyed("a"))
    stage.clock.at = START + HOUR - 1
    assert (await client.get(ALARMS, headers=ADMIN)).json()["items"] == []
    stage.clock.at = START + HOUR
    assert len((await client.get(ALARMS, headers=ADMIN)).json()["items"]) == 1


async def test_the_same_key_does_it_once(client: AsyncClient, stage: Stage) -> None:
    alarm = await raise_alarm(stage)
    first = await client.post(f"{ALARMS}/{alarm}/comments", json={"text": "x"}, headers=keyed("a"))
    second = await client.post(f"{ALARMS}/{alarm}/comments", json={"text": "x"}, headers=keyed("a"))
    assert (second.json(), second.headers["Idempotency-Hit"]) == (first.json(), "true")
    other = await client.post(f"{ALARMS}/{alarm}/comments", json={"text": "y"}, headers=keyed("a"))
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    assert len((await client.get(f"{ALARMS}/{alarm}/notes", headers=ADMIN)).json()["items"]) == 1


@pytest.mark.parametrize(
    ("call", "body", "field"),
    [
        ("shelve", {"reason": "  ", "until": START + HOUR}, "body"),
        ("shelve", {"reason": "x", "until": START}, "until"),
        ("shelve", {"reason": "x", "until": START + 91 * 24 * HOUR}, "until"),
        ("comments", {"text": ""}, "body"),
        ("assign", {}, "body"),
    ],
)
async def test_what_cannot_be_meant(client: AsyncClient, stage: Stage, call: str, body: dict, field: str) -> None:
    alarm = await raise_alarm(stage)
    answer = await client.post(f"{ALARMS}/{alarm}/{call}", json=body, headers=keyed("a"))
    assert (answer.status_code, answer.json()["code"]) == (422, "validation")
    assert field in (answer.json()["errors"][0]["field"], "body")


async def test_unknown_alarms_and_keys_that_are_missing(client: AsyncClient, stage: Stage) -> None:
    alarm = await raise_alarm(stage)
    answer = await client.post(f"{ALARMS}/999/ack", json={}, headers=keyed("a"))
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_alarm")
    assert (await client.get(f"{ALARMS}/999/notes", headers=ADMIN)).status_code == 404
    missing = await client.post(f"{ALARMS}/{alarm}/ack", json={}, headers=ADMIN)
    assert missing.json()["errors"][0]["field"] == "Idempotency-Key"


async def test_who_may_shelve(client: AsyncClient, stage: Stage) -> None:
    minor, critical = await raise_alarm(stage), await raise_alarm(stage, "critical", 2)
    om, finance = bearer(await stage.token("om")), bearer(await stage.token("finance"))
    body = {"reason": "x", "until": START + HOUR}
    refused = await client.post(f"{ALARMS}/{critical}/shelve", json=body, headers=keyed("a", om))
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert (await client.post(f"{ALARMS}/{critical}/shelve", json=body, headers=keyed("b"))).status_code == 202
    assert (await client.post(f"{ALARMS}/{minor}/shelve", json=body, headers=keyed("c", om))).status_code == 202
    assert (await client.post(f"{ALARMS}/{minor}/ack", json={}, headers=keyed("d", finance))).status_code == 403
    commented = await client.post(f"{ALARMS}/{minor}/comments", json={"text": "paid"}, headers=keyed("e", finance))
    assert commented.status_code == 202


async def test_the_live_feed_tells_of_care_and_not_to_tenants(client: AsyncClient, stage: Stage) -> None:
    alarm = await raise_alarm(stage)
    await client.post(f"{ALARMS}/{alarm}/shelve", json={"reason": "x", "until": START + HOUR}, headers=keyed("a"))
    stream = stage.stream.follow(SITE, "0-0")
    entries = []
    async for entry in stream:
        entries.append(entry)
        if any(isinstance(effect, AlarmCareChanged) for effect in entry.effects):
            break
    assert entries[-1].group == "t-001"
    staff = Follower(SITE, None, None, None, reset=False)
    assert b"event: care" in staff.shown(entries[-1])
    assert b"shelved_until" in staff.shown(entries[-1])
    tenant = Follower(SITE, None, TYPES - OF_STAFF, "t-001", reset=False)
    assert tenant.shown(entries[-1]) == b""


async def test_the_evidence_of_an_alarm_outlives_it(client: AsyncClient, stage: Stage) -> None:
    proof = {
        "kind": "power_step", "meter": "em-001", "at": START, "step_w": 1_500, "step_pf_milli": 998, "inrush_w": 1_510,
        "class": "malignant", "restored": False, "params": {"malignant_allow": ""}, "source": "stream",
        "before": [[START - 1_000, 100, 0]], "after": [[START, 1_600, 30], [START + 1_000, 1_601, None]],
    }  # fmt: skip
    for number, active in ((1, True), (2, False)):
        because = {"rule": "room-malignant"} | ({"evidence": proof} if active else {})
        alarm = AlarmChanged("room-malignant", 1, "em-001", START, START + number, "critical", active, "t-001", because)
        await stage.ledger.post(SITE, [Entry(f"{START + number}-0", "t-001", (alarm,))])
    page = await stage.alarms.page(SITE, now=START, shelved="shown")
    found = (await client.get(f"{ALARMS}/{page.items[0].id}/evidence", headers=ADMIN)).json()["evidence"]
    assert page.items[0].active is False
    assert (found["meter"], found["at"], found["step_class"], found["source"]) == (
        "em-001", START, "malignant", "stream",
    )  # fmt: skip
    assert found["after"][1] == {"at": START + 1_000, "power_w": 1_601, "idle_va": None}
    assert "恶性负载" in found["words"]["zh"]
    assert "increment factor 0.998" in found["words"]["en"]
    plain = await raise_alarm(stage, number=9)
    answer = await client.get(f"{ALARMS}/{plain}/evidence", headers=ADMIN)
    assert (answer.status_code, answer.json()) == (200, {"evidence": None})
    assert (await client.get(f"{ALARMS}/999999/evidence", headers=ADMIN)).status_code == 404

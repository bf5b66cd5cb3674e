"""Bulk switching over HTTP: the preview and its code, jobs and what may be done with them, the report."""

from __future__ import annotations

import io
from typing import Any

import openpyxl
import pytest
from httpx import AsyncClient, Response

from api.http.routes.events import Follower
from api.stream.sse import OF_STAFF, TYPES
from tests.unit.api.parks import SITE
from tests.unit.api.stage import ADMIN, Stage, bearer
from tests.unit.api.test_switching import obey, powered
from twin.core.effects import AlarmChanged

__all__ = ["powered"]

BASE = f"/api/v1/sites/{SITE}"
JOBS = f"{BASE}/switch-jobs"
WISH: dict[str, Any] = {"operation": "open", "select": {"devices": ["em-001"]}}


async def look(client: AsyncClient, wish: dict[str, Any] = WISH) -> dict[str, Any]:
    answer = await client.post(f"{BASE}/switch-previews", json=wish, headers=ADMIN)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def start(client: AsyncClient, wish: dict[str, Any] = WISH, key: str = "k", **more: Any) -> Response:
    code = more.pop("code", None) or (await look(client, wish))["code"]
    headers = more.pop("headers", ADMIN)
    body = {**wish, "code": code, "reason": "works at the main", "pause_s": 0, **more}
    return await client.post(JOBS, json=body, headers={**headers, "Idempotency-Key": key})


async def job(client: AsyncClient, name: str = "S1") -> dict[str, Any]:
    return (await client.get(f"{JOBS}/{name}", headers=ADMIN)).json()


async def test_open_watch_and_undo(client: AsyncClient, powered: Stage) -> None:
    seen = await look(client)
    assert (seen["taking_part"], seen["left_out"], seen["needs_approval"]) == (1, 0, False)
    answer = await start(client)
    assert answer.status_code == 202
    assert (answer.json()["id"], answer.json()["state"], answer.json()["can"]) == ("S1", "running", ["stop", "cancel"])
    again = await start(client, code=seen["code"])
    assert (again.json()["id"], again.headers["Idempotency-Hit"]) == ("S1", "true")

    await powered.switching.look()
    assert (await job(client))["tally"]["sent"] == 1
    twin = (await client.get(f"{BASE}/devices/em-001", headers=ADMIN)).json()
    assert twin["wanted"]["locks"]["manual"]["why"] == "works at the main [S1]"
    await obey(powered, "em-001", "open")
    await powered.switching.look()
    await powered.switching.look()
    done = await job(client)
    assert (done["state"], done["tally"]["verified"], done["can"]) == ("done", 1, ["undo"])

    undo = await client.post(
        f"{JOBS}/S1/undo", json={"reason": "works are over"}, headers={**ADMIN, "Idempotency-Key": "u"}
    )
    assert (undo.status_code, undo.json()["operation"], undo.json()["undo_of"]) == (202, "undo", "S1")
    await powered.switching.look()
    await obey(powered, "em-001", "closed")
    await powered.switching.look()
    await powered.switching.look()
    assert (await job(client, "S2"))["state"] == "done"
    listed = (await client.get(JOBS, headers=ADMIN, params={"limit": 1})).json()
    assert ([row["id"] for row in listed["items"]], listed["next"]) == (["S2"], "2")


async def test_who_is_left_out_and_why(client: AsyncClient, powered: Stage) -> None:
    seen = await look(client, {"operation": "close", "select": {"everything": True}})
    assert seen["taking_part"] == 0
    assert seen["skips"] == {"not_locked": seen["left_out"]}
    assert {row["zh"] for row in seen["skipped"]} == {"没有此类锁定"}
    nobody = await look(client, {"operation": "open", "select": {"devices": ["nobody"]}})
    assert [(row["device"], row["skip"]) for row in nobody["skipped"]] == [("nobody", "unknown_device")]
    refused = await start(client, {"operation": "close", "select": {"everything": True}})
    assert (refused.status_code, refused.json()["code"]) == (409, "nothing_to_switch")


@pytest.mark.parametrize(
    ("query", "devices"),
    [
        ("reading.power_w > 0", None),
        ('tenant.id == "t-001"', ["em-001", "wm-001"]),
        ('"manual" in breaker.locks', []),
        ('breaker.relay == "closed" && account.balance < money("0")', []),
    ],
)
async def test_a_query_selects_by_what_is_so(
    client: AsyncClient, powered: Stage, query: str, devices: list[str] | None
) -> None:
    wish = {"operation": "open", "select": {"query": query}}
    if devices is None:
        answer = await client.post(f"{BASE}/switch-previews", json=wish, headers=ADMIN)
        assert answer.status_code == 422, "a breaker has no readings of its own"
        assert answer.json()["errors"][0]["field"] == "select.query"
        return
    assert [row["device"] for row in (await look(client, wish))["affected"]] == devices


async def test_nothing_selected_is_not_everything(client: AsyncClient, powered: Stage) -> None:
    answer = await client.post(f"{BASE}/switch-previews", json={"operation": "open", "select": {}}, headers=ADMIN)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "select.selection")


async def test_what_is_ordered_is_what_somebody_has_seen(client: AsyncClient, powered: Stage) -> None:
    code = (await look(client))["code"]
    wish = {"operation": "open", "select": {"tenants": ["t-001"]}}
    refused = await start(client, wish, code=code)
    assert (refused.status_code, refused.json()["code"]) == (409, "preview_outdated")
    assert (await start(client, wish)).status_code == 202


async def test_stop_resume_cancel_and_the_report(client: AsyncClient, powered: Stage) -> None:
    await start(client, {"operation": "open", "select": {"tenants": ["t-001"]}}, wave=1, answer_s=30)
    await powered.switching.look()
    stopped = await client.post(f"{JOBS}/S1/stop", json={"reason": "one moment"}, headers=ADMIN)
    assert (stopped.json()["state"], stopped.json()["changed_why"]) == ("stopped", "one moment")
    await obey(powered, "em-001", "open")
    await powered.switching.look()
    tally = (await job(client))["tally"]
    assert (tally["verified"], tally["waiting"]) == (1, 1), "what is under way is watched while the job stands"
    await client.post(f"{JOBS}/S1/resume", json={"reason": "go on"}, headers=ADMIN)
    await powered.switching.look()
    powered.clock.at += 30_000
    await powered.switching.look()
    await powered.switching.look()
    done = await job(client)
    assert (done["state"], done["tally"]["silent"]) == ("done", 1)

    steps = (await client.get(f"{JOBS}/S1/steps", headers=ADMIN, params={"state": "silent"})).json()["items"]
    assert [(row["device"], row["reason"], row["reason_zh"]) for row in steps] == [
        ("wm-001", "no_answer", "设备无应答")
    ]
    text = (await client.get(f"{JOBS}/S1/report", headers=ADMIN, params={"format": "csv"})).content.decode("utf-8-sig")
    lines = text.splitlines()
    assert lines[1].startswith("wm-001,t-001,silent,"), "what somebody has to look at stands first"
    assert lines[2].startswith("em-001,t-001,verified,")
    assert lines[2].split(",")[10] == "open"
    sheet = (await client.get(f"{JOBS}/S1/report", headers=ADMIN)).content
    rows = list(openpyxl.load_workbook(io.BytesIO(sheet)).active.values)
    assert sum("wm-001" in row for row in rows) == 1
    refused = await client.post(f"{JOBS}/S1/cancel", json={"reason": "x"}, headers=ADMIN)
    assert (refused.status_code, refused.json()["code"]) == (409, "job_state")


async def told_by_feed(stage: Stage) -> list[AlarmChanged]:
    """What the stream that the live feed shows says of orders that halted."""
    await stage.delivery.sweep()
    entries = await stage.stream.peek(SITE, "0-0", 10_000)
    effects = [effect for entry in entries for effect in entry.effects]
    return [one for one in effects if isinstance(one, AlarmChanged) and one.rule == "@switching_halted"]


async def test_beyond_the_threshold_it_halts_and_an_alarm_says_so(client: AsyncClient, powered: Stage) -> None:
    wish = {"operation": "open", "select": {"tenants": ["t-001"]}}
    await start(client, wish, wave=1, answer_s=1, most_failures=0)
    await powered.switching.look()
    powered.clock.at += 1_000
    await powered.switching.look()
    halted = await job(client)
    assert (halted["state"], halted["reason"], halted["can"]) == (
        "halted",
        "too_many_failures",
        ["resume", "cancel", "undo"],
    )
    alarms = (await client.get(f"{BASE}/alarms", headers=ADMIN)).json()["items"]
    assert [(row["rule"], row["twin"]) for row in alarms] == [("@switching_halted", "S1")]
    told = await told_by_feed(powered)
    assert [(one.twin, one.severity, one.active, one.because["reason"]) for one in told] == [
        ("S1", "major", True, "too_many_failures")
    ]
    await client.post(f"{JOBS}/S1/cancel", json={"reason": "enough"}, headers=ADMIN)
    told = await told_by_feed(powered)
    assert [one.active for one in told] == [True, False]
    entry = next(one for one in await powered.stream.peek(SITE, "0-0", 10_000) if told[0] in one.effects)
    assert b"@switching_halted" in Follower(SITE, None, None, None, reset=False).shown(entry)
    assert b"@switching_halted" not in Follower(SITE, None, TYPES - OF_STAFF, entry.group, reset=False).shown(entry)
    assert told[0].since == told[1].since == alarms[0]["since"], "one alarm, raised and cleared"
    await powered.post()
    alarms = (await client.get(f"{BASE}/alarms", headers=ADMIN)).json()["items"]
    assert [row for row in alarms if row["active"]] == []


async def test_roles(client: AsyncClient, powered: Stage) -> None:
    finance, tenant = await powered.token("finance"), await powered.token("tenant", site=SITE, tenant="t-001")
    assert (await start(client, headers=bearer(finance))).status_code == 403
    await start(client)
    assert (await client.get(f"{JOBS}/S1", headers=bearer(finance))).status_code == 200
    assert (await client.get(f"{JOBS}/S1", headers=bearer(tenant))).status_code in (403, 404)
    assert (await client.get(f"{JOBS}/S9", headers=ADMIN)).json()["code"] == "unknown_job"

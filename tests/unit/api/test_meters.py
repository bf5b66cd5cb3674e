"""Meters over HTTP: who may, what is said back, and that a key acts once."""

from __future__ import annotations

from httpx import AsyncClient

from tests.unit.api.parks import SITE
from tests.unit.api.stage import ADMIN, Stage, bearer
from twin.core.messages import Telemetry
from twin.core.model import Group

PARK = f"/api/v1/sites/{SITE}"


async def group_of(stage: Stage, name: str) -> Group:
    """A group as it is now."""
    return (await stage.store.load(SITE, [name]))[name]


async def read(stage: Stage, meter: str, group: str, above: int, seq: int) -> int:
    """A live sample so far above what was read; returns its instant."""
    register = (await group_of(stage, group)).meters[meter].register
    now = stage.clock.now()
    await stage.play(group, Telemetry(meter, "s1", seq, now, {"import_wh": register.seen + above}, received_at=now))
    await stage.post()
    return now


async def test_a_reading_is_entered_once_and_seen_with_its_photo(client: AsyncClient, stage: Stage) -> None:
    now = await read(stage, "em-001", "t-001", 10, 1)
    seen = (await group_of(stage, "t-001")).meters["em-001"].register.seen
    body = {"reading": seen + 5_000, "ts": now, "reason": "checked on site", "photo": "doc-1", "photo_sha256": "a" * 64}
    keyed = {**ADMIN, "Idempotency-Key": "r1"}
    answers = [await client.post(f"{PARK}/meters/em-001/readings", json=body, headers=keyed) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json() == answers[1].json()
    assert answers[0].json()["facts"]["effect"] == "current"
    assert (await group_of(stage, "t-001")).meters["em-001"].register.seen == seen + 5_000
    events = (await client.get(f"{PARK}/meters/em-001/events", headers=ADMIN)).json()["items"]
    assert [(event["kind"], event["body"]["photo"]) for event in events] == [("reading", "doc-1")]


async def test_a_doubtful_reading_is_listed_and_decided(client: AsyncClient, stage: Stage) -> None:
    now = await read(stage, "em-001", "t-001", 10, 1)
    await read(stage, "em-001", "t-001", 90_000_000, 2)
    items = (await client.get(f"{PARK}/readings/review", headers=ADMIN)).json()["items"]
    assert [(item["meter"], item["reason"]) for item in items] == [("em-001", "implausible_rise")]
    body = {name: items[0][name] for name in ("meter", "ts", "sid", "seq")} | {"reason": "a glitch"}
    assert body["ts"] >= now
    unsaid = await client.post(
        f"{PARK}/readings/decisions", json={**body, "decision": "estimate"}, headers={**ADMIN, "Idempotency-Key": "d0"}
    )
    assert (unsaid.status_code, unsaid.json()["code"]) == (422, "validation")
    for key, status in (("d1", 202), ("d2", 409)):
        answer = await client.post(
            f"{PARK}/readings/decisions",
            json={**body, "decision": "reject"},
            headers={**ADMIN, "Idempotency-Key": key},
        )
        assert answer.status_code == status
    assert answer.json()["code"] == "reading_decided"
    assert (await client.get(f"{PARK}/readings/review", headers=ADMIN)).json()["items"] == []
    assert "implausible_rise" not in (await group_of(stage, "t-001")).meters["em-001"].incidents


async def test_a_hand_over_is_one_call_and_is_followed(client: AsyncClient, stage: Stage) -> None:
    now = await read(stage, "em-001", "t-001", 10, 1)
    body = {"from_tenant": "t-001", "to_tenant": "t-002", "meters": ["em-001"], "at": now, "reason": "sold"}
    answer = await client.post(f"{PARK}/handovers", json=body, headers={**ADMIN, "Idempotency-Key": "h1"})
    assert (answer.status_code, answer.json()["facts"]["handovers"]) == (202, {"em-001": "H1"})
    (row,) = (await client.get(f"{PARK}/handovers", headers=ADMIN)).json()["items"]
    assert (row["from_group"], row["to_group"], row["state"]) == ("t-001", "t-002", "releasing")
    await stage.post()
    await stage.delivery.sweep()
    await stage.post()
    (row,) = (await client.get(f"{PARK}/handovers", headers=ADMIN)).json()["items"]
    assert row["state"] == "done"
    assert "em-001" in (await group_of(stage, "t-002")).meters
    again = await client.post(f"{PARK}/handovers", json=body, headers={**ADMIN, "Idempotency-Key": "h2"})
    assert (again.status_code, again.json()["code"]) == (409, "handover")


async def test_who_may(client: AsyncClient, stage: Stage) -> None:
    now = stage.clock.now()
    for role, path, body, status in (
        ("om", "/handovers", {"at": now, "reason": "x", "from_tenant": "t-001"}, 403),
        ("finance", "/meters/em-001/replacement", {"ts": now, "opening": 0, "reason": "x"}, 403),
        ("om", "/meters/em-777/readings", {"ts": now, "reading": 0, "reason": "x"}, 404),
    ):
        secret = await stage.token(role, name=f"{role} {status}")
        headers = bearer(secret, **{"Idempotency-Key": "w1"})
        answer = await client.post(f"{PARK}{path}", json=body, headers=headers)
        assert answer.status_code == status, path

"""Firings that a guard holds back: seen by staff, let through by heads, once, and audited."""

from __future__ import annotations

import msgspec
from httpx import AsyncClient

from tests.unit.adapters.store.park import GUARDED
from tests.unit.api import parks
from tests.unit.api.parks import SITE
from tests.unit.api.stage import ADMIN, Stage, bearer
from twin.core.messages import DeviceEvent
from twin.flows.import_site import import_site

HELD = f"/api/v1/sites/{SITE}/held-firings"
HOUR = 3_600_000


async def only_a_guarded_rule(stage: Stage) -> None:
    """The park with no rule but one whose guard lets one of its firings through."""
    document = parks.document()
    document.rulesets.clear()
    document.rulesets["guarded"] = GUARDED
    document.site["rulesets"] = ["guarded"]
    await import_site(stage, document, who="test")
    await stage.policies.refresh_all()


async def two_trips(stage: Stage) -> tuple[str, str]:
    """Two meters whose rule is due at once, of which the guard lets one through; returns the one cut, the one held."""
    await only_a_guarded_rule(stage)
    em_1, em_2 = "em-001", "em-002"
    for group, device in (("t-001", em_1), ("t-002", em_2)):
        await stage.play(group, DeviceEvent(device, "trip", stage.clock.now()))
    await stage.post()
    return em_1, em_2


async def test_what_waits_is_seen_and_let_through(client: AsyncClient, stage: Stage) -> None:
    _, held = await two_trips(stage)
    items = (await client.get(HELD, headers=ADMIN)).json()["items"]
    assert [(row["rule"], row["scope"], row["twin"], row["approved"]) for row in items] == [
        ("trip", "meter", held, False)
    ]
    assert items[0]["because"]["gate"] == "guard"
    keyed = {**ADMIN, "Idempotency-Key": "k1"}
    body = {"rule": "trip", "twins": [held], "reason": "checked on site"}
    for _ in range(2):
        answer = await client.post(f"{HELD}/approvals", json=body, headers=keyed)
        assert (answer.status_code, answer.json()["items"]) == (202, [])
    assert answer.headers["Idempotency-Hit"] == "true"
    twin = (await stage.store.load(SITE, ["t-002"]))["t-002"]
    assert list(twin.breakers["br-001"].locks) == ["overload"]
    await stage.post()
    assert (await client.get(HELD, headers=ADMIN)).json()["items"] == []
    rows = await stage.database.fetch("SELECT who, what, subject, state_after FROM audit WHERE what = 'firing.approve'")
    assert [(row[0], row[2]) for row in rows] == [("admin", f"rule trip meter {held}")]
    assert msgspec.json.decode(rows[0][3])["why"] == "checked on site"


async def test_nobody_approves_what_does_not_wait_or_without_the_right(client: AsyncClient, stage: Stage) -> None:
    cut, held = await two_trips(stage)
    keyed = {**ADMIN, "Idempotency-Key": "k2"}
    body = {"rule": "trip", "twins": [cut], "reason": "why not"}
    answer = await client.post(f"{HELD}/approvals", json=body, headers=keyed)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "twins")
    staff = bearer(await stage.token("om"), **{"Idempotency-Key": "k3"})
    assert (await client.get(HELD, headers=staff)).status_code == 200
    body["twins"] = [held]
    assert (await client.post(f"{HELD}/approvals", json=body, headers=staff)).status_code == 403


async def test_an_approval_ends_and_does_not_reach_past_its_firing(stage: Stage) -> None:
    _, held = await two_trips(stage)
    waiting = await stage.held_firings.waiting(SITE)
    now = stage.clock.now()
    acts = await stage.held_firings.approve(SITE, waiting, who="w", why="y", until=now, now=now)
    await stage.delivery.deliver(acts)
    twin = (await stage.store.load(SITE, ["t-002"]))["t-002"]
    assert twin.breakers["br-001"].locks == {}, "an approval that has ended lets nothing through"
    assert twin.meters[held].rules["trip"].state == "deferred"

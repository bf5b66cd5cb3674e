"""Commands and locks over HTTP."""

from __future__ import annotations

import msgspec
import pytest
from httpx import AsyncClient, Response

from tests.unit.api.parks import SITE
from tests.unit.api.stage import ADMIN, Stage, bearer
from twin.core.messages import CommandAnswered, CommandSent, ContractsChanged, StateReported

DEVICES = f"/api/v1/sites/{SITE}/devices"
OPEN = {"target": "open", "reason": "work on the line"}
CLOSE = {"target": "closed", "reason": "work is done"}


@pytest.fixture
async def powered(stage: Stage) -> Stage:
    """Both actuators of t-001 are online and closed, and the meters have just reported."""
    await stage.connect("t-001", "em-001")
    await stage.connect("t-001", "wm-001")
    await stage.read("t-001", "em-001", 1, import_wh=120_001, power_w=100)
    await stage.read("t-001", "wm-001", 1, volume_l=3)
    return stage


async def command(client: AsyncClient, wish: dict, key: str, device: str = "em-001", **headers: str) -> Response:
    return await client.post(
        f"{DEVICES}/{device}/commands", json=wish, headers={**ADMIN, "Idempotency-Key": key, **headers}
    )


async def obey(stage: Stage, device: str, relay: str) -> None:
    """The device does what it is told, and proves it."""
    group = (await stage.store.load(SITE, ["t-001"]))["t-001"]
    sent = group.breakers[device].command
    assert sent is not None
    now = stage.clock.now()
    await stage.play(
        "t-001", CommandSent(device, sent.id, now), CommandAnswered(device, sent.id, "executed", now, relay)
    )
    await stage.play("t-001", StateReported(device, relay, now, "s1", "command"))
    stage.clock.at += 10_000
    await stage.read("t-001", device, 9, import_wh=120_001, power_w=0 if relay == "open" else 80)


async def test_a_person_opens_and_closes(client: AsyncClient, powered: Stage) -> None:
    answer = await command(client, OPEN, "k-1")
    assert answer.status_code == 202
    sent = answer.json()
    assert (sent["state"], sent["target"], sent["op"]) == ("created", "open", "breaker.set")
    twin = (await client.get(f"{DEVICES}/em-001", headers=ADMIN)).json()
    assert twin["wanted"]["target"] == "open"
    assert twin["wanted"]["locks"]["manual"]["who"] == "admin"
    assert twin["wanted"]["locks"]["manual"]["why"] == OPEN["reason"]
    assert twin["commanded"]["id"] == sent["id"]
    assert (twin["reported"]["relay"], twin["conn"]["state"]) == ("closed", "online")

    await obey(powered, "em-001", "open")
    twin = (await client.get(f"{DEVICES}/em-001", headers=ADMIN)).json()
    assert (twin["commanded"]["state"], twin["reported"]["relay"]) == ("verified", "open")
    tenant = (await client.get(f"/api/v1/sites/{SITE}/tenants/t-001", headers=ADMIN)).json()
    assert (tenant["locks"], tenant["state"]) == (["manual"], "OFF_MANUAL")

    back = (await command(client, CLOSE, "k-2")).json()
    assert (back["state"], back["target"]) == ("created", "closed")
    assert back["fence"] > sent["fence"]

    await powered.post()
    first = (await client.get(f"{DEVICES}/em-001/commands?limit=1", headers=ADMIN)).json()
    assert [row["id"] for row in first["items"]] == [back["id"]]
    rest = (await client.get(f"{DEVICES}/em-001/commands?cursor={first['next']}", headers=ADMIN)).json()
    assert [(row["id"], row["state"]) for row in rest["items"]] == [(sent["id"], "verified")]


async def test_the_same_key_does_it_once(client: AsyncClient, powered: Stage) -> None:
    first = await command(client, OPEN, "k-1")
    again = await command(client, OPEN, "k-1")
    assert (again.status_code, again.json()) == (202, first.json())
    other = await command(client, {**OPEN, "reason": "another"}, "k-1")
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    other = await command(client, CLOSE, "k-1")
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


async def test_a_valve_speaks_its_own_words(client: AsyncClient, powered: Stage) -> None:
    twin = (await client.get(f"{DEVICES}/wm-001", headers=ADMIN)).json()
    assert (twin["kind"], twin["reported"]["relay"], twin["wanted"]["target"]) == ("water_meter", "open", "open")
    assert twin["registers"]["unit"] == "l"
    shut = (await command(client, CLOSE, "k-1", "wm-001")).json()
    assert (shut["op"], shut["target"], shut["state"]) == ("valve.set", "closed", "created")
    twin = (await client.get(f"{DEVICES}/wm-001", headers=ADMIN)).json()
    assert twin["wanted"]["target"] == "closed"
    assert "manual" in twin["wanted"]["locks"]
    flowing = (await command(client, OPEN, "k-2", "wm-001")).json()
    assert (flowing["target"], flowing["state"]) == ("open", "created")
    assert flowing["fence"] > shut["fence"]


async def test_other_locks_are_named_and_stay(client: AsyncClient, powered: Stage) -> None:
    keyed = {**ADMIN, "Idempotency-Key": "l-1"}
    lock = {"kind": "maintenance", "reason": "seal missing"}
    placed = await client.post(f"{DEVICES}/em-001/locks", json=lock, headers=keyed)
    assert placed.status_code == 202
    assert placed.json()["target"] == "open"
    assert placed.json()["locks"]["maintenance"]["why"] == "seal missing"
    assert (await command(client, OPEN, "k-1")).json()["state"] == "created"
    refused = await command(client, CLOSE, "k-2")
    assert (refused.status_code, refused.json()["code"], refused.json()["locks"]) == (409, "locked", ["maintenance"])
    twin = (await client.get(f"{DEVICES}/em-001", headers=ADMIN)).json()
    assert sorted(twin["wanted"]["locks"]) == ["maintenance", "manual"]
    gone = await client.delete(
        f"{DEVICES}/em-001/locks/maintenance?reason=sealed", headers={**ADMIN, "Idempotency-Key": "l-2"}
    )
    assert (gone.status_code, list(gone.json()["locks"])) == (202, ["manual"])
    assert (await command(client, CLOSE, "k-2")).status_code == 202


async def test_closing_is_repeated_as_it_was_answered(client: AsyncClient, powered: Stage) -> None:
    await command(client, OPEN, "k-1")
    await obey(powered, "em-001", "open")
    first = await command(client, CLOSE, "k-2")
    await client.post(
        f"{DEVICES}/em-001/locks",
        json={"kind": "maintenance", "reason": "again"},
        headers={**ADMIN, "Idempotency-Key": "l-1"},
    )
    again = await command(client, CLOSE, "k-2")
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["idempotency-hit"] == "true"
    assert (await command(client, CLOSE, "k-3")).json()["code"] == "locked"


async def test_what_is_so_already_needs_no_command(client: AsyncClient, powered: Stage) -> None:
    await command(client, OPEN, "k-1")
    await obey(powered, "em-001", "open")
    lock = {"kind": "maintenance", "reason": "seal missing"}
    await client.post(f"{DEVICES}/em-001/locks", json=lock, headers={**ADMIN, "Idempotency-Key": "l-1"})
    await client.delete(f"{DEVICES}/em-001/locks/manual?reason=x", headers={**ADMIN, "Idempotency-Key": "l-2"})
    powered.clock.at += 60_000
    answer = (await command(client, OPEN, "k-2")).json()
    assert (answer["id"], answer["state"]) == (None, "satisfied")
    gone = await client.delete(f"{DEVICES}/em-001/locks/schedule?reason=x", headers={**ADMIN, "Idempotency-Key": "l-3"})
    assert (gone.status_code, gone.json()["code"]) == (404, "unknown_lock")


async def test_a_changed_twin_is_not_switched(client: AsyncClient, powered: Stage) -> None:
    etag = (await client.get(f"{DEVICES}/em-001", headers=ADMIN)).headers["etag"]
    stale = await command(client, OPEN, "k-1", **{"If-Match": '"1"'})
    assert (stale.status_code, stale.json()["code"], stale.headers["etag"]) == (412, "revision_mismatch", etag)
    assert (await command(client, OPEN, "k-1", **{"If-Match": etag})).status_code == 202


async def test_nothing_to_switch(client: AsyncClient, powered: Stage) -> None:
    answer = await command(client, OPEN, "k-1", "em-002")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_switchable")
    answer = await command(client, OPEN, "k-1", "em-404")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_device")
    await powered.play("t-001", StateReported("em-001", "open", powered.clock.now() + 1, "s1", "trip"))
    answer = await command(client, CLOSE, "k-2")
    assert (answer.status_code, answer.json()["code"]) == (409, "opened_on_site")


async def test_nobody_locks_for_money_what_is_guaranteed(client: AsyncClient, powered: Stage) -> None:
    group = (await powered.store.load(SITE, ["t-001"]))["t-001"]
    now = powered.clock.now()
    promised = msgspec.structs.replace(group.contract, protected_until=now + 3_600_000)
    parts = (tuple(group.meter_contracts.values()), tuple(group.breaker_contracts.values()))
    await powered.play("t-001", ContractsChanged(group.acts_seq + 1, now, promised, *parts, None, {}))
    for kind in ("credit", "schedule"):
        lock = {"kind": kind, "reason": "the board wants it"}
        refused = await client.post(f"{DEVICES}/em-001/locks", json=lock, headers={**ADMIN, "Idempotency-Key": kind})
        assert (refused.status_code, refused.json()["code"]) == (409, "supply_guaranteed")
    powered.clock.at += 3_600_000
    lock = {"kind": "credit", "reason": "the guarantee is over"}
    placed = await client.post(f"{DEVICES}/em-001/locks", json=lock, headers={**ADMIN, "Idempotency-Key": "later"})
    assert placed.status_code == 202


async def test_nobody_loses_water_for_money(client: AsyncClient, powered: Stage) -> None:
    for kind, status in (("credit", 409), ("maintenance", 202)):
        lock = {"kind": kind, "reason": "arrears"}
        answer = await client.post(f"{DEVICES}/wm-001/locks", json=lock, headers={**ADMIN, "Idempotency-Key": kind})
        assert answer.status_code == status
        assert status == 202 or answer.json()["code"] == "water_kept"


async def test_a_credit_lock_is_for_heads_only(client: AsyncClient, powered: Stage) -> None:
    engineer = bearer(await powered.token("om"), **{"Idempotency-Key": "l-1"})
    lock = {"kind": "credit", "reason": "arrears"}
    refused = await client.post(f"{DEVICES}/em-001/locks", json=lock, headers=engineer)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    placed = await client.post(f"{DEVICES}/em-001/locks", json=lock, headers={**ADMIN, "Idempotency-Key": "l-1"})
    assert placed.status_code == 202
    refused = await client.delete(f"{DEVICES}/em-001/locks/credit?reason=mercy", headers=engineer)
    assert refused.status_code == 403
    overload = {"kind": "overload", "reason": "only the platform places it"}
    answer = await client.post(f"{DEVICES}/em-001/locks", json=overload, headers={**ADMIN, "Idempotency-Key": "l-2"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "kind")
    ended = {"kind": "manual", "reason": "too late", "until": powered.clock.now()}
    answer = await client.post(f"{DEVICES}/em-001/locks", json=ended, headers={**ADMIN, "Idempotency-Key": "l-3"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "until")


async def test_who_works_on_the_line_has_a_lock_of_his_own(client: AsyncClient, powered: Stage) -> None:
    lock = {"kind": "maintenance", "reason": "a new fuse"}
    wang = bearer(await powered.token("manager", name="Wang"), **{"Idempotency-Key": "k-1"})
    assert (await client.post(f"{DEVICES}/em-001/locks", json=lock, headers=wang)).status_code == 202
    refused = await client.post(f"{DEVICES}/em-001/locks", json=lock, headers={**ADMIN, "Idempotency-Key": "k-1"})
    assert (refused.status_code, refused.json()["code"]) == (409, "locked_by_another")
    assert "Wang" in refused.json()["detail"]
    own = {"kind": "manual", "reason": "the terminals"}
    assert (
        await client.post(f"{DEVICES}/em-001/locks", json=own, headers={**ADMIN, "Idempotency-Key": "k-2"})
    ).status_code == 202
    done = await client.delete(
        f"{DEVICES}/em-001/locks/maintenance", params={"reason": "done"}, headers={**wang, "Idempotency-Key": "k-2"}
    )
    assert list(done.json()["locks"]) == ["manual"]

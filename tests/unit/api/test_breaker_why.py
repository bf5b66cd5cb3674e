"""Why a breaker is open, and what would close it: over HTTP, for staff and for tenants, and by pure facts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from httpx import AsyncClient

from api.http.permissions import may, roles_that_release
from tests.unit.api.parks import SITE
from tests.unit.api.stage import ADMIN, Stage, bearer
from twin.core.breaker_why import BreakerWhy, NotSwitchableError, breaker_why
from twin.core.messages import CommandAnswered, CommandSent, StateReported
from twin.core.model import Group, Lock
from twin.flows import breaker_why as asked
from twin.flows.breaker_why import explain_breaker
from twin.flows.breaker_words import NEEDS, RELEASES, VERDICTS, breaker_sentences
from twin.flows.explain_rules import Moment, UnknownTwinError

WHY = f"/api/v1/sites/{SITE}/devices/em-001/why"
ROLES_BY_KIND = {"credit": ("owner", "manager"), "manual": ("owner", "manager", "om")}


@pytest.fixture
async def powered(stage: Stage) -> Stage:
    await stage.connect("t-001", "em-001")
    await stage.read("t-001", "em-001", 1, import_wh=120_001, power_w=100)
    return stage


async def ask(client: AsyncClient, **headers: str) -> Any:
    answer = await client.get(WHY, headers=headers or ADMIN)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def group_of(stage: Stage) -> Group:
    return (await stage.store.load(SITE, ["t-001"]))["t-001"]


async def obey(stage: Stage, relay: str) -> None:
    sent = (await group_of(stage)).breakers["em-001"].command
    assert sent is not None
    now = stage.clock.now()
    await stage.play("t-001", CommandSent("em-001", sent.id, now))
    await stage.play("t-001", CommandAnswered("em-001", sent.id, "received", now, ""))
    await stage.play("t-001", CommandAnswered("em-001", sent.id, "executed", now, relay))
    await stage.play("t-001", StateReported("em-001", relay, now, "s1", "command"))
    stage.clock.at += 10_000
    await stage.read("t-001", "em-001", 999, import_wh=255_001, power_w=0 if relay == "open" else 80)


async def run_dry(stage: Stage) -> None:
    """The opening credit is used up, the grace passes, and the cutoff is carried out in office hours."""
    for hour in range(120):
        stage.clock.at += 3_600_000
        await stage.read("t-001", "em-001", 10 + hour, import_wh=120_001 + 9_000 * min(hour, 15), power_w=10)
        if (await group_of(stage)).breakers["em-001"].locks:
            return
    raise AssertionError("nothing was cut")


async def test_a_supplied_breaker_says_so(client: AsyncClient, powered: Stage) -> None:
    await powered.play("t-001", StateReported("em-001", "closed", powered.clock.now(), "s1", "boot"))
    told = await ask(client)
    assert (told["verdict"], told["position"], told["locks"], told["needs"]) == ("supplied", "closed", [], [])
    assert told["text"]["zh"].startswith("用电（em-001）正常供应")


async def test_arrears_name_the_rule_the_sum_and_every_command(client: AsyncClient, powered: Stage) -> None:
    await run_dry(powered)
    await obey(powered, "open")
    await powered.post()
    told = await ask(client)
    assert told["verdict"] == "locked"
    lock = told["locks"][0]
    assert (lock["lock"], lock["rule"], lock["rule_version"]) == ("credit", "arrears-cutoff", 7)
    assert lock["record"]["inputs"]["account.balance"].startswith("-")
    top_up = next(way for way in lock["releases"] if way["kind"] == "top_up")
    assert float(top_up["amount"]) == pytest.approx(-float(told["balance"]) + 0.01, abs=0.01)
    assert float(top_up["amount"]) >= -float(told["balance"]) + 0.01
    assert next(way for way in lock["releases"] if way["kind"] == "person")["roles"] == ["owner", "manager"]
    command = told["commands"][0]
    assert (command["target"], command["state"]) == ("open", "verified")
    assert [step["state"] for step in command["steps"]] == ["created", "sent", "received", "executed", "verified"]
    assert command["record"]["rule"] == "arrears-cutoff"
    assert [(one["lock"], one["placed"]) for one in told["lock_changes"]] == [("credit", True)]
    assert told["reports"][0]["position"] == "open"
    assert "A top-up" in told["text"]["en"] or "a top-up of at least" in told["text"]["en"]
    assert "充值不少于" in told["text"]["zh"]


async def test_a_close_after_a_top_up_carries_its_rule_and_inputs(client: AsyncClient, powered: Stage) -> None:
    await run_dry(powered)
    await obey(powered, "open")
    pay = {"amount": "500.00", "channel": "cash", "reference": "R-1"}
    answer = await client.post(
        f"/api/v1/sites/{SITE}/tenants/t-001/topups", json=pay, headers={**ADMIN, "Idempotency-Key": "p"}
    )
    assert answer.status_code == 201, answer.text
    await powered.post()
    told = await ask(client)
    assert told["verdict"] == "closing"
    command = told["commands"][0]
    assert (command["target"], command["why"]["rule"], command["why"]["ver"]) == ("closed", "reconnect-on-recharge", 7)
    assert float(command["why"]["inputs"]["account.balance"]) > 0
    assert [one["placed"] for one in told["lock_changes"]] == [False, True]


async def test_a_tenant_reads_it_without_the_names_of_staff(client: AsyncClient, powered: Stage) -> None:
    wish = {"target": "open", "reason": "line work"}
    path = f"/api/v1/sites/{SITE}/devices/em-001/commands"
    assert (await client.post(path, json=wish, headers={**ADMIN, "Idempotency-Key": "k"})).status_code == 202
    await powered.post()
    whole = await ask(client)
    assert whole["locks"][0]["who"] == "admin"
    assert "admin" in whole["text"]["en"]
    secret = bearer(await powered.token("tenant", site=SITE, tenant="t-001"))
    mine = await ask(client, **secret)
    assert mine["locks"][0]["who"] == "staff"
    assert "admin" not in msgspec.json.encode(mine).decode()
    assert "物业" in mine["text"]["zh"]
    other = await client.get(f"/api/v1/sites/{SITE}/devices/br-001/why", headers=secret)
    assert other.json()["code"] == "unknown_device"


async def test_a_new_tenant_reads_nothing_of_the_former_one(client: AsyncClient, powered: Stage) -> None:
    await run_dry(powered)
    await obey(powered, "open")
    pay = {"amount": "500.00", "channel": "cash", "reference": "R-1"}
    tops = f"/api/v1/sites/{SITE}/tenants/t-001/topups"
    assert (await client.post(tops, json=pay, headers={**ADMIN, "Idempotency-Key": "p"})).status_code == 201
    await powered.post()
    powered.clock.at += 60_000
    await powered.read("t-001", "em-001", 2_000, import_wh=255_001, power_w=0)
    moved = {"from_tenant": "t-001", "to_tenant": "t-002", "meters": ["em-001"], "at": powered.clock.now()}
    handed = f"/api/v1/sites/{SITE}/handovers"
    answer = await client.post(handed, json={**moved, "reason": "sold"}, headers={**ADMIN, "Idempotency-Key": "h"})
    assert answer.status_code == 202, answer.text
    for _ in range(3):
        await powered.post()
        await powered.delivery.sweep()
    powered.clock.at += 60_000
    whole = await ask(client)
    assert (whole["tenant"], bool(whole["commands"]), bool(whole["lock_changes"])) == ("t-002", True, True)
    new = bearer(await powered.token("tenant", site=SITE, tenant="t-002"))
    mine = await ask(client, **new)
    assert mine["tenant"] == "t-002"
    assert (mine["commands"], mine["lock_changes"], mine["reports"]) == ([], [], [])
    assert "arrears-cutoff" not in msgspec.json.encode([mine["commands"], mine["lock_changes"]]).decode()
    listed = f"/api/v1/sites/{SITE}/devices/em-001/commands"
    assert (await client.get(listed, headers=ADMIN)).json()["items"]
    assert (await client.get(listed, headers=new)).json()["items"] == []
    old = bearer(await powered.token("tenant", site=SITE, tenant="t-001"))
    assert (await client.get(WHY, headers=old)).json()["code"] == "unknown_device"


async def test_the_past_of_somebody_else_is_nobodys_past(
    client: AsyncClient, powered: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    group, policy = await group_of(powered), await powered.policies.policy(SITE)

    async def before(*_: Any) -> Moment:
        return Moment(group, policy, {}, powered.clock.now() - 1)

    monkeypatch.setattr(asked, "moment_of", before)
    whole = await explain_breaker(powered, SITE, "em-001", 1, may_release={}, tenant="t-001")
    assert whole.tenant == "t-001"
    with pytest.raises(UnknownTwinError):
        await explain_breaker(powered, SITE, "em-001", 1, may_release={}, tenant="t-002")


async def test_a_device_is_shown_to_its_tenant_without_the_names_of_staff(client: AsyncClient, powered: Stage) -> None:
    device = f"/api/v1/sites/{SITE}/devices/em-001"
    wish = {"target": "open", "reason": "line work"}
    headers = {**ADMIN, "Idempotency-Key": "k"}
    assert (await client.post(f"{device}/commands", json=wish, headers=headers)).status_code == 202
    await powered.post()
    assert (await client.get(device, headers=ADMIN)).json()["wanted"]["locks"]["manual"]["who"] == "admin"
    secret = bearer(await powered.token("tenant", site=SITE, tenant="t-001"))
    shown, listed = await client.get(device, headers=secret), await client.get(f"{device}/commands", headers=secret)
    assert shown.json()["wanted"]["locks"]["manual"]["who"] == "staff"
    assert len(listed.json()["items"]) == 1
    assert "admin" not in shown.text + listed.text


async def test_what_has_no_switch_and_what_is_not_recorded(client: AsyncClient, powered: Stage) -> None:
    spare = await client.get(f"/api/v1/sites/{SITE}/devices/em-spare/why", headers=ADMIN)
    assert (spare.status_code, spare.json()["code"]) == (409, "not_switchable")
    past = await client.get(f"{WHY}?at=1000", headers=ADMIN)
    assert past.json()["code"] == "not_recorded"
    assert all(may(role, "explainBreaker") for role in ("owner", "manager", "finance", "om", "tenant"))
    assert roles_that_release("overload") == ("owner", "manager", "om")
    assert roles_that_release("credit") == ("owner", "manager")


async def facts(stage: Stage, **changes: Any) -> BreakerWhy:
    """The answer about a breaker that was changed by hand."""
    whole = await explain_breaker(stage, SITE, "em-001", may_release=ROLES_BY_KIND)
    group = await group_of(stage)
    breaker = msgspec.structs.replace(group.breakers["em-001"], **changes)
    changed = msgspec.structs.replace(group, breakers={**group.breakers, "em-001": breaker})
    policy = await stage.policies.policy(SITE)
    return breaker_why(
        *(changed, policy, {}, "em-001", stage.clock.now()),
        records={}, history=whole.history, may_release=ROLES_BY_KIND,
    )  # fmt: skip


async def test_every_lock_names_its_ends_and_every_need_is_told(powered: Stage) -> None:
    now = powered.clock.now()
    locks = {
        "malignant": Lock("rule", "malignant-load", now, rule="malignant-load", rule_version=7),
        "schedule": Lock("calendar/schedule", "night", now, until=now + 1_000),
        "warning": Lock("rule", "warning-cut", now, until=now + 5_000),
        "manual": Lock("lin", "works", now),
    }
    why = await facts(powered, locks=locks, relay="open", relay_since=now, retry_at=now + 9_000)
    ways = {lock.lock: {release.kind for release in lock.releases} for lock in why.locks}
    assert ways["schedule"] == {"ends"}
    assert {"ends", "confirm"} <= ways["warning"]
    assert ways["manual"] == {"person"}
    assert [(need.kind, need.at) for need in why.needs] == [("retry_later", now + 9_000)]
    powered.clock.at += 86_400_000
    stale = await facts(powered, locks=locks, relay=None)
    assert {"position_unknown", "reading_stale"} <= {need.kind for need in stale.needs}
    alone = await facts(powered, locks={}, relay="open", close=None, command=None)
    assert (alone.verdict, alone.needs[-1].kind) == ("opened_on_site", "close_on_site")
    zone = (await powered.policies.policy(SITE)).zone
    for told in (why, stale, alone):
        for language in ("zh", "en"):
            assert breaker_sentences(told, language, zone)
            assert "lin" not in breaker_sentences(told, language, zone, tenants=True).split()


async def test_a_meter_without_a_relay_is_no_breaker(powered: Stage) -> None:
    with pytest.raises(NotSwitchableError):
        await explain_breaker(powered, SITE, "em-002", may_release={})


def test_words_cover_every_case() -> None:
    from typing import get_args

    from twin.core import breaker_why as room

    assert set(VERDICTS) == set(get_args(room.Verdict))
    assert set(NEEDS) == set(get_args(room.NeedKind))
    assert set(RELEASES) == set(get_args(room.ReleaseKind))


async def test_a_tenant_reads_why_it_is_cut_without_the_names_of_staff(client: AsyncClient, powered: Stage) -> None:
    wish = {"target": "open", "reason": "line work"}
    path = f"/api/v1/sites/{SITE}/devices/em-001/commands"
    assert (await client.post(path, json=wish, headers={**ADMIN, "Idempotency-Key": "k"})).status_code == 202
    story = f"/api/v1/sites/{SITE}/tenants/t-001/why"
    whole = (await client.get(story, headers=ADMIN)).json()
    assert [lock["who"] for lock in whole["locks"]] == ["admin"]
    secret = bearer(await powered.token("tenant", site=SITE, tenant="t-001"))
    answer = await client.get(story, headers=secret)
    mine = answer.json()
    assert mine["cut"]
    assert [(lock["lock"], lock["who"], lock["why"]) for lock in mine["locks"]] == [("manual", "staff", "line work")]
    assert "admin" not in answer.text
    assert "line work" in mine["text"]["en"]

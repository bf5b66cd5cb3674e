"""Rules behind the API: versions and pointers; and the past, held against what was seen live at the same instants."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest
from httpx import AsyncClient

from api.http.permissions import ROLES, may
from schemas.topics import device_topic
from tests.unit.api.parks import SITE
from tests.unit.api.stage import ADMIN, Stage, bearer
from twin.core.effects import LockChanged
from twin.flows.explain_rules import explain
from twin.flows.policies import CompiledPolicies
from twin.flows.record_history import Recorder
from twin.flows.replay_rules import HistoryMissingError, groups_of_span, prepare, put_together, run_part
from twin.flows.replay_text import render_replay
from twin.flows.shadow_rules import ShadowRunner
from twin.flows.tenant_why import tenant_why
from twin.flows.trace_rules import looks
from twin.flows.trace_rules import render as render_looks
from twin.ports import TopUp

NAME = "residential-prepaid"
RULESETS = f"/api/v1/sites/{SITE}/rulesets"
MINUTE = 60_000
HOUR = 60 * MINUTE
MONDAY = 1_767_546_000_000
"""2026-01-05 01:00 in Shanghai; nothing is cut before 09:00 or after 16:00."""
ASKED = ("arrears-cutoff", "overload", "low-balance", "meter-offline", "reconnect-on-recharge")


class Delivery(msgspec.Struct, frozen=True):
    """A message as the broker gives it."""

    topic: str
    payload: bytes
    retain: bool = False


class Day:
    """A day of one shop on a stage: everything goes to the platform and to the recorder, as two subscribers get it."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.recorder = Recorder(stage.history, stage.registry, stage.clock, keep_days=62)
        self.recorder.linger_s = 0
        self.wh = 120_000
        self.seq = 0
        self.seen: list[tuple[int, str, dict[str, Any]]] = []

    async def send(self, device: str, verb: str, body: dict[str, Any]) -> None:
        """One message, decided on and recorded."""
        delivery = Delivery(device_topic(SITE, device, verb), msgspec.json.encode(body))
        await self.stage.ingest.handle([delivery])
        await self.recorder.handle([delivery])

    async def begin(self) -> None:
        """The meter comes online, on a Monday at one in the morning."""
        now = self.stage.clock.at = MONDAY
        await self.send("em-001", "conn", {"v": 1, "s": "online", "sid": "s1"})
        await self.send("em-001", "birth", {"v": 1, "sid": "s1", "ts": now, "kind": "electricity_meter",
                                            "relay": "closed", "fence": 0})  # fmt: skip

    async def quarter(self, used_wh: int, power_w: int) -> None:
        """A quarter of an hour passes, timers included, and ends with a reading; then people look."""
        clock = self.stage.clock
        until = clock.at + 15 * MINUTE
        while (due := await self.stage.store.next_due(SITE)) is not None and due <= until:
            clock.at = max(clock.at, due)
            await self.stage.pump.pump(SITE)
        clock.at = until
        self.wh += used_wh
        self.seq += 1
        channels = {"import_wh": self.wh, "power_w": power_w}
        await self.send("em-001", "tele", {"v": 1, "sid": "s1", "seq": self.seq, "ts": until, "d": channels})
        if self.seq % 2:
            return
        await self.stage.post()
        for rule in ASKED:
            for record in await explain(self.stage, SITE, rule, "t-001"):
                self.seen.append((until, rule, msgspec.to_builtins(record)))

    async def report(self, relay: str) -> None:
        """The relay moved."""
        body = {"v": 1, "sid": "s1", "ts": self.stage.clock.now(), "relay": relay}
        await self.send("em-001", "state", body)

    async def pay(self, amount_nano: int, key: str) -> None:
        """A payment at the desk."""
        stage = self.stage
        receipt = await stage.ledger.top_up(
            SITE, TopUp("t-001", amount_nano, "cash", key, key, "desk", stage.clock.now())
        )
        assert not receipt.repeated
        await stage.delivery.sweep()


async def a_day(stage: Stage) -> Day:
    """The credit of 100.00 is used up by Monday 09:00, an overload comes at noon and goes; the cutoff is due on Tuesday
    before office hours, comes with them, and ends with a payment."""
    day = Day(stage)
    await day.begin()
    for number in range(140):
        heavy = number in (44, 45)
        await day.quarter(3_900 if number < 31 else 100, 7_000 if heavy else 900)
        if number == 46:
            await day.report("open")
        if number == 130:
            await day.report("open")
        if number == 134:
            stage.clock.at += MINUTE
            await day.pay(200_000_000_000, "R-1")
    await stage.post()
    return day


@pytest.fixture
async def day(stage: Stage) -> Day:
    return await a_day(stage)


async def test_an_explanation_of_the_past_equals_what_was_said_then(stage: Stage, day: Day):
    """Also where the twins of that instant are long gone: every tenth moment of every rule."""
    states = {(rule, record["state"], record["gate"]) for _, rule, record in day.seen}
    assert ("arrears-cutoff", "pending", "pending") in states
    assert ("arrears-cutoff", "fired", "") in states
    assert ("overload", "fired", "") in states
    for at, rule, then in day.seen[::9]:
        found = await explain(stage, SITE, rule, "t-001", at)
        (now,) = [record for record in found if record.twin == then["twin"]]
        assert msgspec.to_builtins(now) == then, (rule, at)


async def test_an_instant_is_asked_for_inside_what_is_known(stage: Stage, day: Day):
    last = stage.clock.now()
    stage.clock.at += HOUR
    (quiet,) = await explain(stage, SITE, "overload", "em-001", last + 10 * MINUTE)
    assert quiet.at == last + 10 * MINUTE, "nothing came since, and that is no gap"
    with pytest.raises(HistoryMissingError, match="has not come yet; now is 2026-01-06T"):
        await explain(stage, SITE, "overload", "t-001", stage.clock.now() + 1)
    with pytest.raises(HistoryMissingError, match="history of this site goes from 2026-01-05T01:00"):
        await explain(stage, SITE, "overload", "t-001", MONDAY - HOUR)


async def test_every_look_of_a_rule_over_a_span_is_told(stage: Stage, day: Day):
    end = stage.clock.now() + 1
    found = await looks(stage, SITE, "overload", "em-001", MONDAY, end)
    assert sum(look.times for look in found) == 140, "one look a reading"
    states = [(look.gate, [clause.result for clause in look.clauses if "power_w" in clause.text]) for look in found]
    assert ("when", [False]) in states
    assert ("", [True]) in states
    heavy = next(look for look in found if look.gate == "")
    assert heavy.at in {MONDAY + number * 15 * MINUTE for number in (45, 46)}
    assert [look.twin for look in await looks(stage, SITE, "overload", "t-001", MONDAY, end)] == ["em-001"] * len(found)
    part = await looks(stage, SITE, "overload", "em-001", heavy.at, heavy.at + 1)
    assert [(look.at, look.times) for look in part] == [(heavy.at, 1)]
    text = render_looks(found, "en", stage_zone()).splitlines()
    assert len(text) == len(found)
    assert any("[passed]" in line and "7000 W" in line for line in text)
    assert "[通过]" in render_looks(found, "zh", stage_zone())
    with pytest.raises(LookupError, match="no rule 'nothing'"):
        await looks(stage, SITE, "nothing", "em-001", MONDAY, end)
    with pytest.raises(HistoryMissingError):
        await looks(stage, SITE, "overload", "em-001", MONDAY - HOUR, MONDAY - MINUTE)


async def test_a_replay_of_the_active_version_is_what_happened(stage: Stage, day: Day):
    sources = await stage.registry.policy_sources(SITE)
    candidate = copy.deepcopy(sources.rulesets[NAME])
    candidate["version"] += 1
    span = (MONDAY, stage.clock.now() + 1)
    plan = await prepare(stage.history, sources, candidate, *span, skew_ms=300_000)
    names = sorted(await groups_of_span(stage.past, plan))
    part = await run_part(stage.past, stage.history, plan, names)
    result = put_together(plan, [part])
    assert result.comparison.differences == []
    assert part.messages == 144
    lived = [
        (effect.ts, effect.breaker, effect.lock, effect.active)
        for entry in stage.store.redis.site(SITE).effects
        for effect in entry.effects
        if isinstance(effect, LockChanged)
    ]
    replayed = [
        (found.ts, found.twin, found.detail, found.kind in ("cut", "locked"))
        for found in part.active
        if found.kind in ("cut", "locked", "unlocked", "reconnected")
    ]
    assert replayed == lived
    assert {lock for _, _, lock, _ in lived} == {"credit", "overload"}
    charged = (await stage.store.load(SITE, ["t-001"]))["t-001"].tenant.charges_nano
    assert result.charged_nano == (charged, charged)
    assert "No differences" in render_replay(result, "en", stage_zone())


async def test_a_replay_shows_what_a_changed_rule_would_have_done(stage: Stage, day: Day):
    sources = await stage.registry.policy_sources(SITE)
    candidate = copy.deepcopy(sources.rulesets[NAME])
    candidate["version"] += 1
    candidate["params"]["limit_w"]["default"] = 8_000
    candidate["params"]["grace"]["default"] = "2h"
    begin = MONDAY + 2 * HOUR
    plan = await prepare(stage.history, sources, candidate, begin, stage.clock.now() + 1, skew_ms=300_000)
    parts = [
        await run_part(stage.past, stage.history, plan, [name])
        for name in sorted(await groups_of_span(stage.past, plan))
    ]
    result = put_together(plan, parts)
    found = {(one.kind, one.rule): one for one in result.comparison.differences}
    overload = found["cut", "overload"]
    assert overload.candidate_ts is None, "7 kW is no overload for the candidate"
    fired = found["fired", "arrears-cutoff"]
    assert fired.active_ts == MONDAY + 32 * HOUR, "Tuesday, when office hours begin"
    assert MONDAY + 9 * HOUR < fired.candidate_ts < MONDAY + 11 * HOUR, "two hours after it ran dry"
    assert result.comparison.rules[0].differences >= result.comparison.rules[-1].differences
    assert result.charges_differ == {}
    assert result.comparison.tenants[0].name == "t-001"
    zh, en = (render_replay(result, language, stage_zone()) for language in ("zh", "en"))
    assert "电费水费不受影响" in zh
    assert "only the active version" in en


def stage_zone():
    from zoneinfo import ZoneInfo

    return ZoneInfo("Asia/Shanghai")


async def test_a_shadow_run_follows_the_tail_and_touches_no_twin(stage: Stage):
    day = Day(stage)
    await day.begin()
    await day.quarter(60_000, 900)
    sources = await stage.registry.policy_sources(SITE)
    candidate = copy.deepcopy(sources.rulesets[NAME])
    candidate["version"] += 1
    candidate["params"]["limit_w"]["default"] = 8_000
    await stage.rule_book.add(SITE, candidate, who="lin", now=stage.clock.now())
    shadow = await stage.shadows.start(SITE, NAME, candidate["version"], who="lin", now=stage.clock.now())
    runner = ShadowRunner(stage, skew_ms=300_000)
    for number in range(8):
        await day.quarter(500, 7_000 if number in (3, 4) else 900)
        before = dict(stage.store.redis.site(SITE).groups)
        await runner.look()
        assert stage.store.redis.site(SITE).groups == before
    stage.clock.at += 10_000
    await runner.look()
    found = await stage.shadows.findings(shadow.id)
    assert {(side, one.kind) for side, one in found if one.rule == "overload"} >= {
        ("active", "cut"),
        ("active", "alarm"),
    }
    assert not [one for side, one in found if side == "candidate" and one.rule == "overload"]
    again = ShadowRunner(stage, skew_ms=300_000)  # as after a restart
    await again.look()
    assert sorted(await stage.shadows.findings(shadow.id)) == sorted(found), "nothing is found twice"
    await stage.rule_book.point(
        SITE, NAME, candidate["version"], expected=candidate["version"] - 1, who="lin", why="", now=1, source="activate"
    )
    await again.look()
    (latest,) = await stage.shadows.latest(SITE)
    assert latest.state == "activated"


async def test_the_tenant_is_told_the_reason_and_the_way_back(stage: Stage, day: Day):
    overload = next(at for at, rule, record in day.seen if rule == "overload" and record["state"] == "fired")
    told = await tenant_why(stage, SITE, "t-001", overload)
    assert told.cut
    assert "用电超过限额" in told.text["zh"]
    assert "用电功率 7000 W，高于 6000 W" in told.text["zh"]
    assert "the power drawn, 7000 W, is above 6000 W" in told.text["en"]
    waiting = next(at for at, rule, record in day.seen if rule == "arrears-cutoff" and record["state"] == "pending")
    told = await tenant_why(stage, SITE, "t-001", waiting)
    assert not told.cut
    assert "后将断开" in told.text["zh"]
    assert "unless that changes, the supply goes off in about" in told.text["en"]
    first = await tenant_why(stage, SITE, "t-001", MONDAY + 15 * MINUTE)
    assert first.text["en"].startswith("Your supply is on; nothing locks it. Balance 96.69.")


async def test_versions_by_http(client: AsyncClient, stage: Stage):
    sources = await stage.registry.policy_sources(SITE)
    old = sources.rulesets[NAME]["version"]
    changed = copy.deepcopy(sources.rulesets[NAME])
    changed["version"] = old + 1
    changed["rules"][0]["description"] = "the same, explained"

    async def post(path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        answer = await client.post(f"{RULESETS}{path}", json=body, headers=ADMIN)
        return answer.status_code, answer.json()

    assert (await post("", {"document": changed}))[1] == {"ruleset": NAME, "version": old + 1, "added": True}
    assert (await post("", {"document": changed}))[1]["added"] is False
    status, refused = await post("", {"document": {**changed, "description": "another"}})
    assert (status, refused["code"]) == (409, "version_exists")
    broken = copy.deepcopy(changed)
    broken["version"] = old + 2
    broken["rules"][1]["levels"][0]["when"] = "account.balanc < p.low1"
    status, refused = await post("", {"document": broken})
    assert (status, refused["code"]) == (422, "rules_invalid")
    assert "account.balanc" in refused["errors"][0]["message"]
    status, refused = await post(f"/{NAME}/activations", {"version": old + 2, "why": "x"})
    assert (status, refused["code"]) == (404, "unknown_version")

    worker = CompiledPolicies(stage.registry)  # another process
    assert (await worker.policy(SITE)).rulesets[0].version == old
    await worker.refresh_moved()
    status, done = await post(f"/{NAME}/activations", {"version": old + 1, "why": "tried for a week"})
    assert status == 201
    assert done["preview"]["changed"] == [changed["rules"][0]["id"]]
    assert "arrears-cutoff" in done["preview"]["kept"]
    assert (await stage.policies.policy(SITE)).rulesets[0].version == old + 1, "this process switched at once"
    await worker.refresh_moved()
    assert (await worker.policy(SITE)).rulesets[0].version == old + 1
    status, refused = await post(f"/{NAME}/activations", {"version": old + 1, "why": "x"})
    assert (status, refused["code"]) == (409, "already_active")
    status, back = await post(f"/{NAME}/rollbacks", {"why": "noise"})
    assert (status, back["activation"]["version"]) == (201, old)
    status, refused = await post(f"/{NAME}/rollbacks", {"why": "noise"})
    assert (status, refused["code"]) == (409, "nothing_to_roll_back")
    status, off = await post(f"/{NAME}/deactivations", {"why": "summer"})
    assert (status, off["activation"]["version"]) == (201, None)
    listed = (await client.get(RULESETS, headers=ADMIN)).json()
    assert [row["source"] for row in listed["activations"]] == ["deactivate", "rollback", "activate", "import"]
    assert not any(row["active"] for row in listed["versions"])


async def test_a_new_conflict_must_be_accepted(client: AsyncClient, stage: Stage):
    sources = await stage.registry.policy_sources(SITE)
    changed = copy.deepcopy(sources.rulesets[NAME])
    changed["version"] += 1
    changed.pop("tests", None)
    changed["rules"].append(
        {
            "id": "always-on",
            "scope": {"twin": "meter"},
            "on": ["reading.power_w"],
            "when": "reading.power_w > p.limit_w",
            "then": [{"breaker.unlock": {"lock": "overload"}}],
        }
    )
    await client.post(RULESETS, json={"document": changed}, headers=ADMIN)
    body = {"version": changed["version"], "why": "x"}
    path = f"{RULESETS}/{NAME}/activations"
    refused = await client.post(path, json=body, headers=ADMIN)
    assert (refused.status_code, refused.json()["code"]) == (409, "rule_conflicts")
    assert "always-on" in refused.json()["errors"][0]["message"]
    assert (await stage.registry.policy_sources(SITE)).rulesets[NAME]["version"] == changed["version"] - 1
    accepted = await client.post(path, json={**body, "accept_conflicts": True}, headers=ADMIN)
    assert accepted.status_code == 201


@pytest.mark.parametrize("same_for", [True, False])
async def test_a_running_grace_survives_an_activation_only_where_its_condition_is_the_same(
    stage: Stage, same_for: bool
):
    """Activated in the middle of a `for`: the cutoff comes when it would have come, or a whole `for` later."""
    day = Day(stage)
    await day.begin()
    for number in range(40):
        await day.quarter(3_900 if number < 31 else 100, 900)
    (pending,) = await explain(stage, SITE, "arrears-cutoff", "t-001")
    assert pending.state == "pending"
    assert pending.pending is not None
    due = pending.at - pending.pending.elapsed_ms + pending.pending.required_ms
    sources = await stage.registry.policy_sources(SITE)
    changed = copy.deepcopy(sources.rulesets[NAME])
    changed["version"] += 1
    rule = next(rule for rule in changed["rules"] if rule["id"] == "arrears-cutoff")
    if same_for:
        rule["description"] = "only words"
    else:
        rule["when"] = "account.balance < -p.emergency_credit"
    await stage.rule_book.add(SITE, changed, who="lin", now=stage.clock.now())
    await stage.rule_book.point(
        SITE, NAME, changed["version"], expected=changed["version"] - 1, who="lin", why="", now=1, source="activate"
    )
    await stage.policies.refresh_moved()
    switched = stage.clock.now()
    while not (await stage.store.load(SITE, ["t-001"]))["t-001"].breakers["em-001"].locks:
        assert stage.clock.now() < due + 60 * HOUR
        await day.quarter(100, 900)
    lock = (await stage.store.load(SITE, ["t-001"]))["t-001"].breakers["em-001"].locks["credit"]
    assert lock.rule_version == changed["version"]
    office = MONDAY + 32 * HOUR
    expected = max(due, office) if same_for else switched + pending.pending.required_ms
    assert abs(lock.since - expected) <= 15 * MINUTE


async def test_explaining_by_http(client: AsyncClient, stage: Stage):
    path = f"/api/v1/sites/{SITE}/rules"
    answer = await client.get(f"{path}/low-balance/explain?twin=t-001&lang=zh", headers=ADMIN)
    assert answer.status_code == 200
    assert "low-balance" in answer.json()["text"][0]
    missing = await client.get(f"{path}/low-balanc/explain?twin=t-001", headers=ADMIN)
    assert (missing.status_code, missing.json()["code"]) == (404, "nothing_to_explain")
    assert "low-balance" in missing.json()["detail"]
    nobody = await client.get(f"{path}/low-balance/explain?twin=em-777", headers=ADMIN)
    assert nobody.json()["code"] == "nothing_to_explain"
    unrecorded = await client.get(f"{path}/low-balance/explain?twin=t-001&at=1000", headers=ADMIN)
    assert (unrecorded.status_code, unrecorded.json()["code"]) == (404, "not_recorded")
    assert "nothing is recorded of this site yet" in unrecorded.json()["detail"]
    secret = bearer(await stage.token("tenant", site=SITE, tenant="t-001"))
    mine = await client.get(f"/api/v1/sites/{SITE}/tenants/t-001/why", headers=secret)
    assert mine.json()["text"]["zh"].startswith("您的供应正常")
    assert mine.json()["balance"] == "100.000000000"
    others = await client.get(f"/api/v1/sites/{SITE}/tenants/t-002/why", headers=secret)
    assert others.json()["code"] == "unknown_tenant"


def test_only_heads_move_pointers():
    moving = ("addRuleset", "activateRuleset", "rollBackRuleset", "deactivateRuleset", "startShadow", "stopShadow")
    assert {role for role in ROLES for operation in moving if may(role, operation)} == {"owner", "manager"}
    assert not may("tenant", "explainRule")
    assert may("tenant", "explainTenant")

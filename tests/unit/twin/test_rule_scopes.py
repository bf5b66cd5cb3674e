"""Rules about breakers and gateways, and what touches rules: locks, relays, commands, connections, contracts."""

from __future__ import annotations

import msgspec
import pytest

from rules.errors import RulesetError
from rules.ruleset import compile_ruleset
from tests.unit.twin.rule_scenes import alarms, document, moves, policy_of, scene_of
from tests.unit.twin.scene import MIDNIGHT, MINUTE
from twin.core.decide import decide
from twin.core.effects import LockChanged, ParamChanged
from twin.core.messages import Birth, ConnectionChanged, ContractsChanged, DeviceEvent, LinkChanged
from twin.core.model import Contract, GatewayTwin, Group
from twin.core.view import TWIN_MODEL

BREAKER = {"scope": {"twin": "breaker"}}
GATEWAY = {"scope": {"twin": "gateway"}}
TENANT = {"scope": {"twin": "tenant"}}


@pytest.mark.parametrize(
    "rule",
    [
        {**BREAKER, "on": ["breaker.locks"], "when": '"manual" in breaker.locks'},
        {**BREAKER, "on": ["breaker"], "when": '"manual" in breaker.locks'},
        {**BREAKER, "on": ["command.state"], "when": 'command.state == "created" && command.target == "open"'},
        {**BREAKER, "on": ["command"], "when": 'has(command.issued) && breaker.kind == "breaker"'},
        {"on": ["breaker.locks"], "when": "size(breaker.locks) == 1"},
        {**TENANT, "on": ["breaker.locks"], "when": '"manual" in breaker.locks && size(valve.locks) == 0'},
        {**TENANT, "on": ["tenant.state"], "when": 'tenant.state == "OFF_MANUAL"'},
        {"on": ["tenant"], "when": 'tenant.state == "OFF_MANUAL"'},
    ],
)
def test_a_lock_touches_rules_on_locks_commands_and_supply(rule) -> None:
    scene = scene_of({"id": "seen", **rule})
    assert moves(scene, "seen") == []
    scene.lock()
    assert moves(scene, "seen") == ["fired"]
    scene.unlock()
    if "created" not in rule["when"] and "issued" not in rule["when"]:
        assert moves(scene, "seen") == ["fired", "cleared"]
    assert all(twin in ("em-001", "t-001") for twin, _ in alarms(scene))


def test_a_relay_that_moves_touches_rules_on_state() -> None:
    scene = scene_of(
        {"id": "open", **BREAKER, "on": ["state"], "when": 'breaker.relay == "open"'},
        {"id": "meter-side", "on": ["breaker.relay"], "when": 'breaker.relay == "open"'},
        {"id": "any-open", **TENANT, "on": ["breaker.relays"], "when": '"open" in breaker.relays'},
    )
    scene.lock()
    scene.obey()
    assert [moves(scene, rule) for rule in ("open", "meter-side", "any-open")] == [["fired"]] * 3


def test_a_rule_about_a_breaker_waits_and_locks_by_itself() -> None:
    """A lock that a rule asserts again, a `for` that timers end, a wake that the group keeps."""
    scene = scene_of(
        {
            "id": "silent-breaker",
            **BREAKER,
            "on": ["conn", "clock"],
            "when": 'conn.state == "offline"',
            "for": "10m",
            "then": [{"breaker.lock": {"lock": "maintenance"}}],
        }
    )
    scene.play(ConnectionChanged("em-001", "offline", "s1", scene.now))
    assert scene.breaker.rules["silent-breaker"].state == "pending"
    assert scene.group.wake == scene.now + 10 * MINUTE
    scene.wait(10 * MINUTE)
    assert scene.breaker.rules["silent-breaker"].state == "fired"
    assert list(scene.breaker.locks) == ["maintenance"]
    scene.unlock("maintenance")
    assert "silent-breaker" not in scene.breaker.rules, "who releases it gives the rule a new start"


def test_a_link_that_fails_reaches_rules_about_breakers() -> None:
    scene = scene_of({"id": "cut-off", **BREAKER, "on": ["conn"], "when": 'conn.state == "offline"'})
    scene.play(LinkChanged("gw-01", "offline", "g1", scene.now))
    assert moves(scene, "cut-off") == []
    scene.play(LinkChanged("gw-01", "online", "g1", scene.now))
    scene.play(LinkChanged("gw-01", "offline", "g1", scene.now))
    assert moves(scene, "cut-off") == ["fired"]


def test_an_outage_of_the_gateway_keeps_back_the_alarms_of_what_is_behind_it() -> None:
    alone = {
        "id": "alone",
        "on": ["conn", "clock"],
        "when": 'conn.state == "offline"',
        "for": "5m",
        "inhibited_by": [{"flag": 'gateway.state == "offline"'}],
    }
    behind = {"id": "behind", "on": ["gateway.state"], "when": 'gateway.state == "offline"'}
    scene = scene_of(alone, behind)
    scene.play(LinkChanged("gw-01", "online", "g1", scene.now))
    scene.play(LinkChanged("gw-01", "offline", "g1", scene.now))
    assert moves(scene, "behind") == ["fired"]
    scene.wait(10 * MINUTE)
    assert moves(scene, "alone") == ["pending", "deferred"], "the gateway tells for its meters"
    scene.play(LinkChanged("gw-01", "online", "g1", scene.now))
    assert moves(scene, "alone")[-1] == "normal"
    scene.play(ConnectionChanged("em-001", "offline", "s1", scene.now))
    scene.wait(5 * MINUTE)
    assert moves(scene, "alone")[-2:] == ["pending", "fired"], "the device alone"


def test_a_gateway_has_rules_of_its_own() -> None:
    policy = policy_of(
        {"id": "gone", **GATEWAY, "on": ["conn", "clock"], "when": 'conn.state == "offline"', "for": "2m"}
    )
    group = Group("park-1", "@gw-01", gateway=GatewayTwin("gw-01"))
    now = MIDNIGHT
    for state in ("online", "offline"):
        group = decide(group, ConnectionChanged("gw-01", state, "s", now), now, policy).group  # type: ignore[arg-type]
    assert group.wake == now + 2 * MINUTE
    assert group.gateway is not None
    assert group.gateway.rules["gone"].state == "pending"
    decision = decide(group, ConnectionChanged("gw-01", "offline", "s", now), now + 2 * MINUTE, policy)
    assert decision.group.gateway.rules["gone"].state == "fired"
    assert [effect.twin for effect in decision.effects if hasattr(effect, "severity")] == ["gw-01"]
    events = policy_of({"id": "flood", **GATEWAY, "on": ["event", "birth"], "when": "has(gateway.id)"})
    born = decide(Group("park-1", "@gw-01", gateway=GatewayTwin("gw-01")), Birth("gw-01", "s", now), now, events)
    assert [effect.transition for effect in born.effects if hasattr(effect, "transition")] == ["fired"]


def test_events_of_a_breaker_reach_its_rules_and_old_ones_do_not() -> None:
    scene = scene_of({"id": "tripped", **BREAKER, "on": ["event"], "when": "has(breaker.id)"})
    scene.play(DeviceEvent("em-001", "trip", scene.now, hist=True))
    assert moves(scene, "tripped") == []
    scene.play(DeviceEvent("em-001", "trip", scene.now))
    assert moves(scene, "tripped") == ["fired"]


def test_what_an_import_says_touches_rules_on_it() -> None:
    scene = scene_of({"id": "group", **TENANT, "on": ["tenant.group"], "when": 'tenant.group == "food"'})
    contract = msgspec.structs.replace(scene.contracts["contract"], group="food")
    scene.contracts["contract"] = contract
    scene.play(
        ContractsChanged(scene.next_act(), scene.now, contract, scene.contracts["meters"], scene.contracts["breakers"])
    )
    assert moves(scene, "group") == ["fired"]


def test_missing_numbers_and_greatest_current_can_be_read() -> None:
    scene = scene_of(
        {"id": "gappy", "on": ["reading"], "when": "reading.gaps >= 3"},
        {"id": "over", "on": ["reading.current_ma"], "when": "max(reading.current_ma) > meter.imax_ma"},
        imax_a=60,
    )
    scene.sample(current_ma=[60_000])
    scene.sample(seq=9, current_ma=[60_001])
    scene.seq = 9
    assert moves(scene, "gappy") == ["fired"]
    assert moves(scene, "over") == ["fired"]
    for late in (2, 3, 4, 5, 6, 7, 8):
        scene.sample(seq=late, sid="s1", ts=scene.now)
    scene.sample(seq=10)
    assert moves(scene, "gappy")[-1] == "cleared"


def test_rules_that_chase_each_other_come_to_rest() -> None:
    lock = {"breaker.lock": {"lock": "schedule"}}
    unlock = {"breaker.unlock": {"lock": "schedule"}}
    scene = scene_of(
        {"id": "on", **BREAKER, "on": ["breaker.locks"], "when": "size(breaker.locks) > 0", "then": [unlock]},
        {"id": "off", **BREAKER, "on": ["breaker.locks"], "when": "size(breaker.locks) == 0", "then": [lock]},
    )
    scene.lock("schedule")
    assert len(scene.caused(LockChanged)) < 100


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"scope": {"twin": "tenant"}, "then": [{"charge": {"account": "tenant.account", "tariff": "meter.tariff"}}]},
         "only a rule of scope meter can charge"),
        ({**GATEWAY, "when": "has(gateway.id)", "then": [{"valve.lock": {"lock": "credit"}}]},
         "gateway has no breaker"),
        ({**GATEWAY, "when": "account.balance < money(\"0\")"}, "cannot be read by a rule whose scope is gateway"),
        ({"then": [{"breaker.lock": {"lock": "schedule", "until": "calendar"}}]}, "needs `active`"),
    ],
)  # fmt: skip
def test_what_a_twin_does_not_have_is_refused(rule, words: str) -> None:
    written = document({"id": "x", "on": ["clock"], "when": 'now > timestamp("2026-01-01T00:00:00Z")', **rule})
    with pytest.raises(RulesetError, match="(?s)" + words.replace("`", ".")):
        compile_ruleset(written, TWIN_MODEL)


LIMIT = {"limit_w": {"type": "int", "unit": "W", "default": 6000}}
LOWER = {"id": "lower", "on": ["reading.demand_w"], "when": "reading.demand_w > 9000", "clear": {"when": "false"},
         "then": [{"set_param": {"name": "limit_w", "value": 3000}}]}  # fmt: skip
OVER = {"id": "over", "on": ["reading.power_w"], "when": "reading.power_w > p.limit_w"}


def test_a_parameter_that_a_rule_sets_is_in_force_and_survives_an_import() -> None:
    scene = scene_of(LOWER, OVER, params=LIMIT)
    scene.sample(power_w=4000)
    assert moves(scene, "over") == []
    scene.sample(demand_w=9001)
    (told,) = scene.caused(ParamChanged)
    assert (told.scope, told.twin, told.name, told.value, told.before, told.rule) == (
        "meter", "em-001", "limit_w", 3000, None, "lower",
    )  # fmt: skip
    scene.sample(power_w=4000)
    assert moves(scene, "over") == ["fired"]
    again = ContractsChanged(scene.next_act(), scene.now, *scene.contracts.values())
    scene.play(again)
    scene.sample(power_w=2000)
    scene.sample(power_w=4000)
    assert moves(scene, "over") == ["fired", "cleared", "fired"], "an import that says nothing new changes nothing"
    (meter,) = scene.contracts["meters"]
    wiser = msgspec.structs.replace(meter, params={"limit_w": 5000})
    scene.contracts["meters"] = (wiser,)
    scene.play(ContractsChanged(scene.next_act(), scene.now, *scene.contracts.values()))
    assert scene.meter.params == {}, "people have said something new: what the rule had set gives way"
    assert scene.caused(ParamChanged)[-1].value is None
    scene.sample(power_w=4000)
    assert moves(scene, "over")[-1] == "cleared"


def test_a_parameter_of_the_tenant_reaches_its_meters_and_that_of_the_device_lies_over_it() -> None:
    lower = {**LOWER, "scope": {"twin": "tenant"}, "on": ["account.balance"], "when": 'account.balance < money("50")'}
    scene = scene_of(lower, OVER, params=LIMIT)
    scene.play(ContractsChanged(scene.next_act(), scene.now, Contract("t-001", params={"limit_w": 9000}),
                                scene.contracts["meters"], scene.contracts["breakers"]))  # fmt: skip
    scene.credit("-60.00")
    assert scene.tenant.params == {"limit_w": 3000}
    scene.sample(power_w=4000)
    assert moves(scene, "over") == ["fired"], "what a rule set lies over what the contract says"

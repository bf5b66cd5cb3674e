"""Compiling rule files: everything wrong is listed with its place; parameters; what a compiled rule knows."""

import pytest

from rules.actions import Alarm, Charge, Lock
from rules.errors import ParamError, RulesetError
from rules.ruleset import compile_ruleset, resolve_params
from tests.unit.rules.twin_model import MODEL, example, one_rule


def problems(document, locate=None):
    with pytest.raises(RulesetError) as caught:
        compile_ruleset(document, MODEL, locate)
    return [(one.path, one.message, one.suggestion) for one in caught.value.problems]


def test_the_example_compiles_and_is_indexed_by_trigger():
    ruleset = compile_ruleset(example(), MODEL)
    assert [rule.id for rule in ruleset.rules] == [
        "deduct",
        "low-balance",
        "arrears-cutoff",
        "overload",
        "malignant-load",
        "reconnect-on-recharge",
        "meter-offline",
    ]
    found = {key: [rule.id for rule in rules] for key, rules in ruleset.by_trigger.items()}
    assert found == {
        ("meter", "reading.registers"): ["deduct"],
        ("tenant", "account.balance"): ["low-balance", "arrears-cutoff"],
        ("tenant", "clock"): ["arrears-cutoff"],
        ("meter", "reading.power_w"): ["overload"],
        ("meter", "reading.power_step"): ["malignant-load"],
        ("tenant", "account.credited"): ["reconnect-on-recharge"],
        ("meter", "clock"): ["meter-offline"],
        ("meter", "conn"): ["meter-offline"],
    }
    by_id = ruleset.by_id
    assert by_id["deduct"].actions[0].action == Charge("tenant.account", "meter.tariff")
    assert by_id["arrears-cutoff"].actions[0].action == Lock("breaker", "credit", 900_000, 60_000)
    assert by_id["low-balance"].actions[0].action == Alarm("")
    assert [rule.id for rule in ruleset.rules if rule.repeats] == ["deduct", "reconnect-on-recharge"]
    assert by_id["overload"].paths == {"reading.power_w", "p.limit_w"}
    assert by_id["overload"].when.text == "reading.power_w > p.limit_w"
    assert by_id["low-balance"].when is None


def test_a_disabled_rule_is_checked_but_not_triggered():
    ruleset = compile_ruleset(one_rule(enabled=False), MODEL)
    assert ruleset.by_trigger == {}
    assert problems(one_rule(enabled=False, when="reading.power_w > account.balance"))


def test_all_problems_of_a_file_are_listed_with_their_places():
    document = example()
    document["params"]["low1"]["default"] = 50
    document["calendars"]["friendly"][1] = {"weekdays": ["fryday"]}
    rules = document["rules"]
    rules[0]["then"][0]["charge"]["account"] = "tenant.acount"
    rules[1]["levels"][1]["severity"] = "warning"
    rules[2]["active"] = {"not_in": "frendly"}
    rules[2]["inhibited_by"][1] = {"rule": "meter-ofline", "equal": ["meter.idd"]}
    rules[3]["on"] = ["reading.powr_w"]
    rules[3]["clear"]["when"] = "reading.power_w < account.balance"
    rules[4]["then"][0] = {"breaker.lok": {"lock": "malignant"}}
    rules[6]["id"] = "overload"
    found = problems(document)
    places = [path for path, _message, _hint in found]
    assert places == [
        "params.low1",
        "calendars.friendly[1].weekdays",
        "rules[0].then[0].charge.account",
        "rules[1].levels[1].severity",
        "rules[2].active.not_in",
        "rules[2].inhibited_by[1].rule",
        "rules[2].inhibited_by[1].equal[0]",
        "rules[3].on[0]",
        "rules[3].clear.when",
        "rules[4].then[0]",
        "rules[6].id",
    ]
    hints = " ".join(f"{message} {hint}" for _path, message, hint in found)
    for wanted in (
        "did you mean friday?",
        "tenant.account?",
        "did you mean friendly?",
        "breaker.lock?",
        "reading.power_w?",
    ):
        assert wanted in hints


def test_a_mistake_in_an_expression_points_into_the_file():
    document = one_rule(when="reading.power_w > 5 && reading.powr_w > 6")
    places = []

    def locate(place):
        places.append(place)
        return 7, 9

    with pytest.raises(RulesetError) as caught:
        compile_ruleset(document, MODEL, locate)
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == (7, 9 + 23)
    assert places == [("rules", 0, "when")]
    assert str(problem).startswith("7:32: rules[0].when: unknown path reading.powr_w in `reading.powr_w > 6`")


@pytest.mark.parametrize(
    ("parts", "path", "words"),
    [
        ({"when": None}, "rules[0]", "either `when` or `levels`"),
        ({"for": "p.grace"}, "rules[0].for", "unknown parameter p.grace"),
        ({"for": "reading.power_w"}, "rules[0].for", "must give a duration"),
        ({"on_unknown": "ignore"}, "rules[0].on_unknown", "unknown choice"),
        ({"when": 'tenant.mode == "x" && "y"'}, "rules[0].when", "right side of &&"),
        ({"scope": {"twin": "tenant"}}, "rules[0].when", "cannot be read by a rule whose scope is tenant"),
        ({"group_by": ["gateway.idd"]}, "rules[0].group_by[0]", "unknown path"),
        ({"then": [{"alarm": {"severity": "bad"}}]}, "rules[0].then[0].alarm.severity", "unknown severity"),
        ({"then": [{"alarm": {}}]}, "rules[0].then[0]", "alarm needs severity"),
        ({"then": [{"notify": {"template": "t", "cooldwn": "1h"}}]}, "rules[0].then[0].notify.cooldwn", "did you mean"),
        ({"then": [{"set_param": {"name": "x", "value": 1}}]}, "rules[0].then[0].set_param.name", "unknown parameter"),
        ({"retry": {"auto_release": "1m", "max_per_day": 1}}, "rules[0].retry", "locks nothing"),
        (
            {"then": [{"charge": {"account": "tenant.account", "tariff": "meter.tariff"}}], "for": "1m"},
            "rules[0].then",
            "a charge repeats",
        ),
        (
            {"then": [{"breaker.unlock": {"lock": "x"}}, {"alarm": {"severity": "info"}}]},
            "rules[0].then",
            "cannot raise alarms",
        ),
    ],
)
def test_parts_that_make_no_sense(parts, path, words):
    found = problems(one_rule(**parts))
    assert any(place == path and words in message for place, message, _hint in found), found


def test_parameters_are_overridden_by_site_then_tenant_then_device():
    ruleset = compile_ruleset(example(), MODEL)
    site, tenant, device = {"low1": "60", "limit_w": 5000}, {"low1": "70.5", "other": "x"}, {"limit_w": "4000"}
    values = resolve_params(ruleset, site, tenant, device)
    assert (values["low1"], values["limit_w"], values["grace"]) == (70_500_000_000, 4000, 86_400_000)


@pytest.mark.parametrize(
    ("declared", "override", "words"),
    [
        ({"type": "money", "default": "1"}, 5, "parameter x: 5 is not money"),
        ({"type": "int", "default": 1, "min": 0, "max": 9}, 10, "above its maximum"),
        ({"type": "duration", "default": "5m", "min": "1m"}, "30s", "below its minimum"),
        ({"type": "string", "default": "a", "enum": ["a", "b"]}, "c", "none of a, b"),
        ({"type": "bool", "default": True}, "yes", "neither true nor false"),
        ({"type": "decimal", "default": "1.5"}, "1,5", "not an exact decimal"),
        ({"type": "time", "default": "22:30"}, "25:00", "not a time of day"),
        ({"type": "int", "default": 1}, "1_000", "not a whole number"),
    ],
)
def test_a_bad_parameter_is_named(declared, override, words):
    ruleset = compile_ruleset({**one_rule(), "params": {"x": declared}}, MODEL)
    with pytest.raises(ParamError, match="parameter x") as caught:
        resolve_params(ruleset, {"x": override})
    assert words in str(caught.value)


def test_a_default_out_of_its_bounds_is_a_problem():
    document = {**one_rule(), "params": {"x": {"type": "int", "default": 10, "max": 9}}}
    assert problems(document) == [("params.x", "parameter x: 10 is above its maximum", "")]


def test_the_fingerprint_follows_when_and_for_only():
    def fingerprint(**parts):
        return compile_ruleset(one_rule(**parts), MODEL).rules[0].fingerprint

    base = fingerprint(**{"for": "30s"})
    assert base == fingerprint(**{"for": "30s", "clear": {"for": "1m"}, "when": "reading.power_w  >\n 6000"})
    assert base != fingerprint(**{"for": "31s"})
    assert base != fingerprint(**{"for": "30s", "when": "reading.power_w > 6001"})


@pytest.mark.parametrize(
    ("asking", "named", "seen"),
    [
        ("meter", "meter", True), ("meter", "tenant", True), ("tenant", "meter", True), ("tenant", "tenant", True),
        ("meter", "gateway", False), ("tenant", "gateway", False), ("gateway", "meter", False),
        ("gateway", "gateway", True), ("meter", "breaker", False), ("breaker", "meter", True),
    ],
)  # fmt: skip
def test_a_rule_that_can_never_be_seen_inhibits_nothing(asking, named, seen):
    document = one_rule()
    plain = {"on": ["clock"], "when": "true", "then": [{"alarm": {"severity": "minor"}}]}
    document["rules"] = [
        {"id": "other", "scope": {"twin": named}, **plain},
        {"id": "asks", "scope": {"twin": asking}, **plain, "inhibited_by": [{"rule": "other"}]},
    ]
    if seen:
        assert compile_ruleset(document, MODEL).by_id["asks"].inhibited_by
        return
    found = problems(document)
    ((place, message, hint),) = found
    assert place == "rules[1].inhibited_by[0].rule"
    assert message == f"a rule of scope {asking} never sees rule 'other' of scope {named}"
    assert ('gateway.state == "offline"' in hint) is (named == "gateway")

"""Rules that get in each other's way: what is warned of, and what is not."""

import pytest

from rules.conflicts import find_conflicts
from rules.ruleset import compile_ruleset
from tests.unit.rules.test_packs import NAMES, loaded
from tests.unit.rules.twin_model import MODEL, one_rule

LOCK = [{"breaker.lock": {"lock": "credit"}}]
UNLOCK = [{"breaker.unlock": {"lock": "credit"}}]


def rule(name, when, does, **parts):
    fixed = {"id": name, "scope": {"twin": "tenant"}, "on": ["account.balance"], "when": when, "then": does}
    return {**fixed, **parts}


def conflicts(*rules, params=None):
    document = {**one_rule(), "rules": list(rules), "params": params or {}}
    return find_conflicts([compile_ruleset(document, MODEL)])


def fights(lock_when, unlock_when, params=None, lock_parts=None, **unlock_parts):
    rules = (rule("cut", lock_when, LOCK, **(lock_parts or {})), rule("back", unlock_when, UNLOCK, **unlock_parts))
    return [conflict for conflict in conflicts(*rules, params=params) if conflict.kind == "fight"]


MONEY = {"low": {"type": "money", "default": "1.00"}, "debt": {"type": "money", "default": "0.00"}}


@pytest.mark.parametrize(
    ("lock_when", "unlock_when"),
    [
        ('account.balance < money("1")', 'account.balance < money("2")'),
        ('account.balance <= money("1")', 'account.balance >= money("1")'),
        ('account.balance < money("1")', '"credit" in breaker.locks'),
        ('account.balance < money("1") || tenant.protected', 'account.balance >= money("1")'),
        ('account.balance < money("1")', 'account.balance + money("0") >= money("5")'),
        ('tenant.mode == "prepaid"', 'tenant.mode != "postpaid"'),
    ],
)
def test_conditions_that_can_hold_together_are_a_fight(lock_when, unlock_when):
    (found,) = fights(lock_when, unlock_when)
    assert found.message == (
        "on account.balance, rule cut locks the breaker for credit and rule back releases it;"
        " their conditions can hold together"
    )
    assert [(place.ruleset, place.rule, place.path) for place in found.places] == [
        (0, "cut", ("rules", 0)),
        (0, "back", ("rules", 1)),
    ]


@pytest.mark.parametrize(
    ("lock_when", "unlock_when"),
    [
        ('account.balance < money("1")', 'account.balance >= money("1")'),
        ('account.balance <= money("1")', 'account.balance > money("1")'),
        ("account.balance <= -p.debt", 'account.balance >= p.low && "credit" in breaker.locks'),
        ('money("1") > account.balance', 'money("2") <= account.balance'),
        ('account.balance < money("1") && tenant.protected', "!tenant.protected"),
        ('tenant.mode == "prepaid"', 'tenant.mode == "postpaid"'),
        ('tenant.mode == "prepaid"', '!(tenant.mode == "prepaid" || tenant.protected)'),
        ('account.balance == money("3")', 'account.balance > money("3")'),
        ('account.balance < money("1") || account.balance < money("2")', 'account.balance >= money("2")'),
        ('"credit" in breaker.locks', '!("credit"  in breaker.locks)'),
    ],
)
def test_conditions_that_exclude_each_other_are_none(lock_when, unlock_when):
    assert fights(lock_when, unlock_when, MONEY) == []


def test_other_triggers_other_locks_and_disabled_rules_do_not_fight():
    always = "tenant.protected"
    assert fights(always, always)
    assert fights(always, always, on=["account.credited"]) == []
    assert fights(always, always, on=["account"])
    assert fights(always, always, enabled=False) == []
    assert fights(always, always, then=[{"breaker.unlock": {"lock": "manual"}}]) == []
    assert fights(always, always, then=[{"valve.unlock": {"lock": "credit"}}]) == []
    outside = {"scope": {"twin": "tenant", "where": 'tenant.mode == "prepaid"'}}
    assert fights(always, always, None, outside, scope={"twin": "tenant", "where": 'tenant.mode == "postpaid"'}) == []


PARAMS = {name: {"type": "money", "default": "1.00"} for name in ("one", "two", "three")}


def sets(name, reads, param):
    return rule(name, f"account.balance < p.{reads}", [{"set_param": {"name": param, "value": "2.00"}}])


def test_a_rule_that_sets_what_it_reads_is_a_loop():
    (found,) = conflicts(sets("self", "one", "one"), params=PARAMS)
    assert (found.kind, [place.rule for place in found.places]) == ("loop", ["self"])
    assert "rule self sets p.one, which its own condition reads" in found.message


def test_a_rule_that_releases_because_another_holds_is_a_loop():
    cut = rule("cut", 'account.balance < money("1")', LOCK)
    back = rule("back", '"credit" in breaker.locks', UNLOCK, on=["breaker.locks"])
    (found,) = [one for one in conflicts(cut, back) if one.kind == "loop"]
    assert [place.rule for place in found.places] == ["cut", "back"]
    assert "move the credit lock of the breaker, each because of what the other does" in found.message
    parted = rule("back", '"credit" in breaker.locks && account.balance >= money("1")', UNLOCK, on=["breaker.locks"])
    assert conflicts(cut, parted) == [], "both conditions never hold at once"


def test_rules_that_lock_and_unlock_by_each_others_locks_are_a_loop():
    load = [{"breaker.lock": {"lock": "schedule"}}]
    ring = [
        rule("one", '"schedule" in breaker.locks', LOCK, on=["breaker.locks"]),
        rule("two", '"credit" in breaker.locks', load, on=["breaker.locks"]),
    ]
    assert conflicts(*ring) == [], "what is only ever locked comes to rest"
    release = rule("off", '"schedule" in breaker.locks', UNLOCK, on=["breaker.locks"])
    assert [one.kind for one in conflicts(*ring, release) if one.kind == "loop"] == ["loop"]


def test_a_lock_that_sets_a_parameter_that_locks_is_a_loop():
    writes = rule("writes", '"credit" in breaker.locks', [{"set_param": {"name": "one", "value": "1.00"}}])
    locks = rule("locks", 'p.one > money("0")', LOCK)
    (found,) = conflicts(writes, locks, params=PARAMS)
    assert (found.kind, [place.rule for place in found.places]) == ("loop", ["writes", "locks"])
    assert "set p.one and move the credit lock of the breaker" in found.message


def test_rules_that_set_each_other_off_are_one_loop():
    ring = (sets("a", "one", "two"), sets("b", "two", "three"), sets("c", "three", "one"))
    (found,) = conflicts(*ring, params=PARAMS)
    assert [place.rule for place in found.places] == ["a", "b", "c"]
    assert "rules a, b, c set p.one, p.three, p.two" in found.message
    assert conflicts(*ring[:2], params=PARAMS) == []
    assert conflicts(*ring[:2], {**ring[2], "enabled": False}, params=PARAMS) == []


def test_a_meters_parameter_does_not_reach_its_tenant():
    meter = {**sets("m", "one", "two"), "scope": {"twin": "meter"}}
    assert conflicts(meter, sets("t", "two", "one"), params=PARAMS) == []
    assert conflicts(meter, {**sets("t", "two", "one"), "scope": {"twin": "meter"}}, params=PARAMS) != []


def test_the_same_rule_in_two_rulesets_shares_its_state():
    rulesets = [compile_ruleset({**one_rule(), "ruleset": name}, MODEL) for name in ("first", "second")]
    (found,) = find_conflicts(rulesets)
    assert found.message == "rule hot stands in first and second: each would take the other's state for its own"
    assert [place.ruleset for place in found.places] == [0, 1]


def test_the_packs_do_not_get_in_each_others_way():
    assert find_conflicts([loaded(name)[1] for name in NAMES]) == []

"""The hours of a rule bind its commands: what was locked in time is not opened at night because the device, or the
word of it, came late."""

from __future__ import annotations

from datetime import datetime

from tests.unit.twin.rule_scenes import scene_of
from tests.unit.twin.scene import HOUR, MIDNIGHT, MINUTE, ZONE, Scene, make_policy
from twin.core.breaker_why import SwitchHistory, breaker_why
from twin.core.effects import CommandChanged
from twin.core.messages import Birth, CommandAnswered, CommandSent, ConnectionChanged
from twin.flows.breaker_words import breaker_sentences

MONDAY = MIDNIGHT + 3 * 24 * HOUR
NO_CUTS = {"evening": [{"times": ["16:00-24:00", "00:00-09:00"]}]}


def at_hour(scene) -> float:
    local = datetime.fromtimestamp(scene.now / 1000, ZONE)
    return local.hour + local.minute / 60


def opened(scene):
    return [one for one in scene.caused(CommandChanged) if one.target == "open" and one.state == "created"]


def due_at(hour, minute=0) -> Scene:
    """Locked for arrears by the contract's own rule at this time of a Monday; nothing of the command is heard yet."""
    start = MONDAY + hour * HOUR + minute * MINUTE - 30 * MINUTE
    scene = Scene(credit="1.00", start=start, policy=make_policy(params={"grace": "5m"}))
    scene.now += 20 * MINUTE
    scene.sample(2_000)
    scene.wait(10 * MINUTE)
    assert list(scene.breaker.locks) == ["credit"]
    return scene


def away(scene):
    scene.play(ConnectionChanged("em-001", "offline", scene.sid, scene.now))


def back(scene, relay="closed"):
    scene.sid = "s2"
    scene.seq = 0
    scene.play(Birth("em-001", "s2", scene.now, relay))
    scene.sample(0, power_w=400)


def test_a_device_that_comes_back_in_the_evening_is_not_cut_off_before_the_morning():
    scene = due_at(11)
    away(scene)
    scene.wait(9 * HOUR)
    before = len(opened(scene))
    back(scene)
    for _ in range(30):
        scene.wait(15 * MINUTE)
        scene.sample(10, power_w=400)
    assert at_hour(scene) < 9
    assert len(opened(scene)) == before
    assert scene.tenant.state == "CUT_WANTED"
    while len(opened(scene)) == before and at_hour(scene) < 10:
        scene.wait(5 * MINUTE)
        scene.sample(1, power_w=400)
    assert 9 <= at_hour(scene) < 9.2
    scene.obey()
    assert scene.tenant.state == "OFF_ARREARS"


def test_who_pays_in_the_evening_is_never_cut_off():
    scene = due_at(11)
    away(scene)
    scene.wait(9 * HOUR)
    back(scene)
    before = len(opened(scene))
    scene.credit("50.00")
    assert (scene.breaker.locks, scene.breaker.close) == ({}, None)
    scene.wait(24 * HOUR)
    assert len(opened(scene)) == before
    assert scene.tenant.state == "LOW1"


def test_a_command_for_arrears_expires_where_the_evening_begins():
    scene = due_at(15, 55)
    command = scene.breaker.command
    assert at_hour(scene) < 16
    assert command.exp == MONDAY + 16 * HOUR, "fifteen minutes would reach into the evening"
    scene.play(CommandSent("em-001", command.id, scene.now))
    scene.wait(2 * HOUR)
    assert len(opened(scene)) == 1, "tried again in the morning"


def test_an_opening_without_proof_is_not_repeated_in_the_evening():
    scene = due_at(15, 57)
    for _ in range(2):
        command = scene.breaker.command
        scene.play(CommandSent("em-001", command.id, scene.now))
        scene.play(CommandAnswered("em-001", command.id, "executed", scene.now + 1_000, "closed"))
        scene.wait(2 * MINUTE)
    scene.wait(10 * HOUR)
    assert 1 < len(opened(scene)) < 4
    assert all(one.ts < one.exp <= MONDAY + 16 * HOUR for one in opened(scene))


def test_people_and_safety_open_at_any_hour():
    for kind in ("manual", "leakage"):
        scene = due_at(11)
        away(scene)
        scene.wait(9 * HOUR)
        back(scene)
        before = len(opened(scene))
        scene.lock(kind)
        assert len(opened(scene)) == before + 1
        scene.obey()
        scene.unlock(kind)
        assert list(scene.breaker.locks) == ["credit"]


def test_a_warning_cut_keeps_the_hours_of_its_rule():
    charge = {
        "id": "charge",
        "on": ["reading.registers"],
        "when": "reading.delta > 0",
        "then": [{"charge": {"account": "tenant.account", "tariff": "meter.tariff"}}],
    }
    warn = {
        "id": "warn",
        "scope": {"twin": "tenant"},
        "on": ["account.balance"],
        "when": 'account.balance < money("20")',
        "active": {"not_in": "evening"},
        "then": [{"breaker.lock": {"lock": "warning", "lasts": "12h"}}],
    }
    scene = scene_of(charge, warn, calendars=NO_CUTS, start=MONDAY + 14 * HOUR, credit="20.05")
    away(scene)
    scene.now += 15 * MINUTE
    scene.sample(100, ts=scene.now)
    away(scene)
    assert list(scene.breaker.locks) == ["warning"]
    before = len(opened(scene))
    scene.wait(4 * HOUR)
    back(scene)
    assert len(opened(scene)) == before


def test_the_answer_says_why_it_is_locked_and_still_on():
    scene = due_at(11)
    away(scene)
    scene.wait(9 * HOUR)
    back(scene)
    why = breaker_why(
        scene.group, scene.policy, {}, "em-001", scene.now, records={}, history=SwitchHistory(), may_release={}
    )
    assert (why.verdict, why.opens_at, why.needs) == ("kept_on", MONDAY + 33 * HOUR, ())
    assert "nothing is cut off" in breaker_sentences(why, "en", ZONE)
    assert "2026-01-13" in breaker_sentences(why, "en", ZONE)
    assert "不停供时段" in breaker_sentences(why, "zh", ZONE)

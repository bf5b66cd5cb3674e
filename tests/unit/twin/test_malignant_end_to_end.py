"""From samples to a lock: malignant load through `decide`, by streams and by events, with the dormitory pack."""

from __future__ import annotations

import itertools
from functools import cache
from pathlib import Path

import msgspec
from ruamel.yaml import YAML

from rules.ruleset import compile_ruleset
from tests.unit.twin.scene import MIDNIGHT, MINUTE, Scene, make_policy
from twin.core.effects import AlarmChanged, LockChanged, RuleChanged
from twin.core.messages import DeviceEvent, StateReported, Telemetry, Tick
from twin.core.model import Group
from twin.core.view import TWIN_MODEL

DORMITORY = Path(__file__).parents[3] / "rules" / "packs" / "dormitory.yaml"
START = MIDNIGHT + 12 * 60 * MINUTE


@cache
def dormitory():
    return compile_ruleset(YAML(typ="safe").load(DORMITORY.read_text(encoding="utf-8")), TWIN_MODEL)


def room(**more) -> Scene:
    scene = Scene(policy=make_policy(rulesets=[dormitory()], params=more.pop("site", None)), start=START, **more)
    scene.seqs, scene.at = itertools.count(1), START
    return scene


def stream(scene: Scene, *powers: int | None, pf: int = 1_000, step_ms: int = 1_000, late_ms: int = 0, hist=False):
    """One sample a second, each as it comes; returns the effects."""
    found = []
    for power_w in powers:
        scene.at += step_ms
        if power_w is None:
            continue
        channels = {"power_w": power_w, "pf_milli": pf}
        sample = Telemetry("em-001", "s1", next(scene.seqs), scene.at, channels, hist=hist)
        found += scene.play(sample, scene.at + late_ms)
    return found


def event(scene: Scene, seq: int, *, late_ms: int = 0, hist: bool = False, **told):
    scene.at += 1_000
    told = {"step_w": 1_500, "step_pf_milli": 998, "power_w": 1_600} | told
    message = DeviceEvent("em-001", "power_step", scene.at, "s1", seq, told, hist)
    return scene.play(message, scene.at + late_ms)


def locked(effects) -> list[str]:
    return [one.lock for one in effects if isinstance(one, LockChanged) and one.active]


def test_a_stream_locates_the_meter_and_the_second_and_keeps_the_evidence():
    scene = room()
    began = stream(scene, *[100] * 10)
    on_at = scene.at + 1_000
    found = stream(scene, *[1_600] * 6)
    assert locked(began) == []
    assert locked(found) == ["malignant"]
    assert "malignant" in scene.group.breakers["em-001"].locks
    (alarm,) = [one for one in found if isinstance(one, AlarmChanged)]
    proof = alarm.because["evidence"]
    assert (alarm.twin, alarm.severity, proof["at"], proof["class"]) == ("em-001", "critical", on_at, "malignant")
    assert (proof["source"], proof["step_w"], proof["step_pf_milli"]) == ("stream", 1_500, 1_000)
    assert proof["before"] == [[on_at - back * 1_000, 100, 0] for back in (4, 3, 2, 1)]
    assert [power for _, power, _ in proof["after"]] == [1_600] * 6
    assert proof["params"]["malignant_allow"] == "980-1120"
    (moved,) = [one for one in found if isinstance(one, RuleChanged) and one.transition == "fired"]
    assert moved.record["evidence"] == proof


def test_an_allowed_appliance_of_the_same_power_by_site_tenant_and_device():
    layers = ({"site": {"malignant_allow": "1400-1600"}}, {"params": {"malignant_allow": "1400-1600"}})
    for layer in layers:
        scene = room(**layer)
        assert locked(stream(scene, *[100] * 10, *[1_600] * 8)) == []
    scene = room(site={"malignant_allow": "1400-1600"}, params={"malignant_allow": "1000-1100"})
    assert locked(stream(scene, *[100] * 10, *[1_600] * 8)) == ["malignant"]
    scene = room(params={"malignant_allow": "1400-1600@850-960"})
    assert locked(stream(scene, *[100] * 10, *[1_600] * 8)) == ["malignant"]


def test_an_override_that_is_no_band_counts_as_not_given():
    scene = room(site={"malignant_bands": "everything"})
    assert locked(stream(scene, *[100] * 10, *[1_600] * 8)) == ["malignant"]


def test_a_restart_in_the_middle_of_a_step_changes_nothing():
    scene = room()
    stream(scene, *[100] * 10, *[1_600] * 3)
    scene.group = msgspec.msgpack.decode(msgspec.msgpack.encode(scene.group), type=Group)
    scene.group = msgspec.json.decode(msgspec.json.encode(scene.group), type=Group)
    assert locked(stream(scene, *[1_600] * 3)) == ["malignant"]


def test_after_a_rebuild_what_was_on_already_is_no_step_and_the_next_one_is():
    scene = room()
    stream(scene, *[100] * 10, *[1_600] * 3)
    scene.group.meters["em-001"].steps = None
    assert locked(stream(scene, *[1_600] * 30)) == []
    assert locked(stream(scene, *[2_900] * 8)) == ["malignant"]


def test_nothing_is_concluded_and_nothing_kept_of_readings_that_are_no_stream():
    for step_ms in (15 * MINUTE, 10_000, 3_001):
        scene = room(interval_ms=step_ms)
        assert locked(stream(scene, *[100] * 20, *[1_600] * 20, step_ms=step_ms)) == []
        assert scene.group.meters["em-001"].steps is None


def test_a_gap_ends_what_is_kept_of_a_stream():
    scene = room()
    stream(scene, *[100] * 60)
    assert 5 < len(scene.group.meters["em-001"].steps.samples) <= 13
    stream(scene, 100, step_ms=60_000)
    assert scene.group.meters["em-001"].steps is None


def test_samples_that_are_late_or_from_a_buffer_or_repeated_actuate_nothing():
    scene = room()
    assert locked(stream(scene, *[100] * 10, *[1_600] * 20, late_ms=301_000)) == []
    scene = room()
    stream(scene, *[100] * 10)
    assert locked(stream(scene, *[1_600] * 20, hist=True)) == []
    scene = room()
    stream(scene, *[100] * 10, *[1_600] * 5)
    sample = Telemetry("em-001", "s1", 15, scene.at, {"power_w": 1_600, "pf_milli": 1_000})
    for _ in range(20):
        assert locked(scene.play(sample, scene.at)) == []
    older = Telemetry("em-001", "s1", 999, scene.at - 5_000, {"power_w": 9_000, "pf_milli": 1_000})
    assert locked(scene.play(older, scene.at)) == []


def test_missing_seconds_in_a_stream():
    scene = room()
    assert locked(stream(scene, *[100] * 8, None, 100, 1_600, None, 1_600, 1_600, None, 1_600, 1_600)) == ["malignant"]


def test_rules_that_declare_no_bands_cost_a_stream_nothing():
    scene = Scene(start=START)
    scene.seqs, scene.at = itertools.count(1), START
    stream(scene, *[100] * 10, *[1_600] * 10)
    assert scene.group.meters["em-001"].steps is None


def test_an_event_of_the_meter_itself_is_judged_by_the_same_bands():
    scene = room()
    assert locked(event(scene, 1, step_w=1_050)) == []
    assert locked(event(scene, 2, step_pf_milli=700)) == []
    assert locked(event(scene, 3, step_pf_milli=960, inrush_w=4_000)) == []
    assert locked(event(scene, 4, step_w=-1_500)) == []
    stream(scene, 130, step_ms=60_000)
    found = event(scene, 5)
    assert locked(found) == ["malignant"]
    (alarm,) = [one for one in found if isinstance(one, AlarmChanged)]
    proof = alarm.because["evidence"]
    assert (proof["source"], proof["at"], proof["class"]) == ("device", scene.at, "malignant")
    assert (proof["before"], proof["after"]) == ([[scene.at - 1_000, 130, 0]], [[scene.at, 1_600, None]])


def test_an_event_that_is_repeated_late_or_buffered_actuates_nothing():
    scene = room()
    assert locked(event(scene, 7, late_ms=300_001)) == []
    assert locked(event(scene, 8, hist=True)) == []
    assert locked(event(scene, 9)) == ["malignant"]
    scene.group.breakers["em-001"].locks.clear()
    scene.group.meters["em-001"].rules.clear()
    assert locked(event(scene, 9)) == []
    assert locked(event(scene, 10)) == ["malignant"]


def test_a_meter_behind_transformers_tells_a_fraction_of_the_step():
    scene = room(ratio=10)
    assert locked(event(scene, 1, step_w=29)) == []
    assert locked(event(scene, 2, step_w=150)) == ["malignant"]


def test_three_releases_a_local_day_then_a_person_and_anew_the_next_day():
    scene = room()
    seqs = itertools.count(1)

    def fire():
        return locked(event(scene, next(seqs)))

    def wait(minutes):
        scene.at += minutes * MINUTE
        stream(scene, 0)
        scene.play(Tick(), scene.at)
        return list(scene.group.breakers["em-001"].locks)

    for _ in range(3):
        assert fire() == ["malignant"]
        assert wait(9) == ["malignant"]
        assert wait(2) == []
    assert fire() == ["malignant"]
    assert wait(8 * 60) == ["malignant"]
    assert wait(12 * 60) == ["malignant"], "midnight has passed: still for a person"
    scene.unlock("malignant")
    assert wait(1) == []
    assert fire() == ["malignant"]
    assert wait(11) == []


def test_what_was_left_on_when_the_supply_comes_back():
    def back(power_w: int) -> list[str]:
        scene = room()
        stream(scene, *[0] * 10)
        scene.play(StateReported("em-001", "open", scene.at), scene.at)
        stream(scene, *[0] * 10)
        scene.play(StateReported("em-001", "closed", scene.at), scene.at)
        return locked(stream(scene, *[power_w] * 8))

    assert back(1_300) == [], "the room's water heater and little more"
    assert back(1_800) == ["malignant"]

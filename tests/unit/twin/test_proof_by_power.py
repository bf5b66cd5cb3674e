"""What proves an opening: a meter that is believed, and every meter behind the breaker."""

from __future__ import annotations

from itertools import count

import msgspec

from tests.unit.twin.scene import MINUTE
from tests.unit.twin.test_switching import running
from twin.core.effects import AlarmChanged
from twin.core.messages import ContractsChanged, Telemetry
from twin.core.model import BreakerContract


def executed():
    """An opening that was executed and reported, and waits for its proof."""
    scene = running()
    scene.lock()
    scene.obey(settle=False)
    scene.now += 5_000
    assert scene.breaker.command.state == "executed"
    return scene


def test_a_power_that_the_device_itself_calls_bad_proves_no_opening():
    scene = executed()
    scene.sample(power_w=0, q="bad")
    assert scene.breaker.command.state == "executed"
    scene.sample(power_w=0)
    assert scene.breaker.command.state == "verified"


def test_a_bad_sample_ends_no_alarm_of_flowing_power_but_may_raise_it():
    scene = executed()
    scene.sample(power_w=900, q="bad")
    assert "open_but_power_flows" in scene.breaker.incidents
    scene.now += MINUTE
    scene.sample(power_w=0, q="bad")
    assert "open_but_power_flows" in scene.breaker.incidents
    scene.sample(power_w=0)
    assert "open_but_power_flows" not in scene.breaker.incidents


def with_two_meters():
    """A breaker with a second meter behind it, through which 2 kW flow; `flow(W)` is a sample of that one."""
    scene = running()
    first = scene.group.meter_contracts["em-001"]
    scene.contracts["meters"] = (first, msgspec.structs.replace(first, id="em-002"))
    scene.contracts["breakers"] = (BreakerContract("em-001", meters=("em-001", "em-002"), gateway="gw-01"),)
    opened = {"em-002": 1_000}
    scene.play(ContractsChanged(scene.next_act(), scene.now, **scene.contracts, openings=opened))
    seqs = count(1)

    def flow(power_w):
        seq = next(seqs)
        d = {"import_wh": 1_000 + seq, "power_w": power_w}
        scene.play(Telemetry("em-002", "s1", seq, scene.now, d, False, "good", scene.now))

    flow(2_000)
    scene.sample(power_w=0)
    return scene, flow


def test_the_stillness_of_one_meter_ends_no_alarm_of_another_behind_the_same_breaker():
    scene, flow = with_two_meters()
    scene.lock()
    scene.obey(settle=False)
    for _ in range(10):
        scene.now += 5_000
        flow(2_000)
        scene.sample(power_w=0)
        assert "open_but_power_flows" in scene.breaker.incidents
        assert scene.breaker.command.state != "verified"
    flowing = [one for one in scene.caused(AlarmChanged) if one.rule == "@open_but_power_flows"]
    assert len(flowing) == 1, "it is told once"
    flow(0)
    assert "open_but_power_flows" not in scene.breaker.incidents


def test_what_flowed_before_the_opening_is_not_held_against_it():
    scene, _ = with_two_meters()
    scene.lock()
    scene.obey()
    assert (scene.breaker.command.state, scene.breaker.incidents) == ("verified", {})

"""What proves an opening: a meter that is believed, and every meter behind the breaker."""

from __future__ import annotations

from tests.unit.twin.scene import MINUTE
from tests.unit.twin.test_switching import running


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

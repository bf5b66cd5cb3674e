"""A breaker that is a device of its own: who can be reached is proved by its own samples, or by a meter behind the same
gateway."""

from __future__ import annotations

import msgspec
import pytest

from tests.unit.twin.scene import MINUTE
from tests.unit.twin.test_switching import running
from twin.core.messages import (
    Birth,
    CommandAnswered,
    ConnectionChanged,
    ContractsChanged,
    LinkChanged,
    LockPlaced,
    LockReleased,
    StateReported,
    Telemetry,
)
from twin.core.model import BreakerContract

NAME = "br-1"


def opened():
    """A separate breaker that was opened, and proved so."""
    scene = running()
    meter = msgspec.structs.replace(scene.group.meter_contracts["em-001"], breaker=NAME)
    scene.contracts["meters"] = (meter,)
    scene.contracts["breakers"] = (BreakerContract(NAME, meters=("em-001",), gateway="gw-01"),)
    scene.play(ContractsChanged(scene.next_act(), scene.now, **scene.contracts))
    scene.play(Birth(NAME, "b1", scene.now, "closed"))
    scene.play(LinkChanged("gw-01", "online", "g1", scene.now))
    scene.play(LockPlaced(scene.next_act(), NAME, "manual", "lin", "works", scene.now, None))
    scene.play(CommandAnswered(NAME, of(scene).command.id, "executed", scene.now, "open"))
    scene.now += MINUTE
    scene.sample(power_w=0)
    assert of(scene).command.state == "verified"
    return scene


def of(scene):
    return scene.group.breakers[NAME]


def released(scene):
    scene.now += MINUTE
    scene.play(LockReleased(scene.next_act(), NAME, "manual", "lin", "done", scene.now))
    assert of(scene).command.target == "open", "it cannot be reached"
    scene.now += MINUTE


def said_by_itself(scene):
    d = {"relay": "open"}
    scene.play(Telemetry(NAME, "b1", 1, scene.now, d, False, "good", scene.now))


@pytest.mark.parametrize("what", ["device", "gateway"])
def test_its_own_sample_proves_that_it_is_back(what: str):
    scene = opened()
    if what == "device":
        scene.play(ConnectionChanged(NAME, "offline", "b1", scene.now))
    else:
        scene.play(LinkChanged("gw-01", "offline", "g1", scene.now))
    released(scene)
    if what == "device":
        scene.sample(power_w=0)
        assert of(scene).command.target == "open", "the meter says nothing of the breaker"
    said_by_itself(scene)
    scene.sample(power_w=0)
    assert (of(scene).command.target, of(scene).command.state) == ("closed", "created")


def test_its_own_state_proves_that_it_is_back():
    scene = opened()
    scene.play(ConnectionChanged(NAME, "offline", "b1", scene.now))
    released(scene)
    scene.play(StateReported(NAME, "open", scene.now, "b1"))
    scene.sample(power_w=0)
    assert (of(scene).command.target, of(scene).command.state) == ("closed", "created")
    scene.play(ConnectionChanged(NAME, "offline", "b1", scene.now))
    scene.play(StateReported(NAME, "open", scene.now - 1, "b1"))
    assert of(scene).conn.state == "offline", "a copy of a word from before proves nothing"


def test_a_meter_behind_the_same_gateway_proves_that_the_gateway_is_back():
    scene = opened()
    scene.play(LinkChanged("gw-01", "offline", "g1", scene.now))
    released(scene)
    scene.sample(power_w=0)
    assert (of(scene).command.target, of(scene).command.state) == ("closed", "created")


def test_a_sample_from_before_proves_nothing():
    scene = opened()
    before = scene.now - 1
    scene.play(ConnectionChanged(NAME, "offline", "b1", scene.now))
    released(scene)
    scene.play(Telemetry(NAME, "b1", 1, before, {"relay": "open"}, False, "good", scene.now))
    scene.sample(power_w=0)
    assert of(scene).command.target == "open"

"""Twins made anew from SQL: whoever has paid gets the supply back, though the old twin took the news with it."""

from __future__ import annotations

import msgspec

from tests.unit.twin.scene import MINUTE, Scene
from tests.unit.twin.test_switching import cut_off
from twin.core.messages import Birth, Tick
from twin.core.model import BreakerTwin, CloseIntent, MeterTwin


def wiped(scene: Scene, *, paid_nano: int = 0, close: CloseIntent | None = None) -> None:
    """The group as a rebuild makes it: contracts, totals, locks and fence, and nothing else."""
    breaker = BreakerTwin("em-001", locks=scene.breaker.locks, fence=scene.breaker.fence, close=close)
    tenant = msgspec.structs.replace(
        scene.tenant, credits_nano=scene.tenant.credits_nano + paid_nano, unseen_credits=bool(scene.breaker.locks)
    )
    meter = MeterTwin("em-001", register=scene.register)
    scene.group = msgspec.structs.replace(
        scene.group, tenant=tenant, meters={"em-001": meter}, breakers={"em-001": breaker}, wake=scene.now
    )


def come_back(scene: Scene) -> None:
    scene.now += MINUTE
    scene.sid, scene.seq = "s2", 0
    scene.play(Birth("em-001", "s2", scene.now, "open", scene.breaker.fence))
    scene.now += MINUTE
    scene.sample(0, power_w=0)


def test_who_paid_while_there_was_no_store_is_reconnected():
    scene = cut_off()
    scene.obey()
    wiped(scene, paid_nano=10_000_000_000)
    scene.play(Tick())
    assert scene.breaker.locks == {}
    come_back(scene)
    assert (scene.breaker.command.target, scene.breaker.command.state) == ("closed", "created")
    assert not scene.tenant.unseen_credits


def test_who_did_not_pay_stays_off():
    scene = cut_off()
    scene.obey()
    wiped(scene)
    scene.play(Tick())
    come_back(scene)
    assert list(scene.breaker.locks) == ["credit"]
    assert scene.breaker.command is None


def test_a_wish_to_close_that_waited_for_the_device_is_carried_out():
    scene = cut_off()
    scene.obey()
    scene.credit("10.00")
    wiped(scene, close=CloseIntent({"reason": "the last lock was released"}, scene.now))
    scene.play(Tick())
    come_back(scene)
    assert (scene.breaker.command.target, scene.breaker.command.state) == ("closed", "created")

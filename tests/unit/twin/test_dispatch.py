"""Which commands go out: those that the twin still waits for, even when what we see of the twin is older than
the command."""

from __future__ import annotations

import msgspec
import orjson
import pytest

from schemas.registry import problems
from tests.unit.twin.scene import MINUTE, Scene
from tests.unit.twin.test_plans import change, scene
from twin.core.effects import CommandChanged, ConfigWanted
from twin.core.messages import CommandSent, ConfigSent
from twin.flows.dispatch_commands import CommandDispatcher
from twin.ports import Entry


class World:
    """Store, applier, publisher and clock in one: what the dispatcher sees and does."""

    def __init__(self, seen, now):
        self.seen = seen
        self.time = now
        self.published = []
        self.applied = []

    def now(self):
        return self.time

    async def load(self, site, groups):
        return {self.seen.id: self.seen}

    async def device_of(self, site, point):
        return point

    async def publish(self, topic, payload, **properties):
        self.published.append((topic, orjson.loads(payload), properties))

    async def apply(self, site, messages, *, beyond_bound):
        assert beyond_bound, "who reads the stream never waits for room in it"
        self.applied += [message for wanted in messages.values() for message in wanted]


def locked() -> tuple[Scene, object, CommandChanged]:
    scene = Scene()
    scene.now += MINUTE
    scene.sample(1)
    before = scene.group
    scene.lock()
    return scene, before, scene.caused(CommandChanged)[-1]


async def dispatch(world: World, effect: CommandChanged | ConfigWanted) -> None:
    dispatcher = CommandDispatcher(None, world, world, world, world)
    await dispatcher.consume("park-1", [Entry("1-0", "t-001", (effect,))])


async def test_a_created_command_goes_out_with_its_expiry_and_is_marked_sent():
    scene, _, effect = locked()
    world = World(scene.group, scene.now)
    await dispatch(world, effect)
    [(topic, body, properties)] = world.published
    assert topic == "twinmeter/v1/park-1/em-001/cmd"
    assert (body["target"], body["op"], body["fence"], body["exp"]) == ("open", "breaker.set", 1, effect.exp)
    assert properties["expiry_s"] == 60
    assert not properties.get("retain")
    assert world.applied == [CommandSent("em-001", effect.cmd, scene.now)]


async def test_a_view_older_than_the_command_does_not_hold_it_back():
    scene, before, effect = locked()
    world = World(before, scene.now)
    await dispatch(world, effect)
    assert len(world.published) == 1


@pytest.mark.parametrize("state", ["sent", "executed", "verified", "expired", "superseded"])
async def test_a_command_that_moved_on_is_not_sent_again(state):
    scene, _, effect = locked()
    moved = msgspec.structs.replace(scene.breaker.command, state=state)
    scene.group.breakers = {"em-001": msgspec.structs.replace(scene.breaker, command=moved)}
    world = World(scene.group, scene.now)
    await dispatch(world, effect)
    assert world.published == []


async def test_a_command_with_an_overtaken_fence_is_not_sent():
    scene, _, effect = locked()
    scene.unlock()
    world = World(scene.group, scene.now)
    await dispatch(world, effect)
    assert world.published == []


async def test_an_expired_command_is_not_sent():
    scene, _, effect = locked()
    world = World(scene.group, effect.exp)
    await dispatch(world, effect)
    assert world.published == []


def limited() -> tuple[Scene, ConfigWanted]:
    made = scene(None, limit={"name": "room", "limit_w": 2_000})
    return made, made.caused(ConfigWanted)[-1]


async def test_a_configuration_is_published_retained_and_marked_sent():
    made, effect = limited()
    world = World(made.group, made.now)
    await dispatch(world, effect)
    [(topic, body, properties)] = world.published
    assert topic == "twinmeter/v1/park-1/em-001/cfg"
    assert problems("cfg", body) == []
    assert (body["ver"], body["set"]) == (effect.ver, {"limit_w": 2_000, "limit_for_ms": 60_000})
    assert properties == {"retain": True}
    assert world.applied == [ConfigSent("em-001", effect.ver, made.now)]


async def test_a_configuration_that_comes_again_is_the_same_message():
    made, effect = limited()
    world = World(made.group, made.now)
    await dispatch(world, effect)
    await dispatch(world, effect)  # killed before the entry was acknowledged
    assert world.published[0] == world.published[1]


async def test_an_older_configuration_never_takes_the_place_of_a_newer_one():
    made, old = limited()
    change(made, load_limit={"name": "room", "limit_w": 900})
    world = World(made.group, made.now)
    await dispatch(world, old)
    assert world.published == []
    await dispatch(world, made.caused(ConfigWanted)[-1])
    assert [body["set"]["limit_w"] for _, body, _ in world.published] == [900]


async def test_what_the_broker_did_not_take_is_not_marked_sent_and_comes_again():
    made, effect = limited()
    world = World(made.group, made.now)

    async def refuse(*_args, **_more):
        raise ConnectionError("the broker is away")

    world.publish = refuse
    with pytest.raises(ConnectionError):
        await dispatch(world, effect)
    assert world.applied == []

"""Plans: what happens to a world, drawn from a seed, run, and made as short as it can be where it finds something."""

from __future__ import annotations

from random import Random

from tests.unit.twin.scene import MINUTE
from tests.unit.twin.switching_judge import Violation
from tests.unit.twin.switching_world import HEALED_WITHIN_MS, SECOND, World

HAPPENINGS = {
    "top_up": 10, "lock": 6, "unlock": 9, "flip": 5, "key": 4, "lever": 5, "draw": 5, "overload": 4, "net": 8,
    "calm": 4, "reboot": 3, "unlink": 6, "link": 7, "darken": 3, "stuck": 2, "weld": 2, "repair": 4, "stop": 3,
    "start": 5, "crash": 5, "stall": 3, "unstall": 4, "lose_store": 3, "guarantee": 2, "mode": 2, "resubscribe": 2,
    "lie": 2, "clock": 3, "clock_right": 2,
}  # fmt: skip
LONGEST_MS = 45 * MINUTE


def plan(seed: int) -> list[tuple[int, str, int]]:
    """Twelve to thirty happenings: (instant after the start, what, a number to draw its details from)."""
    rng = Random(seed)
    names, weights = list(HAPPENINGS), list(HAPPENINGS.values())
    count = rng.randint(12, 30)
    times = sorted(rng.randrange(LONGEST_MS) for _ in range(count))
    return [(at, rng.choices(names, weights)[0], rng.getrandbits(30)) for at in times]


def play(seed: int, happenings: list[tuple[int, str, int]]) -> None:
    """Run a plan, heal everything, wait, and look. Raises Violation."""
    world = World(seed)
    world.top_up(300_000_000)
    for at, name, number in happenings:
        world.run_until(world.start + at)
        _happen(world, name, Random(number))
    world.heal()
    world.run_until(world.now + HEALED_WITHIN_MS)
    world.judge_peace()


def found(seed: int, happenings: list[tuple[int, str, int]] | None = None) -> Violation | None:
    """What a plan finds, or nothing."""
    try:
        play(seed, plan(seed) if happenings is None else happenings)
    except Violation as violation:
        return violation
    return None


def shortest(seed: int) -> list[tuple[int, str, int]]:
    """The plan of a seed that finds something, without every happening that is not needed for it."""
    kept = plan(seed)
    kind = str(found(seed))[:12]
    size = len(kept)
    while size:
        for first in range(0, len(kept), size):
            fewer = kept[:first] + kept[first + size :]
            if str(found(seed, fewer))[:12] == kind:
                kept = fewer
                break
        else:
            size //= 2
    return kept


def told(seed: int, violation: Violation) -> str:
    """The seed, what it found, and the shortest way there."""
    steps = "\n".join(f"  {at / SECOND:8.1f} s {name} {number}" for at, name, number in shortest(seed))
    return f"seed {seed}: {violation}\n{steps}\n  (rerun: found({seed}))"


def _happen(world: World, name: str, rng: Random) -> None:
    kinds = ("manual", "maintenance", "schedule", "leakage")
    if name == "top_up":
        world.top_up(rng.choice((20, 100, 300, 1_000)) * 1_000_000)
    elif name == "lock":
        world.lock(rng.choice(kinds), world.now + rng.randint(1, 10) * MINUTE if rng.random() < 0.3 else None)
    elif name == "unlock":
        for kind in (*kinds, "overload", "credit"):
            if rng.random() < 0.7:
                world.unlock(kind)
    elif name == "flip":  # off and on again by somebody in a hurry
        for step in range(rng.randint(2, 4)):
            act = world.unlock if step % 2 else world.lock
            world.at(world.now + step * rng.randint(1, 20) * SECOND, act, "manual")
    elif name == "net":
        world.loss, world.twice, world.slow = (rng.choice((0.0, 0.2, 0.5)) for _ in range(3))
    elif name == "calm":
        world.loss = world.twice = world.slow = 0.0
    elif name == "guarantee":
        world.contract(protected_until=world.now + rng.choice((-1, 1, 20, 600)) * MINUTE)
    elif name == "mode":
        world.contract(mode=rng.choice(("prepaid", "postpaid")))
    else:
        _happen_to_things(world, name, rng)


def _happen_to_things(world: World, name: str, rng: Random) -> None:  # noqa: C901 -- a list of happenings
    contactor = world.contactor
    simple = {
        "unlink": world.unlink, "darken": world.darken, "stop": world.stop_ingest, "lose_store": world.lose_store,
        "lie": world.lie,
    }  # fmt: skip
    if name in simple:
        simple[name]()
    elif name == "key" and world.device.powered:
        world.press_key()
    elif name == "lever":
        world.move_by_hand(rng.choice(("open", "closed")))
    elif name == "draw":
        world.draw(rng.choice((0, 1_000, 3_000, 5_500)))
    elif name == "overload":
        world.draw(rng.randint(6_500, 9_000))
    elif name == "reboot" and world.device.powered:
        world.say(world.device.boot(world.now))
    elif name == "link":
        world.session_kept = rng.random() < 0.5
        world.link(restart=rng.random() < 0.5)
    elif name == "stuck":
        contactor.stuck = True
    elif name == "weld":
        contactor.weld(world.now)
    elif name == "clock":
        world.device.skew_ms = rng.choice((-1_200, -180, -5, 5, 180, 1_200)) * SECOND
    elif name == "clock_right":
        world.device.skew_ms = 0
    elif name == "repair":
        contactor.repair(world.now)
    elif name == "start":
        world.start_ingest(resubscribe=rng.random() < 0.5)
    elif name == "crash":
        world.crash_dispatcher(rng.randint(1, 30))
    elif name in ("stall", "unstall"):
        world.ledger_runs = name == "unstall"
        world.dispatching = name == "unstall" or rng.random() < 0.5
    elif name == "resubscribe":
        for verb, body in list(world.retained.values()):
            world.at(world.now + world.latency(), world._arrive_retained, verb, body)

"""One run: a safety phase in which everything goes wrong, then all faults end and things must come right in time."""

from __future__ import annotations

import time
import traceback

import msgspec

from tests.simulation.checker import Checker
from tests.simulation.ledger_model import ViolationError, demand
from tests.simulation.loop import StalledError
from tests.simulation.nemesis import Nemesis
from tests.simulation.park import MINUTE, SECOND
from tests.simulation.people import People
from tests.simulation.plan import Plan, draw_plan
from tests.simulation.trace import Trace
from tests.simulation.world import World

LIVELY_MS = 4 * MINUTE
"""From the end of all faults until nobody uses energy any more: arrears become due, commands go out."""
STILL_MS = 5 * MINUTE
PROBE_AFTER_MS = 100 * SECOND
PROBE_LASTS_MS = 77 * SECOND
REBUILT_MS = 3 * MINUTE
LOOK_EVERY_MS = 2 * MINUTE
CONVERGED_WITHIN_MS = 60 * MINUTE


class Outcome(msgspec.Struct):
    """What came of one run."""

    seed: int
    hash: str
    steps: int
    cpu_s: float
    virtual_s: int
    calls: int
    commits: int
    messages: int
    invariant: str = ""
    detail: str = ""
    tail: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether something did not hold."""
        return bool(self.invariant)


def run_seed(seed: int, trace: Trace | None = None) -> Outcome:
    """Run the plan of a seed."""
    return run_plan(draw_plan(seed), trace)


def run_plan(plan: Plan, trace: Trace | None = None) -> Outcome:
    """Run a plan; a violation is part of the outcome."""
    began, trace = time.process_time(), trace or Trace()
    invariant = detail = ""
    with World(plan, trace) as world:
        start = world.loop.now_ms
        try:
            _play(world, plan)
        except ViolationError as violation:
            invariant, detail = violation.invariant, violation.detail
        except (StalledError, TimeoutError) as error:
            invariant, detail = "liveness", repr(error)
        except Exception as error:
            invariant, detail = "crash", "".join(traceback.format_exception(error))[-1500:]
        return Outcome(
            seed=plan.seed,
            hash=trace.hash,
            steps=world.loop.steps,
            cpu_s=time.process_time() - began,
            virtual_s=(world.loop.now_ms - start) // 1000,
            calls=world.network.calls,
            commits=world.sql.commits,
            messages=sum(len(house.sent) for house in world.houses),
            invariant=invariant,
            detail=detail,
            tail=tuple(trace.lines[-30:]) if invariant else (),
        )


def _play(world: World, plan: Plan) -> None:
    people = People(world)
    nemesis = Nemesis(world, people)
    world.open()
    checker = Checker(world, people, nemesis)
    nemesis.schedule(plan.happenings)
    world.run_for(plan.length_ms)
    nemesis.heal()
    checker.healed_ms = world.platform_ms
    world.later(PROBE_AFTER_MS, _probe, world, people)
    world.trace.note(world.loop.now_ms, "world", "healed")
    world.run_for(LIVELY_MS)
    for house in world.houses:
        house.draw(0)
    world.run_for(STILL_MS)
    _converge(world, checker)
    # What a register had counted that is gone and that nobody has told of cannot be read again.
    if plan.seed % 3 == 0 and not any(house.unheard for house in world.houses):
        _made_anew(world, checker)


def _probe(world: World, people: People) -> None:
    """A lock with an end of its own, at an instant when nothing else happens: is the timer in time?"""
    for house in world.houses:
        people.lock(house.id, "schedule", world.platform_ms + PROBE_LASTS_MS, place=True)


def _made_anew(world: World, checker: Checker) -> None:
    """Redis is wiped while all is calm: what is made from SQL says the same about money and locks."""
    before = _story(checker)
    world.redis.data.flushall()
    world.redis.announce()
    world.run_for(REBUILT_MS)
    _converge(world, checker)
    after = _story(checker)
    demand(after == before, "I5 rebuild", lambda: f"before {before}, after {after}")


def _story(checker: Checker) -> dict[str, object]:
    story: dict[str, object] = {}
    for name, group in sorted(checker.twins().items()):
        money = (group.tenant.credits_nano, group.tenant.charges_nano) if group.tenant is not None else None
        heads = {meter: (twin.register.epoch, twin.register.head) for meter, twin in sorted(group.meters.items())}
        locks = {breaker: sorted(twin.locks) for breaker, twin in sorted(group.breakers.items())}
        story[name] = (money, heads, locks, group.acts_seq)
    return story


def _converge(world: World, checker: Checker) -> None:
    """Look again and again whether all is well; what is still wrong when the time is up is a violation."""
    deadline = world.loop.now_ms + CONVERGED_WITHIN_MS
    while True:
        try:
            checker.calm()
        except ViolationError:
            if world.loop.now_ms >= deadline:
                raise
            world.run_for(LOOK_EVERY_MS)
            continue
        return

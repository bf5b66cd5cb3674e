"""What a compiled rule and a compiled ruleset are. They are built in `ruleset` and only read afterwards."""

from collections.abc import Callable, Mapping
from datetime import tzinfo
from typing import Any

import msgspec

from rules.actions import Lock, Notify, PlannedAction
from rules.calendars import Calendar
from rules.language import Expression
from rules.language.compiler import Run
from rules.language.flips import Flip
from rules.language.values import TwinModel
from rules.params import Param
from rules.state import FIRED, Step

CLOCK = "clock"


class Level(msgspec.Struct, frozen=True, eq=False):
    """One rung of a severity ladder; the ladder of a rule rises."""

    severity: str
    when: Expression


class Clear(msgspec.Struct, frozen=True, eq=False):
    """How a fired rule ends: when `when` (None: the rule's own condition is false) has held for `for_`."""

    when: Expression | None
    for_: Run | None


class Active(msgspec.Struct, frozen=True, eq=False):
    """When a rule may act: inside the calendar, or outside it.

    `segments` remembers, by zone, the stretch of time last asked for, since a deferred rule asks at every message.
    """

    calendar: Calendar
    inside: bool
    segments: dict[tzinfo, tuple[int, int, bool]] = {}

    def segment(self, now: int, zone: tzinfo) -> tuple[int, int, bool]:
        """From (at the latest), until, and whether the rule may act in that stretch around `now`."""
        known = self.segments.get(zone)
        if known is None or not known[0] <= now < known[1]:
            open_now = self.calendar.contains(now, zone) is self.inside
            known = (now, self.calendar.next_change(now, zone), open_now)
            self.segments[zone] = known
        return known

    def is_open(self, now: int, zone: tzinfo) -> bool:
        """Whether the rule may act at this instant."""
        return self.segment(now, zone)[2]

    def next_change(self, now: int, zone: tzinfo) -> int:
        """The next instant (ms) at which that changes."""
        return self.segment(now, zone)[1]

    def __str__(self) -> str:
        return f"{'in' if self.inside else 'not in'} {self.calendar.name}"


class Inhibitor(msgspec.Struct, frozen=True, eq=False):
    """A flag (a path and its closure) or another rule that keeps the rule from acting."""

    name: str
    flag: Run | None = None
    equal: tuple[str, ...] = ()


class Guard(msgspec.Struct, frozen=True):
    """At most `max` firings within `per_ms` over the site; beyond it the rule waits for a person's approval."""

    max: int
    per_ms: int
    over: str = "hold_for_approval"


class Retry(msgspec.Struct, frozen=True, eq=False):
    """Release the rule's locks by itself `auto_release` after firing, `max_per_day` times a local day."""

    auto_release: Run
    max_per_day: int
    then: str = "require_operator"


EVENTS = frozenset({"event", "reading.power_step", "birth", "account.credited"})
"""Triggers that happen and are over."""


class Rule(msgspec.Struct, frozen=True, eq=False):
    """One compiled rule.

    `levels` has one entry without severity for a rule with a plain `when`, so that there is one way to evaluate.
    `repeats`: the rule acts on every trigger whose condition holds and keeps no fired state (`charge`, `unlock`).
    `defers`: it repeats, and what a closed gate stops is made up for when the gate opens (`unlock`, but no `charge`).
    `ends_with_calendar`: the rule ends, and its locks with it, when the calendar of `active` closes.
    `clocked`: passing time counts as a trigger (`clock` stands in `on`). `flip` is when time alone may change where
    or when, `clear_flip` the same for the clear condition. `fingerprint` covers `when`, `levels` and `for`.
    `run_when` is the condition of a rule without a ladder; `ready` the whole result of a repeating rule that has no
    gate and nothing to remember.
    """

    id: str
    ruleset: str
    version: int
    scope_twin: str
    on: tuple[str, ...]
    levels: tuple[Level, ...]
    where: Expression | None = None
    for_: Run | None = None
    clear: Clear | None = None
    active: Active | None = None
    on_unknown: str = "hold"
    inhibited_by: tuple[Inhibitor, ...] = ()
    group_by: tuple[str, ...] = ()
    cooldown: Run | None = None
    guard: Guard | None = None
    retry: Retry | None = None
    actions: tuple[PlannedAction, ...] = ()
    locks: tuple[PlannedAction, ...] = ()
    enabled: bool = True
    description: Any = None
    fingerprint: str = ""
    repeats: bool = False
    defers: bool = False
    ends_with_calendar: bool = False
    clocked: bool = False
    flip: Flip | None = None
    clear_flip: Flip | None = None
    run_where: Run | None = None
    run_levels: tuple[Run, ...] = ()
    run_when: Run | None = None
    ready: Step | None = None
    paths: frozenset[str] = frozenset()

    @property
    def momentary(self) -> bool:
        """Whether it looks at events, which do not last: that its condition held once says nothing of now."""
        return not EVENTS.isdisjoint(self.on)

    @property
    def when(self) -> Expression | None:
        """The condition of a rule without a severity ladder."""
        return None if self.has_ladder else self.levels[0].when

    @property
    def has_ladder(self) -> bool:
        """Whether the rule has `levels`: an alarm whose severity moves in place."""
        return self.levels[0].severity != ""

    def severity(self, level: int) -> str:
        """The severity of a rung, or an empty text for a rule without a ladder."""
        return self.levels[level].severity if 0 <= level < len(self.levels) else ""

    def lock_actions(self, env: Any) -> tuple[Lock, ...]:
        """The locks that the rule holds while it is fired."""
        return tuple(action for plan in self.locks if isinstance(action := plan.given(env), Lock))


def ready_step(rule: Rule) -> Step | None:
    """The one result that a repeating rule always gives when its condition holds, if there is but one."""
    gates = rule.active is not None or rule.inhibited_by or rule.guard is not None or rule.cooldown is not None
    varies = any(plan.late or isinstance(plan.action, Notify) for plan in rule.actions)
    if not rule.repeats or gates or varies or (rule.clocked and rule.flip is not None):
        return None
    return Step(transition=FIRED, actions=tuple(plan.action for plan in rule.actions))


class Ruleset(msgspec.Struct, frozen=True, eq=False):
    """A compiled rule file. `by_trigger` finds the enabled rules of a twin's kind by what happened to it."""

    name: str
    version: int
    params: Mapping[str, Param]
    calendars: Mapping[str, Calendar]
    rules: tuple[Rule, ...]
    by_trigger: Mapping[tuple[str, str], tuple[Rule, ...]]
    by_id: Mapping[str, Rule]
    model: TwinModel


Locate = Callable[[tuple[Any, ...]], tuple[int, int]]

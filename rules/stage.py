"""What carries out the actions of rules in a test, and what a test can find there.

The rules room knows when a rule acts, not what an action does. Who runs tests brings a `Stage`: the product's one
(`twin.core.rehearsal`) is the core itself, so commands, charges, locks and alarms in a test come from the code that
runs live.
"""

from collections.abc import Callable, Mapping
from datetime import tzinfo
from typing import Any, Protocol

import msgspec

from rules.rule import Rule, Ruleset
from rules.state import RuleState, Step


class Happened(msgspec.Struct, frozen=True):
    """What one evaluation brought about.

    `alarm` is the severity of the rule's alarm from then on, `none` when it was cleared, empty when nothing changed.
    `commands` are such as `breaker.open`, in the words of the device; `charged_nano` is None where nothing was charged.
    """

    alarm: str = ""
    notices: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    charged_nano: int | None = None
    webhooks: tuple[str, ...] = ()
    set_params: Mapping[str, Any] = {}


class Stage(Protocol):
    """One tenant with its meters, breaker and valve, whose device obeys at once."""

    def carry_out(self, rule: Rule, env: Any, before: RuleState | None, outcome: Step) -> Happened:
        """Do what a step of a rule asks for, at `env.now`."""

    def locks(self) -> tuple[str, ...]:
        """Every lock that stands, by name."""

    def paths(self) -> dict[str, Any]:
        """Values of the paths that follow from what was carried out, such as `breaker.locks`."""


OpenStage = Callable[[Ruleset, int, tzinfo, Mapping[str, Any]], Stage]
"""A stage for one test: the ruleset, its beginning (Unix ms), the zone, and the test as it is written."""
EXPECTATIONS = ("alarm", "notify", "locks", "command", "charge", "param", "webhook")
"""What only a stage can tell."""
NOTHING = Happened()

"""Traces: what every clause of every rule that looked has given, put aside while deciding and told when asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from rules.language.tracer import Clause
    from rules.state import Step
    from twin.core.policy import BoundRule


class Traced(msgspec.Struct, frozen=True, eq=False):
    """One evaluation: the rule, its twin, when, and the gate that stopped it (empty: none did). `raw` holds the values
    of its clauses, those of `where` first, then of `when` or of each level."""

    bound: BoundRule
    twin: str
    at: int
    gate: str
    raw: list[Any]

    @property
    def clauses(self) -> list[Clause]:
        """The clauses with their values, for people."""
        rule = self.bound.rule
        found: list[Clause] = []
        left = self.raw
        for expression in (rule.where, *(level.when for level in rule.levels)):
            if expression is not None:
                told = expression.teller.told(left)
                found += told
                left = left[len(told) :]
        return found


def traced(env: Any, twin: str, bound: BoundRule, outcome: Step, now: int) -> Traced:
    """Put one evaluation of a twin aside; `env` is what its expressions read."""
    rule = bound.rule
    raw: list[Any] = []
    if rule.where is not None:
        rule.where.record(env, raw)
    for level in rule.levels:
        level.when.record(env, raw)
    return Traced(bound, twin, now, outcome.gate, raw)

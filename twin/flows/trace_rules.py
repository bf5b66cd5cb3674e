"""Every look that a rule took at a twin over a recorded span: for a rule that flaps, or that never does what it should.

`explain` tells of one instant; this tells of all of them. The span is replayed with traces, so what is shown is what
the live evaluator saw, clause by clause. Looks in a row that came to the same are one line.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from rules.explain import GATE_PASSED, clause_text
from rules.literals import print_timestamp
from twin.core.asking import UnknownRuleError
from twin.flows.explain_rules import rewind

if TYPE_CHECKING:
    from datetime import tzinfo

    from rules.language.tracer import Clause
    from twin.core.traces import Traced
    from twin.flows.explain_rules import Parts

MOST_LINES = 10_000


class Look(msgspec.Struct, omit_defaults=True):
    """What a rule saw from `at` to `until` (both instants of a look), `times` looks in a row that came to the same.

    `gate` stopped it; empty when none did. `clauses` are those of the first of these looks.
    """

    twin: str
    at: int
    until: int
    gate: str
    clauses: list[Clause]
    times: int = 1


async def looks(parts: Parts, site: str, rule: str, twin: str, from_ts: int, to_ts: int) -> list[Look]:
    """The looks of a rule at a tenant, a device, or the devices of a tenant, inside `[from_ts, to_ts)`; at most
    `MOST_LINES`, the latest.

    Raises UnknownTwinError, UnknownRuleError, and HistoryMissingError for a span that is not recorded.
    """
    past = await rewind(parts, site, twin, from_ts, to_ts, trace=True)
    policies = [policy for _, policy in past.side.policies]
    if not any(one.id == rule for policy in policies for ruleset in policy.rulesets for one in ruleset.rules):
        raise UnknownRuleError(f"no rule {rule!r} was loaded at site {site} in that span")
    found: list[Look] = []

    def take(messages: object = None) -> None:
        if messages is None:
            past.replay.finish(to_ts - 1)
        else:
            past.replay.feed(messages)  # type: ignore[arg-type]
        for traced in past.side.traces:
            if traced.bound.rule.id == rule and from_ts <= traced.at < to_ts and twin in (past.name, traced.twin):
                _add(found, traced)
        past.side.traces.clear()
        del found[:-MOST_LINES]

    async for window in parts.history.windows(site, past.lead_ts, to_ts, past.devices):
        await asyncio.to_thread(take, window.messages)
    await asyncio.to_thread(take)
    return found


def _add(found: list[Look], traced: Traced) -> None:
    clauses = traced.clauses
    last = next((look for look in reversed(found[-20:]) if look.twin == traced.twin), None)
    if last is not None and last.gate == traced.gate and _results(last.clauses) == _results(clauses):
        last.until, last.times = traced.at, last.times + 1
        return
    found.append(Look(traced.twin, traced.at, traced.at, traced.gate, clauses))


def _results(clauses: list[Clause]) -> list[tuple[str, bool | None, str]]:
    return [(clause.text, clause.result, clause.freshness) for clause in clauses]


def render(found: list[Look], language: str, zone: tzinfo) -> str:
    """A line a look: when, how often, the gate, and every clause with its values; `language` is `zh` or `en`."""
    passed = GATE_PASSED[language]
    lines = []
    for look in found:
        when = print_timestamp(look.at, zone)
        if look.times > 1:
            when += f" .. {print_timestamp(look.until, zone)} x {look.times}"
        told = "; ".join(clause_text(clause, language) for clause in look.clauses)
        lines.append(f"{when}  {look.twin}  [{look.gate or passed}]  {told}")
    return "\n".join(lines)

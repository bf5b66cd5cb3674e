"""Two sides of a replay, put beside each other: what only one of them did, what both did at different times.

Findings of one kind, rule, twin and detail are matched in the order of time: equal instants first, then what is left
over, one by one, as moved; the rest is only on one side.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from twin.recorded import Finding

WEIGHT = ("cut", "reconnected", "locked", "unlocked", "alarm", "notified", "webhook", "fired", "alarm_over", "cleared")
"""Kinds in the order in which people care."""
PERSON, PLATFORM = "person", "platform"


class Difference(msgspec.Struct, frozen=True):
    """Something that the sides did not do alike; an instant is None where a side did not do it."""

    kind: str
    rule: str
    twin: str
    tenant: str
    detail: str
    active_ts: int | None
    candidate_ts: int | None

    @property
    def first_ts(self) -> int:
        """The earlier of its instants."""
        return min(ts for ts in (self.active_ts, self.candidate_ts) if ts is not None)


class Row(msgspec.Struct, frozen=True):
    """How often each kind of finding came on either side, of one rule or for one tenant; `differences` of them."""

    name: str
    active: dict[str, int]
    candidate: dict[str, int]
    differences: int


class Comparison(msgspec.Struct, frozen=True):
    """Both sides: rules and tenants with differences first, then every difference in the order of weight and time."""

    rules: list[Row]
    tenants: list[Row]
    differences: list[Difference]
    same: int


def compare_findings(active: Sequence[Finding], candidate: Sequence[Finding]) -> Comparison:
    """Put two sides beside each other."""
    differences, same = _differences(active, candidate)
    return Comparison(
        rules=_rows(active, candidate, Counter(found.rule for found in differences), "rule"),
        tenants=_rows(active, candidate, Counter(found.tenant or found.twin for found in differences), "tenant"),
        differences=differences,
        same=same,
    )


def _differences(active: Sequence[Finding], candidate: Sequence[Finding]) -> tuple[list[Difference], int]:
    sides: defaultdict[tuple[str, str, str, str, str], tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for number, findings in enumerate((active, candidate)):
        for found in findings:
            sides[found.kind, found.rule, found.twin, found.tenant, found.detail][number].append(found.ts)
    differences: list[Difference] = []
    same = 0
    for key, (ours, theirs) in sides.items():
        common = Counter(ours) & Counter(theirs)
        same += common.total()
        left = sorted((Counter(ours) - common).elements())
        right = sorted((Counter(theirs) - common).elements())
        for place in range(max(len(left), len(right))):
            active_ts = left[place] if place < len(left) else None
            candidate_ts = right[place] if place < len(right) else None
            differences.append(Difference(*key, active_ts, candidate_ts))
    return sorted(differences, key=lambda found: (_weight(found.kind), found.first_ts, found.twin)), same


def _rows(active: Iterable[Finding], candidate: Iterable[Finding], different: Counter[str], by: str) -> list[Row]:
    counts: tuple[defaultdict[str, Counter[str]], defaultdict[str, Counter[str]]] = (
        defaultdict(Counter),
        defaultdict(Counter),
    )
    for number, findings in enumerate((active, candidate)):
        for found in findings:
            name = found.rule if by == "rule" else found.tenant or found.twin
            counts[number][name][found.kind] += 1
    names = sorted({*counts[0], *counts[1]}, key=lambda name: (-different[name], name))
    return [Row(name, _ordered(counts[0][name]), _ordered(counts[1][name]), different[name]) for name in names]


def _ordered(counts: Counter[str]) -> dict[str, int]:
    return {kind: counts[kind] for kind in sorted(counts, key=_weight)}


def _weight(kind: str) -> int:
    return WEIGHT.index(kind) if kind in WEIGHT else len(WEIGHT)

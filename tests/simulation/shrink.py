"""A failing plan made small: fewer happenings, calmer dials, fewer meters, a shorter time, as long as it fails in the
same way: the same invariant says the same of the same meters and tenants, whatever the numbers are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import msgspec

from tests.simulation.plan import Plan
from tests.simulation.run import Outcome, run_plan

MOST_RUNS = 120
CALM = {"loss": 0.0, "twice": 0.0, "delayed": 0.0, "call_loss": 0.0, "answer_loss": 0.0, "slow": 0.0}

SUBJECT = re.compile(r"\b(?:em|t)-\d{3}\b")
NUMBER = re.compile(r"\b(?=\w*\d)\w+\b")
SUM = re.compile(r"[-+]?#|\[#, #\)")


class Failure(msgspec.Struct, frozen=True):
    """How a run failed, without the numbers."""

    invariant: str
    kind: str
    subjects: tuple[str, ...]


def failure_of(outcome: Outcome) -> Failure:
    """The failure of an outcome. Of a crash the last line counts: which error, and what it says."""
    detail = outcome.detail.strip().rsplit("\n", 1)[-1]
    subjects = tuple(sorted(set(SUBJECT.findall(detail))))
    masked = SUBJECT.sub("@", detail)
    return Failure(outcome.invariant, SUM.sub("#", NUMBER.sub("#", masked)), subjects)


def shrink(plan: Plan, failed: Outcome, tell: Callable[[str], object] = lambda _: None) -> tuple[Plan, Outcome]:
    """The smallest plan that was found to fail in the same way, and what came of it."""
    best, found, runs, wanted = plan, failed, 0, failure_of(failed)
    smaller = True
    while smaller and runs < MOST_RUNS:
        smaller = False
        for candidate in _smaller(best):
            runs += 1
            outcome = run_plan(candidate)
            if failure_of(outcome) == wanted:
                best, found, smaller = candidate, outcome, True
                tell(f"  {len(best.happenings)} happenings, {best.meters} meters, {best.length_ms // 1000} s")
                break
            if runs >= MOST_RUNS:
                break
    return best, found


def _smaller(plan: Plan) -> Iterator[Plan]:
    size = len(plan.happenings)
    step = size // 2
    while step:
        for first in range(0, size, step):
            yield _with(plan, happenings=plan.happenings[:first] + plan.happenings[first + step :])
        step //= 2
    for name in CALM:
        if getattr(plan.dials, name):
            yield _with(plan, dials=msgspec.structs.replace(plan.dials, **{name: 0.0}))
    if plan.meters > 1:
        yield _with(plan, meters=plan.meters - 1)
    plain = {"max_batch": 1_000, "max_queued": 1_000, "stream_max": 1_000_000, "layout": "one"}
    for name, value in plain.items():
        if getattr(plan, name) != value:
            yield _with(plan, **{name: value})
    last = plan.happenings[-1].at + 30_000 if plan.happenings else 30_000
    if last < plan.length_ms:
        yield _with(plan, length_ms=last)


def _with(plan: Plan, **changes: object) -> Plan:
    return msgspec.structs.replace(plan, **changes)  # type: ignore[arg-type]

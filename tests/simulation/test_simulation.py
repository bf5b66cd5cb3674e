"""Some seeds in the normal suite, and the simulation itself: the same seed is the same run, mutants are found, a
failing plan becomes smaller. Each runs in a process of its own, where the order of sets is fixed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.mutants import MUTANTS

ROOT = Path(__file__).parents[2]
SEEDS = 8
QUICK = {"float in rating": 10, "skipped plausibility gate": 30}
"""Mutants that are hunted in the normal suite, and the most seeds that it may take."""


def _python(code: str, within_s: int = 280) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=within_s
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_some_seeds_hold() -> None:
    code = (
        "from tests.simulation.hunt import soak\n"
        f"failed = [one for one in soak(range({SEEDS}), 1) if one.failed]\n"
        "assert not failed, [(one.seed, one.invariant, one.detail) for one in failed]\n"
    )
    _python(code)


def test_the_same_seed_is_the_same_run() -> None:
    code = "from tests.simulation.run import run_seed\nprint(run_seed(9).hash)"
    assert _python(code) == _python(code)


@pytest.mark.parametrize("name", QUICK)
def test_a_deliberate_bug_is_found(name: str) -> None:
    number = next(number for number, mutant in enumerate(MUTANTS) if mutant.name == name)
    code = (
        "from tests.simulation.hunt import hunt\n"
        f"hunted = hunt({number}, {QUICK[name]})\n"
        "assert hunted.found and hunted.applied, hunted\n"
    )
    _python(code)


@pytest.mark.soak
def test_a_failing_plan_becomes_smaller() -> None:
    code = (
        "from tests.simulation.mutants import MUTANTS\n"
        "from tests.simulation.plan import draw_plan\n"
        "from tests.simulation.run import run_plan\n"
        "from tests.simulation.shrink import shrink\n"
        "mutant = next(one for one in MUTANTS if one.name == 'float in rating')\n"
        "with mutant.put_in():\n"
        "    plan = next(plan for plan in map(draw_plan, range(20)) if run_plan(plan).failed)\n"
        "    small, outcome = shrink(plan, run_plan(plan))\n"
        "assert outcome.failed and len(small.happenings) <= len(plan.happenings) // 2, small\n"
    )
    _python(code)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_every_deliberate_bug_is_found() -> None:
    told = _python("import sys\nfrom tests.simulation.__main__ import _mutants\nsys.exit(_mutants(2))", within_s=7_000)
    assert "10 of 10 found" in told

"""`python -m tests.simulation`: run seeds, replay one, hunt mutants. See the README beside this file."""

from __future__ import annotations

import argparse
import os
import sys
import time

from tests.simulation.hunt import MOST_SEEDS_A_MUTANT, Hunted, hunt_all, soak, summary
from tests.simulation.plan import draw_plan
from tests.simulation.run import Outcome, run_plan
from tests.simulation.shrink import shrink
from tests.simulation.trace import Trace


def main() -> int:
    """Read the command line; the exit code is 0 where everything held."""
    said = _parser().parse_args()
    if said.mutants:
        return _mutants(said.processes)
    if said.seed is not None:
        return _replay(said.seed, trace=said.trace, small=not said.no_shrink)
    return _soak(said)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, help="replay this one")
    parser.add_argument("--trace", action="store_true", help="print everything that happens")
    parser.add_argument("--no-shrink", action="store_true", help="leave a failing plan as it is")
    parser.add_argument("--mutants", action="store_true", help="hunt ten deliberate bugs")
    return parser


def _soak(said: argparse.Namespace) -> int:
    began, outcomes = time.monotonic(), []
    for outcome in soak(range(said.first, said.first + said.seeds), said.processes):
        outcomes.append(outcome)
        if outcome.failed:
            print(f"seed {outcome.seed}: {outcome.invariant}: {outcome.detail[:300]}", flush=True)
        if len(outcomes) % 50 == 0:
            print(f"... {len(outcomes)} of {said.seeds} seeds, {time.monotonic() - began:.0f} s", flush=True)
    print(summary(outcomes, began))
    failed = sorted(outcome.seed for outcome in outcomes if outcome.failed)
    for seed in failed[:3]:
        print(f"replay: python -m tests.simulation --seed {seed} --trace")
    return 1 if failed else 0


def _replay(seed: int, *, trace: bool, small: bool) -> int:
    plan = draw_plan(seed)
    outcome = run_plan(plan, Trace(print if trace else None))
    took = f"{outcome.steps} steps, {outcome.virtual_s} s of park, {outcome.cpu_s:.2f} s"
    print(f"seed {seed}: hash {outcome.hash}, {took}")
    if not outcome.failed:
        print("everything held")
        return 0
    _tell(outcome)
    if small and not trace:
        print("making it smaller ...")
        plan, outcome = shrink(plan, outcome, print)
        _tell(outcome)
        print(f"  {plan.meters} meters, layout {plan.layout}, {plan.dials}")
        for one in plan.happenings:
            print(f"  {one.at / 1000:8.1f} s {one.what} {one.number}")
    return 1


def _tell(outcome: Outcome) -> None:
    print(f"VIOLATION {outcome.invariant}: {outcome.detail}")


def _mutants(processes: int) -> int:
    print(f"{'bug':28} {'seed':>5} {'seeds':>5} {'ran':>7}  invariant that spoke", flush=True)

    def tell(one: Hunted) -> None:
        seed = str(one.seed) if one.found else "-"
        said = f"{one.invariant}: {one.detail[:90]}"
        print(f"{one.name:28} {seed:>5} {one.seeds:>5} {one.applied:>7}  {said}", flush=True)

    hunted = hunt_all(tell, processes)
    missed = [one.name for one in hunted if not one.found or not one.applied]
    print(f"{len(hunted) - len(missed)} of {len(hunted)} found within {MOST_SEEDS_A_MUTANT} seeds")
    return 1 if missed else 0


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # Sets of names are walked in the order of their hashes: a seed must mean the same in every process.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    sys.exit(main())

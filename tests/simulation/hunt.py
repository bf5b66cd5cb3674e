"""Many seeds: a soak on two processes, and the hunt for each mutant."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import get_context

import msgspec

from tests.simulation.mutants import MUTANTS
from tests.simulation.run import Outcome, run_seed

PROCESSES = 2
MOST_SEEDS_A_MUTANT = 200


class Hunted(msgspec.Struct):
    """What a hunt for one mutant came to."""

    name: str
    applied: int
    seeds: int
    seed: int = -1
    invariant: str = ""
    detail: str = ""
    no_proof: tuple[int, ...] = ()
    """Seeds that failed with the mutant, and without it, too."""

    @property
    def found(self) -> bool:
        """Whether a seed found it."""
        return self.seed >= 0


def soak(seeds: Iterable[int], processes: int = PROCESSES) -> Iterator[Outcome]:
    """Run seeds, in any order of their ends."""
    if processes == 1:
        yield from map(run_seed, seeds)
        return
    with get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(run_seed, seeds, chunksize=4)


def hunt(number: int, most: int = MOST_SEEDS_A_MUTANT, first: int = 0) -> Hunted:
    """Run seeds with one mutant until one of them finds it: it fails with the mutant and holds without it."""
    mutant, applied = MUTANTS[number], 0
    no_proof: list[int] = []
    for count, seed in enumerate(range(first, first + most), 1):
        with mutant.put_in():
            outcome = run_seed(seed)
        applied += mutant.applied
        if outcome.failed and mutant.applied:
            if run_seed(seed).failed:
                no_proof.append(seed)
                continue
            told = (outcome.invariant, outcome.detail, tuple(no_proof))
            return Hunted(mutant.name, applied, count, seed, *told)
    return Hunted(mutant.name, applied, most, no_proof=tuple(no_proof))


def hunt_all(tell: Callable[[Hunted], object], processes: int = PROCESSES) -> list[Hunted]:
    """Hunt for every mutant, and tell of each when its hunt has ended."""
    found = []
    if processes == 1:
        for one in map(hunt, range(len(MUTANTS))):
            found.append(one)
            tell(one)
        return found
    with get_context("spawn").Pool(processes, maxtasksperchild=1) as pool:
        for one in pool.imap(hunt, range(len(MUTANTS)), chunksize=1):
            found.append(one)
            tell(one)
    return found


def summary(outcomes: list[Outcome], began: float) -> str:
    """Figures of a soak in one line."""
    cpu = sum(one.cpu_s for one in outcomes)
    virtual_h = sum(one.virtual_s for one in outcomes) / 3600
    failed = sorted(one.seed for one in outcomes if one.failed)
    return (
        f"{len(outcomes)} seeds, {len(failed)} failed {failed[:20]}; {virtual_h:.0f} h of park in"
        f" {time.monotonic() - began:.0f} s, {cpu / max(1, len(outcomes)):.2f} s CPU a seed;"
        f" {sum(one.messages for one in outcomes)} readings, {sum(one.calls for one in outcomes)} calls,"
        f" {sum(one.commits for one in outcomes)} commits checked"
    )

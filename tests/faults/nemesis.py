"""The nemesis: faults of processes, servers, links, disks and clocks, done to a whole installation by one seed.

```
python -m tests.faults.nemesis --seeds 20        # many; --seed 7 replays one
```

One seed gives the same schedule; what happens within it depends on the machine, as with real ones. A failure prints the
seed and the schedule as far as it went. What can be done, and what must hold after it: `battlefield.py`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults.battlefield import FAKETIME, LINKS, RICH, Battlefield, Healed
from tests.faults.disks import SmallDisk
from tests.faults.link import TO_CLIENT, TO_SERVER
from tests.faults.stage import SERVICES


class Campaign:
    """Faults drawn from the seed of a battlefield: rounds of one or two that overlap, with quiet between them."""

    def __init__(self, field: Battlefield, rounds: int = 6) -> None:
        self.field = field
        self.rounds = rounds
        names = SERVICES if field.apart else ("up",)
        self.faults: dict[str, Callable[[], AbstractContextManager[None]]] = {
            **{f"kill {name}": partial(field.killed, name) for name in names},
            **{f"stop {name}": partial(field.frozen, name) for name in names},
            **{f"cut {name}": partial(field.cut, name) for name in LINKS},
            **{f"cut {name} towards the server": partial(field.cut, name, TO_SERVER) for name in LINKS},
            **{f"cut {name} towards us": partial(field.cut, name, TO_CLIENT) for name in LINKS},
            **{f"half-open {name}": partial(field.half_open, name) for name in LINKS},
            **{f"slow {name}": partial(field.slow, name) for name in LINKS},
            "redis killed": field.redis_killed, "redis wiped": field.redis_wiped,
            "redis set back": field.redis_set_back,
            "redis out of memory": field.redis_full, "redis read-only": field.redis_read_only,
            "postgres stopped": field.postgres_stopped, "postgres killed": field.postgres_killed,
            "broker killed": field.broker_killed, "broker forgets": partial(field.broker_killed, forgets=True),
            "session taken over": field.session_taken_over,
        }  # fmt: skip
        if FAKETIME.exists():
            self.faults["server clock two hours back"] = partial(field.server_clock_off, -120)
        if isinstance(field.redis_disk, SmallDisk) and field.redis_disk.mounted:
            self.faults["disk of redis full"] = field.redis_disk_full
            self.faults["disk of postgres full"] = field.postgres_disk_full

    def schedule(self) -> list[tuple[list[str], float, float]]:
        """(faults that overlap, seconds that they last, seconds of quiet after them)."""
        rng = self.field.rng
        rounds = []
        for _ in range(self.rounds):
            names = rng.sample(sorted(self.faults), rng.choice((1, 1, 2)))
            while len({name.split()[-1 if name.startswith(("kill", "stop")) else 1] for name in names}) < len(names):
                names = rng.sample(sorted(self.faults), len(names))  # two faults of one victim take each other back
            rounds.append((names, rng.choice((0.3, 1.0, 2.5, 5.0)), rng.uniform(0.1, 1.5)))
        return rounds

    def scenario(self) -> dict[str, Any]:
        """What goes wrong with devices meanwhile: the clock of one steps, messages are doubled and dropped."""
        rng = self.field.rng
        skewed = rng.choice(RICH)
        self.field.skewed = frozenset({skewed})
        skew = rng.choice(("-2h", "2h", "-25h", "400d"))
        return {
            "faults": [
                {"fault": "clock_skew", "devices": [skewed], "skew": skew, "from": "3m", "to": "9m"},
                {"fault": "duplicate", "group": "shops", "probability": "0.2", "copies": 2},
                {"fault": "drop", "group": "shops", "probability": "0.2", "from": "2m", "to": "12m"},
            ]
        }

    def run(self) -> None:
        """Begin, and do it all."""
        field = self.field
        field.begin(**self.scenario())
        for names, lasts_s, quiet_s in self.schedule():
            with ExitStack() as stack:
                for name in names:
                    field.note(f"{name} for {lasts_s} s")
                    stack.enter_context(self.faults[name]())
                time.sleep(lasts_s)
            field.note("healed")
            time.sleep(quiet_s)


@contextmanager
def told_on_failure(field: Battlefield) -> Iterator[None]:
    """Prints seed and schedule where something fails."""
    try:
        yield
    except BaseException:
        print(f"\nnemesis seed {field.seed}; replay: python -m tests.faults.nemesis --seed {field.seed}")
        print("\n".join(field.told))
        raise


def fight(folder: Path, seed: int, rounds: int = 6) -> Healed:
    """One seed from its beginning to its end; what is wrong then, with the schedule printed where anything is."""
    with Battlefield(folder, seed, apart=bool(seed % 2)) as field, told_on_failure(field):
        Campaign(field, rounds).run()
        healed = field.judged()
        if healed != Healed():
            print(f"\nnemesis seed {field.seed}:", *field.told, sep="\n")
        return healed


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.nemesis")
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--rounds", type=int, default=6, help="rounds of faults a seed")
    parser.add_argument("--seed", type=int, help="run this one alone, and keep its logs")
    said = parser.parse_args()
    failed = 0
    for seed in [said.seed] if said.seed is not None else range(said.first, said.first + said.seeds):
        folder, began = Path(tempfile.mkdtemp(prefix=f"nemesis-{seed}-")), time.monotonic()
        try:
            healed = fight(folder, seed, said.rounds)
            assert healed == Healed(), healed
        except BaseException as error:
            failed += 1
            traceback.print_exc()
            print(f"seed {seed}: FAILED after {time.monotonic() - began:.0f} s, logs in {folder}", flush=True)
            if isinstance(error, KeyboardInterrupt):
                break
        else:
            print(f"seed {seed}: everything held, {time.monotonic() - began:.0f} s", flush=True)
            if said.seed is None:
                shutil.rmtree(folder, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

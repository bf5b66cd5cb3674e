"""A plan: what one seed does to the platform. Swarm testing: each seed switches on some faults and leaves out others.

A plan is plain data and can be made smaller: fewer happenings, calmer dials, fewer meters, a shorter time. Every
happening carries a number of its own to draw its details from, so that leaving one out changes no other.
"""

from __future__ import annotations

import msgspec

from tests.simulation.chance import stream
from tests.simulation.park import MINUTE

FAULTS: dict[str, float] = {
    # processes (C1-C6)
    "kill": 6, "fuse": 10, "freeze": 4, "zombie": 4,
    # links and servers (B2, S1-S7)
    "cut_redis": 3, "cut_sql": 3, "cut_mqtt": 3, "deaf_redis": 3, "deaf_sql": 3, "slow": 2,
    "redis_wiped": 2, "redis_older": 2, "redis_second": 4, "redis_refuses": 2, "redis_away": 2,
    "sql_away": 3, "sql_full": 3, "sql_older": 1, "sql_second": 2,
    # broker (B1)
    "broker_killed": 3, "broker_forgets": 2, "session_lost": 2, "replay": 3,
    # clocks (T1)
    "device_clock": 3, "server_clock": 2,
    # devices (R1-R3, X1, X3, B3, B4)
    "unlink": 5, "link": 6, "darken": 3, "reboot": 3, "spike": 4, "dip": 2, "reset": 1, "swap": 1,
    "stuck": 2, "repair": 4, "key": 3, "poison": 2, "draw": 5, "overload": 3, "reconnect_storm": 2,
    # people (P1, P3, P4)
    "top_up": 14, "top_up_twice": 5, "notice_storm": 2, "lock": 5, "unlock": 7, "price": 1, "hand_over": 8,
    "correct": 2, "manual": 2, "import_again": 1, "second_thoughts": 6,
}  # fmt: skip
ALWAYS = frozenset({"top_up", "link", "repair", "unlock", "draw", "hand_over", "second_thoughts"})
LONGEST_MS = 30 * MINUTE
LAYOUTS = ("one", "split", "split")


class Dials(msgspec.Struct, frozen=True):
    """Rates of what goes wrong all the time, from 0 to 1."""

    loss: float = 0.0
    """Messages of devices that never reach the broker."""
    twice: float = 0.0
    """Messages of devices that are published twice."""
    delayed: float = 0.0
    """Messages of devices that are late, and so overtaken."""
    call_loss: float = 0.0
    """Calls to servers that do not get through."""
    answer_loss: float = 0.0
    """Calls to servers whose answer is lost after their effect."""
    slow: float = 0.0
    """Calls to servers that take seconds."""


class Happening(msgspec.Struct, frozen=True):
    """One thing that happens: when (ms after the start), what, and the number that decides on its details."""

    at: int
    what: str
    number: int


class Plan(msgspec.Struct, frozen=True):
    """Everything that one run is made from."""

    seed: int
    meters: int = 2
    layout: str = "split"
    length_ms: int = LONGEST_MS
    dials: Dials = Dials()
    happenings: tuple[Happening, ...] = ()
    max_batch: int = 1_000
    max_queued: int = 1_000
    stream_max: int = 1_000_000


def draw_plan(seed: int) -> Plan:
    """The plan of a seed: about half of all faults are switched on, with weights of its own."""
    rng = stream(seed, "plan")
    on: dict[str, float] = {}
    for what, weight in FAULTS.items():
        if what in ALWAYS or rng.random() < 0.45:
            on[what] = weight * rng.uniform(0.5, 2)
    count = rng.randint(6, 26)
    length = rng.randint(10 * MINUTE, LONGEST_MS)
    times = sorted(rng.randrange(length) for _ in range(count))
    chosen = rng.choices(list(on), list(on.values()), k=count)
    happenings = tuple(Happening(at, what, rng.getrandbits(30)) for at, what in zip(times, chosen, strict=True))
    return Plan(
        seed,
        meters=rng.randint(1, 4),
        layout=rng.choice(LAYOUTS),
        length_ms=length,
        dials=_dials(seed),
        happenings=happenings,
        max_batch=rng.choice((3, 20, 1_000)),
        max_queued=rng.choice((6, 30, 1_000, 1_000)),
        stream_max=rng.choice((12, 60, 1_000_000, 1_000_000)),
    )


def _dials(seed: int) -> Dials:
    rng = stream(seed, "dials")

    def rate(most: float) -> float:
        return round(rng.uniform(0, most), 3) if rng.random() < 0.35 else 0.0

    return Dials(rate(0.5), rate(0.5), rate(0.5), rate(0.05), rate(0.03), rate(0.05))

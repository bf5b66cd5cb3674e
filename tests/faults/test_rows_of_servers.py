"""One installation, one server after another in trouble, money in between: S1 (wiped, set back, out of memory,
read-only), S2 (Redis loses its power), S3 (PostgreSQL away for an hour), S5 (full disks), B1 (broker killed, sessions
lost, the session of ingest taken over), T1 (the server's clock two hours back). What must hold stands at
the end of each."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from tests.faults.battlefield import FAKETIME, Battlefield
from tests.faults.disks import SmallDisk
from tests.faults.nemesis import told_on_failure

QUIET_S = 1.0


def suffer(field: Battlefield, name: str, fault: Callable[[], AbstractContextManager[None]], lasts_s: float) -> None:
    """One fault, and quiet after it."""
    field.note(f"{name} for {lasts_s} s")
    with fault():
        time.sleep(lasts_s)
    field.note("healed")
    time.sleep(QUIET_S)


def test_redis_in_every_trouble(tmp_path: Path) -> None:
    """S1, S5: the twins are made good from SQL, nobody with money is switched, nothing is free."""
    with Battlefield(tmp_path, 11) as field, told_on_failure(field):
        field.begin()
        suffer(field, "out of memory", field.redis_full, 2)
        suffer(field, "read-only", field.redis_read_only, 2)
        suffer(field, "set back", field.redis_set_back, 4)
        suffer(field, "wiped", field.redis_wiped, 1)
        if isinstance(field.redis_disk, SmallDisk) and field.redis_disk.mounted:
            suffer(field, "disk full", field.redis_disk_full, 3)
        healed = field.judged()
        assert (healed.gaps, healed.money, healed.books) == ([], [], []), "all that was told is charged, once"
        assert healed.breakers == [], "breakers end where balances and locks want them"
        assert healed.switched == [], "nobody with money was switched"
        assert healed.broken_promises == [], "a command and a fence have one meaning"
        assert healed.proof == "", "and twinmeter verify agrees"


@pytest.mark.soak
def test_redis_loses_its_power(tmp_path: Path) -> None:
    """S2: what Redis had not synchronised is gone; it is found out and made good."""
    with Battlefield(tmp_path, 12, mortal=True) as field, told_on_failure(field):
        field.begin()
        time.sleep(4)
        suffer(field, "power lost", field.redis_without_power, 1)
        healed = field.judged()
        assert (healed.gaps, healed.money, healed.books) == ([], [], []), "all that was told is charged, once"
        assert healed.breakers == [], "breakers end where balances and locks want them"
        assert healed.switched == [], "nobody with money was switched"
        assert healed.broken_promises == [], "a command and a fence have one meaning"
        assert healed.proof == "", "and twinmeter verify agrees"


@pytest.mark.soak
def test_postgres_is_away_for_an_hour_and_its_disk_is_full(tmp_path: Path) -> None:
    """S3, S5: effects wait in Redis, cutoffs go on, payments wait; all of it is posted when it is back."""
    with Battlefield(tmp_path, 13) as field, told_on_failure(field):
        field.begin()
        suffer(field, "PostgreSQL stopped", field.postgres_stopped, 60)  # an hour of the park
        if isinstance(field.redis_disk, SmallDisk) and field.redis_disk.mounted:
            suffer(field, "disk of PostgreSQL full", field.postgres_disk_full, 5)
        healed = field.judged()
        assert (healed.gaps, healed.money, healed.books) == ([], [], []), "all that was told is charged, once"
        assert healed.breakers == [], "breakers end where balances and locks want them"
        assert healed.switched == [], "nobody with money was switched"
        assert healed.broken_promises == [], "a command and a fence have one meaning"
        assert healed.proof == "", "and twinmeter verify agrees"


@pytest.mark.soak
def test_a_broker_that_dies_forgets_and_is_taken_over(tmp_path: Path) -> None:
    """B1: what was queued is gone, the next reading of each meter closes the gap."""
    with Battlefield(tmp_path, 14) as field, told_on_failure(field):
        field.begin()
        suffer(field, "broker killed", field.broker_killed, 1)
        suffer(field, "broker forgets", partial(field.broker_killed, forgets=True), 2)
        suffer(field, "session taken over", field.session_taken_over, 2)
        with field.frozen("up"):
            suffer(
                field, "broker forgets what waits for a frozen ingest", partial(field.broker_killed, forgets=True), 2
            )
        healed = field.judged()
        assert (healed.gaps, healed.money, healed.books) == ([], [], []), "all that was told is charged, once"
        assert healed.breakers == [], "breakers end where balances and locks want them"
        assert healed.switched == [], "nobody with money was switched"
        assert healed.broken_promises == [], "a command and a fence have one meaning"
        assert healed.proof == "", "and twinmeter verify agrees"


@pytest.mark.soak
@pytest.mark.skipif(not FAKETIME.exists(), reason="faketime is not installed (apt-get install faketime)")
def test_the_clock_of_the_server_steps(tmp_path: Path) -> None:
    """T1: two hours back, right again, two hours ahead, right again, while everything runs."""
    with Battlefield(tmp_path, 15) as field, told_on_failure(field):
        field.begin()
        suffer(field, "two hours back", partial(field.server_clock_off, -120), 4)
        suffer(field, "two hours ahead", partial(field.server_clock_off, 120), 4)
        healed = field.judged()
        assert (healed.gaps, healed.money, healed.books) == ([], [], []), "all that was told is charged, once"
        assert healed.breakers == [], "breakers end where balances and locks want them"
        assert healed.switched == [], "nobody with money was switched"
        assert healed.broken_promises == [], "a command and a fence have one meaning"
        assert healed.proof == "", "and twinmeter verify agrees"

"""What one process remembers, and when it forgets."""

from __future__ import annotations

import msgspec

from adapters.twins.cache import Memory, Recent
from tests.conformance.twin_values import a_group


class Time:
    """A clock that stands still."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def memory(groups: int = 3, devices: int = 10) -> tuple[Memory, Time]:
    """A small memory and its clock."""
    time = Time()
    return Memory(groups=groups, devices=devices, absent_s=2.0, seconds=time), time


def test_recent_forgets_the_least_recently_used() -> None:
    recent: Recent[str, int] = Recent(2)
    recent.put("a", 1)
    recent.put("b", 2)
    assert recent.get("a") == 1
    recent.put("c", 3)
    assert (recent.get("a"), recent.get("b"), recent.get("c"), len(recent)) == (1, None, 3, 2)


def test_a_limit_of_nothing_keeps_nothing() -> None:
    recent: Recent[str, int] = Recent(0)
    recent.put("a", 1)
    assert len(recent) == 0


def test_answers_that_overtake_each_other_do_not_bring_back_old_twins() -> None:
    known, _ = memory()
    new = msgspec.structs.replace(a_group("park"), revision=8)
    known.keep(new)
    known.keep(msgspec.structs.replace(new, revision=7))
    assert known.group("park", "t-1") is new


def test_dropping_a_group_forgets_where_its_devices_are() -> None:
    known, _ = memory()
    group = a_group("park")
    known.keep(group)
    known.learn_holder("park", "em-t-1-0", "t-1")
    known.learn_holder("park", "elsewhere", "t-1")
    known.drop(group)
    assert known.group("park", "t-1") is None
    assert known.holder("park", "em-t-1-0") is None
    assert known.holder("park", "elsewhere") == "t-1"


def test_absence_is_believed_for_a_while() -> None:
    known, time = memory()
    known.learn_holder("park", "em-1", None)
    assert known.is_absent("park", "em-1")
    assert not known.is_absent("field", "em-1")
    time.now += 1.9
    assert known.is_absent("park", "em-1")
    time.now += 0.2
    assert not known.is_absent("park", "em-1")


def test_a_device_that_appears_is_no_longer_absent() -> None:
    known, _ = memory()
    known.learn_holder("park", "em-1", None)
    known.learn_holder("park", "em-1", "t-1")
    assert not known.is_absent("park", "em-1")
    assert known.holder("park", "em-1") == "t-1"


def test_a_site_is_forgotten_alone() -> None:
    known, _ = memory()
    for site in ("park", "field"):
        known.keep(a_group(site))
        known.learn_holder(site, "em-1", "t-1")
        known.learn_holder(site, "em-2", None)
    known.drop_site("park")
    assert known.group("park", "t-1") is None
    assert known.holder("park", "em-1") is None
    assert not known.is_absent("park", "em-2")
    assert known.group("field", "t-1") is not None
    assert known.holder("field", "em-1") == "t-1"
    assert known.is_absent("field", "em-2")


def test_unknown_devices_cannot_fill_the_memory() -> None:
    known, _ = memory(devices=10)
    known.learn_holder("park", "em-1", "t-1")
    for number in range(1_000):
        known.learn_holder("park", f"rubbish-{number}", None)
    assert known.holder("park", "em-1") == "t-1"
    assert sum(known.is_absent("park", f"rubbish-{number}") for number in range(1_000)) == 10

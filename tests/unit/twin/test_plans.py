"""Schedules and load limits of circuits: by week, over midnight, on special days, against every other lock."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from rules.calendars import CalendarError
from rules.ruleset import compile_ruleset
from tests.unit.twin.scene import HOUR, MIDNIGHT, MINUTE, PACK, ZONE, Scene, make_policy
from twin.core.effects import CommandChanged, LockChanged, ParamChanged
from twin.core.messages import ContractsChanged, StateReported, Tick
from twin.core.model import BreakerTwin
from twin.core.plans import CALENDAR, schedule_calendar, spells
from twin.core.view import TWIN_MODEL

DAY = 24 * HOUR
NIGHT = {"name": "lights-out", "off": [{"times": ["23:00-06:00"]}]}
"""MIDNIGHT is the beginning of Friday, 2026-01-09: inside the window that began on Thursday."""


def scene(schedule: dict[str, Any] | None = NIGHT, *, limit: dict[str, Any] | None = None, at: int = 12 * HOUR, **more):
    made = Scene(start=MIDNIGHT + at, **more)
    change(made, schedule=schedule, load_limit=limit)
    made.sample(10)
    return made


def change(made: Scene, *, contract: dict[str, Any] | None = None, **breaker: Any):
    made.contracts["breakers"] = (msgspec.structs.replace(made.contracts["breakers"][0], **breaker),)
    if contract is not None:
        made.contracts["contract"] = msgspec.structs.replace(made.contracts["contract"], **contract)
    return made.play(ContractsChanged(made.next_act(), made.now, **made.contracts))


def until(made: Scene, day_ms: int) -> None:
    made.wait(MIDNIGHT + day_ms - made.now)


def locks(made: Scene) -> list[str]:
    return list(made.breaker.locks)


def test_off_at_eleven_and_on_again_at_six() -> None:
    made = scene()
    assert locks(made) == []
    until(made, 23 * HOUR - 1)
    assert locks(made) == []
    until(made, 23 * HOUR)
    lock = made.breaker.locks["schedule"]
    assert (lock.who, lock.why, lock.until) == (CALENDAR, "schedule lights-out", MIDNIGHT + 30 * HOUR)
    made.obey()
    until(made, 30 * HOUR - 15 * MINUTE)
    made.sample(power_w=0)
    until(made, 30 * HOUR)
    assert locks(made) == []
    assert made.breaker.command.target == "closed"
    changes = [(one.active, one.who, one.why) for one in made.caused(LockChanged)]
    assert changes == [(True, CALENDAR, "schedule lights-out"), (False, CALENDAR, "the scheduled time is over")]


def test_a_quiet_circuit_is_woken_once_a_change() -> None:
    made = scene()
    woken = 0
    until(made, 22 * HOUR)
    for _ in range(4):
        assert made.group.wake is not None
        made.now = max(made.now, made.group.wake)
        made.play(Tick())
        woken += 1
        if made.breaker.command is not None and made.breaker.command.state == "created":
            made.obey()
        if "schedule" in made.breaker.locks:
            break
    assert (woken, made.now - MIDNIGHT) == (1, 23 * HOUR + 3_000)


def test_a_schedule_that_is_given_inside_its_window_acts_at_once_and_ends_with_it() -> None:
    made = scene(None, at=2 * HOUR)
    change(made, schedule=NIGHT)
    assert locks(made) == ["schedule"]
    change(made, schedule=None)
    assert locks(made) == []
    assert made.breaker.plan_at is None


def test_another_schedule_moves_the_end_of_the_lock_without_a_command() -> None:
    made = scene(at=2 * HOUR)
    commands = len(made.caused(CommandChanged))
    change(made, schedule={"name": "late", "off": [{"times": ["23:00-07:30"]}]})
    lock = made.breaker.locks["schedule"]
    assert (lock.until, lock.why) == (MIDNIGHT + 7 * HOUR + 30 * MINUTE, "schedule late")
    assert len(made.caused(CommandChanged)) == commands
    until(made, 7 * HOUR)
    assert locks(made) == ["schedule"]
    until(made, 7 * HOUR + 30 * MINUTE)
    assert locks(made) == []


def test_weekdays_and_special_days() -> None:
    schedule = {
        "name": "school",
        "off": [{"weekdays": ["monday:friday"], "times": ["22:00-06:00"]}],
        "special": [
            {"dates": "2026-01-12", "times": ["20:00-21:00"]},
            {"dates": "2026-01-13:2026-01-14", "times": []},
            {"dates": "holidays/CN", "times": []},
        ],
    }
    found = spells(schedule_calendar(schedule), MIDNIGHT, MIDNIGHT + 7 * DAY, ZONE)
    shown = [(_local(begin), _local(end)) for begin, end in found]
    assert shown == [
        ("01-09 00:00", "01-09 06:00"),
        ("01-09 22:00", "01-10 06:00"),
        ("01-12 20:00", "01-12 21:00"),
        ("01-15 22:00", "01-16 00:00"),
    ]
    assert not schedule_calendar(schedule).contains(_ts(2026, 10, 1, 23), ZONE), "the national holiday, a Thursday"
    assert schedule_calendar(schedule).contains(_ts(2026, 10, 8, 23), ZONE)


def _local(ts: int) -> str:
    return datetime.fromtimestamp(ts / 1000, ZONE).strftime("%m-%d %H:%M")


def _ts(*when: int) -> int:
    return int(datetime(*when, tzinfo=ZONE).timestamp()) * 1000


@pytest.mark.parametrize("entry", [{"times": ["25:00-26:00"]}, {"weekdays": ["someday"]}, {"dates": "holidays/XX"}])
def test_what_is_no_schedule_says_where(entry: dict[str, Any]) -> None:
    with pytest.raises(CalendarError):
        schedule_calendar({"name": "x", "off": [entry]})


def test_a_person_stands_above_the_schedule() -> None:
    made = scene()
    made.lock()
    made.obey()
    until(made, 23 * HOUR + MINUTE)
    assert locks(made) == ["manual", "schedule"]
    until(made, 31 * HOUR)
    assert locks(made) == ["manual"]
    assert made.breaker.relay == "open"


def test_what_a_person_releases_stays_released_until_the_next_window_and_survives_an_import() -> None:
    made = scene(at=2 * HOUR)
    assert locks(made) == ["schedule"]
    made.unlock("schedule")
    assert locks(made) == []
    change(made, schedule={**NIGHT, "name": "renamed"})
    until(made, 5 * HOUR)
    assert locks(made) == []
    until(made, 23 * HOUR)
    assert locks(made) == ["schedule"]


def test_a_key_on_site_is_told_and_not_fought() -> None:
    made = scene(at=2 * HOUR)
    made.obey()
    made.now += MINUTE
    made.play(StateReported("em-001", "closed", made.now, made.sid, "key"))
    made.wait(2 * HOUR)
    assert made.breaker.relay == "closed"
    assert "closed_locally_under_lock" in made.breaker.incidents
    assert made.breaker.command.state == "verified", "no command since"
    until(made, 23 * HOUR)
    assert made.breaker.command.target == "open"
    assert made.breaker.command.state == "created", "the next window is a new reason"


def test_a_guaranteed_supply_stays_on_and_the_schedule_begins_with_its_end() -> None:
    made = scene(at=2 * HOUR, contract={"protected_until": MIDNIGHT + 4 * HOUR})
    assert locks(made) == []
    until(made, 4 * HOUR)
    assert locks(made) == ["schedule"]
    change(made, contract={"protected_until": MIDNIGHT + 5 * HOUR})
    assert locks(made) == []
    change(made, contract={"protected_until": None})
    assert locks(made) == ["schedule"]


def test_arrears_keep_it_off_when_the_window_ends() -> None:
    made = scene(at=2 * HOUR)
    made.lock("credit")
    until(made, 7 * HOUR)
    assert locks(made) == ["credit"]


@pytest.mark.parametrize("freed", [False, True])
def test_a_rebuilt_breaker_is_right_at_its_first_wake(freed: bool) -> None:
    """Of the schedule SQL knows the standing lock and who took it off last."""
    made = scene(at=2 * HOUR)
    if freed:
        made.unlock("schedule")
    known = made.breaker
    group = msgspec.structs.replace(made.group, breakers={"em-001": BreakerTwin("em-001", freed_at=known.freed_at)})
    made.group = msgspec.structs.replace(group, wake=0)
    made.play(Tick())
    assert locks(made) == ([] if freed else ["schedule"])
    assert made.breaker.plan_at == MIDNIGHT + 6 * HOUR


def test_late_by_days_it_is_where_the_calendar_is() -> None:
    made = scene()
    made.now = MIDNIGHT + 3 * DAY + 2 * HOUR
    made.play(Tick())
    assert locks(made) == ["schedule"]
    made.now += 12 * HOUR
    made.play(Tick())
    assert locks(made) == []


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["wait", "lock", "unlock", "free", "import"]), st.integers(1, 20 * 60)), max_size=12
    )
)
def test_whatever_people_do_the_lock_is_the_calendars_or_freed(steps: list[tuple[str, int]]) -> None:
    made = scene()
    calendar = schedule_calendar(NIGHT)
    for what, minutes in steps:
        made.wait(minutes * MINUTE)
        if what == "lock":
            made.lock()
        elif what == "unlock":
            made.unlock()
        elif what == "free":
            made.unlock("schedule")
        elif what == "import":
            change(made)
        at = made.breaker.freed_at
        freed_now = at is not None and calendar.contains(at, ZONE) and calendar.next_change(at, ZONE) > made.now
        was_locked = ("schedule" in made.breaker.locks) == (calendar.contains(made.now, ZONE) and not freed_now)
        assert was_locked, (what, _local(made.now), made.breaker)


# --- load limits ------------------------------------------------------------------------------------------------

LIMIT = {"name": "dormitory", "limit_w": 2_000, "at": [{"limit_w": 200, "times": ["23:00-06:00"]}]}


def limit_of(made: Scene) -> object:
    return made.meter.params.get("limit_w")


def test_a_limit_changes_with_the_calendar_and_goes_with_it() -> None:
    made = scene(None, limit=LIMIT)
    assert limit_of(made) == 2_000
    until(made, 23 * HOUR)
    assert limit_of(made) == 200
    until(made, 30 * HOUR)
    assert limit_of(made) == 2_000
    change(made, load_limit={**LIMIT, "limit_w": 1_500})
    assert limit_of(made) == 1_500
    change(made, load_limit=None)
    assert limit_of(made) is None
    told = [(one.value, one.who) for one in made.caused(ParamChanged)]
    assert told == [(value, CALENDAR) for value in (2_000, 200, 2_000, 1_500, None)]


def test_what_an_import_says_of_the_parameter_does_not_lift_a_limit() -> None:
    made = scene(None, limit=LIMIT)
    made.change(params={"limit_w": 9_000})
    assert limit_of(made) == 2_000


def test_the_first_time_that_holds_counts() -> None:
    limit = {
        "name": "x",
        "limit_w": 2_000,
        "at": [{"limit_w": 100, "dates": "2026-01-09"}, {"limit_w": 200, "times": ["00:00-24:00"]}],
    }
    made = scene(None, limit=limit)
    assert limit_of(made) == 100
    until(made, 24 * HOUR)
    assert limit_of(made) == 200


def test_a_limit_is_kept_by_the_overload_rule_with_its_releases_of_the_day() -> None:
    """The pack of dormitories: ten seconds above the limit cut, released after five minutes, three times a day."""
    pack = YAML(typ="safe").load((PACK.parent / "dormitory.yaml").read_text(encoding="utf-8"))
    policy = make_policy(rulesets=[compile_ruleset(pack, TWIN_MODEL)])
    made = scene(None, limit=LIMIT, at=22 * HOUR, policy=policy)

    def draw(watts: int) -> list[str]:
        for _ in range(3):
            made.wait(6_000)
            made.sample(1, power_w=watts)
        return locks(made)

    assert draw(1_500) == []
    until(made, 23 * HOUR)
    for _ in range(3):
        assert draw(1_500) == ["overload"]
        made.obey()
        made.wait(4 * MINUTE)
        made.sample(0, power_w=0)
        made.wait(MINUTE)
        assert locks(made) == []
        made.obey()
    assert draw(1_500) == ["overload"]
    made.obey()
    for _ in range(8):
        made.wait(10 * MINUTE)
        made.sample(0, power_w=0)
    assert locks(made) == ["overload"], "the fourth needs a person"


def test_a_lock_of_somebody_else_that_ends_within_the_time_is_the_calendars_from_its_beginning() -> None:
    made = scene()
    until(made, 22 * HOUR)
    made.lock("schedule", MIDNIGHT + 25 * HOUR)
    until(made, 23 * HOUR)
    assert made.breaker.locks["schedule"].who == CALENDAR
    until(made, 29 * HOUR)
    assert locks(made) == ["schedule"], "the circuit is to be off until six"
    until(made, 30 * HOUR)
    assert locks(made) == []


def test_a_lock_of_somebody_else_that_lasts_longer_than_the_time_stays_theirs() -> None:
    made = scene()
    until(made, 22 * HOUR)
    made.lock("schedule", MIDNIGHT + 32 * HOUR)
    until(made, 31 * HOUR)
    assert made.breaker.locks["schedule"].who == "lin"
    until(made, 32 * HOUR)
    assert locks(made) == []

"""The wall clock in conditions: `now.time` and `now.weekday`, and when they change.

Both are of the environment's zone. `now.time` counts minutes of the local day, `now.weekday` is a lower-case English
name. A comparison of `now.time` with something that stands still changes only when the clock shows that minute, the
one behind it, or midnight, or when the clock jumps (daylight saving); so a rule that waits for 22:00 is looked at four
times a day and not every minute.
"""

from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from typing import Any

from rules.calendars import WEEKDAYS, clock_jumps, instants_of
from rules.literals import EPOCH

DAY_MINUTES = 24 * 60
_ONE_DAY = timedelta(days=1)


def local(now: int, zone: tzinfo) -> datetime:
    """The wall clock (Unix ms) in a zone."""
    return (EPOCH + timedelta(milliseconds=now)).astimezone(zone)


def time_of_day(env: Any) -> int:
    """Minutes since local midnight."""
    moment = local(env.now, env.zone)
    return moment.hour * 60 + moment.minute


def weekday(env: Any) -> str:
    """`monday` to `sunday`."""
    return WEEKDAYS[local(env.now, env.zone).weekday()]


READERS: dict[str, Callable[[Any], Any]] = {"now.time": time_of_day, "now.weekday": weekday}


def next_showing(env: Any, minutes: set[int]) -> int:
    """The next instant (ms, after `env.now`) at which the wall clock shows one of the minutes, or jumps."""
    now, zone = env.now, env.zone
    today = local(now, zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None, fold=0)
    for midnight in (today, today + _ONE_DAY, today + 2 * _ONE_DAY):
        found = [*clock_jumps(midnight, zone)]
        for minute in minutes:
            found.extend(instants_of(midnight + timedelta(minutes=minute), zone))
        later = [instant for instant in found if instant > now]
        if later:
            return min(later)
    return int(now) + 86_400_000

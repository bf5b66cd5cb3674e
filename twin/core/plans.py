"""Plans of circuits: scheduled switching (定时通断) and load limits (限负载) by week, holiday and special day.

Theory of operation. A schedule says when a circuit is off. While it is, the lock `schedule` stands, placed by the
calendar and taken off by it at the end; everything else (commands, retries, evidence) is as for any lock, and so is its
weight: safety and people stand above it, and while a supply is guaranteed it is not placed, or gives way. It acts on
transitions: what a person releases inside a window stays released until the next one begins, and a key that closes the
breaker on site is told and left alone, as under every lock.

A load limit says how many watts a circuit may draw, and when another limit holds. The calendar sets the parameter
`limit_w` of the meters behind the breaker, and the overload rule of the site does the rest: it trips, releases by
itself and counts the releases of the day. The device is told the same limit (`twin.core.configuration`).

The next instant at which a plan changes anything stands in the breaker (`plan_at`), one of the due times from which
the group's single timer is made. All of it follows from the contract and the clock, so a twin that was down, or was
rebuilt, is right at its first wake.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from rules.calendars import Calendar, read_entry
from twin.core import configuration
from twin.core.configuration import LIMIT
from twin.core.effects import LockChanged, ParamChanged
from twin.core.lock_kinds import guaranteed
from twin.core.locks import outlasts, place, release
from twin.core.model import Lock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import tzinfo

    from twin.core.draft import Draft

SCHEDULE = "schedule"
CALENDAR = "calendar/schedule"
"""Who places the locks of schedules and sets the parameters of limits; no person can be called so."""


def schedule_calendar(schedule: Mapping[str, Any]) -> Calendar:
    """When a circuit is off: the spans of `off`, but on a date that `special` names only those of `special`.

    Raises CalendarError.
    """
    return _compiled(msgspec.json.encode([schedule["off"], schedule.get("special", [])]))


def limit_calendars(limit: Mapping[str, Any]) -> list[tuple[int, Calendar]]:
    """The other limits (W) with the times at which they hold; the first that holds counts. Raises CalendarError."""
    parts = [(entry["limit_w"], _without_limit(entry)) for entry in limit.get("at", ())]
    return [(watts, _compiled(msgspec.json.encode([[entry], []]))) for watts, entry in parts]


def _without_limit(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != LIMIT}


@lru_cache(maxsize=4_096)
def _compiled(text: bytes) -> Calendar:
    entries, special = msgspec.json.decode(text)
    return Calendar("plan", tuple(map(read_entry, entries)), tuple(map(read_entry, special)))


def spells(calendar: Calendar, from_ts: int, to_ts: int, zone: tzinfo) -> list[tuple[int, int]]:
    """The spells of a calendar that touch `[from_ts, to_ts)` (Unix ms), cut to it."""
    found = []
    at, inside = from_ts, calendar.contains(from_ts, zone)
    while at < to_ts:
        until = min(calendar.next_change(at, zone), to_ts)
        if inside:
            found.append((at, until))
        at, inside = until, calendar.contains(until, zone)
    return found


def limit_at(limit: Mapping[str, Any], now: int, zone: tzinfo) -> int:
    """The limit (W) that holds at an instant."""
    for watts, calendar in limit_calendars(limit):
        if calendar.contains(now, zone):
            return watts
    return int(limit[LIMIT])


def follow(draft: Draft, device: str, now: int, *, anew: bool = False) -> None:
    """Let a breaker follow its plan, where that is due; `anew` after contracts or people have changed something."""
    contract, breaker = draft.group.breaker_contracts[device], draft.group.breakers[device]
    planned = contract.schedule is not None or contract.load_limit is not None
    if not planned and breaker.plan_at is None and breaker.limit_set is None:
        return
    if breaker.plan_at is not None and now < breaker.plan_at and not anew:
        return
    dues = [*_follow_schedule(draft, device, now), *_follow_limit(draft, device, now)]
    configuration.follow(draft, device, now)
    draft.breaker(device).plan_at = min(dues, default=None)
    draft.wake_dirty = True


def freed(draft: Draft, device: str, now: int) -> None:
    """A person took the lock off: until the next window begins, the calendar leaves the breaker alone."""
    draft.breaker(device).freed_at = now


def _follow_schedule(draft: Draft, device: str, now: int) -> list[int]:
    schedule = draft.group.breaker_contracts[device].schedule
    lock = draft.group.breakers[device].locks.get(SCHEDULE)
    mine = lock is not None and lock.who == CALENDAR
    if schedule is None:
        if mine:
            release(draft, device, SCHEDULE, CALENDAR, "the circuit has no schedule any more", now)
        return []
    zone, calendar = draft.policy.zone, schedule_calendar(schedule)
    change = calendar.next_change(now, zone)
    off = calendar.contains(now, zone) and not _is_freed(draft, device, calendar, now)
    kept_on = guaranteed(draft.group.contract, now)
    if off and not kept_on:
        _place(draft, device, f"schedule {schedule['name']}", change, now)
    elif mine:
        why = "the supply is guaranteed" if off else "the scheduled time is over"
        release(draft, device, SCHEDULE, CALENDAR, why, now)
    contract = draft.group.contract
    ends = contract.protected_until if contract is not None and kept_on else None
    return [change] if ends is None else [change, ends]


def _is_freed(draft: Draft, device: str, calendar: Calendar, now: int) -> bool:
    """Whether a person released the lock in the window that holds now."""
    at, zone = draft.group.breakers[device].freed_at, draft.policy.zone
    return at is not None and at <= now and calendar.contains(at, zone) and calendar.next_change(at, zone) > now


def _place(draft: Draft, device: str, why: str, until: int, now: int) -> None:
    """Place the lock, or let the one that stands say the end that holds now. Where somebody else's ends sooner, it is
    the calendar's from here: the breaker would close within the time in which it is to be off."""
    lock = draft.group.breakers[device].locks.get(SCHEDULE)
    if lock is None or (lock.who != CALENDAR and not outlasts(lock, until)):
        place(draft, device, SCHEDULE, Lock(CALENDAR, why, now, until), now)
    elif lock.who == CALENDAR and (lock.until, lock.why) != (until, why):
        breaker = draft.breaker(device)
        breaker.locks = {**breaker.locks, SCHEDULE: msgspec.structs.replace(lock, until=until, why=why)}
        draft.emit(LockChanged(device, SCHEDULE, True, CALENDAR, why, now, until, acts_seq=draft.group.acts_seq))
        draft.wake_dirty = True


def _follow_limit(draft: Draft, device: str, now: int) -> list[int]:
    limit = draft.group.breaker_contracts[device].load_limit
    known = draft.group.breakers[device].limit_set
    if limit is None:
        if known is not None:
            _set_limit(draft, device, None, now)
        return []
    zone = draft.policy.zone
    watts = limit_at(limit, now, zone)
    _set_limit(draft, device, watts, now)
    return [calendar.next_change(now, zone) for _, calendar in limit_calendars(limit)]


def _set_limit(draft: Draft, device: str, watts: int | None, now: int) -> None:
    for name in _metered(draft, device):
        before = draft.group.meters[name].params.get(LIMIT)
        if before == watts:
            continue
        meter = draft.meter(name)
        kept = {key: value for key, value in meter.params.items() if key != LIMIT}
        meter.params = kept if watts is None else {**kept, LIMIT: watts}
        draft.emit(ParamChanged("meter", name, LIMIT, now, watts, before, who=CALENDAR))
    draft.breaker(device).limit_set = watts


def _metered(draft: Draft, device: str) -> Sequence[str]:
    return [name for name in draft.group.breaker_contracts[device].meters if name in draft.group.meters]

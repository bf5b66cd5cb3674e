"""Schedules and load limits of a site file: what the schema cannot check, each problem with its path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adapters.store.sites.contracts import can_switch
from rules.calendars import CalendarError, read_entry
from rules.errors import did_you_mean
from twin.core.configuration import LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rules.params import Param

KINDS = {"schedule": "schedules", "limit": "limits"}


def check_plans(site: Mapping[str, Any], params: Mapping[str, Param]) -> list[str]:
    """Problems of a site's schedules and limits and of the devices that name one, `path: message` each."""
    problems = [
        *(
            line
            for name, plan in site.get("schedules", {}).items()
            for line in check_schedule(f"schedules.{name}", plan)
        ),
        *(line for name, plan in site.get("limits", {}).items() for line in check_limit(f"limits.{name}", plan)),
    ]
    for index, entry in enumerate(site.get("devices", ())):
        problems += _of_device(f"devices[{index}]", entry, site, params)
    return problems


def check_schedule(path: str, schedule: Mapping[str, Any]) -> list[str]:
    """Problems of one schedule."""
    return [*_entries(f"{path}.off", schedule["off"]), *_entries(f"{path}.special", schedule.get("special", ()))]


def check_limit(path: str, limit: Mapping[str, Any]) -> list[str]:
    """Problems of one load limit."""
    at = [{name: value for name, value in entry.items() if name != LIMIT} for entry in limit.get("at", ())]
    return list(_entries(f"{path}.at", at))


def _entries(path: str, entries: Any) -> Iterator[str]:
    for index, entry in enumerate(entries):
        try:
            read_entry(entry)
        except CalendarError as error:
            yield f"{path}[{index}]{'.' if error.field else ''}{error.field}: {error}"


def _of_device(path: str, entry: dict[str, Any], site: Mapping[str, Any], params: Mapping[str, Param]) -> Iterator[str]:
    for field, kind in KINDS.items():
        name = entry.get(field)
        known = site.get(kind, {})
        if name is not None and name not in known:
            hint = did_you_mean(name, known) or f"known: {', '.join(sorted(known)) or 'none'}"
            yield f"{path}.{field}: there is no {field} {name!r} ({hint})"
        if name is not None and not can_switch(entry):
            yield f"{path}.{field}: {entry['id']!r} cannot switch; give it to the breaker, or say `relay: true`"
    if entry.get("critical") and not can_switch(entry):
        yield f"{path}.critical: {entry['id']!r} cannot switch; say so of the breaker"
    if entry.get("limit") is not None and LIMIT not in params:
        yield f"{path}.limit: no ruleset of this site reads the parameter {LIMIT}; add one such as the pack `safety`"

"""What a rule may do: typed actions, and their reading from a rule file.

An action is carried out once, when the rule fires (an edge), except `Charge` and `Unlock`: a rule with one of these
acts on every trigger whose condition holds. A duration that is a parameter (`expires: p.command_life`) is filled in
from the environment when the action is given out.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from rules.errors import did_you_mean

SEVERITIES = ("info", "warning", "minor", "major", "critical")

ReadDuration = Callable[[str, Any], int | Callable[[Any], Any]]
ReadPath = Callable[[str, Any], str]


class Charge(msgspec.Struct, frozen=True, tag="charge"):
    """Charge the register interval that the reading closed; both fields are paths of the model."""

    account: str
    tariff: str


class Alarm(msgspec.Struct, frozen=True, tag="alarm"):
    """Raise the rule's alarm for this twin, or move its severity. It clears when the rule does."""

    severity: str
    text: Any = None


class Notify(msgspec.Struct, frozen=True, tag="notify"):
    """Tell somebody. Inside the cooldown only a rise to a severity not yet told is told again."""

    template: str
    cooldown_ms: int = 0
    to: str = "tenant"
    channels: tuple[str, ...] = ()


class Lock(msgspec.Struct, frozen=True, tag="lock"):
    """Open a breaker or shut a valve (`target`) and hold it for this reason. Durations of 0 leave the default.

    `until_calendar`: the lock ends, and the rule with it, when the calendar of the rule's `active` closes.
    """

    target: str
    lock: str
    expires_ms: int = 0
    verify_within_ms: int = 0
    until_calendar: bool = False
    lasts_ms: int = 0
    """The lock ends by itself so long after it was placed, and is not placed again while the rule stays fired."""


class Unlock(msgspec.Struct, frozen=True, tag="unlock"):
    """Take this reason away. Durations of 0 leave the platform's default."""

    target: str
    lock: str
    expires_ms: int = 0
    verify_within_ms: int = 0


class SetParam(msgspec.Struct, frozen=True, tag="set_param"):
    """Set a parameter of the twin; `value` as people write it."""

    name: str
    value: str | int


class Webhook(msgspec.Struct, frozen=True, tag="webhook"):
    """Call the outside system that the settings know by this name, with the values of these paths."""

    name: str
    data: tuple[tuple[str, str], ...] = ()


Action = Charge | Alarm | Notify | Lock | Unlock | SetParam | Webhook

FIELDS: dict[str, tuple[str, ...]] = {
    "charge": ("account", "tariff"),
    "alarm": ("severity", "text"),
    "notify": ("template", "cooldown", "to", "channels"),
    "breaker.lock": ("lock", "expires", "verify_within", "until", "lasts"),
    "breaker.unlock": ("lock", "expires", "verify_within"),
    "valve.lock": ("lock", "expires", "verify_within", "until", "lasts"),
    "valve.unlock": ("lock", "expires", "verify_within"),
    "set_param": ("name", "value"),
    "webhook": ("name", "data"),
}
_REQUIRED = {"charge": ("account", "tariff"), "alarm": ("severity",), "notify": ("template",)}
_REQUIRED |= {"set_param": ("name", "value"), "webhook": ("name",)}


class ActionError(ValueError):
    """An action that cannot be read; `field` says which part of it."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class PlannedAction(msgspec.Struct, frozen=True, eq=False):
    """An action of a rule and the durations in it that wait for the environment's parameters."""

    action: Action
    late: tuple[tuple[str, Callable[[Any], Any]], ...] = ()

    def given(self, env: Any) -> Action:
        """The action with every duration filled in."""
        if not self.late:
            return self.action
        return msgspec.structs.replace(self.action, **{field: int(run(env)) for field, run in self.late})


def read_action(written: Mapping[str, Any], read_duration: ReadDuration, read_path: ReadPath) -> PlannedAction:
    """One entry of `then`. The two readers report their own mistakes; anything else raises `ActionError`."""
    if len(written) != 1:
        raise ActionError("an action has exactly one name, such as {alarm: {severity: minor}}")
    name, fields = next(iter(written.items()))
    if name not in FIELDS:
        raise ActionError(f"unknown action {name!r} ({did_you_mean(name, FIELDS) or 'known: ' + ', '.join(FIELDS)})")
    for field in fields:
        if field not in FIELDS[name]:
            hint = did_you_mean(field, FIELDS[name]) or "known: " + ", ".join(FIELDS[name])
            raise ActionError(f"{name} has no field {field!r} ({hint})", field)
    for field in _REQUIRED.get(name, ("lock",)):
        if field not in fields:
            raise ActionError(f"{name} needs {field}")
    late: list[tuple[str, Callable[[Any], Any]]] = []

    def duration(field: str) -> int:
        value = read_duration(field, fields[field]) if field in fields else 0
        if isinstance(value, int):
            return value
        late.append((f"{field}_ms", value))
        return 0

    action = _built(name, fields, duration, lambda field: read_path(field, fields[field]))
    return PlannedAction(action, tuple(late))


def _built(name: str, fields: Mapping[str, Any], duration: Callable[[str], int], path: Callable[[str], str]) -> Action:
    if name == "charge":
        return Charge(path("account"), path("tariff"))
    if name == "alarm":
        if fields["severity"] not in SEVERITIES:
            raise ActionError(f"unknown severity {fields['severity']!r} (known: {', '.join(SEVERITIES)})", "severity")
        return Alarm(fields["severity"], fields.get("text"))
    if name == "notify":
        channels = tuple(fields.get("channels", ()))
        return Notify(fields["template"], duration("cooldown"), fields.get("to", "tenant"), channels)
    if name == "set_param":
        return SetParam(fields["name"], fields["value"])
    if name == "webhook":
        return Webhook(fields["name"], tuple(sorted(fields.get("data", {}).items())))
    target, verb = name.split(".")
    timing = duration("expires"), duration("verify_within")
    if verb == "unlock":
        return Unlock(target, fields["lock"], *timing)
    if fields.get("until", "calendar") != "calendar":
        raise ActionError(f"a lock ends `until: calendar`, not {fields['until']!r}", "until")
    return Lock(target, fields["lock"], *timing, "until" in fields, duration("lasts"))

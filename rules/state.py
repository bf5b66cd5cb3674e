"""The memory of one rule about one twin, kept by the caller inside the twin, and the result of one step."""

from typing import Any

import msgspec

from rules.actions import Action, Lock

NORMAL, PENDING, DEFERRED = "normal", "pending", "deferred"
FIRED, RECOVERING = "fired", "recovering"
UNKNOWN, ERROR = "unknown", "error"
STATES = (NORMAL, PENDING, DEFERRED, FIRED, RECOVERING, UNKNOWN, ERROR)

_WIRE_NAMES = {
    "state": "s",
    "since_ms": "t",
    "due_ms": "due",
    "level": "lv",
    "fired_at": "f",
    "clear_since": "c",
    "cooldown_until": "cd",
    "retries": "n",
    "retry_day": "day",
    "release_ms": "rel",
    "notified": "nl",
    "notified_at": "na",
    "gate": "g",
    "fingerprint": "fp",
    "approved_until": "ap",
    "told": "nt",
}


class RuleState(msgspec.Struct, frozen=True, omit_defaults=True, rename=_WIRE_NAMES, gc=False):
    """What a rule remembers about a twin; no state at all means `normal` with nothing to remember.

    Instants are Unix ms, 0 for none. `level` is the rung of the severity ladder while fired. `retries` counts the
    automatic releases of the local day `retry_day` (an ordinal). `notified` is the highest rung told since
    `notified_at`; for a rule that notifies by several actions `told` holds (action, rung, instant) of each, since each
    has a cooldown of its own. `gate` says why a deferred rule waits. `fingerprint` ties a running `for` to its
    condition. Until `approved_until` a person lets the waiting rule pass its guard.
    """

    state: str = NORMAL
    since_ms: int = 0
    due_ms: int = 0
    level: int = -1
    fired_at: int = 0
    clear_since: int = 0
    cooldown_until: int = 0
    retries: int = 0
    retry_day: int = 0
    release_ms: int = 0
    notified: int = -1
    notified_at: int = 0
    gate: str = ""
    fingerprint: str = ""
    approved_until: int = 0
    told: tuple[tuple[int, int, int], ...] = ()


class Step(msgspec.Struct, frozen=True):
    """The result of one evaluation.

    `state` counts only when `changed`; then None means: forget the rule's state. `actions` are to be carried out now,
    once. `assert_actions` are the locks of a rule that stays fired and true: they must stand, on every breaker.
    `wake_ms` is the earliest instant at which time alone may change something (None: no timer is needed). `gate` is
    what stopped the rule from firing: where, when, pending, active, inhibited_by, guard, cooldown, unknown, error,
    trigger (a timer that is no evidence for this rule); empty while it fires or is fired.
    """

    state: RuleState | None = None
    changed: bool = False
    transition: str | None = None
    actions: tuple[Action, ...] = ()
    assert_actions: tuple[Lock, ...] = ()
    wake_ms: int | None = None
    gate: str = ""


QUIET = {gate: Step(gate=gate) for gate in ("where", "when", "unknown", "error", "trigger", "")}


def remembered(state: RuleState | None, now: int) -> RuleState | None:
    """What is left of a state that returns to normal: running cooldowns and the day's releases, or nothing."""
    if state is None:
        return None
    kept: dict[str, Any] = {}
    if state.cooldown_until > now:
        kept["cooldown_until"] = state.cooldown_until
    if state.retries:
        kept.update(retries=state.retries, retry_day=state.retry_day)
    if state.notified_at:
        kept.update(notified=state.notified, notified_at=state.notified_at)
    if state.told:
        kept["told"] = state.told
    return RuleState(**kept) if kept else None

"""The disconnect state machine of a prepaid tenant, as one table.

The table tells where a tenant stands between "all is well" and "switched off for arrears", and what moves it on. It
does not switch anything itself: rules place and release locks, locks cause commands, devices report relays. From
those facts the table derives one word that a tenant, a clerk and an engineer can all read, and every change of that
word is recorded with the balance at that instant.

Rows are tried from the top; the first row whose `state` matches and whose `when` (a fact) is true moves the
machine, and the table is run again until no row applies. The order of the rows is therefore the priority of the
reasons: safety before manual before arrears. Source: DOMAIN notes 1.3 (a synthesis of SMETS2, DLMS, DL/T 645 and
vendor manuals).
"""

from __future__ import annotations

import msgspec

ANY = "*"

STATES = {
    "NORMAL": "supplied, enough balance",
    "LOW1": "supplied, below the first alarm",
    "LOW2": "supplied, below the second alarm",
    "EMERGENCY": "supplied on emergency credit",
    "DUE": "credit exhausted, grace running",
    "HELD": "cutoff due, held back for a recorded reason",
    "CUT_WANTED": "locked for arrears, no command under way",
    "CUT_SENT": "open command under way",
    "OFF_ARREARS": "reported open for arrears",
    "CLOSE_WANTED": "no lock left, closing under way",
    "READY": "armed, somebody on site must confirm",
    "OFF_SAFETY": "open for safety",
    "OFF_MANUAL": "open by a person's order",
}


class Facts(msgspec.Struct, frozen=True):
    """What the table looks at; every name a condition uses is a field or a property here."""

    below_low1: bool = False
    below_low2: bool = False
    on_emergency_credit: bool = False
    credit_exhausted: bool = False
    held_back: bool = False
    credit_locked: bool = False
    safety_locked: bool = False
    manually_locked: bool = False
    open_under_way: bool = False
    reported_open: bool = False
    reported_armed: bool = False
    reported_closed: bool = True

    @property
    def above_low1(self) -> bool:
        return not self.below_low1

    @property
    def above_low2(self) -> bool:
        return not self.below_low2

    @property
    def emergency_over(self) -> bool:
        return not self.on_emergency_credit

    @property
    def credit_restored(self) -> bool:
        return not self.credit_exhausted

    @property
    def no_longer_held(self) -> bool:
        return not self.held_back

    @property
    def nothing_under_way(self) -> bool:
        return not self.open_under_way and not self.reported_open

    @property
    def safety_released(self) -> bool:
        return not self.safety_locked

    @property
    def manual_released(self) -> bool:
        return not self.manually_locked

    @property
    def manual_lock_rules(self) -> bool:
        return self.manually_locked and not self.safety_locked

    @property
    def credit_released(self) -> bool:
        return not self.credit_locked


class Row(msgspec.Struct, frozen=True):
    """From `state`, when the fact `when` is true, to `then`."""

    state: str
    when: str
    then: str


TABLE = (
    Row(ANY, "safety_locked", "OFF_SAFETY"),
    Row(ANY, "manual_lock_rules", "OFF_MANUAL"),
    Row("OFF_SAFETY", "safety_released", "CLOSE_WANTED"),
    Row("OFF_MANUAL", "manual_released", "CLOSE_WANTED"),
    Row("NORMAL", "credit_locked", "CUT_WANTED"),
    Row("LOW1", "credit_locked", "CUT_WANTED"),
    Row("LOW2", "credit_locked", "CUT_WANTED"),
    Row("EMERGENCY", "credit_locked", "CUT_WANTED"),
    Row("DUE", "credit_locked", "CUT_WANTED"),
    Row("HELD", "credit_locked", "CUT_WANTED"),
    Row("CLOSE_WANTED", "credit_locked", "CUT_WANTED"),
    Row("READY", "credit_locked", "CUT_WANTED"),
    Row("CUT_WANTED", "credit_released", "CLOSE_WANTED"),
    Row("CUT_WANTED", "reported_open", "OFF_ARREARS"),
    Row("CUT_WANTED", "open_under_way", "CUT_SENT"),
    Row("CUT_SENT", "credit_released", "CLOSE_WANTED"),
    Row("CUT_SENT", "reported_open", "OFF_ARREARS"),
    Row("CUT_SENT", "nothing_under_way", "CUT_WANTED"),
    Row("OFF_ARREARS", "credit_released", "CLOSE_WANTED"),
    Row("OFF_ARREARS", "nothing_under_way", "CUT_WANTED"),
    Row("CLOSE_WANTED", "reported_closed", "NORMAL"),
    Row("CLOSE_WANTED", "reported_armed", "READY"),
    Row("READY", "reported_closed", "NORMAL"),
    Row("READY", "reported_open", "CLOSE_WANTED"),
    Row("DUE", "credit_restored", "LOW2"),
    Row("HELD", "credit_restored", "LOW2"),
    Row("DUE", "held_back", "HELD"),
    Row("HELD", "no_longer_held", "DUE"),
    Row("NORMAL", "credit_exhausted", "DUE"),
    Row("LOW1", "credit_exhausted", "DUE"),
    Row("LOW2", "credit_exhausted", "DUE"),
    Row("EMERGENCY", "credit_exhausted", "DUE"),
    Row("NORMAL", "below_low1", "LOW1"),
    Row("LOW1", "below_low2", "LOW2"),
    Row("LOW1", "on_emergency_credit", "EMERGENCY"),
    Row("LOW2", "on_emergency_credit", "EMERGENCY"),
    Row("NORMAL", "on_emergency_credit", "EMERGENCY"),
    Row("EMERGENCY", "emergency_over", "LOW2"),
    Row("LOW2", "above_low2", "LOW1"),
    Row("LOW1", "above_low1", "NORMAL"),
)

_BY_STATE: dict[str, tuple[Row, ...]] = {
    state: tuple(row for row in TABLE if row.state in (state, ANY) and row.then != state) for state in STATES
}


def settle(state: str, facts: Facts) -> str:
    """The state after the table has been run to rest on these facts.

    Raises RuntimeError where the facts chase the machine round in a circle; a test proves that no facts do.
    """
    for _ in range(len(STATES) + 1):
        row = next((row for row in _BY_STATE[state] if getattr(facts, row.when)), None)
        if row is None:
            return state
        state = row.then
    raise RuntimeError(f"the disconnect table does not come to rest from {state} on {facts}")


def diagram() -> str:
    """The table as a Mermaid state diagram, for the documentation."""
    lines = ["stateDiagram-v2"]
    lines += [f"    {state}: {state}<br/>{meaning}" for state, meaning in STATES.items()]
    lines.append("    [*] --> NORMAL")
    for row in TABLE:
        if row.state == ANY:
            continue
        lines.append(f"    {row.state} --> {row.then}: {row.when.replace('_', ' ')}")
    for row in TABLE:
        if row.state == ANY:
            lines.append(f"    note right of {row.then}: from any state when {row.when.replace('_', ' ')}")
    return "\n".join(lines) + "\n"

"""What can happen to a group: messages of devices, acts of people, and the passing of time.

Device messages carry the time the platform received them (`received_at`); `decide` is told `now` besides. Acts are born
in SQL with a sequence number per group and are applied in that order, once: giving an act twice, or late, changes
nothing.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from twin.core.model import BreakerContract, BreakerTwin, Contract, Lock, MeterContract, MeterTwin, Relay


class Telemetry(msgspec.Struct, frozen=True):
    """One sample of one meter or breaker. `d` holds the channels of CONTRACT.md 2, integers with the unit in the
    name."""

    device: str
    sid: str
    seq: int
    ts: int
    d: dict[str, Any]
    hist: bool = False
    q: str = "good"
    received_at: int = 0


class Birth(msgspec.Struct, frozen=True):
    """A device (re)started: what it is and what its relay really is."""

    device: str
    sid: str
    ts: int
    relay: Relay | None = None
    fence: int = 0
    """Highest fence the device has executed; ours must not be lower."""
    versions: dict[str, str] = {}
    cfg: int | None = None
    """Version of the configuration in force; None where the device does not say."""


class ConnectionChanged(msgspec.Struct, frozen=True):
    """The conn topic of a device; a will for a session that is no longer current is ignored."""

    device: str
    state: Literal["online", "offline"]
    sid: str
    ts: int


class LinkChanged(msgspec.Struct, frozen=True):
    """The gateway in front of this group's devices went online or offline."""

    gateway: str
    state: Literal["online", "offline"]
    sid: str
    ts: int


class StateReported(msgspec.Struct, frozen=True):
    """The device's own word on its relay or valve (`state` topic, retained)."""

    device: str
    relay: Relay | None
    """None for a state that tells of the configuration alone."""
    ts: int
    sid: str = ""
    cause: str = ""
    """`command`, `key`, `trip`, ... when the device tells it."""
    fence: int = 0
    cfg: int | None = None
    """Version of the configuration in force; None where the device does not say."""


class DeviceEvent(msgspec.Struct, frozen=True):
    """Trips, tamper, power steps, power loss."""

    device: str
    kind: str
    ts: int
    sid: str = ""
    seq: int = 0
    d: dict[str, Any] = {}
    hist: bool = False
    proof: dict[str, Any] | None = None
    """The samples that show it, where the platform found it itself (`twin.core.step_watch`)."""
    restored: bool = False
    """A step of power with which the supply came back."""


class CommandAnswered(msgspec.Struct, frozen=True):
    """The device's answer to a command: received, executed, rejected, expired or failed."""

    device: str
    cmd: str
    st: Literal["received", "executed", "rejected", "expired", "failed"]
    ts: int
    relay: Relay | None = None
    reason: str = ""
    fence: int = 0


class CommandSent(msgspec.Struct, frozen=True):
    """The dispatcher published the command and the broker confirmed it."""

    device: str
    cmd: str
    ts: int


class ConfigSent(msgspec.Struct, frozen=True):
    """The dispatcher published a version of a device's configuration and the broker confirmed it."""

    device: str
    ver: int
    ts: int


class WarningDelivered(msgspec.Struct, frozen=True):
    """A notice to the tenant was delivered, with proof, at `ts`. Those that warn of the balance make a cutoff lawful
    where the site asks for that; told twice, or late, it changes nothing."""

    tenant: str
    template: str
    ts: int


class Tick(msgspec.Struct, frozen=True):
    """Time passed: whatever is due is looked at again."""


# --- acts, born in SQL ------------------------------------------------------------------------------------------


class CreditsPosted(msgspec.Struct, frozen=True, tag="credits", tag_field="t"):
    """All credits of the tenant's account so far; `credited_nano` is what the last entry added (may be negative)."""

    seq: int
    credits_nano: int
    credited_nano: int
    ts: int
    reference: str = ""


class LockPlaced(msgspec.Struct, frozen=True, tag="lock", tag_field="t"):
    """A person (or a schedule) locks a breaker open."""

    seq: int
    breaker: str
    lock: str
    who: str
    why: str
    ts: int
    until: int | None = None


class LockReleased(msgspec.Struct, frozen=True, tag="unlock", tag_field="t"):
    """A person releases one lock; the breaker closes only when none is left."""

    seq: int
    breaker: str
    lock: str
    who: str
    why: str
    ts: int


class AlarmTold(msgspec.Struct, frozen=True, tag="told", tag_field="t"):
    """An alarm of the platform's own was raised or cleared in SQL, such as a halted order for many breakers; the twin
    only tells of it."""

    seq: int
    rule: str
    twin: str
    since: int
    ts: int
    severity: str
    active: bool
    because: dict[str, Any] = {}


class AlarmCared(msgspec.Struct, frozen=True, tag="care", tag_field="t"):
    """Somebody acknowledged, commented, assigned or shelved an alarm. It stands in SQL; the twin only tells of it."""

    seq: int
    rule: str
    twin: str
    since: int
    what: str
    who: str
    ts: int
    acknowledged: bool = False
    assignee: str = ""
    shelved_until: int | None = None


class IncidentClosed(msgspec.Struct, frozen=True, tag="incident", tag_field="t"):
    """A person closed an incident that will not heal by itself. It is closed in SQL; the twin forgets it."""

    seq: int
    device: str
    kind: str
    since: int
    who: str
    why: str
    ts: int


class EmergencyTaken(msgspec.Struct, frozen=True, tag="emergency", tag_field="t"):
    """The tenant, or a clerk on its word, takes the emergency credit that is offered."""

    seq: int
    who: str
    ts: int


class FiringApproved(msgspec.Struct, frozen=True, tag="approval", tag_field="t"):
    """A person lets one waiting rule of one twin pass its guard, until an instant at the latest."""

    seq: int
    scope: str
    twin: str
    rule: str
    until: int
    who: str
    why: str
    ts: int


class ReadingEntered(msgspec.Struct, frozen=True, tag="reading", tag_field="t"):
    """A reading that a person gave, or believes after review: the register goes there, however far that is.

    `raw` is what the device shows (before its ratio). One that is older than what was accepted refines the past.
    """

    seq: int
    meter: str
    raw: int
    ts: int
    source: str
    """`manual`, `accepted`, `estimated`, `replacement` or `handover`."""
    sid: str = ""
    number: int = 0
    """With `sid` the identity of the reading, as sample number and session are for a device."""
    rolled: bool = False
    """The register went through zero since the last accepted reading."""


class RegisterReplaced(msgspec.Struct, frozen=True, tag="register", tag_field="t"):
    """Another register counts from `ts` on, first showing `opening`: a new meter, or one that was set to a value.

    Both readings are what the devices showed. `final` is the last of the old register; None where nobody knows it.
    """

    seq: int
    meter: str
    ts: int
    opening: int
    reason: str
    contract: MeterContract
    final: int | None = None
    event: int = 0
    """Number of the act in SQL, by which the ledger knows later that its epoch is posted."""


class DoubtSettled(msgspec.Struct, frozen=True, tag="doubt", tag_field="t"):
    """People have decided on every doubtful reading of one reason."""

    seq: int
    meter: str
    reason: str
    ts: int


class Handed(msgspec.Struct, frozen=True):
    """A meter that another group let go of, with the breaker that goes along."""

    handover: str
    meter: MeterTwin
    breaker: BreakerTwin | None = None


class ContractsChanged(msgspec.Struct, frozen=True, tag="contracts", tag_field="t"):
    """The group's contracts as they are from now on; devices that are new start their twins here."""

    seq: int
    ts: int
    contract: Contract | None
    meters: tuple[MeterContract, ...] = ()
    breakers: tuple[BreakerContract, ...] = ()
    gateway: str | None = None
    openings: dict[str, int] = {}
    """Opening register (Wh or litres) of meters whose chain has been opened in SQL."""
    released: dict[str, str] = {}
    """Meters to let go of, with the hand-over that takes them on."""
    handed: tuple[Handed, ...] = ()
    """Meters that come from another group as they are."""
    prepaid_now: bool = False
    """Whether the tenant that paid afterwards pays beforehand from now on: the twin says when it has noted that."""
    events: dict[str, int] = {}
    """Numbers in SQL of the acts by which ratios change, by meter."""
    standing: dict[str, dict[str, Lock]] = {}
    """Locks of breakers that come without a twin: what keeps one open goes along all the same."""


Act = (
    CreditsPosted
    | LockPlaced
    | LockReleased
    | ContractsChanged
    | ReadingEntered
    | RegisterReplaced
    | DoubtSettled
    | AlarmCared
    | AlarmTold
    | IncidentClosed
    | FiringApproved
    | EmergencyTaken
)
Message = (
    Telemetry
    | Birth
    | ConnectionChanged
    | LinkChanged
    | StateReported
    | DeviceEvent
    | CommandAnswered
    | CommandSent
    | ConfigSent
    | Tick
    | WarningDelivered
    | CreditsPosted
    | LockPlaced
    | LockReleased
    | ContractsChanged
    | ReadingEntered
    | RegisterReplaced
    | DoubtSettled
    | AlarmCared
    | AlarmTold
    | IncidentClosed
    | FiringApproved
    | EmergencyTaken
)

"""Twins: what the platform knows of every meter, breaker, gateway and tenant.

A *group* is the unit of decision and of atomic commit: one tenant with the meters it pays for and the breakers
(or valves) that switch them, or a single device that nobody pays for yet (a gateway, a spare meter). What a person
decides about a device (its *contract*) is kept apart from what happens to it (its *state*): contracts change
rarely and are written by an import, states change with every reading.

Structs that are `array_like` are stored by position, which saves a third of Redis' memory: add fields to them at
the end only. Everything here is a plain value. `twin.core.decide` never changes a value that it was given: it
copies what it touches.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeVar

import msgspec

from billing.points import Rates
from billing.rating import Slice
from rules.step import RuleState
from twin.core.malignant import Sample
from twin.core.short_names import SHORT_NAMES

AnyStruct = TypeVar("AnyStruct", bound=msgspec.Struct)


def duplicate(value: AnyStruct) -> AnyStruct:
    """A shallow copy of a twin or a part of one; several times quicker than `copy.copy`, which asks around first."""
    copied: AnyStruct = value.__copy__()  # type: ignore[attr-defined]
    return copied


VACANCY_ACCOUNT = "landlord:vacancy"
"""Who pays at a metering point that nobody rents, by the tariff of its contract."""

MeterKind = Literal["electricity", "water"]
Relay = Literal["open", "armed", "closed", "limited"]
"""Positions in switch language. Through `limited`, which only some valves know, a trickle flows."""
SHUT = ("open", "limited")
"""Where a lock puts a breaker or a valve."""


class Contract(msgspec.Struct, omit_defaults=True, frozen=True, rename=SHORT_NAMES["Contract"]):
    """What is agreed about one tenant; changed by an import or by a person, never by a reading."""

    id: str
    name: dict[str, str] = {}
    mode: Literal["prepaid", "postpaid", "vacant"] = "prepaid"
    account: str = ""
    """Who is charged, where it is not the tenant's own wallet."""
    emergency_credit_nano: int = 0
    params: dict[str, str | int | bool] = {}
    protected_until: int | None = None
    """Supply guarantee (保电): until this instant (Unix ms) no arrears cutoff."""
    group: str = ""
    """Kind of tenant as the site names it, such as a building or a trade; rules may read it."""

    @property
    def charged_account(self) -> str:
        """The account in the ledger that is charged for this tenant's use."""
        return self.account or f"tenant:{self.id}:wallet"


class MeterContract(msgspec.Struct, omit_defaults=True, frozen=True, rename=SHORT_NAMES["MeterContract"]):
    """What is agreed and installed at one metering point."""

    id: str
    kind: MeterKind = "electricity"
    tariff: str = ""
    breaker: str | None = None
    gateway: str | None = None
    interval_ms: int = 900_000
    modulus: int = 1_000_000_000
    """The register wraps to zero here: 10 ** digits, in Wh or litres."""
    max_rate: int = 0
    """Most that can physically flow: W for electricity, litres an hour for water. 0 means unknown, not checked."""
    supply_from: int | None = None
    """Start of the supply, Unix ms; the opening register value holds at this instant."""
    params: dict[str, str | int | bool] = {}
    ratio: int = 1
    """Current times voltage transformer: primary quantity of one unit that the device shows. `modulus` and `max_rate`
    are primary."""
    imax_a: int = 0
    """Greatest current of the installation, A; 0 where nobody has said."""


class BreakerContract(msgspec.Struct, omit_defaults=True, frozen=True, rename=SHORT_NAMES["BreakerContract"]):
    """A relay inside a meter, a breaker of its own, or a water valve."""

    id: str
    op: Literal["breaker.set", "valve.set"] = "breaker.set"
    remote_close: bool = True
    """False: closing only arms the breaker, a person on site confirms."""
    meters: tuple[str, ...] = ()
    """Meters that measure what flows through it: the physics that verifies a command."""
    gateway: str | None = None
    limits: bool = False
    """A valve that can be left with a trickle: for arrears it is limited, and never closed."""
    schedule: dict[str, Any] | None = None
    """When the circuit is off: `name`, `off` and `special` as in the site file (`twin.core.plans`)."""
    load_limit: dict[str, Any] | None = None
    """How many watts it may draw: `limit_w`, `at` with other limits and their times, and `on_device` where the device
    is not told."""


class Suspects(msgspec.Struct, array_like=True, omit_defaults=True, gc=False):
    """A run of quarantined readings that agree with each other; long enough, a falling run opens a new epoch."""

    reason: str
    count: int
    first_raw: int
    first_ts: int
    last_raw: int
    last_ts: int


class Register(msgspec.Struct, array_like=True, omit_defaults=True, gc=False):
    """Cumulative register of one meter in its current epoch. Quantities are Wh or litres, unwrapped over rollovers.

    Three marks climb it: `seen` (last accepted reading) >= `head` (charged in the twin) >= `posted` (sent to the
    ledger).
    """

    epoch: int = 1
    opening: int = 0
    turns: int = 0
    seen: int = 0
    seen_ts: int | None = None
    head: int = 0
    head_ts: int | None = None
    posted: int = 0
    posted_ts: int | None = None
    month: int = 0
    month_use: int = 0
    opened: bool = False
    """The chain has its opening row."""
    row: Slice | None = None
    """Charged in the twin, not yet posted: covers [posted, head) of the chain at one price. It is posted when
    its interval closes."""
    row_tariff: str = ""
    suspects: Suspects | None = None
    since: int | None = None
    """Start of the epoch, Unix ms: what was read before it belongs to an earlier one."""
    points: bytes = b""
    """Accepted samples that no posted row carries yet (`twin.core.samples`); the last of them is `seen`."""
    waiting: int = 0
    """How many of the last of them are not charged yet."""
    seen_rates: Rates | None = None
    """Unwrapped sub-registers of the last accepted reading."""
    head_rates: Rates | None = None
    """Unwrapped sub-registers where the charged part ends."""
    year_use: int = 0
    """Use within the local year of `month`, as `month_use` is within the month."""


class Successor(msgspec.Struct, array_like=True, omit_defaults=True, frozen=True, gc=False):
    """Another register at the metering point, as people told it: what the old one showed last, the new one first. Or
    another ratio of the same one."""

    ts: int
    reason: str
    opening: int | None
    """Wh or litres, primary; None where the display goes on and only its ratio is another."""
    final: int | None = None
    """As the old device shows it; None where nobody knows it."""
    ratio: int = 1
    modulus: int = 1_000_000_000
    """Both of the old register."""
    event: int = 0
    """Number of the act in SQL."""


class Incident(msgspec.Struct, array_like=True, omit_defaults=True, gc=False):
    """Something a person should know about a device; open until it heals or somebody closes it."""

    kind: str
    since: int
    count: int = 1
    detail: str = ""


class Connection(msgspec.Struct, array_like=True, omit_defaults=True, frozen=True, gc=False):
    """Connection state as the broker's conn topic tells it; offline counts only for the current session id."""

    state: Literal["unknown", "online", "offline"] = "unknown"
    sid: str = ""
    since: int = 0


UNHEARD: Final = Connection()
"""Nobody has said anything of a device yet. It is always this one, so that storing a twin can leave it out."""


class Sequence(msgspec.Struct, array_like=True, omit_defaults=True, gc=False):
    """Duplicate window over the last 64 sequence numbers of one device session."""

    sid: str = ""
    last: int = -1
    mask: int = 0
    missed: int = 0
    duplicates: int = 0


class StepWatch(msgspec.Struct, array_like=True, omit_defaults=True, gc=False):
    """The newest seconds of a meter's stream, and up to which of them steps of power have been looked for."""

    samples: tuple[Sample, ...] = ()
    looked_ts: int = 0


class MeterTwin(msgspec.Struct, omit_defaults=True, rename=SHORT_NAMES["MeterTwin"]):
    """State of one electricity or water meter."""

    id: str
    register: Register = msgspec.field(default_factory=Register)
    sequence: Sequence = msgspec.field(default_factory=Sequence)
    conn: Connection = UNHEARD
    link: Connection | None = None
    """Connection of the gateway in front of it."""
    at: int | None = None
    """Time of the newest live sample (its effective time, Unix ms)."""
    device_ts: int | None = None
    """What the device's clock said for that sample, when it was not believed."""
    received_at: int | None = None
    quality: str = "good"
    values: dict[str, Any] = {}
    """Newest value of every channel, `import_wh` included."""
    rules: dict[str, RuleState] = {}
    wakes: dict[str, int] = {}
    incidents: dict[str, Incident] = {}
    versions: dict[str, str] = {}
    """Firmware, model and the like, as the birth message told them."""
    params: dict[str, str | int | bool] = {}
    """What rules have set (`set_param`): it lies over what the contract says, and outlives an import."""
    steps: StepWatch | None = None
    """While the meter streams and some rule wants to know of steps (`twin.core.step_watch`)."""
    events: Sequence | None = None
    """Which of its events have been heard."""
    owed: tuple[Successor, ...] = ()
    """Registers that SQL knew of when the twin was made from it, and no epoch of theirs: the first look opens these."""


class Lock(msgspec.Struct, omit_defaults=True, rename=SHORT_NAMES["Lock"]):
    """One reason for a breaker to stay open."""

    who: str
    why: str
    since: int
    until: int | None = None
    rule: str = ""
    rule_version: int = 0
    expires_ms: int = 60_000
    """How long a command for this lock may wait for execution."""
    verify_ms: int = 15_000
    """How long after execution the evidence may take."""


class Command(msgspec.Struct, omit_defaults=True):
    """The command in flight, or the last one that ended, of one breaker."""

    id: str
    target: Relay
    fence: int
    state: str
    issued: int
    exp: int
    verify_within_ms: int
    why: dict[str, Any]
    sent_at: int | None = None
    executed_at: int | None = None
    attempt: int = 1
    reason: str = ""
    proof_by: int | None = None
    """The relay agrees, and the meter's next reading is to prove it: until then, in place of `verify_within_ms`."""


class CloseIntent(msgspec.Struct, omit_defaults=True):
    """A wish to close that waits for a fresh reading or a connection; dropped as soon as any lock appears."""

    why: dict[str, Any]
    since: int
    expires_ms: int = 60_000
    verify_ms: int = 15_000


class Configuration(msgspec.Struct, omit_defaults=True, frozen=True):
    """The newest version of what a device is to hold itself to (message `cfg`), and what became of telling it."""

    ver: int
    settings: dict[str, int] = {}
    issued: int = 0
    """When this version was decided. 0: SQL remembered it when the store was lost, and a newer one may be out there."""
    sent_at: int | None = None
    """When the broker had it, which keeps it for a device that is away."""
    taken_at: int | None = None
    """When the device said that it is in force."""
    retry_at: int | None = None
    tries: int = 0


class BreakerTwin(msgspec.Struct, omit_defaults=True, rename=SHORT_NAMES["BreakerTwin"]):
    """State of one breaker or valve: wanted (locks), commanded (command) and reported (relay) are three facts."""

    id: str
    locks: dict[str, Lock] = {}
    fence: int = 0
    command: Command | None = None
    close: CloseIntent | None = None
    retry_at: int | None = None
    failures: int = 0
    relay: Relay | None = None
    relay_at: int | None = None
    relay_since: int | None = None
    relay_sid: str = ""
    """Session in which the relay was last spoken of."""
    relay_said: int | None = None
    """What the device's clock said then, where it was not believed."""
    conn: Connection = UNHEARD
    link: Connection | None = None
    incidents: dict[str, Incident] = {}
    rules: dict[str, RuleState] = {}
    wakes: dict[str, int] = {}
    params: dict[str, str | int | bool] = {}
    """What rules have set (`set_param`): it lies over what the contract says, and outlives an import."""
    events: Sequence | None = None
    """Which of its events have been heard."""
    plan_at: int | None = None
    """When the schedule or the load limit changes something next."""
    freed_at: int | None = None
    """When a person last took off the lock `schedule`."""
    limit_set: int | None = None
    """The load limit (W) that the calendar has set on the meters."""
    unproved_until: int | None = None
    """Until then commands that ended without proof may still move it; over once it has spoken after that."""
    cfg: Configuration | None = None
    """What the device was told of its limits, once there was anything to tell (`twin.core.configuration`)."""


class GatewayTwin(msgspec.Struct, omit_defaults=True, rename=SHORT_NAMES["GatewayTwin"]):
    """State of one gateway: it has a connection and an identity, and meters behind it."""

    id: str
    conn: Connection = UNHEARD
    versions: dict[str, str] = {}
    incidents: dict[str, Incident] = {}
    rules: dict[str, RuleState] = {}
    wakes: dict[str, int] = {}
    params: dict[str, str | int | bool] = {}
    """What rules have set (`set_param`): it lies over what the contract says, and outlives an import."""


class TenantTwin(msgspec.Struct, omit_defaults=True, rename=SHORT_NAMES["TenantTwin"]):
    """Money and supply state of one tenant. `balance = credits_nano - charges_nano`; each total has one writer.

    `credits_nano` and `credits_seq` are absolute and come from SQL; `charges_nano` is born here and reaches SQL as
    intervals.
    """

    id: str
    credits_nano: int = 0
    credits_seq: int = 0
    charges_nano: int = 0
    state: str = "NORMAL"
    state_since: int = 0
    held: tuple[str, ...] = ()
    """Why a due cutoff waits, when it does."""
    held_told: tuple[str, ...] = ()
    """The reasons that were last reported."""
    unseen_charges: bool = False
    """Charged since the balance rules last looked, by samples that may not actuate anything."""
    unseen_credits: bool = False
    """Rebuilt under a rule's arrears lock: whether credits end it is asked again at the first wake."""
    rules: dict[str, RuleState] = {}
    wakes: dict[str, int] = {}
    params: dict[str, str | int | bool] = {}
    """What rules have set (`set_param`): it lies over what the contract says, and outlives an import."""
    warned_at: int | None = None
    """When a warning about the balance was proved to have been delivered, since the balance last was in order."""

    @property
    def balance_nano(self) -> int:
        """Money left, in nano-units; negative means debt."""
        return self.credits_nano - self.charges_nano


class OwedAct(msgspec.Struct, array_like=True, omit_defaults=True, frozen=True, gc=False):
    """An act that counts as taken, and of which SQL had no result when the group was made from it."""

    kind: Literal["emergency", "approval", "prepaid"]
    seq: int
    ts: int
    who: str = ""
    scope: str = ""
    twin: str = ""
    rule: str = ""
    until: int = 0


class Group(msgspec.Struct, omit_defaults=True):
    """Everything that one decision may read and change, with the revision it was read at."""

    site: str
    id: str
    contract: Contract | None = None
    tenant: TenantTwin | None = None
    meter_contracts: dict[str, MeterContract] = {}
    meters: dict[str, MeterTwin] = {}
    breaker_contracts: dict[str, BreakerContract] = {}
    breakers: dict[str, BreakerTwin] = {}
    gateway: GatewayTwin | None = None
    owed: tuple[OwedAct, ...] | None = None
    """Acts to carry out before anything else; None for nothing."""
    acts_seq: int = 0
    """Last act born in SQL (credit, lock, contract) that this group contains; acts apply in order, once."""
    wake: int | None = None
    """When the store's timer index will wake this group; never later than the earliest due time inside."""
    revision: int = 0

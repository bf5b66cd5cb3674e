"""What the flows need from the world. Every adapter, and every fake in the tests, fits one of these Protocols.

Times are Unix ms of the site's clock unless a name says otherwise. Nothing here knows Redis, SQL or MQTT.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from twin.contacts import OPERATOR as OPERATOR
from twin.contacts import TENANT as TENANT
from twin.contacts import Addressees as Addressees
from twin.contacts import Contacts as Contacts
from twin.contacts import Person as Person
from twin.core.effects import AnyEffect
from twin.core.messages import Act
from twin.core.model import BreakerContract, Contract, Group, MeterContract
from twin.core.policy import SitePolicy
from twin.outward import Delivery as Delivery
from twin.outward import NoticeBook as NoticeBook
from twin.outward import Notifier as Notifier
from twin.outward import Publisher as Publisher
from twin.outward import WebhookAnswer as WebhookAnswer
from twin.outward import WebhookBook as WebhookBook
from twin.outward import WebhookCall as WebhookCall
from twin.outward import WebhookCaller as WebhookCaller
from twin.outward import WebhookTarget as WebhookTarget

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence


class Clock(Protocol):
    """What *now* means (CONTRACT.md 6): real, scaled, or following telemetry."""

    def now(self) -> int:
        """Unix ms."""
        ...

    def observe(self, ts: int) -> None:
        """Tell a clock that follows telemetry about an accepted sample; others ignore it."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Sleep for so many seconds of this clock (real seconds when it follows telemetry)."""
        ...


# --- twins --------------------------------------------------------------------------------------------------------


class GroupChange(msgspec.Struct, frozen=True):
    """One group's decision, ready to be committed if nobody else changed the group since it was read."""

    before: Group
    after: Group
    effects: tuple[AnyEffect, ...] = ()
    wake: int | None = None
    """Set the group's entry in the timer index to this instant; `drop_wake` removes it; neither leaves it."""
    drop_wake: bool = False
    guards: Mapping[str, int] = {}
    """Rule id -> cutoffs to count against the rule's guard window at `now`."""


class Entry(msgspec.Struct, frozen=True):
    """One entry of a site's effect stream: what one commit of one group asked for."""

    id: str
    """Redis stream id `ms-n`; strictly increasing within a site."""
    group: str
    effects: tuple[AnyEffect, ...]
    serial: int = 0
    """Counts the entries of a site since its last rebuild, without gaps; 0 where it is not known."""


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that could not be understood, with the reason and the place."""

    topic: str
    payload: bytes
    reason: str
    path: str
    at: int


class HeldMessage(msgspec.Struct, frozen=True):
    """A message as it came, of a device that is on its way from one payer to the next. `id` is given by the store."""

    topic: str
    payload: bytes
    at: int
    """When it was received, Unix ms."""
    id: str = ""
    retain: bool = False


class StoreFullError(Exception):
    """The effect stream is at its bound because the ledger is behind: do not acknowledge, try again later."""


class StoreLostError(Exception):
    """The store has another generation than SQL expects (wiped, restored, replaced): rebuild before going on."""


class TwinStore(Protocol):
    """Twins, timers and effects of a site, with one atomic compare-and-set commit."""

    async def load(self, site: str, groups: Sequence[str]) -> dict[str, Group]:
        """Groups by id; ids that do not exist are left out. Values must not be changed by the caller."""
        ...

    async def commit(
        self, site: str, changes: Sequence[GroupChange], *, now: int, beyond_bound: bool = False
    ) -> frozenset[str]:
        """Commit all groups whose stored revision still equals `before.revision`, all-or-nothing per group.

        Returns the ids refused because of another revision. Raises StoreFullError (nothing was written; never with
        `beyond_bound`, for who reads the stream and so would wait for himself) or StoreLostError (nothing was written).
        """

    async def group_of(self, site: str, device: str) -> str | None:
        """Group that holds a device, from the site's directory."""

    async def groups_of(self, site: str, devices: Iterable[str]) -> dict[str, str]:
        """The same of many devices, with at most one round trip; those that nobody knows are left out."""

    async def devices_behind(self, site: str, gateway: str) -> Sequence[str]:
        """Ids of groups with a device behind this gateway."""

    async def due(self, site: str, *, now: int, limit: int) -> list[str]:
        """Groups whose timer entry is due, earliest first."""

    async def next_due(self, site: str) -> int | None:
        """Instant of the earliest timer entry."""

    async def guards_used(self, site: str, windows: Mapping[str, int], *, now: int) -> dict[str, int]:
        """Guard counts per rule id, each within its window (ms)."""
        ...

    async def generation(self, site: str) -> tuple[int, str] | None:
        """(generation number, id of the last effect written), or None where the site has no twins at all."""
        ...

    async def replace_site(
        self, site: str, generation: int, groups: AsyncIterator[Group], *, wake: int, position: str = "0-0"
    ) -> int:
        """Write all twins of a site anew under a generation (rebuild), each due at `wake`; returns how many.

        The effect stream starts anew behind `position`, the ledger's last entry, so ids never repeat.
        """
        ...

    async def add_groups(self, site: str, groups: Sequence[Group], *, wake: int) -> None:
        """Create groups that do not exist yet, and refresh the directory for those that do."""

    async def sites(self) -> list[str]:
        """Sites that have twins here."""
        ...

    async def dead_letter(self, site: str, letters: Sequence[DeadLetter]) -> None:
        """Append to the site's bounded dead-letter stream."""

    def forget_holder(self, site: str, device: str) -> None:
        """Do not trust what this process remembers of where a device is."""
        ...

    async def hold(self, site: str, messages: Sequence[HeldMessage]) -> int:
        """Hold messages of devices on their way, in order; returns how many, the first ones, there was room for."""
        ...

    async def held(self, site: str, *, after: str = "", limit: int) -> list[HeldMessage]:
        """Held messages newer than an id, oldest first."""
        ...

    async def pass_on(self, site: str, ids: Sequence[str]) -> None:
        """These held messages have been heard: forget them."""
        ...

    async def groups(self, site: str) -> AsyncIterator[Group]:
        """Every group of a site, streamed (verify, rebuild checks)."""
        ...


class EffectStream(Protocol):
    """Consumer side of the effect streams: at least once, in order, per named consumer group."""

    async def join(self, site: str, consumers: str, *, after: str | None = None) -> None:
        """Make sure the consumer group exists; `after` moves it to just behind that entry (the ledger's own
        position)."""
        ...

    async def read(
        self, site: str, consumers: str, consumer: str, *, count: int, block_ms: int, pending: bool = False
    ) -> list[Entry]:
        """Next entries; with `pending`, those read before and never acknowledged."""
        ...

    async def acknowledge(self, site: str, consumers: str, ids: Sequence[str]) -> None:
        """Done with these entries."""
        ...

    async def lag(self, site: str, consumers: str) -> int:
        """Entries not yet acknowledged by this consumer group."""
        ...

    async def trim(self, site: str, *, ledger_position: str, keep: int) -> int:
        """Drop entries that the ledger has and no other consumer group still needs, keeping the newest `keep`."""
        ...

    async def acknowledged_to(self, site: str, consumers: str) -> str:
        """Id up to which a consumer group has acknowledged everything; '0-0' while anything is pending."""
        ...

    async def peek(self, site: str, after: str, count: int) -> list[Entry]:
        """Up to `count` entries newer than `after`, oldest first; nothing is handed out or acknowledged by it."""
        ...

    async def knows(self, site: str, entry_id: str) -> bool:
        """Whether an entry of this id is in the stream, or was: dropped by `trim`, or before the last rebuild. False
        means that the store went back in time and wrote other entries since."""
        ...

    async def trimmed_to(self, site: str) -> str:
        """Id up to which entries were dropped by `trim`; '0-0' when none were."""
        ...

    def follow(self, site: str, after: str | None) -> AsyncIterator[Entry]:
        """Live feed: entries after an id (None: from now on), never acknowledged."""
        ...


# --- SQL ----------------------------------------------------------------------------------------------------------


class TopUp(msgspec.Struct, frozen=True):
    """A payment for a tenant. `key` makes it idempotent together with the tenant; `actor` is the person or channel."""

    tenant: str
    amount_nano: int
    channel: str
    reference: str
    key: str
    actor: str
    ts: int


class Instalment(msgspec.Struct, frozen=True):
    """What one debt took out of a payment, and what of the debt remains; nano-units."""

    debt: str
    amount_nano: int
    remaining_nano: int


class Allocation(msgspec.Struct, frozen=True):
    """Where a payment went, in this order; the parts sum to the payment. Nano-units, by the balance as posted then."""

    instalments: tuple[Instalment, ...] = ()
    arrears_nano: int = 0
    """Lifted a balance below the emergency limit up to it."""
    emergency_nano: int = 0
    """Repaid used emergency credit."""
    balance_nano: int = 0
    """Stays as balance."""


class Receipt(msgspec.Struct, frozen=True):
    """What came of a money act. `repeated` means the same key had done the same before: nothing happened now."""

    payment: str
    tenant: str
    amount_nano: int
    credits_nano: int
    seq: int
    ts: int
    repeated: bool = False
    allocation: Allocation = Allocation()


class PendingAct(msgspec.Struct, frozen=True):
    """An act that SQL has and the twin may not have yet."""

    site: str
    group: str
    act: Act


class Caller(msgspec.Struct, frozen=True):
    """Who acts on an account, why, when (Unix ms), and under which key: the same key of the same person acts once."""

    who: str
    why: str
    ts: int
    key: str


class Outcome(msgspec.Struct, frozen=True):
    """What came of an act on an account: what is answered, and the acts for the twins.

    `body` has a `state` of `done` or, where a second person has to agree, `requested` with the id of the `approval`;
    names of amounts end in `_nano`. `repeated`: the same had been done before, nothing happened now.
    """

    body: dict[str, Any]
    acts: list[PendingAct] = []
    repeated: bool = False


class MoneyRefusedError(Exception):
    """A money act was refused; `code` is stable, `detail` is for people."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class LedgerUnavailableError(ConnectionError):
    """The database cannot do it now: its disk is full, it is away, or it shuts down. Nothing was done; try again."""


class Ledger(Protocol):
    """The SQL ledger: posted energy, money, and the record of what the twins decided."""

    async def position(self, site: str) -> str:
        """Id of the last effect-stream entry whose rows are committed; '0-0' at the beginning."""
        ...

    async def post(self, site: str, entries: Sequence[Entry]) -> Mapping[str, Sequence[int]] | None:
        """Write a batch of entries in one transaction: chain, rating rows, journal, projections, alarms, commands.

        Tells the numbers of the journals that charges came to, by the id of their entry, where it knows them. Entries
        at or before `position` are ignored, and every row is idempotent by its own key besides.
        """
        ...

    async def top_up(self, site: str, top_up: TopUp) -> Receipt:
        """Credit an account. Raises MoneyRefusedError (`unknown_tenant`, `amount`, `idempotency_conflict`,
        `hoarding`)."""
        ...

    async def place_lock(
        self, site: str, *, breaker: str, lock: str, who: str, why: str, ts: int, key: str, until: int | None = None
    ) -> PendingAct:
        """Record a person's lock; idempotent by (who, key)."""
        ...

    async def release_lock(
        self, site: str, *, breaker: str, lock: str, who: str, why: str, ts: int, key: str
    ) -> PendingAct:
        """Record that a person releases a lock; idempotent by (who, key)."""
        ...

    async def undelivered(self, site: str | None, *, limit: int) -> list[PendingAct]:
        """Acts not yet confirmed by their twin, in order of sequence within each group."""
        ...

    async def doubt_deliveries(self, newest: int) -> None:
        """Count the newest acts as undelivered again: at a start Redis may have lost its last second of them."""
        ...

    async def delivered(self, site: str, taken: Mapping[str, int]) -> None:
        """Each of these groups' twins has every act up to its sequence number; recorded in one transaction."""
        ...


class SiteDocument(msgspec.Struct, frozen=True):
    """A site file with the tariff and rule files it names, all schema-checked: plain data, as people wrote it."""

    site: dict[str, Any]
    tariffs: dict[str, dict[str, Any]]
    rulesets: dict[str, dict[str, Any]]
    reprice: bool = False
    """Prices may change for energy that is charged already: it is charged again, by adjustments."""
    expected: tuple[str, ...] | None = None
    """The lines of the difference that somebody has seen and agreed to; any other one is refused. None: whatever."""


class SiteChangedError(Exception):
    """What an import would change is not what was expected of it; nothing was changed."""


class SiteDifference(msgspec.Struct, frozen=True):
    """What an import would change, one readable line each: `+ device em-221 ...`, `~ tenant t-001 mode: ...`."""

    lines: tuple[str, ...]
    refused: tuple[str, ...] = ()
    """Changes that an import may not make (it would undo a reading, a charge or a credit)."""


class Registry(Protocol):
    """Sites, devices, tenants and contracts in SQL."""

    async def sites(self) -> list[str]:
        """Ids of all sites."""
        ...

    async def difference(self, document: SiteDocument) -> SiteDifference:
        """What `apply` would do; changes nothing."""
        ...

    async def apply(self, document: SiteDocument, *, who: str, now: int) -> tuple[SiteDifference, list[PendingAct]]:
        """Import: one transaction; returns the difference and the acts that bring the twins up to date."""
        ...

    async def document(self, site: str) -> SiteDocument:
        """The site as a document that imports back unchanged."""
        ...

    async def policy_sources(self, site: str) -> SiteDocument:
        """Site settings, tariffs and active rulesets, for compiling a SitePolicy."""
        ...

    async def policy_mark(self, site: str) -> str:
        """A short text that changes when settings, tariffs or the active rules of a site do; cheap to ask for."""
        ...

    async def generation(self, site: str) -> tuple[int, str]:
        """(generation number the twins must have, ledger position)."""
        ...

    async def next_generation(self, site: str) -> int:
        """Raise the generation number: whatever store carries the old one is not to be trusted."""
        ...

    def rebuilt_groups(self, site: str) -> AsyncIterator[Group]:
        """Every group of a site as SQL knows it: heads, totals, locks, contracts (streamed)."""
        ...


class Contracts(msgspec.Struct, frozen=True):
    """The contracts of one group, as an import leaves them."""

    group: str
    contract: Contract | None
    meters: tuple[MeterContract, ...] = ()
    breakers: tuple[BreakerContract, ...] = ()
    gateway: str | None = None


class Policies(Protocol):
    """Compiled site policies, cached and refreshed when they change."""

    async def policy(self, site: str) -> SitePolicy:
        """Raises LookupError for a site that was never imported."""
        ...

"""What the HTTP API needs from the platform. `api.bootstrap.Platform` fits it; so does any platform a test builds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from litestar.params import Dependency

from api.http.alarm_backend import Alarms, Page
from api.http.rule_backend import RuleBackend
from twin.flows.hold_messages import holds
from twin.ports import TwinStore

if TYPE_CHECKING:
    from api.http.account_ports import AccountReads, Accounts, Proofs
    from api.report_files import Documents, Reports
    from api.settings import Settings
    from billing.bill import Bill
    from twin.core.model import Group
    from twin.explained import Explanations
    from twin.flows.ingest_batch import IngestCounters
    from twin.flows.keep_leases import LeaseCounters
    from twin.flows.record_history import RecorderCounters
    from twin.flows.settlement_room import SettlementRoom
    from twin.flows.switch_in_bulk import BulkSwitching
    from twin.flows.take_payments import PaymentDesk
    from twin.flows.vitals import Vitals
    from twin.ports import Caller, Clock, DeadLetter, EffectStream, Ledger, Outcome, PendingAct, Registry
    from twin.switch_history import Switchings


class Store(TwinStore, Protocol):
    """Twins, and the messages that were not understood."""

    async def dead_letters(self, site: str, *, limit: int) -> list[DeadLetter]:
        """The newest dead letters of a site, newest first."""
        ...


class Token(Protocol):
    """A token without its secret."""

    @property
    def id(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def site(self) -> str | None: ...
    @property
    def tenant(self) -> str | None: ...
    @property
    def created_ts(self) -> int: ...
    @property
    def created_by(self) -> str: ...
    @property
    def revoked_ts(self) -> int | None: ...


class Tokens(Protocol):
    """Named tokens, whose secrets nobody stores."""

    async def create(
        self, *, name: str, role: str, secret: str, site: str | None, tenant: str | None, who: str, now: int
    ) -> Token:
        """Make a token; the same secret again gives the token that it already is, revoked or not."""
        ...

    async def lookup(self, secret: str) -> Token | None:
        """The token of a secret; None for one that is unknown or revoked."""
        ...

    async def tokens(self) -> Sequence[Token]:
        """All tokens, revoked ones included, newest first."""
        ...

    async def revoke(self, token: int, *, who: str, now: int) -> bool:
        """End a token at once; False where it does not exist or has ended before."""
        ...


class Reads(Protocol):
    """Plain reads of the SQL store for screens. A cursor that is none raises ValueError."""

    async def tenants(self, site: str, *, cursor: str | None = None, limit: int = 100) -> Page[Any]:
        """Tenants by id."""
        ...

    async def tenant_ledger(self, site: str, tenant: str, *, cursor: str | None = None, limit: int = 100) -> Page[Any]:
        """What happened to a tenant's balance, newest first."""
        ...

    async def devices(self, site: str, *, cursor: str | None = None, limit: int = 100) -> Page[Any]:
        """Devices and gateways by id."""
        ...

    async def incidents(
        self,
        site: str,
        *,
        open_only: bool = False,
        device: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[Any]:
        """Incidents, newest first."""
        ...

    async def commands(
        self, site: str, device: str, *, tenant: str | None = None, cursor: str | None = None, limit: int = 100
    ) -> Page[Any]:
        """Commands of a device, newest first."""
        ...

    async def payments(
        self, site: str, *, tenant: str | None = None, cursor: str | None = None, limit: int = 100
    ) -> Page[Any]:
        """Payments, newest first."""
        ...


class Incidents(Protocol):
    """Incidents, as people close them."""

    async def incident(self, site: str, incident: int) -> Any | None:
        """One incident; None for an unknown one."""
        ...

    async def close(self, site: str, *, incident: int, who: str, why: str, ts: int, key: str) -> PendingAct:
        """Close an incident for a reason, once by (who, key)."""
        ...


class HeldFirings(Protocol):
    """Firings that wait behind a guard."""

    async def waiting(self, site: str) -> Sequence[Any]:
        """Every firing of a site that a guard holds back, the longest waiting first."""
        ...

    async def approve(
        self, site: str, firings: Sequence[Any], *, who: str, why: str, until: int, now: int
    ) -> Sequence[PendingAct]:
        """Let firings through; returns the acts for their twins."""
        ...


class Consents(Protocol):
    """What tenants agree to by themselves."""

    async def take_emergency(self, site: str, tenant: str, *, who: str, ts: int, key: str) -> PendingAct:
        """Record that a tenant takes the emergency credit; idempotent by (who, key)."""
        ...


class Meters(Protocol):
    """What people do to meters. Acts raise LookupError for an unknown site and MoneyRefusedError with a stable code."""

    async def act(self, site: str, kind: str, body: dict[str, Any], caller: Caller) -> Outcome:
        """Carry out an act of a kind, once for its key."""
        ...

    async def review(
        self, site: str, *, meter: str | None = None, decided: bool = False, before: int = ..., limit: int = 100
    ) -> Sequence[Any]:
        """Doubtful readings, newest first."""
        ...

    async def events(self, site: str, meter: str, *, before: int = ..., limit: int = 100) -> Sequence[Any]:
        """Acts on a meter, newest first."""
        ...

    async def handovers(self, site: str, *, before: int = ..., limit: int = 100) -> Sequence[Any]:
        """Hand-overs, newest first."""
        ...


class Bills(Protocol):
    """Bills as they stand."""

    async def bill(self, site: str, bill: str) -> Bill | None:
        """One bill by its id or number; None for an unknown one."""
        ...


class PlanDesk(Protocol):
    """Schedules and load limits. All raise LookupError for an unknown site and MoneyRefusedError with a stable code."""

    async def plans(self, site: str) -> dict[str, dict[str, dict[str, Any]]]:
        """By kind and name: the plan, and the `devices` that have it."""
        ...

    async def define(self, site: str, kind: str, name: str, plan: Mapping[str, Any] | None, caller: Caller) -> Outcome:
        """Make, change or (None) remove a plan."""
        ...

    async def assign(self, site: str, kind: str, devices: Sequence[str], name: str | None, caller: Caller) -> Outcome:
        """Give devices a plan, or (None) take theirs off."""
        ...


class SiteCounts(Protocol):
    """How much of each kind one site has now; see `adapters/store/watching/gauges.py`."""

    @property
    def commands(self) -> dict[str, int]: ...
    @property
    def oldest_commands(self) -> dict[str, int]: ...
    @property
    def acts_undelivered(self) -> int: ...
    @property
    def oldest_act_ts(self) -> int | None: ...
    @property
    def effects_refused(self) -> int: ...
    @property
    def alarms(self) -> dict[str, int]: ...
    @property
    def incidents(self) -> dict[str, int]: ...
    @property
    def quarantined_readings(self) -> int: ...
    @property
    def quarantined_wh(self) -> int: ...
    @property
    def quarantined_litres(self) -> int: ...
    @property
    def rerate_marks(self) -> int: ...
    @property
    def rerate_troubles(self) -> int: ...
    @property
    def webhooks_waiting(self) -> int: ...
    @property
    def notices_waiting(self) -> int: ...
    @property
    def recorded_ts(self) -> int | None: ...


class Gauges(Protocol):
    """Counts in SQL, for metrics and health."""

    async def ping(self) -> None:
        """Returns when the database answers."""
        ...

    async def read(self, site: str) -> SiteCounts:
        """The counts of one site."""
        ...


class Answers(Protocol):
    """Answers once given, for calls that come again. Both raise MoneyRefusedError for a key with another content."""

    async def given(self, site: str, scope: str, key: str, digest: str) -> str | None:
        """The answer given before, or None."""
        ...

    async def keep(self, site: str, scope: str, key: str, digest: str, answer: str, ts: int) -> str:
        """Keep an answer; of two calls at once the first is kept, and both get it."""
        ...


class Delivery(Protocol):
    """Carries acts from SQL to the twins."""

    async def deliver(self, acts: Sequence[PendingAct]) -> int:
        """How many were confirmed by their twin."""
        ...


class IngestState(Protocol):
    """The way in, as far as metrics look at it."""

    @property
    def counters(self) -> IngestCounters: ...


class PumpState(Protocol):
    """The timers, as far as metrics look at them."""

    @property
    def woken(self) -> int: ...
    @property
    def late_ms(self) -> int: ...


class LoopState(Protocol):
    """A consumer of the effect stream, as far as metrics look at it."""

    @property
    def consumed(self) -> int: ...


class PublisherState(Protocol):
    """The way out, as far as metrics and health look at it."""

    @property
    def connected(self) -> bool: ...
    @property
    def published(self) -> int: ...
    @property
    def last_failure(self) -> str: ...
    @property
    def reconnects(self) -> int: ...


class RecorderState(Protocol):
    """The recorder, as far as metrics look at it."""

    @property
    def counters(self) -> RecorderCounters: ...


class WebhookState(Protocol):
    """The calls of outside systems, as far as metrics look at them."""

    @property
    def delivered(self) -> int: ...
    @property
    def failed(self) -> int: ...


class SubscriberState(Protocol):
    """The connection of the way in; its counters are those of the adapter."""

    @property
    def counters(self) -> Any: ...
    @property
    def unacknowledged(self) -> int: ...


class Backend(RuleBackend, Protocol):
    """Everything the routes reach."""

    @property
    def settings(self) -> Settings: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def store(self) -> Store: ...
    @property
    def stream(self) -> EffectStream: ...
    @property
    def settlement(self) -> SettlementRoom: ...
    @property
    def ledger(self) -> Ledger: ...
    @property
    def registry(self) -> Registry: ...
    @property
    def queries(self) -> Reads: ...
    @property
    def accounts(self) -> Accounts: ...
    @property
    def account_reads(self) -> AccountReads: ...
    @property
    def proofs(self) -> Proofs: ...
    @property
    def reports(self) -> Reports: ...
    @property
    def documents(self) -> Documents: ...
    @property
    def bills(self) -> Bills: ...
    @property
    def meters(self) -> Meters: ...
    @property
    def alarms(self) -> Alarms: ...
    @property
    def explanations(self) -> Explanations: ...
    @property
    def incidents(self) -> Incidents: ...
    @property
    def held_firings(self) -> HeldFirings: ...
    @property
    def switchings(self) -> Switchings: ...
    @property
    def consents(self) -> Consents: ...
    @property
    def switching(self) -> BulkSwitching: ...
    @property
    def plans(self) -> PlanDesk: ...
    @property
    def tokens(self) -> Tokens: ...
    @property
    def gauges(self) -> Gauges: ...
    @property
    def answers(self) -> Answers: ...
    @property
    def delivery(self) -> Delivery: ...
    @property
    def ingest(self) -> IngestState: ...
    @property
    def pump(self) -> PumpState: ...
    @property
    def publisher(self) -> PublisherState: ...
    @property
    def subscriber(self) -> SubscriberState | None:
        """None in a process that does not ingest."""
        ...

    @property
    def recorder(self) -> RecorderState: ...
    @property
    def record_subscriber(self) -> SubscriberState | None:
        """None in a process that does not record."""
        ...

    @property
    def shard_sessions(self) -> Mapping[str, SubscriberState]:
        """Sessions of the shards that this process owns."""
        ...

    @property
    def lease_counters(self) -> Mapping[str, LeaseCounters]:
        """What became of this process's leases by kind of work."""
        ...

    @property
    def webhooks(self) -> WebhookState: ...
    @property
    def payments(self) -> PaymentDesk: ...
    @property
    def vitals(self) -> Vitals:
        """What this process counts of its own work."""
        ...

    @property
    def loops(self) -> Mapping[str, LoopState]:
        """The consumers that run in this process."""
        ...

    @property
    def service_failures(self) -> Mapping[str, int]:
        """How often each service had to be started again."""
        ...


Platform = Annotated[Backend, Dependency(skip_validation=True)]
"""How routes ask for the platform; a protocol cannot be validated, and need not be."""


async def group_of_tenant(backend: Backend, site: str, tenant: str) -> Group | None:
    """The group of a tenant, which bears its id; None where there is none."""
    group = (await backend.store.load(site, [tenant])).get(tenant)
    return group if group is not None and group.tenant is not None else None


async def group_of_device(backend: Backend, site: str, device: str) -> Group | None:
    """The group that holds a device; None for one that nobody knows, or that is on its way to the next group."""
    groups = await backend.store.load(site, [name] if (name := await backend.store.group_of(site, device)) else [])
    return next((group for group in groups.values() if holds(group, device)), None)

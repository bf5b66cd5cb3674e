"""What the flows send out of the house and take in: messages of the broker, notices to people, calls to other systems.

Part of the ports; import these names from `twin.ports`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from twin.contacts import Addressees
from twin.core.effects import NotificationWanted

if TYPE_CHECKING:
    from collections.abc import Mapping


class Delivery(Protocol):
    """One message from the broker, not yet acknowledged."""

    @property
    def topic(self) -> str:
        """Where it was published."""
        ...

    @property
    def payload(self) -> bytes:
        """Its bytes, unchecked."""
        ...

    @property
    def retain(self) -> bool:
        """Whether the broker had kept it."""
        ...


class Publisher(Protocol):
    """Publishing with the broker's confirmation."""

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        expiry_s: int | None = None,
        correlation: bytes | None = None,
        response_topic: str | None = None,
    ) -> None:
        """Resolves after the broker's PUBACK; raises when that does not come in time."""
        ...


class NoticeBook(Protocol):
    """Which notices were delivered, with proof. Each has one recipient (`NotificationWanted.by_recipient`)."""

    async def was_told(self, site: str, notice: NotificationWanted) -> bool:
        """Whether this very notice (tenant, template, ts, twin, to) was delivered before."""
        ...

    async def told(self, site: str, notice: NotificationWanted, proof: str) -> None:
        """Record the delivery."""
        ...

    async def shelf_of(self, site: str, twin: str, notice: NotificationWanted) -> str:
        """Why the notice of this twin is not to be told: its alarm is shelved, until when, by whom and for what.

        An empty text where it is to be told.
        """
        ...

    async def leader_of(self, site: str, notice: NotificationWanted, together: str, *, within_ms: int) -> str:
        """Which other notice tells for this one's group of alarms (`together`); an empty text where this one is to."""
        ...

    async def withheld(self, site: str, notice: NotificationWanted, state: str, why: str) -> None:
        """Record that a notice was not told, as `suppressed` (shelved) or `grouped` (another told it), and why."""
        ...


class Notifier(Protocol):
    """Tells people: log, mail, SMS, WeChat."""

    async def notify(
        self, site: str, tenant: str, template: str, data: Mapping[str, Any], addressees: Addressees = ...
    ) -> str:
        """Deliver one notice about a tenant to whom it is for (left out: to the tenant); returns the channel's own id
        for it as proof. Raises when it was not delivered."""
        ...


class WebhookTarget(msgspec.Struct, frozen=True):
    """An outside system that rules may call by its name. The secret signs the calls; empty: they are not signed."""

    url: str
    secret: str = ""
    timeout_s: float = 10.0
    sites: tuple[str, ...] = ()
    """Sites whose rules may call it; empty: all."""


class WebhookCall(msgspec.Struct, frozen=True):
    """A call that a rule asked for. `attempts` were made so far."""

    id: int
    rule: str
    twin: str
    ts: int
    name: str
    data: dict[str, Any]
    attempts: int = 0


class WebhookAnswer(msgspec.Struct, frozen=True):
    """What came of one try: the HTTP status, or 0 where nobody answered; `text` is for people."""

    status: int
    text: str = ""
    retry_after_ms: int = 0


class WebhookBook(Protocol):
    """Which outside systems are still to be called, and what came of it."""

    async def due(self, now: int, *, limit: int) -> list[tuple[str, WebhookCall]]:
        """(site, call) of what is wanted and due, the longest waiting first."""
        ...

    async def again(self, site: str, call: WebhookCall, attempts: int, next_ts: int, answer: str) -> None:
        """Try it again at an instant."""
        ...

    async def settled(self, site: str, call: WebhookCall, state: str, attempts: int, answer: str, now: int) -> None:
        """It is `delivered`, or has `failed` for good."""
        ...


class WebhookCaller(Protocol):
    """Calls outside systems that the settings allow."""

    def allows(self, site: str, name: str) -> str:
        """Why a site's rules may not call this webhook; an empty text where they may."""
        ...

    async def send(self, name: str, delivery: str, body: bytes) -> WebhookAnswer:
        """Send a body once; `delivery` is the same at every repeat."""
        ...

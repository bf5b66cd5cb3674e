"""The live feed over HTTP: server-sent events, resumable by Last-Event-ID."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import structlog
from litestar import Request, get
from litestar.datastructures import State
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter
from litestar.response import Stream

from api.http.backend import Platform
from api.http.identity import Person, authenticate
from api.http.params import Site
from api.http.problems import Problem, invalid
from api.http.routes.tenants import must_exist
from api.http.specs import refusals
from api.stream.feed import LiveFeed
from api.stream.sse import HEARTBEAT, MEDIA_TYPE, OF_STAFF, TYPES, entry_events, event_bytes

if TYPE_CHECKING:
    from api.http.backend import Backend
    from twin.ports import Entry

log = structlog.get_logger(__name__)

HEARTBEAT_S: Final = 15.0
LOOK_AGAIN_S: Final = 30.0
"""So often the token of an open feed is looked up again."""
MOST_FEEDS: Final = 50
"""Feeds that one token may hold open at a time."""

LastEventId = Annotated[
    str | None, Parameter(header="Last-Event-ID", max_length=64, description="Id of the last event that was seen.")
]
Types = Annotated[
    str | None,
    Parameter(query="types", max_length=200, description="Only these types of events, separated by commas."),
]


class OpenFeeds:
    """How many feeds each token holds open."""

    def __init__(self, most: int = MOST_FEEDS) -> None:
        self._most = most
        self._open: Counter[str] = Counter()

    @contextlib.contextmanager
    def one_more(self, name: str) -> Iterator[None]:
        """Count a feed while it is open."""
        self._open[name] += 1
        try:
            yield
        finally:
            self._open[name] -= 1

    def check(self, name: str) -> None:
        """Raises Problem `too_many_feeds` for one too many."""
        if self._open[name] >= self._most:
            raise Problem("too_many_feeds", f"this token has {self._most} live feeds open already")


class Follower(msgspec.Struct, frozen=True):
    """What one client wants to see, and may."""

    site: str
    after: str | None
    types: frozenset[str] | None
    group: str | None
    """A tenant's own group; None for those who see all."""
    reset: bool

    def shown(self, entry: Entry) -> bytes:
        """The events of an entry for this client; nothing of another group than the one it may see."""
        if self.group is not None and entry.group != self.group:
            return b""
        return entry_events(self.site, entry, self.types, named=self.group is None)


@get(
    "/sites/{site:str}/events",
    operation_id="followEvents",
    summary="Live feed",
    media_type="text/event-stream",
    responses={
        200: ResponseSpec(
            str, description="Server-sent events.", media_type="text/event-stream", generate_examples=False
        ),
        **refusals(404, 422, 429),
    },
)
async def follow_events(
    backend: Platform,
    person: Person,
    request: Request[Any, Any, Any],
    state: State,
    site: Site,
    last_event_id: LastEventId = None,
    types: Types = None,
) -> Stream:
    """What the twins decide, as it happens: charges, alarms, locks, commands, relays, states, notices; and what people
    make of alarms (`care`).

    An event `reset` says that the wanted entry is no longer there: read the twins again and go on from here. A tenant's
    token gets the events of its own group only, without the names of staff and without their work on alarms. A client
    that reads too slowly is let go and may resume; one whose token was revoked is let go within a minute.
    """
    await must_exist(backend, site)
    wanted = read_types(types)
    feeds: OpenFeeds = state.open_feeds
    feeds.check(person.name)
    feed: LiveFeed = state.feed
    resumable = last_event_id is None or await feed.can_resume(site, last_event_id)
    group = person.tenant if person.is_tenant else None
    if group is not None:
        wanted = (TYPES if wanted is None else wanted) - OF_STAFF
    follower = Follower(site, last_event_id if resumable else None, wanted, group, reset=not resumable)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    token = TokenLook(backend, request.headers.get("authorization"), asyncio.get_running_loop().time() + LOOK_AGAIN_S)
    return Stream(_events(feed, feeds, token, person.name, follower), media_type=MEDIA_TYPE, headers=headers)


def read_types(types: str | None) -> frozenset[str] | None:
    """The wanted types, None for all. Raises Problem `validation` for one that does not exist."""
    if types is None:
        return None
    wanted = frozenset(part.strip() for part in types.split(",") if part.strip())
    unknown = sorted(wanted - TYPES)
    if unknown or not wanted:
        raise invalid(
            "types", f"{', '.join(unknown) or 'nothing'} is no type of event; known: {', '.join(sorted(TYPES))}"
        )
    return wanted


class TokenLook:
    """The token that a feed was opened with, looked at again every so often: a feed may stay open for weeks."""

    def __init__(self, backend: Backend, authorization: str | None, look_at: float) -> None:
        self._backend = backend
        self._authorization = authorization
        self._look_at = look_at

    async def is_good(self, now: float) -> bool:
        """Whether the feed may go on; `now` in seconds of the loop. A database that is away ends nothing."""
        if now < self._look_at:
            return True
        self._look_at = now + LOOK_AGAIN_S
        try:
            await authenticate(self._backend, self._authorization)
        except Problem:
            return False
        except Exception as error:
            log.warning("a feed's token could not be looked up", error=repr(error)[:200])
        return True


async def _events(
    feed: LiveFeed, feeds: OpenFeeds, token: TokenLook, name: str, follower: Follower
) -> AsyncIterator[bytes]:
    """The bytes of one feed, with a heartbeat whenever nothing else was sent for a while.

    What has to be undone at the end is undone without awaiting: the end is often a cancellation.
    """
    site = follower.site
    with feeds.one_more(name):
        subscription = await feed.join(site)
        try:
            yield HEARTBEAT  # the headers go out with it, so the client knows that it is connected
            if follower.reset:
                yield event_bytes("reset", {"site": site, "reason": "the entries behind the wanted one are gone"})
            if follower.after is not None:
                async for entry in feed.missed(site, follower.after, subscription):
                    if shown := follower.shown(entry):
                        yield shown
            while await token.is_good(asyncio.get_running_loop().time()):
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        live = await subscription.take()
                except TimeoutError:
                    yield HEARTBEAT
                    continue
                if not live:
                    return
                if shown := b"".join(follower.shown(entry) for entry in live):
                    yield shown
        finally:
            feed.leave(subscription)

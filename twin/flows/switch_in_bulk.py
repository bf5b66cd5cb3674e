"""Bulk switching, carried out: preview, start, and the loop that sends wave after wave and watches what comes of them.

All that a job is stands in SQL, and every decision is `twin.core.bulk`'s; the loop in between remembers nothing that a
crash could lose. It reads the twins of the breakers under way, records what came of them, and asks for the next move.
Breakers are planned anew right before they are locked: between the preview (or the second person's agreement) and the
last wave a supply guarantee may have begun, a device may have left, somebody may have locked it for another reason.
"""

from __future__ import annotations

import asyncio
import contextlib
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog

from rules.errors import InvalidExpressionError
from rules.language import compile_expression
from twin.core import bulk
from twin.core.bulk import Order, Target, Wish
from twin.core.draft import Draft
from twin.core.view import TWIN_MODEL, View
from twin.ports import MoneyRefusedError
from twin.switched import NewJob

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from rules.language import Expression
    from twin.core.bulk import Judgement, Selection
    from twin.core.model import Group
    from twin.core.policy import SitePolicy
    from twin.ports import Caller, Clock, PendingAct, TwinStore
    from twin.switched import SwitchBook, SwitchJob, SwitchStep

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 0.5
IDLE_EVERY_S = 1.0
LATE_EVERY_MS = 30_000
LATE_MS = 24 * 3_600_000
"""So long after a job moved last, a breaker that was silent may still turn out to stand where it should."""
CHUNK = 50
"""Breakers a transaction and a delivery: the ledger waits no longer than that for the site's row."""
PAGE = 1_000
MOST_BREAKERS = 20_000


class Delivery(Protocol):
    """Carries acts to the twins."""

    async def deliver(self, acts: Sequence[PendingAct]) -> int:
        """How many were confirmed."""
        ...


class Policies(Protocol):
    """Compiled policies of the sites."""

    async def policy(self, site: str) -> SitePolicy:
        """The site's policy."""
        ...


class Preview(msgspec.Struct, frozen=True):
    """Who would be switched and who is left out; `code` stands for exactly those and is asked for at the start."""

    targets: tuple[Target, ...]
    code: str

    @property
    def taking_part(self) -> list[Target]:
        """Those that would be switched."""
        return [target for target in self.targets if not target.skip]

    @property
    def left_out(self) -> list[Target]:
        """Those that would not, each with its reason."""
        return [target for target in self.targets if target.skip]


class SelectionError(ValueError):
    """A selection that cannot be understood; `field` says which part of it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class BulkSwitching:
    """Previews and starts jobs, and carries them out. `store` must not remember twins that others decide on."""

    def __init__(
        self, store: TwinStore, book: SwitchBook, policies: Policies, delivery: Delivery, clock: Clock
    ) -> None:
        self._store = store
        self.book = book
        self._policies = policies
        self._delivery = delivery
        self._clock = clock
        self._late_looks: dict[tuple[str, str], int] = {}

    async def preview(self, site: str, wish: Wish, selection: Selection) -> Preview:
        """Everybody the selection names, with who is left out and why. Raises SelectionError, LookupError."""
        wish = msgspec.structs.replace(wish, critical=await self.book.critical(site))
        now = self._clock.now()
        policy = await self._policies.policy(site)
        query = _query(selection)
        found: dict[str, Target] = {}
        async for group in self._groups(site, selection):
            for device in bulk.selected(group, selection):
                if query is None or _holds(query, group, device, policy, now):
                    found[device] = bulk.plan(group, device, wish, now)
                if len(found) > MOST_BREAKERS:
                    raise SelectionError("selection", f"more than {MOST_BREAKERS} breakers: choose fewer at once")
        for device in selection.devices:
            if device not in found and (query is None and not selection.tenants and not selection.groups):
                found[device] = Target(device, skip="unknown_device")
        targets = tuple(found[name] for name in sorted(found))
        return Preview(targets, code_of(wish, targets))

    async def start(
        self, site: str, order: NewJob, caller: Caller, *, code: str | None = None
    ) -> tuple[SwitchJob, bool]:
        """Order what a preview showed: `code` is its code. The same caller and key give the job there is (True).

        Raises SelectionError; MoneyRefusedError `preview_outdated` where other breakers would be switched by now,
        `nothing_to_switch`, `idempotency_conflict`.
        """
        seen = await self.preview(site, order.wish, order.selection)
        if code is not None and code != seen.code:
            detail = f"{len(seen.taking_part)} breakers would be switched by now, and not those of {code}: look again"
            try:
                return await self.book.start(site, _none_left(order), caller)
            except MoneyRefusedError as error:
                if error.code != "nothing_to_switch":
                    raise
            raise MoneyRefusedError("preview_outdated", detail)
        return await self.book.start(site, msgspec.structs.replace(order, targets=seen.targets), caller)

    async def undo(self, site: str, job: str, caller: Caller) -> tuple[SwitchJob, bool]:
        """A job that takes off the locks which another one placed, wherever they still stand.

        Raises MoneyRefusedError `unknown_job`, `not_undoable`, `job_state` (it still runs), `nothing_to_switch`.
        """
        done = await self.book.job(site, job)
        if done is None:
            raise MoneyRefusedError("unknown_job", f"site {site} has no switching job {job!r}")
        if done.operation != "open":
            raise MoneyRefusedError("not_undoable", f"job {job} placed no locks; order the opposite instead")
        if done.state == bulk.RUNNING:
            raise MoneyRefusedError("job_state", f"job {job} is running: stop or cancel it first")
        steps = [step for step in await self.steps(site, job) if step.act_seq is not None]
        targets = tuple(Target(step.device, step.tenant, step.group) for step in steps)
        order = NewJob(Wish("undo", done.lock), done.selection, done.pace, targets, undo_of=done.id)
        return await self.book.start(site, order, caller)

    async def steps(self, site: str, job: str, states: Sequence[str] = ()) -> list[SwitchStep]:
        """All steps of a job, in order; in some states where asked."""
        found: list[SwitchStep] = []
        after = 0
        while page := await self.book.steps(site, job, states=states, after=after, limit=PAGE):
            found += [step for _, step in page]
            after = page[-1][0]
        return found

    async def positions(self, site: str, steps: Sequence[SwitchStep]) -> dict[str, str]:
        """Where the breakers of steps are reported to be now."""
        groups = await self._load(site, steps)
        told = {step.device: groups[step.device] for step in steps if step.device in groups}
        return {device: group.breakers[device].relay or "" for device, group in told.items()}

    async def run(self, stop: asyncio.Event) -> None:
        """Carry jobs on until told to stop."""
        while not stop.is_set():
            busy = await self.look()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOK_EVERY_S if busy else IDLE_EVERY_S)

    async def look(self) -> bool:
        """One round over all jobs; whether any is under way."""
        now = self._clock.now()
        busy = False
        for job in await self.book.at_work(late_since=now - LATE_MS):
            under_way = job.state == bulk.RUNNING or job.tally.sent > 0
            if under_way or now - self._late_looks.get((job.site, job.id), 0) >= LATE_EVERY_MS:
                self._late_looks[job.site, job.id] = now
                await self._carry_on(job)
            busy = busy or under_way
        return busy

    async def _carry_on(self, job: SwitchJob) -> None:
        if await self._judge(job):
            job = await self.book.job(job.site, job.id) or job
        if job.state != bulk.RUNNING:
            return
        now = self._clock.now()
        move = bulk.next_move(job.pace, job.tally, job.before, now)
        if move.halt:
            log.warning("bulk switching halted", site=job.site, job=job.id, reason=move.halt)
            await self.book.halt(job, move.halt, now)
        elif move.done:
            await self.book.finish(job, now)
        elif move.send:
            await self._send_wave(job, move.send)

    async def _judge(self, job: SwitchJob) -> bool:
        """Record what came of the breakers under way; whether anything did."""
        steps = await self.steps(job.site, job.id, (bulk.SENT, bulk.SILENT, bulk.FAILED))
        groups = await self._load(job.site, steps)
        now = self._clock.now()
        found: list[tuple[str, Judgement]] = []
        for step in steps:
            assert step.act_seq is not None
            assert step.sent_ts is not None
            order = Order(step.device, step.act_seq, step.sent_ts, step.state)
            seen = bulk.judge(groups.get(step.device), order, _wish(job), job.pace, now)
            if seen is not None and (step.state == bulk.SENT or seen.state == bulk.VERIFIED):
                found.append((step.device, seen))
        if found:
            await self.book.settle(job, found, now)
        return bool(found)

    async def _send_wave(self, job: SwitchJob, count: int) -> None:
        waiting = await self.book.steps(job.site, job.id, states=(bulk.WAITING,), limit=count)
        wish = msgspec.structs.replace(_wish(job), critical=await self.book.critical(job.site))
        for first in range(0, len(waiting), CHUNK):
            steps = [step for _, step in waiting[first : first + CHUNK]]
            groups = await self._load(job.site, steps)
            now = self._clock.now()
            checked = [_replanned(groups.get(step.device), step, wish, now) for step in steps]
            acts = await self.book.send(job, checked, now)
            if acts:
                await self._deliver(acts)

    async def _deliver(self, acts: Sequence[PendingAct]) -> None:
        """At once; what fails here is in SQL, and the sweep brings it."""
        try:
            await self._delivery.deliver(acts)
        except Exception as error:
            log.warning("locks are recorded and will be delivered later", error=repr(error)[:500])

    async def _load(self, site: str, steps: Sequence[SwitchStep]) -> dict[str, Group]:
        """The groups that hold the breakers now, by breaker: a tenant may have changed since the job was planned."""
        groups = await self._store.load(site, sorted({step.group for step in steps}))
        found: dict[str, Group] = {}
        for step in steps:
            group = groups.get(step.group)
            if group is None or step.device not in group.breakers:
                name = await self._store.group_of(site, step.device)
                group = (await self._store.load(site, [name])).get(name) if name is not None else None
            if group is not None and step.device in group.breakers:
                found[step.device] = group
        return found

    async def _groups(self, site: str, selection: Selection) -> AsyncIterator[Group]:
        """The groups that a selection may name; the whole site only where it does not say which."""
        if selection.is_empty:
            raise SelectionError("selection", "nobody is selected: name devices, tenants, groups or gateways, or all")
        if selection.devices or selection.tenants:
            names = set(selection.tenants)
            if not names:
                holders = [await self._store.group_of(site, device) for device in selection.devices]
                names = {name for name in holders if name is not None}
            for group in (await self._store.load(site, sorted(names))).values():
                yield group
            return
        seen: set[str] = set()
        async for group in await self._store.groups(site):
            if group.id not in seen:
                seen.add(group.id)
                yield group


def code_of(wish: Wish, targets: Sequence[Target]) -> str:
    """A short code that stands for an operation on exactly these breakers, in whatever order."""
    names = sorted(target.device for target in targets if not target.skip)
    digest = sha256(msgspec.json.encode([wish.operation, wish.lock, names])).hexdigest()
    return f"{len(names)}-{digest[:8]}"


def _none_left(order: NewJob) -> NewJob:
    """The order with nobody in it: its key finds the job of an earlier call, and starts nothing."""
    return msgspec.structs.replace(order, targets=())


def _wish(job: SwitchJob) -> Wish:
    return Wish(job.operation, job.lock, job.include)


def _replanned(group: Group | None, step: SwitchStep, wish: Wish, now: int) -> Target:
    if group is None:
        return Target(step.device, step.tenant, step.group, "device_gone")
    return bulk.plan(group, step.device, wish, now)


def _query(selection: Selection) -> Expression | None:
    if not selection.query:
        return None
    try:
        return compile_expression(selection.query, TWIN_MODEL, {}, "breaker")
    except InvalidExpressionError as error:
        raise SelectionError("query", str(error)) from None


def _holds(query: Expression, group: Group, device: str, policy: SitePolicy, now: int) -> bool:
    """Whether the condition is true; what is unknown, as of a device that never reported, is not."""
    return query.run(View(Draft(group, policy, {}, now), now, breaker_id=device)) is True

"""Why a breaker or valve stands where it stands, and what would close it: one answer."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import get
from litestar.params import Parameter

from api.http.backend import Platform
from api.http.identity import Person
from api.http.numbers import LAST_INSTANT
from api.http.params import Device, Site
from api.http.permissions import roles_that_release
from api.http.problems import Problem
from api.http.routes.devices import visible_group
from api.http.specs import refusals
from billing.money import format_nano
from rules.explain import Record
from rules.language.tracer import Clause
from twin.core.breaker_why import (
    BreakerWhy,
    CommandStep,
    Need,
    NotSwitchableError,
    PastCommand,
    PastLock,
    PastReport,
    Release,
    StandingLock,
    Trouble,
)
from twin.core.limit_why import LoadLimit
from twin.core.lock_kinds import KINDS
from twin.flows.breaker_why import DEFAULT_LIMIT, explain_breaker
from twin.flows.explain_rules import UnknownTwinError
from twin.flows.replay_rules import HistoryMissingError

MAY_RELEASE = {kind: roles_that_release(kind) for kind in KINDS}
At = Annotated[
    int | None,
    Parameter(
        query="at", ge=0, le=LAST_INSTANT, description="An instant of the recorded past, Unix ms; now when left out."
    ),
]
Newest = Annotated[int, Parameter(query="limit", ge=1, le=200, description="So many commands, locks and reports.")]


class ReleaseBody(msgspec.Struct, frozen=True):
    """One way in which a lock goes: `top_up` of at least `amount`, `rule` once its `clauses` hold, `auto_release` or
    `ends` at an instant, `confirm` at the switch, `person` of one of the `roles`."""

    kind: str
    amount: str | None
    rule: str
    at: int | None
    roles: list[str]
    clauses: list[Clause]


class StandingLockBody(msgspec.Struct, frozen=True):
    """A lock in force, the firing that placed it, and what takes it off."""

    lock: str
    who: str
    why: str
    since: int
    until: int | None
    rule: str
    rule_version: int
    record: Record | None
    releases: list[ReleaseBody]


class PastCommandBody(msgspec.Struct, frozen=True):
    """A command with every state it has reached, and the firing it came of."""

    id: str
    target: str
    fence: int
    state: str
    issued: int
    expires: int
    why: dict[str, Any]
    reason: str
    steps: list[CommandStep]
    record: Record | None


class BreakerWhyBody(msgspec.Struct, frozen=True):
    """Why a breaker or valve stands where it stands. `verdict`: supplied, locked, opening, kept_on (locked in a time in
    which nothing is cut off, which ends at `opens_at`), closing, armed, opened_on_site, closed_on_site or unknown.
    Positions are in the words of the device. `needs` is what closing waits for once the last lock is gone. Newest
    first. `text` by language."""

    device: str
    utility: str
    tenant: str
    at: int
    verdict: str
    position: str | None
    since: int | None
    wanted: str
    balance: str | None
    locks: list[StandingLockBody]
    needs: list[Need]
    troubles: list[Trouble]
    commands: list[PastCommandBody]
    lock_changes: list[PastLock]
    reports: list[PastReport]
    load_limit: LoadLimit | None
    opens_at: int | None
    text: dict[str, str]


@get(
    "/sites/{site:str}/devices/{device:str}/why",
    operation_id="explainBreaker",
    summary="Why a breaker is open, and what would close it",
    responses=refusals(404, 409, 422),
)
async def explain_breaker_of(
    backend: Platform, person: Person, site: Site, device: Device, at: At = None, limit: Newest = DEFAULT_LIMIT
) -> BreakerWhyBody:
    """Locks in force with their reasons and their release, what closing needs beside that, and every command with its
    evidence, Chinese and English. A tenant reads it without the names of staff, and nothing of the time when the device
    was somebody else's."""
    await visible_group(backend, person, site, device)
    try:
        why = await explain_breaker(
            backend, site, device, at, may_release=MAY_RELEASE, tenant=_asking(person), limit=limit
        )
    except NotSwitchableError:
        raise Problem("not_switchable", f"{device} has no relay or valve that could be switched") from None
    except HistoryMissingError as error:
        raise Problem("not_recorded", str(error)) from None
    except UnknownTwinError as error:
        raise Problem("unknown_device", str(error)) from None
    return breaker_body(why)


def _asking(person: Person) -> str:
    return (person.tenant or "") if person.is_tenant else ""


def breaker_body(why: BreakerWhy) -> BreakerWhyBody:
    """The answer as it goes out: money as decimal text."""
    return BreakerWhyBody(
        device=why.device,
        utility=why.utility,
        tenant=why.tenant,
        at=why.at,
        verdict=why.verdict,
        position=why.position,
        since=why.since,
        wanted=why.wanted,
        balance=None if why.balance_nano is None else format_nano(why.balance_nano),
        locks=[_lock(lock) for lock in why.locks],
        needs=list(why.needs),
        troubles=list(why.troubles),
        commands=[_command(command) for command in why.history.commands],
        lock_changes=list(why.history.locks),
        reports=list(why.history.reports),
        load_limit=why.load_limit,
        opens_at=why.opens_at,
        text=why.text,
    )


def _lock(lock: StandingLock) -> StandingLockBody:
    releases = [_release(release) for release in lock.releases]
    version = lock.rule_version
    return StandingLockBody(
        lock.lock, lock.who, lock.why, lock.since, lock.until, lock.rule, version, lock.record, releases
    )


def _release(release: Release) -> ReleaseBody:
    amount = None if release.amount_nano is None else format_nano(release.amount_nano)
    return ReleaseBody(release.kind, amount, release.rule, release.at, list(release.roles), list(release.clauses))


def _command(command: PastCommand) -> PastCommandBody:
    return PastCommandBody(
        id=command.id,
        target=command.target,
        fence=command.fence,
        state=command.state,
        issued=command.issued,
        expires=command.exp,
        why=command.why,
        reason=command.reason,
        steps=list(command.steps),
        record=command.record,
    )

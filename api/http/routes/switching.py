"""Switching: a person's wish about a breaker or a valve is a lock placed or released; the twin does the rest.

`open` (for a valve: `closed`) places the lock `manual`; the opposite releases it. Whether and when a command goes out
is the twin's decision: it closes nothing while another lock stands, on a stale reading, or without a connection.
"""

from __future__ import annotations

from datetime import UTC
from typing import Annotated

from litestar import Response, delete, post
from litestar.params import Parameter

from api.http.acts import deliver
from api.http.backend import Backend, Platform, group_of_device
from api.http.bodies import CommandBody, Wanted
from api.http.etags import etag_of, matches
from api.http.identity import Person, require
from api.http.params import Device, IdempotencyKey, IfMatch, Site
from api.http.permissions import PERMISSIONS
from api.http.problems import Problem, invalid, unknown_device
from api.http.repeats import Call, once
from api.http.requests import CommandRequest, LockKind, LockRequest
from api.http.specs import IDEMPOTENCY_HIT, refusals
from api.http.twin_views import command_towards, wanted_view
from rules.literals import print_timestamp
from twin.core.arrears import may_lock_for_money
from twin.core.causes import opened_there
from twin.core.lock_kinds import ARREARS, outranked
from twin.core.model import BreakerTwin, Group, Relay
from twin.core.valves import relay_of_valve
from twin.ports import PendingAct

MANUAL = "manual"


@post(
    "/sites/{site:str}/devices/{device:str}/commands",
    operation_id="commandDevice",
    summary="Switch a device",
    response_description="The command as the twin has it.",
    status_code=202,
    responses=refusals(400, 404, 409, 412, 422),
    response_headers=[IDEMPOTENCY_HIT],
)
async def command_device(
    backend: Platform,
    person: Person,
    site: Site,
    device: Device,
    key: IdempotencyKey,
    data: CommandRequest,
    if_match: IfMatch = None,
) -> Response[CommandBody]:
    """Open or close by a person's order, in the words of the device: an open valve lets water flow.

    Answers with the command as the twin has it: follow its state to `verified`. `satisfied` means that nothing had to
    be sent, `waiting` that it is sent as soon as it is safe. The same key again changes nothing.
    """
    call = Call(site, person, key, ("command", device, data.target, data.reason))

    async def act() -> CommandBody:
        said = (person.name, data.reason, key)
        return await order_by_hand(backend, site, device, data.target, said, if_match)

    return await once(backend, call, act)


async def order_by_hand(
    backend: Backend, site: str, device: str, target: str, said: tuple[str, str, str], if_match: str | None = None
) -> CommandBody:
    """Place or release the lock `manual`; `said` is who, why and the key. Raises Problem where that is refused."""
    group, op = await _switch(backend, site, device)
    _check_revision(group, if_match)
    relay = _relay_of(op, target)
    if relay == "closed":
        _check_closing(group.breakers[device])
    pending = await _change(backend, site, device, MANUAL, *said, place=relay == "open")
    after, _ = await _switch(backend, site, device)
    return command_towards(after.breakers[device], op, relay, pending.act.ts)


def _check_revision(group: Group, if_match: str | None) -> None:
    """Refuse to switch on the ground of a twin that is no longer so."""
    etag = etag_of(group.revision)
    if if_match is not None and not matches(if_match, etag, weak=False):
        detail = f"the twin is at revision {group.revision}, the request names {if_match}"
        raise Problem("revision_mismatch", detail, headers={"ETag": etag})


def _relay_of(op: str, target: str) -> Relay:
    """A target in the words of the device as a switch position."""
    relay = relay_of_valve(target) if op == "valve.set" else None
    return relay or ("open" if target == "open" else "closed")


def _check_closing(breaker: BreakerTwin) -> None:
    """Refuse what releasing the manual lock cannot bring about."""
    others = sorted(kind for kind in breaker.locks if kind != MANUAL)
    if others:
        detail = f"{breaker.id} stays off for {', '.join(others)}; each lock has to be released for its own reason"
        raise Problem("locked", detail, locks=others)
    off = breaker.relay == "open" or opened_there(breaker)
    if not breaker.locks and off and breaker.close is None:
        stands = f"{breaker.id} stands {breaker.relay} without a lock"
        detail = f"{stands}: it tripped or was opened on site, and must be closed there"
        raise Problem("opened_on_site", detail)


@post(
    "/sites/{site:str}/devices/{device:str}/locks",
    operation_id="placeLock",
    summary="Place a lock",
    response_description="The locks that stand.",
    status_code=202,
    responses=refusals(400, 404, 409, 422),
    response_headers=[IDEMPOTENCY_HIT],
)
async def place_lock(
    backend: Platform, person: Person, site: Site, device: Device, key: IdempotencyKey, data: LockRequest
) -> Response[Wanted]:
    """Lock a breaker or valve off for a reason of its own; answers with the locks that stand."""
    _require_for(person, "placeLock", data.kind)
    call = Call(site, person, key, ("place", device, data.kind, data.reason, data.until))

    async def act() -> Wanted:
        group, _ = await _switch(backend, site, device)
        _refuse_for_money(group, device, data.kind, backend.clock.now())
        if data.until is not None and data.until <= backend.clock.now():
            raise invalid("until", "has passed already")
        said = (person.name, data.reason, key)
        await _change(backend, site, device, data.kind, *said, place=True, until=data.until)
        return await _standing(backend, site, device)

    return await once(backend, call, act)


@delete(
    "/sites/{site:str}/devices/{device:str}/locks/{kind:str}",
    operation_id="releaseLock",
    summary="Release a lock",
    response_description="The locks that stand.",
    status_code=202,
    responses=refusals(400, 404, 409, 422),
    response_headers=[IDEMPOTENCY_HIT],
)
async def release_lock(
    backend: Platform,
    person: Person,
    site: Site,
    device: Device,
    kind: Annotated[LockKind, Parameter(description="Kind of the lock.")],
    key: IdempotencyKey,
    reason: Annotated[str, Parameter(query="reason", min_length=1, max_length=200, description="Why.")],
) -> Response[Wanted]:
    """Release one lock of whatever kind; the supply comes back when none is left. Answers with those that stand."""
    _require_for(person, "releaseLock", kind)
    call = Call(site, person, key, ("release", device, kind, reason))

    async def act() -> Wanted:
        group, _ = await _switch(backend, site, device)
        if kind not in group.breakers[device].locks:
            raise Problem("unknown_lock", f"no lock {kind!r} stands on {device}")
        await _change(backend, site, device, kind, person.name, reason, key, place=False)
        return await _standing(backend, site, device)

    return await once(backend, call, act)


def _refuse_for_money(group: Group, device: str, kind: str, now: int) -> None:
    """A guaranteed supply stands above arrears and schedules, and water is not cut off for money, whoever asks."""
    if outranked(kind, group.contract, now):
        assert group.contract is not None
        until = print_timestamp(group.contract.protected_until or 0, UTC)
        detail = f"the supply of {group.id} is guaranteed until {until}: nothing locks it for {kind} before"
        raise Problem("supply_guaranteed", detail)
    if kind in ARREARS and not may_lock_for_money(group.breaker_contracts[device]):
        raise Problem("water_kept", f"the valve {device} can only close, and nobody loses water for money")


def _require_for(person: Person, operation: str, kind: str) -> None:
    """Some kinds of locks need more than the operation itself."""
    special = f"{operation}.{kind}"
    if special in PERMISSIONS:
        require(person, special)


async def _switch(backend: Backend, site: str, device: str) -> tuple[Group, str]:
    """The group of a device that switches something, and what it understands (`breaker.set`, `valve.set`)."""
    group = await group_of_device(backend, site, device)
    if group is None:
        raise unknown_device(site, device)
    contract = group.breaker_contracts.get(device)
    if contract is None or device not in group.breakers:
        raise Problem("not_switchable", f"{device} has no relay or valve that could be switched")
    return group, contract.op


async def _change(
    backend: Backend,
    site: str,
    device: str,
    lock: str,
    who: str,
    reason: str,
    key: str,
    *,
    place: bool,
    until: int | None = None,
) -> PendingAct:
    """Record a lock act, idempotent by person and key, and deliver it."""
    now = backend.clock.now()
    if place:
        pending = await backend.ledger.place_lock(
            site, breaker=device, lock=lock, who=who, why=reason, ts=now, key=key, until=until
        )
    else:
        pending = await backend.ledger.release_lock(
            site, breaker=device, lock=lock, who=who, why=reason, ts=now, key=key
        )
    await deliver(backend, pending)
    return pending


async def _standing(backend: Backend, site: str, device: str) -> Wanted:
    group, op = await _switch(backend, site, device)
    return wanted_view(group.breakers[device], op)

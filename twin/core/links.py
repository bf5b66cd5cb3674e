"""Births, connections and gateway links: who can be reached, and what to decide again when somebody comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twin.core import configuration, evidence
from twin.core.commands import learn_fence, reconcile, redecide
from twin.core.connection import connect
from twin.core.effects import ConnectionReported
from twin.core.incidents import resolve_incident
from twin.core.reactions import react_to_connection

if TYPE_CHECKING:
    from twin.core.draft import Draft
    from twin.core.messages import Birth, ConnectionChanged, LinkChanged
    from twin.core.model import Connection


def on_birth(draft: Draft, message: Birth, now: int) -> None:
    """A device (re)started. Standing locks are asserted again on what its relay really is; a close is decided
    afresh."""
    device = message.device
    restarted = _connection_of(draft, device).sid != message.sid or _is_first_word(draft, message)
    _connected(draft, device, "online", message.sid, message.ts, now, message.versions)
    if device not in draft.group.breakers:
        return
    learn_fence(draft, device, message.fence, now)
    configuration.on_report(draft, device, message.cfg, message.ts, now, restarted=restarted)
    wish = draft.group.breakers[device].close
    known_by_hand = draft.group.breakers[device].incidents.get("closed_locally_under_lock")
    old = wish is not None and draft.group.breakers[device].relay is None and message.ts < wish.since
    if message.relay is not None and not old:  # a retained birth from before a wish says nothing about it
        evidence.on_relay(draft, device, message.relay, min(message.ts, now), "birth", now, sid=message.sid)
    breaker = draft.breaker(device)
    by_hand = breaker.incidents.get("closed_locally_under_lock")
    # Found closed by this very birth, or before it: who closed it, if anybody did, did so before the restart.
    if by_hand is not None and restarted and (by_hand is not known_by_hand or message.ts > by_hand.since):
        resolve_incident(draft, breaker, "closed_locally_under_lock", now)
    if restarted or (breaker.command is not None and message.ts > breaker.command.issued):
        redecide(draft, device, now)
    else:  # the broker's copy of an old birth
        reconcile(draft, device)


def _is_first_word(draft: Draft, birth: Birth) -> bool:
    """Whether the breaker has not spoken in the session of this birth yet, though its connection, which goes another
    way, was told of it before."""
    breaker = draft.group.breakers.get(birth.device)
    if breaker is None or breaker.relay_at is None or breaker.relay_sid in ("", birth.sid):
        return False
    return birth.ts > breaker.relay_at


def on_connection(draft: Draft, message: ConnectionChanged, now: int) -> None:
    """The conn topic of a device or gateway of this group."""
    _connected(draft, message.device, message.state, message.sid, message.ts, now)
    if message.state == "online" and message.device in draft.group.breakers:
        reconcile(draft, message.device)
        configuration.on_reachable(draft, message.device, now)


def on_link(draft: Draft, message: LinkChanged, now: int) -> None:
    """The gateway in front of some of this group's devices changed its connection."""
    for name, contract in draft.group.meter_contracts.items():
        if contract.gateway == message.gateway:
            meter = draft.meter(name)
            meter.link = connect(meter.link or meter.conn, message.state, message.sid, message.ts)
            react_to_connection(draft, name, now)
    for name, installed in draft.group.breaker_contracts.items():
        if installed.gateway == message.gateway:
            breaker = draft.breaker(name)
            breaker.link = connect(breaker.link or breaker.conn, message.state, message.sid, message.ts)
            if message.state == "online":
                reconcile(draft, name)
                configuration.on_reachable(draft, name, now)


def heard(draft: Draft, device: str, sid: str, ts: int, now: int) -> None:
    """A live sample was taken after a meter or its gateway was told to be offline: it has come back, and the word of
    that was lost. Without this a device that reports would wait for its commands for ever."""
    meter = draft.meter(device)
    if meter.conn.state == "offline":
        _connected(draft, device, "online", sid, ts, now)
    if meter.link is not None and meter.link.state == "offline":
        gateway = draft.group.meter_contracts[device].gateway
        meter.link = connect(meter.link, "online", meter.link.sid, ts)
        react_to_connection(draft, device, now)
        for name, contract in draft.group.breaker_contracts.items():
            if contract.gateway == gateway and name != device:  # it stands behind the same gateway, and says nothing
                _switch_heard(draft, name, ts, now)
    if device in draft.group.breakers:
        _switch_heard(draft, device, ts, now)


def heard_switch(draft: Draft, device: str, sid: str, ts: int, now: int) -> None:
    """The same of a breaker that is no meter, by its own sample."""
    breaker = draft.group.breakers[device]
    link_told = breaker.link is not None and breaker.link.state == "offline" and ts > breaker.link.since
    if breaker.conn.state == "offline" and ts > breaker.conn.since:
        _connected(draft, device, "online", sid, ts, now)
    elif not link_told:
        return
    _switch_heard(draft, device, ts, now)


def _switch_heard(draft: Draft, device: str, ts: int, now: int) -> None:
    """Decide anew on a breaker that can be reached again."""
    breaker = draft.breaker(device)
    if breaker.link is not None and breaker.link.state == "offline" and ts > breaker.link.since:
        breaker.link = connect(breaker.link, "online", breaker.link.sid, ts)
    reconcile(draft, device)
    configuration.on_reachable(draft, device, now)


def _connected(
    draft: Draft, device: str, state: str, sid: str, ts: int, now: int, versions: dict[str, str] | None = None
) -> None:
    known = _connection_of(draft, device)
    after = connect(known, state, sid, ts)  # type: ignore[arg-type]
    group = draft.group
    if after is known and not versions:
        return
    if device in group.meters:
        meter = draft.meter(device)
        meter.conn = after
        meter.versions = versions or meter.versions
    if device in group.breakers:
        draft.breaker(device).conn = after
    if group.gateway is not None and group.gateway.id == device:
        gateway = draft.gateway()
        assert gateway is not None
        gateway.conn = after
        gateway.versions = versions or gateway.versions
    if after is not known:
        is_gateway = group.gateway is not None and group.gateway.id == device
        draft.emit(ConnectionReported(device, after.state, after.sid, ts, is_gateway))
    if device in group.meters:
        react_to_connection(draft, device, now)


def _connection_of(draft: Draft, device: str) -> Connection:
    group = draft.group
    if device in group.meters:
        return group.meters[device].conn
    if group.gateway is not None and group.gateway.id == device:
        return group.gateway.conn
    return group.breakers[device].conn

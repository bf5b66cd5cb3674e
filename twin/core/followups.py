"""Followups: what a decision itself brings about can touch rules again.

A lock placed, a relay reported, a command that moved on, a supply state, an incident: all of them are effects of the
decision under way, so rules on them are found by reading its effects, wherever in the core they were born. Rules that
chase each other round would never come to rest; a decision follows a bounded number of effects for each message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twin.core import effects as fx
from twin.core.reactions import CONNECTION, all_views, settle_supply, touch, views_of_device
from twin.core.sight import View

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twin.core.draft import Draft

    Touched = Iterator[tuple[View, tuple[str, ...]]]

MOST_FOLLOWED = 64
"""More than the breakers of the largest tenant cause at once by a lock each; fewer than a ring of rules would."""

_COMMAND = ("command", "command.state", "command.target", "command.reason", "command.attempt", "command.issued")


def follow_up(draft: Draft, seen: int, now: int) -> None:
    """Let the rules look that the effects since the `seen`-th touch, and those that their firing touches in turn."""
    end = seen + MOST_FOLLOWED
    while seen < min(len(draft.effects), end):
        effect = draft.effects[seen]
        seen += 1
        find = _TOUCHED.get(type(effect))
        if find is not None:
            for view, names in find(draft, effect, now):
                touch(draft, view, names, now)
            settle_supply(draft, now)


def _of_switch(draft: Draft, breaker: str, now: int) -> Iterator[View]:
    """The breaker, the meters it switches, and their tenant."""
    yield View(draft, now, breaker_id=breaker)
    for name, contract in draft.group.meter_contracts.items():
        if contract.breaker == breaker:
            yield View(draft, now, name)
    if draft.group.tenant is not None:
        yield View(draft, now)


def _is_valve(draft: Draft, breaker: str) -> bool:
    return draft.group.breaker_contracts[breaker].op == "valve.set"


def _on_lock(draft: Draft, effect: fx.LockChanged, now: int) -> Touched:
    names = ("valve", "valve.locks") if _is_valve(draft, effect.breaker) else ("breaker", "breaker.locks")
    for view in _of_switch(draft, effect.breaker, now):
        yield view, names


def _on_relay(draft: Draft, effect: fx.RelayReported, now: int) -> Touched:
    if _is_valve(draft, effect.breaker):
        names: tuple[str, ...] = ("state", "valve", "valve.position", "valve.positions", "breaker.since")
    else:
        names = ("state", "breaker", "breaker.relay", "breaker.relays", "breaker.since")
    for view in _of_switch(draft, effect.breaker, now):
        yield view, names


def _on_command(draft: Draft, effect: fx.CommandChanged, now: int) -> Touched:
    for view in _of_switch(draft, effect.device, now):
        yield view, _COMMAND


def _on_connection(draft: Draft, effect: fx.ConnectionReported, now: int) -> Touched:
    for view in views_of_device(draft, effect.device, now):
        if view.scope != "meter":  # a meter was told where its connection changed
            yield view, CONNECTION


def _on_supply(draft: Draft, _effect: fx.SupplyStateChanged, now: int) -> Touched:
    for view in all_views(draft, now):
        yield view, ("tenant", "tenant.state")


def _on_incident(draft: Draft, effect: fx.IncidentOpened | fx.IncidentResolved, now: int) -> Touched:
    for view in views_of_device(draft, effect.device, now):
        yield view, ("incident", f"{view.scope}.incidents")


_TOUCHED: dict[type, Callable[[Draft, Any, int], Touched]] = {
    fx.LockChanged: _on_lock,
    fx.RelayReported: _on_relay,
    fx.CommandChanged: _on_command,
    fx.ConnectionReported: _on_connection,
    fx.SupplyStateChanged: _on_supply,
    fx.IncidentOpened: _on_incident,
    fx.IncidentResolved: _on_incident,
}

"""decide(): the one place where twins, rating and rules meet. Pure: the same call runs live, in replay, in dry run
and in tests.

`decide(group, message, now, policy)` gives the group after the message and the effects it asks for. It reads no
clock and no store, draws no random number and changes nothing that it was given. Whatever became due between the
last decision and `now` is dealt with first, so the outcome does not depend on how late a timer was looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from twin.core import acts, configuration, evidence, meter_life, step_watch
from twin.core.commands import BEFORE_EXECUTION, in_flight, learn_fence, on_answer, on_sent
from twin.core.draft import Draft
from twin.core.dues import earliest_due, run_due
from twin.core.effects import AnyEffect
from twin.core.followups import follow_up
from twin.core.links import heard_switch, on_birth, on_connection, on_link
from twin.core.messages import (
    AlarmCared,
    AlarmTold,
    Birth,
    CommandAnswered,
    CommandSent,
    ConfigSent,
    ConnectionChanged,
    ContractsChanged,
    CreditsPosted,
    DeviceEvent,
    DoubtSettled,
    EmergencyTaken,
    FiringApproved,
    IncidentClosed,
    LinkChanged,
    LockPlaced,
    LockReleased,
    Message,
    ReadingEntered,
    RegisterReplaced,
    StateReported,
    Telemetry,
    Tick,
    WarningDelivered,
)
from twin.core.model import Group
from twin.core.reactions import react_to_birth, react_to_event, react_to_link, settle_supply
from twin.core.telemetry import on_telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from twin.core.policy import SitePolicy
    from twin.core.traces import Traced

NO_GUARDS: Mapping[str, int] = {}
RETRY_DUE_MS = 1_000
"""What is still due after it was dealt with is looked at again after this long, never in a tight circle."""


class Decision(msgspec.Struct, frozen=True):
    """The group after one or more messages, what it asks of the world, and when it wants to be looked at again."""

    group: Group
    effects: tuple[AnyEffect, ...]
    wake_moved: bool = False
    """`group.wake` is another than before: the timer index must follow."""
    guards_spent: Mapping[str, int] = NO_GUARDS
    guards_asked: bool = False
    """Whether the decision depends on how far guards were used up; hardly any does."""
    traces: Sequence[Traced] = ()
    """Every evaluation of a rule, where the policy asks for a trace."""


class UnknownDeviceError(LookupError):
    """The message names a device that is not in this group: the caller's directory is out of date."""


def decide(
    group: Group, message: Message, now: int, policy: SitePolicy, guards: Mapping[str, int] = NO_GUARDS
) -> Decision:
    """Decide on one message. Raises UnknownDeviceError for a device that this group does not hold."""
    return decide_all(group, ((message, now),), policy, guards)


def decide_all(
    group: Group,
    messages: Sequence[tuple[Message, int]],
    policy: SitePolicy,
    guards: Mapping[str, int] = NO_GUARDS,
) -> Decision:
    """Decide on messages in their order, each at its own `now` (Unix ms); equal to deciding on one after the other."""
    draft = Draft(group, policy, guards, 0)
    for message, draft.now in messages:
        now = draft.now
        seen = len(draft.effects)
        if draft.group.wake is not None and draft.group.wake <= now:
            run_due(draft, now)
        handler = HANDLERS[type(message)]
        try:
            handler(draft, message, now)
        except KeyError as error:
            if error.args and error.args[0] == getattr(message, "device", None):
                raise UnknownDeviceError(error.args[0]) from None
            raise
        settle_supply(draft, now)
        if policy.by_trigger.follows and len(draft.effects) > seen:
            follow_up(draft, seen, now)
    moved = draft.wake_dirty and _move_wake(draft, messages[-1][1])
    traces = draft.traces or ()
    return Decision(draft.group, tuple(draft.effects), moved, draft.guards_spent, draft.guards_asked, traces)


def _move_wake(draft: Draft, now: int) -> bool:
    """Let the group's wake follow what is due, also to a later instant: that costs a write an interval, and leaving an
    entry that is too early would wake a healthy twin two or three times an hour for nothing."""
    group = draft.group
    due = earliest_due(draft)
    if due is not None and due <= now:
        due = now + RETRY_DUE_MS
    if due == group.wake:
        return False
    group.wake = due
    return True


def _on_tick(draft: Draft, _message: Tick, now: int) -> None:
    run_due(draft, now)


def _on_answer(draft: Draft, message: CommandAnswered, now: int) -> None:
    _require_breaker(draft, message.device)
    known = draft.group.breakers[message.device]
    command = in_flight(known)
    first = command is not None and command.id == message.cmd and command.state in BEFORE_EXECUTION
    executed = on_answer(draft, message, now)
    if executed and message.relay is not None:
        # The first answer follows its command, and what was known before that, whatever the device's clock says.
        evidence.on_relay(draft, message.device, message.relay, min(message.ts, now), "command", now, answers=first)


def _on_sent(draft: Draft, message: CommandSent, now: int) -> None:
    _require_breaker(draft, message.device)
    on_sent(draft, message, now)


def _on_config_sent(draft: Draft, message: ConfigSent, now: int) -> None:
    _require_breaker(draft, message.device)
    configuration.on_sent(draft, message, now)


def _on_state(draft: Draft, message: StateReported, now: int) -> None:
    device, relay = message.device, message.relay
    if relay is None and device in draft.group.meters and device not in draft.group.breakers:
        return  # the configuration of a device that switches nothing is not ours
    _require_breaker(draft, device)
    learn_fence(draft, device, message.fence, now)
    configuration.on_report(draft, device, message.cfg, message.ts, now)
    if relay is not None:
        evidence.on_relay(draft, device, relay, min(message.ts, now), message.cause, now, sid=message.sid)
    if device not in draft.group.meters:
        heard_switch(draft, device, message.sid, min(message.ts, now), now)


def _on_telemetry(draft: Draft, message: Telemetry, now: int) -> None:
    if message.device not in draft.group.meters and message.device not in draft.group.breakers:
        raise UnknownDeviceError(message.device)
    on_telemetry(draft, message, now)


def _on_event(draft: Draft, message: DeviceEvent, now: int) -> None:
    if message.device not in draft.group.meters and message.device not in draft.group.breakers:
        raise UnknownDeviceError(message.device)
    event = step_watch.heard(draft, message, now)
    if event is not None:
        react_to_event(draft, event, now)


def _on_birth(draft: Draft, message: Birth, now: int) -> None:
    on_birth(draft, message, now)
    react_to_birth(draft, message.device, now)


def _on_link(draft: Draft, message: LinkChanged, now: int) -> None:
    on_link(draft, message, now)
    react_to_link(draft, message.gateway, now)


def _require_breaker(draft: Draft, device: str) -> None:
    if device not in draft.group.breakers:
        raise UnknownDeviceError(device)


HANDLERS: dict[type, Callable[[Draft, Any, int], None]] = {
    Telemetry: _on_telemetry,
    Birth: _on_birth,
    ConnectionChanged: on_connection,
    LinkChanged: _on_link,
    StateReported: _on_state,
    DeviceEvent: _on_event,
    CommandAnswered: _on_answer,
    CommandSent: _on_sent,
    Tick: _on_tick,
    ConfigSent: _on_config_sent,
    CreditsPosted: acts.on_credits,
    LockPlaced: acts.on_lock_placed,
    LockReleased: acts.on_lock_released,
    FiringApproved: acts.on_firing_approved,
    EmergencyTaken: acts.on_emergency,
    WarningDelivered: acts.on_warned,
    ContractsChanged: acts.on_contracts,
    ReadingEntered: meter_life.on_reading_entered,
    RegisterReplaced: meter_life.on_register_replaced,
    DoubtSettled: meter_life.on_doubt_settled,
    AlarmCared: acts.on_alarm_cared,
    AlarmTold: acts.on_alarm_told,
    IncidentClosed: acts.on_incident_closed,
}

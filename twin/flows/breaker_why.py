"""Why is this breaker open, and what would close it: gathers the twin, the records of rules and what SQL remembers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from rules.explain import Record
from twin.core.breaker_why import NotSwitchableError, breaker_why, for_tenants, held_since, since_holding
from twin.flows.breaker_words import breaker_sentences
from twin.flows.explain_rules import Parts, UnknownTwinError, moment_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twin.core.breaker_why import BreakerWhy, SwitchHistory
    from twin.flows.explain_rules import Moment
    from twin.switch_history import Switchings

DEFAULT_LIMIT = 20


class SwitchParts(Parts, Protocol):
    """What this needs of an installation beside what explaining rules needs."""

    @property
    def switchings(self) -> Switchings: ...


async def explain_breaker(
    parts: SwitchParts,
    site: str,
    device: str,
    at: int | None = None,
    *,
    may_release: Mapping[str, tuple[str, ...]],
    tenant: str = "",
    limit: int = DEFAULT_LIMIT,
) -> BreakerWhy:
    """The answer for now or for an instant (Unix ms); `may_release` names the roles that may take off each kind of
    lock. Where a `tenant` asks, names of staff are left out, and all that was before the device was this tenant's.

    Raises NotSwitchableError, and what `explain_rules.moment_of` raises.
    """
    moment = await moment_of(parts, site, device, at)
    if tenant and moment.group.id != tenant:
        raise UnknownTwinError(f"{device!r} was not this tenant's at that instant")
    contract = moment.group.breaker_contracts.get(device)
    if contract is None:
        raise NotSwitchableError(f"{device} has no relay and no valve")
    history = await parts.switchings.of(site, device, contract.op, until=moment.at, limit=limit)
    since = held_since(moment.group, device) if tenant else 0
    history = since_holding(history, since)
    why = breaker_why(
        *(moment.group, moment.policy, moment.guards, device, moment.at),
        records=await _records(parts, moment, device, since),
        history=await _with_records(parts, moment, device, history),
        may_release=may_release,
    )
    if tenant:
        why = for_tenants(why)
    zone = moment.policy.zone
    text = {language: breaker_sentences(why, language, zone, tenants=bool(tenant)) for language in ("zh", "en")}
    return msgspec.structs.replace(why, text=text)


async def _records(parts: SwitchParts, moment: Moment, device: str, since: int) -> dict[str, Record]:
    """By kind of lock: the record of the firing that placed it; of those before `since` nothing."""
    found = {}
    standing = moment.group.breakers[device].locks
    for kind, lock in ((kind, lock) for kind, lock in standing.items() if lock.since >= since):
        record = await _firing(parts, moment, device, lock.rule, lock.since)
        if record is not None:
            found[kind] = record
    return found


async def _with_records(parts: SwitchParts, moment: Moment, device: str, history: SwitchHistory) -> SwitchHistory:
    """Every command with the firing of the rule that it came of, inputs and all."""
    commands = []
    for command in history.commands:
        record = await _firing(parts, moment, device, str(command.why.get("rule", "")), command.issued)
        commands.append(command if record is None else msgspec.structs.replace(command, record=record))
    return msgspec.structs.replace(history, commands=tuple(commands))


async def _firing(parts: SwitchParts, moment: Moment, device: str, rule: str, at: int) -> Record | None:
    if not rule:
        return None
    group = moment.group
    found = await parts.past.firing(group.site, rule, [group.id, device, *group.breaker_contracts[device].meters], at)
    return msgspec.convert({**found, "memory": None}, Record) if found else None

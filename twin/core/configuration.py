"""Configuration of devices (message `cfg`): the load limit that a device is to keep by itself, and whether it has it.

Theory of operation. The limit of a circuit is what a plan or a rule has set of the parameter `limit_w`. Where it
changes, the breaker gets a new *version* of its configuration, always the whole of it, and the effect `ConfigWanted`
has it published, retained: a device that is away finds it when it returns. Nothing counts as taken before the device
itself says so (`cfg` in its state or birth). Until then it is sent again with back-off while the device can be reached,
and after `MOST_TRIES` an incident says that it was not taken; it heals with the device's word.

A version only grows, and is no lower than the second in which it was decided: twins that were lost with all they knew
go on above everything that was ever published. A device that tells a higher version than ours heard it from a twin
that is no more, so it is told anew under a higher one still. What comes twice under one version is the same message.

The device waits longer above its limit (`PATIENCE_MS`) than the overload rules of the packs. Where the platform hears
and reaches it, the rule is first, and so are its automatic release and its count of the day; where it does not, the
device acts alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from twin.core.connection import reachable
from twin.core.effects import ConfigTaken, ConfigWanted
from twin.core.incidents import open_incident, resolve_incident
from twin.core.model import Configuration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twin.core.draft import Draft
    from twin.core.messages import ConfigSent
    from twin.core.model import Group

LIMIT = "limit_w"
"""The parameter of rules that is a load limit, W, and its name in the message."""
LIMIT_FOR = "limit_for_ms"
PATIENCE_MS = 60_000
"""How long a device lets the power stay above its limit."""
MOST_LIMIT_W = 1 << 40
"""The greatest that the contract lets the message carry."""
MOST_VERSION = 1 << 52
"""A device's word about its version is believed up to here; as many are left above."""
MOST_TRIES = 5
FIRST_RETRY_MS = 30_000
LONGEST_RETRY_MS = 6 * 3_600_000
NOT_TAKEN = "config_not_taken"


def limit_of(group: Group, device: str) -> int | None:
    """The limit (W) that a plan or a rule has set for a circuit: the lowest of the breaker and the meters behind it, or
    that of the tenant; None where nobody has set one."""
    breaker = group.breakers[device]
    names = [name for name in group.breaker_contracts[device].meters if name in group.meters]
    own = [_limit_in(group.meters[name].params) for name in names] or [breaker.limit_set]
    found = [limit for limit in (*own, _limit_in(breaker.params)) if limit is not None]
    if found:
        return min(found)
    return _limit_in(group.tenant.params) if group.tenant is not None else None


def _limit_in(params: Mapping[str, Any]) -> int | None:
    value = params.get(LIMIT)
    return value if type(value) is int and 0 <= value <= MOST_LIMIT_W else None


def follow(draft: Draft, device: str, now: int) -> None:
    """Let the wanted configuration be what limits say now; nothing happens where there never was one."""
    group = draft.group
    known, limit = group.breakers[device].cfg, None if _left_alone(group, device) else limit_of(group, device)
    if (known is None and limit is None) or group.breaker_contracts[device].op != "breaker.set":
        return
    settings = {} if limit is None else {LIMIT: limit, LIMIT_FOR: PATIENCE_MS}
    if known is not None and known.issued and known.settings == settings:
        return
    ver = _version_after(known.ver if known is not None else 0, now)
    _send(draft, device, Configuration(ver, settings, now), now)
    if _left_alone(group, device):
        resolve_incident(draft, draft.breaker(device), NOT_TAKEN, now)


def _left_alone(group: Group, device: str) -> bool:
    """The site says that this device keeps no limit: what it was told before is withdrawn, and no answer is awaited."""
    limit = group.breaker_contracts[device].load_limit
    return limit is not None and not limit.get("on_device", True)


def follow_all(draft: Draft, now: int) -> None:
    """A rule or a person has changed a limit somewhere in the group."""
    for device in draft.group.breakers:
        follow(draft, device, now)


def on_report(draft: Draft, device: str, told: int | None, ts: int, now: int, *, restarted: bool = False) -> None:
    """The device said at `ts`, by its clock, which version is in force; None: it spoke, and said nothing of that."""
    known = draft.group.breakers[device].cfg
    if known is None or (told is None and not restarted):
        return
    if told == known.ver:
        _taken(draft, device, known, now)
    elif told is not None and told > known.ver:
        _overtake(draft, device, known, told, now)
    elif known.taken_at is None:
        if restarted:
            _send(draft, device, known, now)
    elif told is not None and (restarted or ts > known.taken_at):  # it has lost what it had
        _send(draft, device, msgspec.structs.replace(known, taken_at=None, tries=0), now)


def on_reachable(draft: Draft, device: str, now: int) -> None:
    """The device or the gateway in front of it is back: it is asked again, should the broker's copy not be enough."""
    known = draft.group.breakers[device].cfg
    if known is not None and known.taken_at is None and known.retry_at is None:
        _keep(draft, device, msgspec.structs.replace(known, retry_at=now + FIRST_RETRY_MS))


def on_sent(draft: Draft, message: ConfigSent, _now: int) -> None:
    """The broker has the newest version."""
    known = draft.group.breakers[message.device].cfg
    if known is not None and known.ver == message.ver and known.sent_at is None:
        _keep(draft, message.device, msgspec.structs.replace(known, sent_at=message.ts))


def on_due(draft: Draft, device: str, now: int) -> None:
    """Time passed: send again what was not taken. For a device that is away the broker keeps it."""
    breaker = draft.group.breakers[device]
    known = breaker.cfg
    if known is None or known.retry_at is None or now < known.retry_at:
        return
    away = not reachable(breaker.conn, breaker.link)
    if known.sent_at is not None and (away or _left_alone(draft.group, device)):
        _keep(draft, device, msgspec.structs.replace(known, retry_at=None))
        return
    if known.sent_at is not None and known.tries >= MOST_TRIES:
        detail = f"version {known.ver} ({_words(known)}) was sent {known.tries} times, the device does not report it"
        open_incident(draft, draft.breaker(device), NOT_TAKEN, now, detail)
    _send(draft, device, known, now)


def _words(known: Configuration) -> str:
    limit = known.settings.get(LIMIT)
    return "no load limit" if limit is None else f"load limit {limit} W"


def _version_after(known: int, now: int) -> int:
    return max(known + 1, now // 1000)


def _overtake(draft: Draft, device: str, known: Configuration, told: int, now: int) -> None:
    """It has a version that we know nothing of. One that always answers with a higher one is not chased at once for
    ever, but by the back-off of what is not taken."""
    if told > MOST_VERSION:
        return
    if not known.issued:  # it is told anew at the first look after the rebuild
        _keep(draft, device, msgspec.structs.replace(known, ver=told))
        return
    newer = msgspec.structs.replace(known, ver=_version_after(told, now), issued=now, taken_at=None)
    if newer.tries < MOST_TRIES or newer.retry_at is None:
        _send(draft, device, msgspec.structs.replace(newer, sent_at=None), now)
    else:
        _keep(draft, device, newer)


def _taken(draft: Draft, device: str, known: Configuration, now: int) -> None:
    if known.taken_at is not None:
        return
    _keep(draft, device, msgspec.structs.replace(known, taken_at=now, retry_at=None, tries=0))
    draft.emit(ConfigTaken(device, known.ver, dict(known.settings), known.issued, now))
    resolve_incident(draft, draft.breaker(device), NOT_TAKEN, now)


def _send(draft: Draft, device: str, wanted: Configuration, now: int) -> None:
    tries = wanted.tries + 1
    wait_ms = min(FIRST_RETRY_MS << min(tries - 1, 20), LONGEST_RETRY_MS)
    _keep(draft, device, msgspec.structs.replace(wanted, tries=tries, retry_at=now + wait_ms))
    draft.emit(ConfigWanted(device, wanted.ver, dict(wanted.settings), wanted.issued, now, tries))


def _keep(draft: Draft, device: str, cfg: Configuration) -> None:
    draft.breaker(device).cfg = cfg
    draft.wake_dirty = True

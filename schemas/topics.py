"""MQTT topics of the wire contract: `twinmeter/v1/{site}/{device}/{verb}` and `twinmeter/v1/$host/{host}/status`.

Ids come before verbs, so one ACL line confines a device to itself. An id is 1 to 64 letters, digits, `_` or `-`;
that excludes `$`, so no site can pose as the host branch, and excludes `/`, `+` and `#`, so no id can widen a
subscription.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

ROOT: Final = "twinmeter/v1"
VERBS_UP: Final = ("birth", "conn", "tele", "event", "state", "ack")
VERBS_DOWN: Final = ("cfg", "cmd")
VERBS: Final = VERBS_UP + VERBS_DOWN
RETAINED_VERBS: Final = frozenset({"birth", "conn", "state", "cfg"})
"""Verbs whose last message the broker keeps. `cmd` must never be among them: a kept command is a stale command."""

_ID = "[A-Za-z0-9_-]{1,64}"
_ID_FULL = re.compile(_ID)
_DEVICE_TOPIC = re.compile(rf"twinmeter/v1/({_ID})/({_ID})/({'|'.join(VERBS)})")
_HOST_TOPIC = re.compile(rf"twinmeter/v1/\$host/({_ID})/status")


class Topic(NamedTuple):
    """A device topic taken apart."""

    site: str
    device: str
    verb: str


@lru_cache(maxsize=65_536)
def parse_topic(topic: str) -> Topic | None:
    """Site, device and verb of a device topic, or None when the topic is not one of the contract's.

    The last 65 536 answers are kept, so the usual message costs a dictionary look-up.
    """
    match = _DEVICE_TOPIC.fullmatch(topic)
    return Topic(match[1], match[2], match[3]) if match else None


def parse_host_status_topic(topic: str) -> str | None:
    """The host whose status this topic carries, or None when it is another topic."""
    match = _HOST_TOPIC.fullmatch(topic)
    return match[1] if match else None


def device_topic(site: str, device: str, verb: str) -> str:
    """The topic of one verb of one device. Raises ValueError for an id or a verb the contract does not know."""
    if verb not in VERBS:
        raise ValueError(f"{verb!r} is not a verb of the contract; the verbs are {', '.join(VERBS)}")
    return f"{ROOT}/{checked_id(site, 'site')}/{checked_id(device, 'device')}/{verb}"


def topic_filter(verb: str, site: str = "+", device: str = "+") -> str:
    """A subscription filter for one verb, of every site and device unless they are named."""
    if verb not in VERBS:
        raise ValueError(f"{verb!r} is not a verb of the contract; the verbs are {', '.join(VERBS)}")
    site_level = site if site == "+" else checked_id(site, "site")
    device_level = device if device == "+" else checked_id(device, "device")
    return f"{ROOT}/{site_level}/{device_level}/{verb}"


def host_status_topic(host: str) -> str:
    """The retained topic on which a platform host says that it listens; gateways buffer while it is offline."""
    return f"{ROOT}/$host/{checked_id(host, 'host')}/status"


def host_status_filter() -> str:
    """The filter by which a gateway hears the status of every host."""
    return f"{ROOT}/$host/+/status"


def checked_id(value: str, what: str = "id") -> str:
    """The id itself when it may stand in a topic; raises ValueError naming `what` it was meant to be otherwise."""
    if _ID_FULL.fullmatch(value) is None:
        raise ValueError(f"{what} {value!r} is not 1 to 64 letters, digits, '_' or '-'")
    return value

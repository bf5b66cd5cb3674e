"""Spread sites over ingest shards: which topics the session of one shard subscribes to.

A site of ordinary size belongs to one shard as a whole, by plain wildcards. A site with more devices than
`spread_above` is divided by group, so that several processes work on one site: a shard subscribes to each device
of its groups by name. A group is never divided: two processes would refuse each other's revisions all day. Never a
shared subscription: it splits one device's messages over consumers and keeps those of a dead one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

import msgspec

from schemas.topics import ROOT, VERBS_UP, topic_filter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

EVERYTHING = frozenset(topic_filter(verb) for verb in VERBS_UP)
"""What one process without shards subscribes to."""


class Layout(msgspec.Struct, frozen=True):
    """How the work of ingest is divided."""

    shards: int
    spread_above: int

    def __str__(self) -> str:
        return f"{self.shards}/{self.spread_above}"

    def names(self) -> list[str]:
        """Names of the shards, in order."""
        return [shard_name(number) for number in range(self.shards)]


class SiteDevices(msgspec.Struct, frozen=True):
    """Devices of a site by their group, those included that speak for a metering point under another id."""

    site: str
    groups: Mapping[str, str]


def shard_name(number: int) -> str:
    """Two digits, or more where there are more; part of the client id at the broker."""
    return f"{number:02d}"


def shard_of(layout: Layout, site: str, group: str = "") -> int:
    """Shard of a site, or of one group of a site that is spread. The same in every process and release."""
    return crc32(f"{site}/{group}".encode()) % layout.shards


def filters_of(layout: Layout, shard: int, sites: Iterable[SiteDevices]) -> frozenset[str]:
    """Topic filters of one shard's session.

    A device of a spread site has one filter for all its verbs, because a session may have very many of them; it also
    brings back our own commands, which are few and passed over.
    """
    if layout.shards == 1:
        return EVERYTHING
    filters: set[str] = set()
    for devices in sites:
        if len(devices.groups) <= layout.spread_above:
            if shard_of(layout, devices.site) == shard:
                filters.update(topic_filter(verb, devices.site) for verb in VERBS_UP)
            continue
        filters.update(
            f"{ROOT}/{devices.site}/{device}/+"
            for device, group in devices.groups.items()
            if shard_of(layout, devices.site, group) == shard
        )
    return frozenset(filters)

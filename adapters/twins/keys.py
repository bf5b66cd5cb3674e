"""Names of everything a site keeps in Redis.

Every key of a site carries the hash tag `{site}`, so all of them live in one slot of a Redis Cluster and one script can
change them together. Only the registry of sites has no tag.

    `{site}:g:<group>`     hash    one group: `rev`, `x` (acts, wake), `T`/`t` tenant,
                                   `M:<id>`/`m:<id>` meters, `B:<id>`/`b:<id>` breakers, `g` gateway
    `{site}:gen`           hash    `gen` generation, `builder` its random token, `last` newest
                                   effect id, `count` of effects, `trimmed` newest dropped id, `base` what the
                                   rebuild went on behind, `mark`
                                   of SQL's newest act, `fence:<lease>` newest token of a lease
    `{site}:fx`            stream  effects, one entry per commit of a group: `n` serial number,
                                   `g` group, `e` JSON array
    `{site}:timers`        zset    every group, by the instant it wants to be woken; +inf when it does not
    `{site}:dir`           hash    device -> group; of a device on its way the group that has let go of it
    `{site}:gw:<id>`       set     groups with a device behind this gateway
    `{site}:gws`           set     the gateways that have such a set
    `{site}:guard:<rule>`  zset    cutoffs counted against a rule's guard; survives a rebuild
    `{site}:dead`          stream  messages that could not be understood, bounded
    `{site}:held`          stream  messages of devices that are on their way from one group to the next, bounded
    `sites`                set     sites that have, or had, twins here
"""

from __future__ import annotations

from functools import lru_cache

SITES = "sites"


class SiteKeys:
    """Key names of one site; built once and kept, because every commit needs them."""

    __slots__ = ("dead", "directory", "effects", "gateways", "generation", "held", "prefix", "site", "timers")

    def __init__(self, site: str) -> None:
        if not site or "{" in site or "}" in site:
            raise ValueError(f"site id {site!r}: must not be empty or contain braces (it is the hash tag of its keys)")
        self.site = site
        self.prefix = f"{{{site}}}:"
        self.generation = self.prefix + "gen"
        self.effects = self.prefix + "fx"
        self.timers = self.prefix + "timers"
        self.directory = self.prefix + "dir"
        self.gateways = self.prefix + "gws"
        self.dead = self.prefix + "dead"
        self.held = self.prefix + "held"

    def group(self, group: str) -> str:
        """Hash of one group."""
        return f"{self.prefix}g:{group}"

    def gateway(self, gateway: str) -> str:
        """Set of the groups behind one gateway."""
        return f"{self.prefix}gw:{gateway}"

    def guard(self, rule: str) -> str:
        """Cutoffs counted against the guard of one rule."""
        return f"{self.prefix}guard:{rule}"


@lru_cache(maxsize=10_000)
def site_keys(site: str) -> SiteKeys:
    """Key names of a site. Raises ValueError for an id that cannot be a hash tag."""
    return SiteKeys(site)

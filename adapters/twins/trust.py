"""Which twins of a site this process works on, and how it notices that the store no longer has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from adapters.twins.entry_id import newest, order
from twin.ports import StoreLostError

if TYPE_CHECKING:
    from collections.abc import Sequence

HEAD = ("builder", "gen", "last")
"""Fields of the generation hash that tell twins apart."""


class Trust(msgspec.Struct, eq=False):
    """The token of the rebuild that made a site's twins, its generation, and the newest effect id seen of them."""

    builder: str
    generation: int
    last: str


class Fence(msgspec.Struct, frozen=True):
    """The lease under which somebody commits: a field of every site's generation hash, and the token it must not be
    behind."""

    name: str
    token: int

    @property
    def field(self) -> str:
        """Where the newest token of this lease stands."""
        return f"fence:{self.name}"


class Trusts:
    """The trust of one process in each site. Answers may overtake each other, so every check is made against what was
    trusted when the question was *sent*."""

    __slots__ = ("_by_site",)

    def __init__(self) -> None:
        self._by_site: dict[str, Trust] = {}

    def get(self, site: str) -> Trust | None:
        """What is trusted now."""
        return self._by_site.get(site)

    def put(self, site: str, trust: Trust) -> None:
        """Work on these twins from now on."""
        self._by_site[site] = trust

    def recognise(self, site: str, head: Sequence[bytes | None], asked: Trust | None) -> Trust | None:
        """The trust an answer belongs to, from the `HEAD` that came with it; a first contact is believed.

        None for a site without twins. Raises StoreLostError when the twins are not those trusted when asking.
        """
        found = read_head(head)
        if asked is None:
            if found is not None and site not in self._by_site:
                self._by_site[site] = found
            return found and self._by_site[site]
        if found is None:
            raise StoreLostError(f"site {site!r}: the store has no twins any more (wiped, or a rebuild is under way)")
        if found.builder != asked.builder:
            raise StoreLostError(
                f"site {site!r}: the store has twins of another rebuild (generation {found.generation}, "
                f"this process works on {asked.generation})"
            )
        return asked

    def accept(self, site: str, head: Sequence[bytes | None], asked: Trust | None, seen: str) -> Trust | None:
        """Look at a site afresh and trust what is there, because the caller compares it with SQL; None without twins.

        `seen` is the newest effect id that was known when asking. None also when the same twins are older than that:
        the store went back in time, and whoever compares it with SQL alone might not notice.
        """
        found = read_head(head)
        if found is None:
            return None
        if asked is None or found.builder != asked.builder:
            self._by_site[site] = found
            return found
        if order(found.last) < order(seen):
            return None
        asked.last = newest(asked.last, found.last)
        return asked


def read_head(head: Sequence[bytes | None]) -> Trust | None:
    """What a site's generation hash says; None while it says nothing (never built, wiped, or being rebuilt)."""
    builder, generation, last = head
    if builder is None or generation is None or last is None:
        return None
    return Trust(builder=builder.decode(), generation=int(generation), last=last.decode())

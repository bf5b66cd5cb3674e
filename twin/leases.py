"""Leases: which of several processes does a piece of work, as values, a fair plan, and the port that keeps them.

A *kind* of work (`ingest`, `ledger`, `timers`) is divided into named pieces (a shard, a site). A piece belongs to the
process that holds its lease: an owner, a fencing token that only grows, and an expiry. Owners renew; what is not
renewed is free after its time. Nothing here is trusted with money: whoever goes on without its lease is stopped by the
token at the twins, by their revisions, by the session at the broker, or by the ledger's position.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class LeaseLostError(RuntimeError):
    """The work belongs to another process by now: stop, acknowledge nothing."""


class LayoutError(RuntimeError):
    """Other processes divide the same work in another way; both at once would leave pieces to nobody."""


class Member(msgspec.Struct, frozen=True):
    """A living process that does a kind of work. Ages and times left are of the store's own clock."""

    owner: str
    host: str
    age_ms: int
    left_ms: int


class Lease(msgspec.Struct, frozen=True):
    """One piece of work: who has it. A free one has no owner; its token stays."""

    name: str
    owner: str
    token: int
    left_ms: int
    held_ms: int
    changes: int
    """How often it came to another owner."""


class LeaseView(msgspec.Struct, frozen=True):
    """What the store knew of one kind of work at one instant."""

    members: tuple[Member, ...]
    leases: tuple[Lease, ...]

    def holders(self) -> dict[str, str]:
        """Owner of every piece that has one."""
        return {lease.name: lease.owner for lease in self.leases if lease.owner}


class Plan(msgspec.Struct, frozen=True):
    """What one process should do now."""

    take: tuple[str, ...]
    give: tuple[str, ...]


def plan(owner: str, names: Iterable[str], view: LeaseView, *, settled_ms: int) -> Plan:
    """Free pieces to take, and own ones to give up so that everybody has a fair share.

    Every process computes the same shares from the same view: pieces divided by processes, the remainder to those who
    have most already, so that a change of membership moves as little as can be. Nobody gives for a newcomer before it
    has lived for `settled_ms`: a process that dies again and again moves nothing.
    """
    wanted = sorted(names)
    holders = {name: holder for name, holder in view.holders().items() if name in set(wanted)}
    mine = sorted(name for name, holder in holders.items() if holder == owner)
    free = [name for name in wanted if name not in holders]
    living = {member.owner for member in view.members} | {owner}
    settled = {member.owner for member in view.members if member.age_ms >= settled_ms} | {owner}
    room = _share(owner, living, holders, len(wanted)) - len(mine)
    excess = len(mine) - _share(owner, settled, holders, len(wanted))
    start = sorted(living).index(owner) % max(len(free), 1)
    return Plan(
        take=tuple((free[start:] + free[:start])[: max(room, 0)]),
        give=tuple(mine[len(mine) - excess :] if excess > 0 else ()),
    )


def _share(owner: str, members: Iterable[str], holders: Mapping[str, str], pieces: int) -> int:
    """How many pieces a process should have."""
    held: dict[str, int] = dict.fromkeys(members, 0)
    for holder in holders.values():
        if holder in held:
            held[holder] += 1
    ranked = sorted(held, key=lambda member: (-held[member], member))
    each, rest = divmod(pieces, len(ranked))
    return each + (ranked.index(owner) < rest)


class Leases(Protocol):
    """The store of leases. Every answer may raise ConnectionError; then nothing is known."""

    async def beat(
        self, kind: str, owner: str, host: str, held: Mapping[str, int], *, ttl_ms: int, layout: str
    ) -> LeaseView:
        """Say that a process lives and renew the leases it holds (name to token); returns what there is now.

        A lease that somebody else took is not renewed: the view tells. Raises LayoutError while a process that was
        there before divides this kind of work in another way.
        """
        ...

    async def take(self, kind: str, name: str, owner: str, *, ttl_ms: int) -> int:
        """Take a free piece; its new fencing token, 0 where somebody else has it."""
        ...

    async def give(self, kind: str, name: str, owner: str, token: int, *, forget: bool = False) -> None:
        """Give a piece up, where it is still ours; `forget` a piece that is no more."""
        ...

    async def leave(self, kind: str, owner: str) -> None:
        """Say that a process no longer does this kind of work."""
        ...

    async def view(self, kind: str) -> LeaseView:
        """What there is, without taking part."""
        ...

    async def kinds(self) -> Sequence[str]:
        """Kinds of work that ever had a lease."""
        ...

    async def notes(self, name: str) -> frozenset[str]:
        """A set of words that goes with a piece of work from owner to owner."""
        ...

    async def note(self, name: str, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
        """Add words to such a set and take words from it."""
        ...

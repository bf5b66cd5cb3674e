"""The plan that every process makes for itself out of the same view: fair, final, and moving as little as can be."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from twin.leases import Lease, LeaseView, Member, plan

SETTLED_MS = 10_000


class Room:
    """Processes that plan one after another over one table of leases."""

    def __init__(self, pieces: int) -> None:
        self.names = [f"{number:02d}" for number in range(pieces)]
        self.owners: dict[str, str] = {}
        self.ages: dict[str, int] = {}
        self.moves = 0

    def view(self) -> LeaseView:
        return LeaseView(
            members=tuple(Member(owner, owner, age, 5_000) for owner, age in sorted(self.ages.items())),
            leases=tuple(Lease(name, self.owners.get(name, ""), 1, 5_000, 0, 0) for name in self.names),
        )

    def beat(self, owner: str) -> None:
        wanted = plan(owner, self.names, self.view(), settled_ms=SETTLED_MS)
        assert not set(wanted.take) & set(wanted.give)
        for name in wanted.give:
            assert self.owners.pop(name) == owner
            self.moves += 1
        for name in wanted.take:
            assert name not in self.owners
            self.owners[name] = owner

    def counts(self) -> list[int]:
        held = Counter(self.owners.values())
        return [held[owner] for owner in self.ages]


@settings(max_examples=150, deadline=None)
@given(
    pieces=st.integers(1, 40),
    steps=st.lists(st.tuples(st.sampled_from(["join", "die", "beat"]), st.integers(0, 9)), max_size=60),
)
def test_whatever_comes_and_goes_shares_become_fair_and_rest(pieces: int, steps: list[tuple[str, int]]) -> None:
    room = Room(pieces)
    room.ages["p0"] = SETTLED_MS
    for what, number in steps:
        name = f"p{number}"
        if what == "join":
            room.ages.setdefault(name, 0)
        elif what == "die" and len(room.ages) > 1 and name in room.ages:
            del room.ages[name]
            room.owners = {piece: owner for piece, owner in room.owners.items() if owner != name}
        elif name in room.ages:
            room.beat(name)
    room.ages = dict.fromkeys(room.ages, SETTLED_MS)
    for _ in range(4):
        for owner in list(room.ages):
            room.beat(owner)
    assert len(room.owners) == pieces
    assert max(room.counts()) - min(room.counts()) <= 1
    moves, owners = room.moves, dict(room.owners)
    for owner in list(room.ages):
        room.beat(owner)
    assert (room.moves, room.owners) == (moves, owners), "at rest nothing moves"


def test_a_newcomer_gets_its_share_when_it_has_lived_for_a_lease() -> None:
    room = Room(8)
    room.ages["old"] = SETTLED_MS
    room.beat("old")
    room.ages["new"] = SETTLED_MS - 1
    room.beat("old")
    room.beat("new")
    assert room.counts() == [8, 0], "a process that dies at once again and again moves nothing"
    room.ages["new"] = SETTLED_MS
    room.beat("old")
    room.beat("new")
    assert room.counts() == [4, 4]
    assert room.moves == 4


def test_three_share_four_and_a_death_moves_only_what_it_must() -> None:
    room = Room(4)
    room.ages = dict.fromkeys("abc", SETTLED_MS)
    for owner in "abcabc":
        room.beat(owner)
    assert sorted(room.counts()) == [1, 1, 2]
    kept = {piece: owner for piece, owner in room.owners.items() if owner != "b"}
    del room.ages["b"]
    room.owners = dict(kept)
    for owner in "acac":
        room.beat(owner)
    assert room.counts() == [2, 2]
    assert all(room.owners[piece] == owner for piece, owner in kept.items())

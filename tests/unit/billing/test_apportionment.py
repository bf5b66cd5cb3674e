"""Apportionment: shares sum to what is shared, to the last Wh and the last nano-unit."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.apportionment import WHOLE_MICRO, ApportionmentError, Basis, Member, Shared, apportion, loss

BY_HOUSEHOLD = (Basis("household"),)

members = st.lists(
    st.builds(
        Member,
        id=st.uuids().map(str),
        households=st.integers(0, 5),
        area_milli=st.integers(0, 10**7),
        own_use=st.integers(0, 10**9),
        coefficient_micro=st.integers(0, 3 * 10**6),
        days=st.integers(0, 31),
    ),
    min_size=1,
    max_size=12,
)
bases = st.sampled_from(
    [
        BY_HOUSEHOLD,
        (Basis("area"),),
        (Basis("own_use"),),
        (Basis("coefficient"),),
        (Basis("area", 60_000_000), Basis("own_use", 40_000_000)),
        (Basis("household", 33_333_333), Basis("coefficient", 33_333_333), Basis("area", 33_333_334)),
    ]
)


@settings(max_examples=150, deadline=None)
@given(members, bases, st.integers(0, 10**12), st.integers(0, 5_000_000))
def test_shares_sum_exactly(people: list[Member], by: tuple[Basis, ...], quantity: int, price: int) -> None:
    priced = apportion([Shared("lift", quantity, by, tuple(people), price_micro=price)])
    assert sum(share.quantity for share in priced) == quantity
    assert sum(share.amount_nano for share in priced) == quantity * price
    assert all(share.amount_nano == share.quantity * price for share in priced)
    total = apportion([Shared("lift", quantity, by, tuple(people), amount_nano=quantity * price + 7)])
    assert sum(share.amount_nano for share in total) == quantity * price + 7
    assert all(share.quantity >= 0 and share.amount_nano >= 0 for share in (*priced, *total))


@settings(max_examples=80, deadline=None)
@given(members, members, st.integers(0, 10**9), st.integers(0, 10**9))
def test_nested_shares_sum_exactly(outer: list[Member], inner: list[Member], house: int, floor: int) -> None:
    """A floor's own light and what the house hands to the floor are both divided among the floor's tenants."""
    handed = (*outer, Member("floor", group=True, households=3, days=30))
    groups = [
        Shared("floor", floor, BY_HOUSEHOLD, tuple(inner), price_micro=800_000),
        Shared("house", house, BY_HOUSEHOLD, handed, price_micro=550_000),
    ]
    shares = apportion(groups)
    charged = [share for share in shares if share.member != "floor"]
    assert sum(share.quantity for share in charged) == house + floor
    assert sum(share.amount_nano for share in charged) == house * 550_000 + floor * 800_000


def test_weights_decide() -> None:
    people = (Member("a", area_milli=100_000, days=30), Member("b", area_milli=50_000, days=30))
    shares = apportion([Shared("lift", 300, (Basis("area"),), people, price_micro=1)])
    assert [share.quantity for share in shares] == [200, 100]
    half = (Member("a", households=1, days=30), Member("b", households=1, days=15))
    assert [share.quantity for share in apportion([Shared("x", 450, BY_HOUSEHOLD, half, price_micro=1)])] == [300, 150]


def test_domain_example() -> None:
    """7800 - 7650 = 150 kWh of loss at 0.55 among 100 households."""
    people = tuple(Member(f"t-{number}") for number in range(100))
    lost = loss(7_800_000, [7_650_000])
    shares = apportion([Shared("loss", lost, BY_HOUSEHOLD, people, price_micro=550_000)])
    assert {share.quantity for share in shares} == {1_500}
    assert sum(share.amount_nano for share in shares) == 82_500_000_000
    assert loss(100, [60, 41]) == -1


def test_nobody_used_anything() -> None:
    shares = apportion([Shared("lift", 10, (Basis("own_use"),), (Member("a"), Member("b")), price_micro=1)])
    assert [(share.quantity, share.equal) for share in shares] == [(5, True), (5, True)]


def test_percentages() -> None:
    people = (Member("a", percent_micro=99_500_000, days=31), Member("b", percent_micro=500_000, days=31))
    shares = apportion([Shared("x", 1_000, (Basis("percentage"),), people, price_micro=1)])
    assert [share.quantity for share in shares] == [995, 5]


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        (
            [Shared("x", 1, (Basis("percentage"),), (Member("a", percent_micro=1_000_000),))],
            "sum to 100, they sum to 1",
        ),
        ([Shared("x", 1, (Basis("area", 1),), (Member("a"),))], "sum to 100"),
        ([Shared("x", 1, BY_HOUSEHOLD, ())], "no members"),
        ([Shared("x", 1, BY_HOUSEHOLD, (Member("y", group=True),))], "unknown group 'y'"),
        ([Shared("x", 1, BY_HOUSEHOLD, (Member("x", group=True),))], "x -> x"),
        (
            [
                Shared("x", 1, BY_HOUSEHOLD, (Member("y", group=True),)),
                Shared("y", 1, BY_HOUSEHOLD, (Member("x", group=True),)),
            ],
            "ring",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(groups: list[Shared], words: str) -> None:
    with pytest.raises(ApportionmentError, match=words):
        apportion(groups)
    assert WHOLE_MICRO == 100 * 10**6

"""What a decision does to the stored group."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from adapters.twins.change import (
    CHANGES_MAX,
    check_changes,
    devices_of,
    gateways_of,
    moves_devices,
    newborn,
    outcome,
)
from tests.conformance.twin_values import a_gateway, a_group, charge, charged, notice
from twin.core.model import Group
from twin.ports import GroupChange


def at(group: Group, wake: int | None, revision: int = 4) -> Group:
    """The group with a wake and a revision."""
    return msgspec.structs.replace(group, wake=wake, revision=revision)


@pytest.mark.parametrize(
    ("more", "wake"),
    [({}, 9), ({"wake": 12}, 12), ({"drop_wake": True}, None), ({"wake": 12, "drop_wake": True}, 12)],
)
def test_the_change_decides_the_wake(more: dict[str, Any], wake: int | None) -> None:
    before = at(a_group("park"), 9)
    result = outcome(charge(before, **more), 0)
    assert (result.wake, result.revision) == (wake, 5)


def test_nothing_to_write_is_the_same_group() -> None:
    before = at(a_group("park", meters=2), 9)
    copy = msgspec.structs.replace(before, meters=dict(before.meters))
    assert outcome(GroupChange(before=before, after=before), 9) is before
    assert outcome(GroupChange(before=before, after=copy, wake=9), 9) is before


@pytest.mark.parametrize(
    "more", [{"effects": (notice(1),)}, {"guards": {"r": 1}}, {"wake": 1}, {"drop_wake": True}], ids=str
)
def test_anything_to_write_is_a_new_revision(more: dict[str, Any]) -> None:
    before = at(a_group("park"), 9)
    assert outcome(GroupChange(before=before, after=before, **more), 0).revision == 5


@pytest.mark.parametrize(("now", "revision"), [(3, 5), (5, 5), (700, 700)])
def test_revisions_follow_the_clock_and_never_fall(now: int, revision: int) -> None:
    before = at(a_group("park"), 9)
    assert outcome(charge(before), now).revision == revision


@pytest.mark.parametrize("part", ["meters", "breakers", "meter_contracts", "breaker_contracts"])
def test_a_missing_twin_is_a_change(part: str) -> None:
    before = at(a_group("park", meters=2), 9)
    kept = dict(list(getattr(before, part).items())[:1])
    after = msgspec.structs.replace(before, **{part: kept})
    assert outcome(GroupChange(before=before, after=after), 0).revision == 5
    assert moves_devices(before, after)


def test_readings_move_no_devices() -> None:
    before = a_group("park", meters=2)
    assert not moves_devices(before, charged(before))
    assert moves_devices(before, msgspec.structs.replace(before, gateway=a_gateway("park", "gw").gateway))


def test_devices_and_gateways() -> None:
    group = a_group("park", meters=2, gateway="gw-1")
    assert devices_of(group) == {"em-t-1-0", "em-t-1-1", "br-t-1-0", "br-t-1-1"}
    assert devices_of(a_gateway("park", "gw-1")) == {"gw-1"}
    assert gateways_of(group) == {"gw-1"}
    assert gateways_of(a_group("park")) == set()


def test_revisions_of_generations_do_not_meet() -> None:
    assert newborn(a_group("park"), generation=3, wake=8).revision == 3_000_000_000
    assert newborn(a_group("park"), generation=3, wake=8).wake == 8


def test_batches_that_make_no_sense_are_refused() -> None:
    group = a_group("park")
    with pytest.raises(ValueError, match="twice"):
        check_changes("park", [charge(group), charge(group)])
    with pytest.raises(ValueError, match="cannot become"):
        check_changes("park", [GroupChange(before=group, after=a_group("park", "t-2"))])
    with pytest.raises(ValueError, match="cannot become"):
        check_changes("field", [charge(group)])
    with pytest.raises(ValueError, match="at most"):
        check_changes("park", [charge(group)] * (CHANGES_MAX + 1))

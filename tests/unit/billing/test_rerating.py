"""Re-rating: overlays hold, differences once applied are gone, and no order of arrival matters."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.history import Charge, Epoch, rate_history
from billing.points import Point, in_order
from billing.rerating import Adjustment, Assignment, Facts, OverlayError, applied, differences, overlay
from tests.unit.billing.life_oracle import Life
from tests.unit.billing.lives import epochs, occupancy, posted
from tests.unit.billing.strategies import lives
from tests.unit.billing.test_history import compiled

SLOW = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
CHEAP = Facts("a", "wa", "t", 0, 202607, None, None, 10)
DEAR = Facts("b", "wb", "t", 0, 202607, None, None, 30)
FREE = Facts("", "landlord", "", 0, 202607, None, None, 0)


def part(from_qty: int, to_qty: int, facts: Facts, original: int, number: int = 0) -> Assignment:
    return Assignment(1, from_qty, to_qty, from_qty * 10, to_qty * 10, facts, False, original, number)


def brief(parts: list[Assignment]) -> list[tuple[int, int, int, int]]:
    return [(one.from_qty, one.to_qty, one.facts.price_micro, one.number) for one in parts]


def test_the_newest_overlay_holds_and_cuts_what_is_below() -> None:
    rows = [part(0, 100, CHEAP, 0), part(100, 150, CHEAP, 100)]
    layers = [part(20, 80, DEAR, 0, 1), part(40, 50, FREE, 0, 2), part(120, 150, DEAR, 100, 3)]
    held = overlay(rows, reversed(layers))
    assert brief(held) == [
        (0, 20, 10, 0), (20, 40, 30, 1), (40, 50, 0, 2), (50, 80, 30, 1), (80, 100, 10, 0),
        (100, 120, 10, 0), (120, 150, 30, 3),
    ]  # fmt: skip
    assert [(one.from_ts, one.to_ts) for one in held[:2]] == [(0, 200), (200, 400)]
    assert sum(one.amount_nano for one in held) == 20 * 10 + 20 * 30 + 30 * 30 + 20 * 10 + 20 * 10 + 30 * 30


@pytest.mark.parametrize("layer", [part(90, 101, DEAR, 0, 1), part(10, 20, DEAR, 5, 1)])
def test_an_overlay_beside_its_row_is_refused(layer: Assignment) -> None:
    with pytest.raises(OverlayError, match="lies in no posted row"):
        overlay([part(0, 100, CHEAP, 0)], [layer])


def canonical(life: Life) -> list[Charge] | None:
    tariffs = compiled(life)
    return None if tariffs is None else rate_history(epochs(life), occupancy(life, tariffs)).charges


def facts_by_unit(parts: list[Assignment]) -> dict[tuple[int, int], Facts]:
    return {(one.epoch, qty): one.facts for one in parts for qty in range(one.from_qty, one.to_qty)}


@SLOW
@given(lives(), st.data())
def test_differences_once_applied_are_gone_and_leave_what_is_owed(life: Life, data: st.DataObject) -> None:
    """What was posted knew only some of the samples and other tenants; adjustments bring it to the whole truth."""
    tariffs = compiled(life)
    if tariffs is None:
        return
    partial = [
        Epoch(
            one.number,
            [p for n, p in enumerate(one.points) if n in (0, len(one.points) - 1) or data.draw(st.booleans())],
        )
        for one in epochs(life)
    ]
    ignorant = Life(life.zone, life.documents, life.tenancies[: data.draw(st.integers(0, 3))], "x", life.epochs)
    effective = posted(rate_history(partial, occupancy(ignorant, tariffs)).charges)
    owed = rate_history(epochs(life), occupancy(life, tariffs)).charges
    adjustments = differences(effective, owed)
    after = applied(effective, adjustments, first=1)
    assert differences(after, owed) == []
    assert facts_by_unit(after) == facts_by_unit(posted(owed))
    assert sum(one.amount_nano for one in after) == sum(one.priced.amount_nano for one in owed)
    moved = sum(one.new_amount_nano - one.old_amount_nano for one in adjustments)
    assert moved == sum(one.amount_nano for one in after) - sum(one.amount_nano for one in effective)
    # The same by laying them over the posted rows again.
    layers = [
        Assignment(
            one.epoch, one.from_qty, one.to_qty, one.from_ts, one.to_ts, one.new, one.estimated, one.original_from, n
        )
        for n, one in enumerate(adjustments, 1)
    ]
    assert facts_by_unit(overlay(effective, layers)) == facts_by_unit(after)


@SLOW
@given(lives(), st.data())
def test_every_order_of_arrival_ends_with_the_same_assignments(life: Life, data: st.DataObject) -> None:
    """Samples come shuffled, twice and in portions; after each portion the ledger is brought to what is known then."""
    tariffs = compiled(life)
    if tariffs is None:
        return
    who = occupancy(life, tariffs)
    owed = rate_history(epochs(life), who).charges
    samples = [(one.number, point) for one in epochs(life) for point in one.points]
    arrivals = data.draw(st.permutations([*samples, *samples[::2]]))
    known: dict[int, list[Point]] = {one.number: [one.points[0]] for one in epochs(life)}
    effective: list[Assignment] = []
    number = 1
    for epoch, point in arrivals:
        known[epoch] = in_order([*known[epoch], point])
        now_owed = rate_history([Epoch(name, known[name]) for name in sorted(known)], who).charges
        effective = sorted([*effective, *_beyond(effective, now_owed)], key=lambda one: (one.epoch, one.from_qty))
        adjustments = differences(effective, now_owed)
        effective = applied(effective, adjustments, number)
        number += len(adjustments)
    assert facts_by_unit(effective) == facts_by_unit(posted(owed))


def _beyond(effective: list[Assignment], owed: list[Charge]) -> list[Assignment]:
    """What a newest sample adds to the chain is posted as it is owed then."""
    heads = {one.epoch: one.to_qty for one in effective}
    fresh: list[Assignment] = []
    for one in posted(owed):
        low = max(one.from_qty, heads.get(one.epoch, 0))
        if low < one.to_qty:
            fresh.append(Assignment(one.epoch, low, one.to_qty, one.from_ts, one.to_ts, one.facts, one.estimated, low))
    return fresh


def test_an_adjustment_names_its_row_and_never_crosses_one() -> None:
    life = Life("Asia/Shanghai", {}, (), "", ())
    assert canonical(life) == []
    rows = [part(0, 60, CHEAP, 0), part(60, 100, CHEAP, 60)]
    owed = posted_as_charges([part(10, 90, DEAR, 10)])
    found = differences(rows, owed)
    assert [(one.original_from, one.from_qty, one.to_qty, one.supersedes) for one in found] == [
        (0, 10, 60, 0),
        (60, 60, 90, 0),
    ]
    assert [(one.old_amount_nano, one.new_amount_nano) for one in found] == [(500, 1500), (300, 900)]
    again = differences(applied(rows, found, 7), posted_as_charges([part(10, 90, FREE, 10)]))
    assert [(one.original_from, one.supersedes) for one in again] == [(0, 7), (60, 8)]
    assert all(isinstance(one, Adjustment) for one in again)


def posted_as_charges(parts: list[Assignment]) -> list[Charge]:
    from billing.history import Payer
    from billing.rating import Slice

    found: list[Charge] = []
    for one in parts:
        facts = one.facts
        times = (one.from_ts, one.to_ts, one.from_qty, one.to_qty)
        priced = Slice(
            *times, facts.month, facts.version, facts.period, facts.tier, facts.price_micro, one.amount_nano, False
        )
        found.append(Charge(one.epoch, Payer(facts.tenant, facts.account, facts.tariff), priced))
    return found

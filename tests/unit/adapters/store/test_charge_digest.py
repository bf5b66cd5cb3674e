"""The digest of the intervals behind a charge journal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adapters.store.engine.database import numbered
from adapters.store.journals.charge_digest import charge_memo
from adapters.store.posting.ledger_writer import stream_id

ROW = ("em-1", 1, 0, 100, 5, 9, "t-1", "flat", 0, 202601, None, None, 850_000, 85_000_000, False)


def test_the_order_of_rows_does_not_matter() -> None:
    other = ("em-1", 1, 100, *ROW[3:])
    assert charge_memo([ROW, other]) == charge_memo([other, ROW])
    assert charge_memo([ROW, other]).startswith("2 intervals sha256:")


@given(st.integers(0, len(ROW) - 1))
def test_any_changed_field_changes_it(place: int) -> None:
    value = ROW[place]
    other = (not value) if isinstance(value, bool) else (value + 1) if isinstance(value, int) else f"{value}x"
    changed = (*ROW[:place], other, *ROW[place + 1 :])
    assert charge_memo([changed]) != charge_memo([ROW])  # type: ignore[list-item]


def test_fields_cannot_run_into_each_other() -> None:
    one = (*ROW[:6], 't","x', "y", *ROW[8:])
    other = (*ROW[:6], "t", 'x","y', *ROW[8:])
    assert charge_memo([one]) != charge_memo([other])


def test_placeholders_and_stream_ids() -> None:
    assert numbered("a = ? AND b = ?") == "a = $1 AND b = $2"
    assert stream_id("1763778000000-10") > stream_id("1763778000000-9")

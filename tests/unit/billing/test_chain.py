"""The hash chain: every change shows, and no two journals look alike."""

import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.chain import GENESIS, JournalRecord, canonical, journal_hash

JOURNAL = JournalRecord(
    site="park-1",
    seq=7,
    kind="topup",
    ts_ms=1_763_778_000_000,
    reference="cash:R-1",
    actor="cashier",
    memo="充值",
    legs=(("tenant/t-001", 50_000_000_000), ("clearing/cash", -50_000_000_000)),
)
# Texts that imitate the encoding itself find ambiguity fastest.
TEXTS = st.one_of(
    st.text(st.sampled_from("0123456789:,;|-ab充"), max_size=6), st.text(st.characters(codec="utf-8"), max_size=6)
)
INTS = st.integers(-(2**63), 2**63 - 1)
JOURNALS = st.builds(
    JournalRecord,
    site=TEXTS,
    seq=INTS,
    kind=TEXTS,
    ts_ms=INTS,
    reference=TEXTS,
    actor=TEXTS,
    memo=TEXTS,
    legs=st.lists(st.tuples(TEXTS, INTS), max_size=3).map(tuple),
)


def test_the_encoding_is_fixed_for_all_time():
    assert (
        canonical(JOURNAL)
        == (
            "6:park-11:75:topup13:17637780000008:cash:R-17:cashier6:充值1:2"
            "12:tenant/t-00111:50000000000" + "13:clearing/cash12:-50000000000"
        ).encode()
    )
    material = b"20:twinmeter.journal/v1" + b"32:" + GENESIS + canonical(JOURNAL)
    assert journal_hash(GENESIS, JOURNAL) == hashlib.sha256(material).digest()
    assert hashlib.sha256(b"twinmeter.journal/v1").digest() == GENESIS


@pytest.mark.parametrize(
    "changed",
    [
        {"site": "park-2"},
        {"seq": 8},
        {"kind": "refund"},
        {"ts_ms": JOURNAL.ts_ms + 1},
        {"reference": "cash:R-2"},
        {"actor": "owner"},
        {"memo": ""},
        {"legs": JOURNAL.legs[::-1]},
        {"legs": JOURNAL.legs[:1]},
        {"legs": (("tenant/t-002", 50_000_000_000), JOURNAL.legs[1])},
        {"legs": (("tenant/t-001", 50_000_000_001), JOURNAL.legs[1])},
        {"actor": JOURNAL.memo, "memo": JOURNAL.actor},
    ],
)
def test_a_changed_field_changes_the_hash(changed):
    assert journal_hash(GENESIS, msgspec.structs.replace(JOURNAL, **changed)) != journal_hash(GENESIS, JOURNAL)


def test_a_changed_predecessor_changes_every_later_hash():
    first = journal_hash(GENESIS, JOURNAL)
    second = journal_hash(first, JOURNAL)
    assert len({GENESIS, first, second, journal_hash(second, JOURNAL)}) == 4


@given(JOURNALS, JOURNALS)
def test_two_journals_share_an_encoding_only_if_they_are_equal(one, other):
    assert (canonical(one) == canonical(other)) == (one == other)


@given(JOURNALS)
def test_the_encoding_can_be_read_back_so_nothing_is_ambiguous(journal):
    fields, rest = [], canonical(journal)
    while rest:
        length, _, rest = rest.partition(b":")
        fields.append(rest[: int(length)].decode())
        rest = rest[int(length) :]
    site, seq, kind, ts_ms, reference, actor, memo, count, *legs = fields
    assert int(count) * 2 == len(legs)
    pairs = tuple((account, int(amount)) for account, amount in zip(legs[::2], legs[1::2], strict=True))
    assert JournalRecord(site, int(seq), kind, int(ts_ms), reference, actor, memo, pairs) == journal


@pytest.mark.parametrize(
    "changed",
    [
        {"seq": 7.0},
        {"seq": True},
        {"seq": "7"},
        {"memo": None},
        {"site": 1},
        {"legs": (("a", 1.0),)},
        {"legs": ((1, 1),)},
    ],
)
def test_a_field_of_another_type_is_refused(changed):
    with pytest.raises(TypeError, match="holds"):
        journal_hash(GENESIS, msgspec.structs.replace(JOURNAL, **changed))


def test_a_previous_hash_of_another_length_is_refused():
    with pytest.raises(ValueError, match="32 bytes, found 5"):
        journal_hash(b"short", JOURNAL)

"""The disconnect table: it comes to rest on all facts, and says the right thing on those that matter."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from twin.core.disconnect import STATES, TABLE, Facts, diagram, settle

FIELDS = [name for name in Facts.__struct_fields__ if not name.startswith("reported_")]
RELAYS = [
    {"reported_open": True, "reported_armed": False, "reported_closed": False},
    {"reported_open": False, "reported_armed": True, "reported_closed": False},
    {"reported_open": False, "reported_armed": False, "reported_closed": True},
    {"reported_open": False, "reported_armed": False, "reported_closed": False},
]


def every_fact():
    for bits in itertools.product((False, True), repeat=len(FIELDS)):
        for relay in RELAYS:
            yield Facts(**dict(zip(FIELDS, bits, strict=True)), **relay)


def test_the_table_comes_to_rest_from_every_state_on_all_facts():
    for facts in every_fact():
        for state in STATES:
            resting = settle(state, facts)
            assert settle(resting, facts) == resting


def test_safety_wins_whatever_else_is_true():
    for facts in every_fact():
        if facts.safety_locked:
            assert {settle(state, facts) for state in STATES} == {"OFF_SAFETY"}


def test_a_tenant_with_credit_and_a_closed_breaker_ends_supplied():
    for facts in every_fact():
        locked = facts.credit_locked or facts.safety_locked or facts.manually_locked
        if not locked and facts.reported_closed and not facts.credit_exhausted and not facts.open_under_way:
            for state in STATES:
                assert settle(state, facts) in ("NORMAL", "LOW1", "LOW2", "EMERGENCY"), (state, facts)


def test_every_state_is_reached_and_every_row_names_known_things():
    assert {row.then for row in TABLE} == set(STATES)
    for row in TABLE:
        assert row.state in STATES or row.state == "*"
        assert isinstance(getattr(Facts(), row.when), bool)


EMPTY = {"below_low1": True, "below_low2": True, "credit_exhausted": True}
WALK = [
    ("balance falls below the first alarm", {"below_low1": True}, "LOW1"),
    ("and below the second", {"below_low1": True, "below_low2": True}, "LOW2"),
    ("and to nothing", EMPTY, "DUE"),
    ("inside a friendly window", {**EMPTY, "held_back": True}, "HELD"),
    ("the window ends", EMPTY, "DUE"),
    ("the rule locks", {**EMPTY, "credit_locked": True}, "CUT_WANTED"),
    (
        "the command is under way",
        {**EMPTY, "credit_locked": True, "open_under_way": True},
        "CUT_SENT",
    ),
    (
        "the relay is reported open",
        {"credit_exhausted": True, "credit_locked": True, "reported_open": True, "reported_closed": False},
        "OFF_ARREARS",
    ),
    ("a top-up releases the lock", {"reported_open": True, "reported_closed": False}, "CLOSE_WANTED"),
    ("the breaker is armed", {"reported_armed": True, "reported_closed": False}, "READY"),
    ("somebody presses the button", {}, "NORMAL"),
]


def test_the_life_of_an_arrears_cutoff():
    state = "NORMAL"
    for what, facts, expected in WALK:
        state = settle(state, Facts(**facts))
        assert state == expected, what


def test_the_diagram_in_the_documentation_is_the_table():
    page = Path(__file__).parents[3] / "docs" / "disconnect.md"
    assert diagram() in page.read_text(encoding="utf-8"), "run `make docs` to renew docs/disconnect.md"


@pytest.mark.parametrize("state", STATES)
def test_every_state_has_a_meaning_in_words(state):
    assert len(STATES[state].split()) >= 2

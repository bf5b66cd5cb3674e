"""Counting what happens in a park from its effects."""

from __future__ import annotations

import pytest

from api.cli import language
from api.cli.park_watch import EVENTS_SHOWN, ParkWatch, yuan
from twin.core.effects import AlarmChanged, CommandChanged, LockChanged, SupplyStateChanged


@pytest.fixture(autouse=True)
def _english(monkeypatch):
    monkeypatch.setattr(language, "_chosen", "en")


@pytest.fixture
def watch():
    return ParkWatch({"t-1": {"zh": "老王面馆", "en": "Wang's noodles"}})


def moved(before, after, ts=0, balance_nano=-1_000_000_000):
    return SupplyStateChanged("t-1", before, after, ts, balance_nano)


def command(cmd, state):
    return CommandChanged("em-1", cmd, "breaker.set", "open", 1, state, 0, 0, 1)


def alarm(severity, *, active=True, since=0):
    return AlarmChanged("low-balance", 1, "t-1", since, since, severity, active, "t-1")


def test_a_cutoff_counts_once_and_a_reconnection_ends_it(watch):
    watch.take([moved("DUE", "CUT_SENT"), moved("CUT_SENT", "OFF_ARREARS"), moved("OFF_ARREARS", "CUT_WANTED")])
    watch.take([moved("CUT_WANTED", "OFF_ARREARS")])
    assert (watch.cutoffs, watch.reconnections) == (1, 0)
    watch.take([moved("OFF_ARREARS", "CLOSE_WANTED"), moved("CLOSE_WANTED", "LOW1"), moved("LOW1", "NORMAL")])
    assert (watch.cutoffs, watch.reconnections) == (1, 1)
    assert [item.text for item in watch.happenings] == [
        "Wang's noodles cut off at -¥1.00",
        "Wang's noodles reconnected at -¥1.00",
    ]


def test_coming_back_from_a_safety_trip_is_no_reconnection(watch):
    watch.take([moved("NORMAL", "OFF_SAFETY"), moved("OFF_SAFETY", "CLOSE_WANTED"), moved("CLOSE_WANTED", "NORMAL")])
    assert watch.reconnections == 0


def test_an_alarm_that_grows_worse_is_one_alarm(watch):
    watch.take([alarm("warning"), alarm("major"), alarm("major", active=False), alarm("warning", since=9)])
    assert watch.low_balance_alarms == 2


def test_commands_stand_under_the_state_they_are_in(watch):
    watch.take([command("a", "created"), command("b", "created"), command("a", "sent"), command("b", "verified")])
    assert watch.commands() == {"sent": 1, "verified": 1}


def test_payments_count_once(watch):
    assert watch.paid("p-1", "t-1", 50_000_000_000, 1)
    assert not watch.paid("p-1", "t-1", 50_000_000_000, 1)
    assert (watch.recharges, watch.recharged_nano) == (1, 50_000_000_000)


def test_safety_locks_are_told_and_only_the_latest_lines_are_kept(watch):
    for ts in range(EVENTS_SHOWN + 5):
        watch.take([LockChanged("em-1", "overload", True, "rule", "overload", ts)])
    watch.take(
        [LockChanged("em-1", "overload", False, "rule", "", 99), LockChanged("em-1", "manual", True, "lin", "", 99)]
    )
    assert (watch.overloads, len(watch.happenings)) == (EVENTS_SHOWN + 5, EVENTS_SHOWN)
    assert watch.happenings[-1].text == "em-1 opened: overload"


@pytest.mark.parametrize(
    ("nano", "text"),
    [(0, "¥0.00"), (1_234_567_000_000_000, "¥1,234,567.00"), (-20_000_000, "-¥0.02"), (5_000_000, "¥0.01")],
)
def test_amounts_for_screens(nano, text):
    assert yuan(nano) == text


def test_names_are_in_the_language_in_use(watch, monkeypatch):
    monkeypatch.setattr(language, "_chosen", "zh")
    assert watch.name("t-1") == "老王面馆"
    assert watch.name("t-unknown") == "t-unknown"

"""Faults: each does what its name says, within its span, the same way for the same seed."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from simulators.faults import (
    COMMAND_FAULTS,
    WIRE_FAULTS,
    DelayRange,
    Outage,
    Span,
    WireFault,
    any_down,
    apply_all,
    arrivals,
)
from simulators.wire import Message

FLOW = [
    Message("em-1", "tele", {"v": 1, "sid": "s", "seq": n, "ts": n * 1000, "d": {"import_wh": 10 * n}}, n * 1000)
    for n in range(500)
]


def _fault(name: str, seed: int = 1, **options: Any) -> WireFault:
    return WireFault(name, Random(seed), **options)


def _run(*faults: WireFault) -> list[Message]:
    return apply_all(faults, FLOW)


@pytest.mark.parametrize("name", WIRE_FAULTS)
def test_the_same_seed_gives_the_same_faults_and_another_seed_others(name: str) -> None:
    def outcome(seed: int) -> list[tuple[int, Any]]:
        return [(m.due_ms, m.body) for m in _run(_fault(name, seed, probability=0.3, add=5))]

    assert outcome(1) == outcome(1)
    assert outcome(1) != outcome(2)


@pytest.mark.parametrize("name", WIRE_FAULTS)
def test_outside_its_span_a_fault_changes_nothing(name: str) -> None:
    assert _run(_fault(name, span=Span(600_000), add=5)) == FLOW
    assert _run(_fault(name, probability=0.0, add=5)) == FLOW
    changed = _run(_fault(name, span=Span(100_000, 101_000), add=5))
    assert [m for m in changed if m.body["seq"] != 100] == [m for m in FLOW if m.body["seq"] != 100]
    assert [m for m in changed if m.body["seq"] == 100] != [FLOW[100]]


@pytest.mark.parametrize("name", WIRE_FAULTS)
def test_births_connections_and_states_are_spared(name: str) -> None:
    state = Message("em-1", "state", {"v": 1, "sid": "s", "ts": 1, "relay": "open"}, 0)
    assert apply_all([_fault(name, add=5)], [state]) == [state]


def test_duplicate_sends_the_same_body_again_later() -> None:
    first, *again = apply_all([_fault("duplicate", copies=2, delay=DelayRange(5, 9))], FLOW[:1])
    assert first == FLOW[0]
    assert [m.body for m in again] == [FLOW[0].body] * 2
    assert all(5 <= m.due_ms <= 9 for m in again)


def test_drop_loses_about_its_share() -> None:
    assert 300 < len(_run(_fault("drop", probability=0.3))) < 400


def test_reorder_moves_and_loses_nothing() -> None:
    moved = sorted(_run(_fault("reorder", probability=0.5)), key=lambda m: m.due_ms)
    assert [m.body["seq"] for m in moved] != [m.body["seq"] for m in FLOW]
    assert sorted(m.body["seq"] for m in moved) == [m.body["seq"] for m in FLOW]


def test_late_is_history_and_spike_raises_the_register_of_a_copy() -> None:
    (late,) = apply_all([_fault("late", delay=DelayRange(60_000, 60_000))], FLOW[3:4])
    assert (late.due_ms, late.body["hist"], late.body["ts"]) == (63_000, True, 3_000)
    (spiked,) = apply_all([_fault("spike", add=1_000)], FLOW[3:4])
    assert spiked.body["d"]["import_wh"] == 1_030
    assert FLOW[3].body["d"]["import_wh"] == 30


def test_faults_compose_in_order() -> None:
    out = apply_all([_fault("spike", add=1_000), _fault("duplicate")], FLOW[:1])
    assert [m.body["d"]["import_wh"] for m in out] == [1_000, 1_000]


def test_offline_is_one_span() -> None:
    outage = Outage(Span(100, 200), Random(1))
    assert [outage.is_down(at) for at in (99, 100, 199, 200)] == [False, True, True, False]
    assert [outage.next_change_ms(at) for at in (0, 100, 200)] == [100, 200, None]
    assert Outage(Span(100), Random(1)).is_down(10**15)


def test_flapping_alternates_within_its_span_and_by_seed() -> None:
    def edges(seed: int) -> list[int]:
        outage = Outage(Span(1_000, 50_000), Random(seed), up=DelayRange(500, 3_000), down=DelayRange(100, 900))
        found, at = [], 0
        while (change := outage.next_change_ms(at)) is not None:
            assert outage.is_down(change) != outage.is_down(change - 1)
            found.append(change)
            at = change
        return found

    assert edges(1) == edges(1) != edges(2)
    assert len(edges(1)) > 20
    ups_and_downs = edges(1)
    assert all(
        100 <= back - gone <= 900 for gone, back in zip(ups_and_downs[:-2:2], ups_and_downs[1:-2:2], strict=False)
    )
    outage = Outage(Span(1_000, 50_000), Random(1), up=DelayRange(500, 3_000), down=DelayRange(100, 900))
    assert not any_down([outage], 50_000)
    assert not any_down([outage], 10**12)


def test_acks_and_states_are_lost_each_by_its_own_fault() -> None:
    ack = Message("em-1", "ack", {"v": 1, "cmd": "x", "st": "executed", "ts": 1}, 0)
    state = Message("em-1", "state", {"v": 1, "sid": "s", "ts": 1, "relay": "open"}, 0)
    flow = [ack, state, FLOW[0]]
    assert apply_all([_fault("lost_acks")], flow) == [state, FLOW[0]]
    assert apply_all([_fault("lost_states")], flow) == [ack, FLOW[0]]
    assert apply_all([_fault("lost_acks", span=Span(5))], flow) == flow


@pytest.mark.parametrize("name", COMMAND_FAULTS)
def test_commands_arrive_as_their_fault_says_and_readings_as_ever(name: str) -> None:
    fault = _fault(name, span=Span(1_000, 2_000), copies=2, delay=DelayRange(5, 9))
    times = arrivals([fault], 1_500)
    late = [at_ms for at_ms in times if 1_505 <= at_ms <= 1_509]
    assert {"lost_commands": (0, 0), "late_commands": (1, 1), "repeated_commands": (3, 2)}[name] == (
        len(times),
        len(late),
    )
    assert arrivals([fault], 2_000) == [2_000]
    assert arrivals([fault, fault], 900) == [900]

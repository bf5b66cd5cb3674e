"""Lanes: order by device, acknowledgements by arrival, bounded, and nobody starves; on random arrivals."""

from collections import Counter, defaultdict, deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.mqtt.lanes import BATCH_S, LARGE_BYTES, LEAST_SHARE, MOST_SHARE, Lanes, is_history, needs_lanes
from adapters.mqtt.reader import Delivery


def live(device, number, verb="tele"):
    return Delivery(f"t/{device}/{verb}", b'{"seq":%d,"hist":false}' % number, False, False, number)


def history(device, number, samples=1, verb="tele"):
    body = b",".join(b'{"seq":%d,"hist":true,"ts":1763778000000}' % number for _ in range(samples))
    return Delivery(f"t/{device}/{verb}", b"[" + body + b"]", False, False, number)


def quick(number):
    """A message of QoS 0."""
    return Delivery("t/q/tele", b"%d" % number, False, False, 0)


def device_of(delivery):
    return delivery.topic.rpartition("/")[0]


def numbers(batch):
    return [delivery.packet_id for delivery in batch]


ARRIVAL = st.tuples(st.integers(0, 5), st.sampled_from(["live", "live", "history", "ack", "qos0"]), st.integers(1, 60))


def arrived(number, device, kind, samples):
    if kind == "history":
        return history(device, number, samples)
    return quick(number) if kind == "qos0" else live(device, number, "ack" if kind == "ack" else "tele")


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(st.lists(ARRIVAL, max_size=12), min_size=1, max_size=20),
    shares=st.tuples(st.integers(1, 20), st.integers(1, 80), st.integers(1, 80)),
    window=st.integers(2, 40),
)
def test_order_by_device_and_acknowledgements_by_arrival(steps, shares, window):
    lanes = Lanes(window=window, live_share=shares[0], history_share=shares[1], turn=shares[2])
    came, handed, acked, waiting = [], [], [], deque(steps)
    while waiting or lanes.pending:
        fresh = [arrived(len(came) + at + 1, *one) for at, one in enumerate(waiting.popleft() if waiting else [])]
        came += fresh
        lanes.take_in(fresh)
        batch = lanes.next_batch()
        assert bool(batch) == (len(handed) < len(came))
        handed += batch
        assert sum(is_history(one.payload) for one in batch) <= shares[0] + shares[1] + 1
        acked += numbers(lanes.done())
        committed = {one.packet_id for one in handed}
        assert set(acked) <= committed
        assert acked == [one.packet_id for one in came if one.packet_id][: len(acked)]
        assert lanes.unacknowledged == sum(1 for one in came if one.packet_id) - len(acked)
    by_device = defaultdict(list), defaultdict(list)
    for found, batch in zip(by_device, (came, handed), strict=True):
        for one in batch:
            found[device_of(one)].append(one)
    assert by_device[0] == by_device[1], "every message once, unchanged, in its device's order"
    assert acked == [one.packet_id for one in came if one.packet_id]
    assert (lanes.held_bytes, lanes.unacknowledged) == (0, 0)


@settings(max_examples=60, deadline=None)
@given(
    backlog=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 60)), min_size=1, max_size=80),
    every=st.integers(1, 30),
)
def test_neither_lane_starves_under_a_steady_stream_of_the_other(backlog, every):
    lanes = Lanes(window=10_000, live_share=10, history_share=50, turn=20)
    lanes.take_in([history(f"h{device}", at + 1, samples) for at, (device, samples) in enumerate(backlog)])
    number, left = len(backlog), len(backlog)
    while left:
        fresh = [live(f"l{number + at}", number + at + 1) for at in range(every)]
        number += every
        lanes.take_in(fresh)
        batch = lanes.next_batch()
        told = sum(is_history(one.payload) for one in batch)
        assert told >= 1
        assert len(batch) - told >= min(10, every)
        left -= told
        lanes.done()


def test_live_messages_pass_the_history_of_others_and_wait_for_their_own():
    lanes = Lanes(window=100, history_share=1)
    lanes.take_in([history("a", 1, 50), history("a", 2, 50), live("a", 3), live("b", 4), live("b", 5, "state")])
    assert numbers(lanes.next_batch()) == [4, 5, 1]
    assert numbers(lanes.done()) == [1]
    assert numbers(lanes.next_batch()) == [2]
    assert numbers(lanes.done()) == [2]
    assert numbers(lanes.next_batch()) == [3]
    assert numbers(lanes.done()) == [3, 4, 5]


def test_a_device_with_much_does_not_hold_up_one_with_little():
    lanes = Lanes(window=1_000, history_share=100, turn=100)
    lanes.take_in([history("much", number, 50) for number in range(1, 100)])
    lanes.take_in([history("little", 100, 50), live("little", 101)])
    handed = []
    for _ in range(3):
        handed += numbers(lanes.next_batch())
        lanes.done()
    assert {100, 101} <= set(handed)


def test_the_answer_to_a_command_brings_its_device_to_the_front():
    lanes = Lanes(window=1_000, history_share=50)
    lanes.take_in([history(device, number, 50) for number, device in enumerate("abcd", start=1)])
    lanes.take_in([live("d", 5, "ack")])
    assert numbers(lanes.next_batch()) == [4]
    lanes.done()
    assert numbers(lanes.next_batch())[0] == 5


def test_the_oldest_has_its_turn_when_the_window_fills():
    lanes = Lanes(window=20, history_share=1, turn=1)
    lanes.take_in([history("a", number) for number in range(1, 8)])
    lanes.take_in([history(f"x{number}", number) for number in range(8, 16)])
    for _ in range(4):
        lanes.next_batch()
        lanes.done()
    assert lanes.unacknowledged <= 11


def test_a_backlog_is_kept_packed_and_asks_for_a_pause():
    lanes = Lanes(window=1_000, most_bytes=20_000)
    arrays = [history("a", number, 100) for number in range(1, 31)]
    lanes.take_in(arrays)
    assert sum(len(one.payload) for one in arrays) > 100_000
    assert lanes.held_bytes < 20_000
    assert not lanes.full
    lanes.take_in([history(f"b{number}", number) for number in range(31, 120)])
    assert lanes.full
    handed = []
    while lanes.pending:
        handed += lanes.next_batch()
        lanes.done()
    assert Counter(one.payload for one in handed if device_of(one) == "t/a") == Counter(o.payload for o in arrays)
    assert not lanes.full


@pytest.mark.parametrize(
    ("payload", "holds"),
    [
        (b'{"hist":true}', True),
        (b'{"hist" : true}', True),
        (b'[{"seq":1,"hist": true},{"seq":2}]', True),
        (b'{"hist":false}', False),
        (b'{"history":true}', False),
        (b'{"a":"\\"hist\\":true"}', False),
        (b"", False),
    ],
)
def test_history_is_seen_in_the_bytes(payload, holds):
    assert is_history(payload) is holds
    assert needs_lanes([Delivery("t/a/tele", payload, False, False, 1)]) is holds


def test_one_that_floods_the_live_lane_is_not_always_the_first():
    lanes = Lanes(window=1_000, live_share=10)
    lanes.take_in([history("h", 1)])
    lanes.take_in([live("flood", number) for number in range(2, 32)])
    lanes.take_in([live("quiet", 32)])
    assert 32 not in numbers(lanes.next_batch())
    lanes.done()
    lanes.take_in([live("flood", number) for number in range(33, 43)])
    assert 32 in numbers(lanes.next_batch())


def shares_after(times, per_sample_s):
    """The share of history after so many batches on a machine that takes so long for a sample."""
    lanes = Lanes(window=60_000)
    shares = []
    lanes.take_in([history(f"d{number}", number, 50) for number in range(1, 50 * times)])
    for _ in range(times):
        batch = lanes.next_batch()
        lanes.done(per_sample_s * sum(one.payload.count(b'"seq"') for one in batch))
        shares.append(lanes.history_share)
    return shares


@pytest.mark.parametrize(
    ("per_sample_s", "settled"),
    [(0.000_01, MOST_SHARE), (0.000_2, BATCH_S / 0.000_2), (0.000_4, BATCH_S / 0.000_4), (0.05, LEAST_SHARE)],
)
def test_the_share_of_history_follows_the_time_that_batches_take(per_sample_s, settled):
    assert shares_after(12, per_sample_s)[-1] == pytest.approx(settled, rel=0.25)


def test_a_small_batch_says_nothing_about_the_share():
    lanes = Lanes(window=100)
    lanes.take_in([history("a", 1)])
    before = lanes.history_share
    lanes.next_batch()
    lanes.done(0.000_1)
    assert lanes.history_share == before


def test_large_arrays_are_cut_by_samples():
    body = b"[" + b",".join(b'{"seq":1,"ts":1763778000000}' for _ in range(100)) + b"]"
    batch = [Delivery(f"t/{number}/tele", body, False, False, number) for number in range(1, 31)]
    assert len(body) >= LARGE_BYTES
    assert needs_lanes(batch)
    lanes = Lanes(window=1_000, live_share=1_000)
    lanes.take_in(batch)
    assert numbers(lanes.next_batch()) == list(range(1, 11))

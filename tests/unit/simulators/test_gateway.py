"""Store-and-forward: what waits, in which order it comes, what it is marked with, what is lost when it is too much."""

from __future__ import annotations

from random import Random
from typing import Any

from schemas.registry import problems
from simulators.devices.gateway import BATCH_MAX, Gateway
from simulators.wire import Message, Verb


def _tele(device: str, seq: int) -> Message:
    return Message(device, "tele", {"v": 1, "sid": "s1", "seq": seq, "ts": seq * 1000, "d": {"import_wh": seq}}, seq)


def _of(device: str, verb: Verb, body: dict[str, Any]) -> Message:
    return Message(device, verb, body, 0)


def _gateway(**options: Any) -> Gateway:
    return Gateway("gw-1", Random(1), **options)


def test_live_messages_pass_unchanged() -> None:
    messages = [_tele("em-1", 1), _tele("em-2", 1)]
    assert _gateway().forward(messages, 0) == messages


def test_samples_of_an_outage_come_first_packed_by_device_and_marked_as_history() -> None:
    gateway = _gateway()
    gateway.link_up = False
    for seq in (1, 2, 3):
        assert gateway.forward([_tele("em-1", seq), _tele("em-2", seq)], seq) == []
    assert gateway.buffered == 6
    gateway.link_up = True
    out = gateway.forward([_tele("em-1", 4)], 10)
    assert [(message.device, [sample["seq"] for sample in message.body]) for message in out[:-1]] == [
        ("em-1", [1, 2, 3]),
        ("em-2", [1, 2, 3]),
    ]
    assert all(sample["hist"] is True for message in out[:-1] for sample in message.body)
    assert "hist" not in out[-1].body
    assert not any(problems("tele", message.body) for message in out)
    assert gateway.buffered == 0
    assert gateway.forward([_tele("em-1", 5)], 11)[0].body["seq"] == 5


def test_long_outages_come_in_batches() -> None:
    gateway = _gateway()
    gateway.link_up = False
    gateway.forward([_tele("em-1", seq) for seq in range(2 * BATCH_MAX + 1)], 0)
    gateway.link_up = True
    assert [len(message.body) for message in gateway.forward([], 1)] == [BATCH_MAX, BATCH_MAX, 1]


def test_only_the_newest_retained_message_of_each_kind_is_kept_and_events_and_acks_all_are() -> None:
    gateway = _gateway()
    gateway.link_up = False
    state = {"v": 1, "sid": "s1", "ts": 1, "relay": "open"}
    event = {"v": 1, "sid": "s1", "seq": 1, "ts": 5, "kind": "trip"}
    gateway.forward([_of("em-1", "state", state), _of("em-1", "event", event)], 0)
    gateway.forward([_of("em-1", "state", state | {"relay": "closed"}), _of("em-1", "ack", {"cmd": "c"})], 0)
    gateway.link_up = True
    out = gateway.forward([], 1)
    assert [(message.verb, message.body.get("relay")) for message in out] == [
        ("state", "closed"),
        ("event", None),
        ("ack", None),
    ]
    assert out[1].body["hist"] is True


def test_it_buffers_while_every_known_host_is_offline() -> None:
    gateway = _gateway()
    assert gateway.open_way
    gateway.hear_host("h-1", {"v": 1, "s": "offline"})
    assert not gateway.open_way
    gateway.hear_host("h-2", {"v": 1, "s": "online"})
    assert gateway.open_way
    gateway.hear_host("h-2", {"v": 1, "s": "offline"})
    assert not gateway.open_way
    gateway.hear_host("h-1", None)
    gateway.hear_host("h-2", None)
    assert gateway.open_way
    gateway.hear_host("h-1", {"s": "perhaps"})
    assert gateway.open_way


def test_a_full_buffer_loses_its_oldest_and_counts_it() -> None:
    gateway = _gateway(buffer_max=3)
    gateway.link_up = False
    gateway.forward([_tele("em-1", seq) for seq in range(1, 6)], 0)
    gateway.link_up = True
    assert [sample["seq"] for sample in gateway.forward([], 1)[0].body] == [3, 4, 5]
    assert gateway.lost == 2

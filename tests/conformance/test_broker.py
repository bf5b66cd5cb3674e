"""What the platform relies on a broker for, asked of the simulated broker and of Mosquitto."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.brokers import KINDS, WITHIN_S, Got, brokers


@pytest.fixture(params=KINDS, scope="module")
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    yield from brokers(request.param, tmp_path_factory.mktemp("broker"))


@pytest.fixture(params=KINDS)
def bounded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    yield from brokers(request.param, tmp_path, max_queued=5)


@pytest.fixture(params=KINDS)
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    yield from brokers(request.param, tmp_path)


@pytest.fixture
def room() -> str:
    """A beginning of topics that no other test uses."""
    return f"q/{uuid.uuid4().hex}"


def subscriber(broker: Any, pattern: str, **connect: Any) -> Any:
    client = broker.client()
    assert client.connect(**connect) is False
    client.subscribe(pattern)
    return client


def publisher(broker: Any) -> Any:
    client = broker.client()
    client.connect(clean=True)
    return client


def publish(broker: Any, topic: str, *texts: str) -> None:
    client = publisher(broker)
    for text in texts:
        client.publish(topic, text)
    client.goodbye()


def test_messages_come_in_the_order_of_publishing_over_all_topics(shared: Any, room: str) -> None:
    hears = subscriber(shared, f"{room}/#")
    client = publisher(shared)
    for number in range(6):
        client.publish(f"{room}/{number % 2}", str(number))
    assert hears.got(6) == [Got(str(number)) for number in range(6)]


@pytest.mark.parametrize("leave", ["break_off", "goodbye"])
def test_a_session_keeps_what_comes_while_its_client_is_away(shared: Any, room: str, leave: str) -> None:
    hears = subscriber(shared, f"{room}/a")
    getattr(hears, leave)()
    publish(shared, f"{room}/a", "1", "2", "3")
    assert hears.connect() is True
    assert hears.got(3) == [Got("1"), Got("2"), Got("3")]


def test_a_clean_start_forgets_the_session(shared: Any, room: str) -> None:
    hears = subscriber(shared, f"{room}/a")
    hears.goodbye()
    publish(shared, f"{room}/a", "1")
    assert hears.connect(clean=True) is False
    publish(shared, f"{room}/a", "2")
    assert hears.got() == []


def test_what_was_not_acknowledged_comes_again_first_and_marked(shared: Any, room: str) -> None:
    hears = subscriber(shared, f"{room}/a")
    publish(shared, f"{room}/a", "1", "2", "3")
    assert hears.got(3) == [Got("1"), Got("2"), Got("3")]
    hears.acknowledge()
    hears.got()
    hears.break_off()
    publish(shared, f"{room}/a", "4")
    assert hears.connect() is True
    assert hears.got(3) == [Got("2", dup=True), Got("3", dup=True), Got("4")]


def test_no_more_is_unacknowledged_than_the_client_takes(shared: Any, room: str) -> None:
    hears = subscriber(shared, f"{room}/a", receive_maximum=3)
    publish(shared, f"{room}/a", *"123456")
    assert [got.text for got in hears.got(3)] == ["1", "2", "3"]
    hears.acknowledge()
    # Mosquitto 2.0.11 sends all of the rest from here on, where its own `max_inflight_messages` is 0.
    assert [got.text for got in hears.got(1)][:1] == ["4"]


def test_a_queue_that_is_full_drops_the_newest(bounded: Any, room: str) -> None:
    hears = subscriber(bounded, f"{room}/a", receive_maximum=2)
    hears.goodbye()
    publish(bounded, f"{room}/a", *"123456789")
    hears.connect(receive_maximum=2)
    seen: list[str] = []
    while len(seen) < 5:
        got = hears.got(1)
        seen += [one.text for one in got]
        for _ in got:
            hears.acknowledge()
    assert hears.got() == []
    assert seen == ["1", "2", "3", "4", "5"]


def test_retained_messages_meet_a_new_subscription_and_no_old_one(shared: Any, room: str) -> None:
    client = publisher(shared)
    client.publish(f"{room}/a", "old", retain=True)
    client.publish(f"{room}/a", "new", retain=True)
    hears = subscriber(shared, f"{room}/+")
    assert hears.got(1) == [Got("new", retained=True)]
    hears.subscribe(f"{room}/+")
    assert hears.got() == []
    hears.subscribe(f"{room}/+", retained_always=True)
    assert hears.got(1) == [Got("new", retained=True)]
    client.publish(f"{room}/a", "newer", retain=True)
    assert hears.got(1) == [Got("newer")], "whoever listens hears it as any other message"


def test_an_empty_retained_message_takes_the_retained_one_away(shared: Any, room: str) -> None:
    client = publisher(shared)
    client.publish(f"{room}/a", "here", retain=True)
    client.publish(f"{room}/a", "", retain=True)
    assert subscriber(shared, f"{room}/a").got() == []


@pytest.mark.parametrize(("leave", "told"), [("break_off", [Got("gone")]), ("goodbye", [])])
def test_a_will_is_published_for_who_left_without_a_goodbye(
    shared: Any, room: str, leave: str, told: list[Got]
) -> None:
    hears = subscriber(shared, f"{room}/will")
    device = shared.client()
    device.connect(will=(f"{room}/will", "gone"))
    getattr(device, leave)()
    assert hears.got(len(told)) == told


@pytest.mark.parametrize("clean", [False, True])
def test_a_client_of_the_same_name_takes_the_place_of_the_first(shared: Any, room: str, clean: bool) -> None:
    name = uuid.uuid4().hex
    first, second = shared.client(name), shared.client(name)
    hears = subscriber(shared, f"{room}/will")
    first.connect(will=(f"{room}/will", "gone"))
    first.subscribe(f"{room}/a")
    publish(shared, f"{room}/a", "1")
    assert first.got(1) == [Got("1")]
    assert second.connect(clean=clean) is not clean
    assert second.got(0 if clean else 1) == ([] if clean else [Got("1", dup=True)])
    until = time.monotonic() + WITHIN_S
    while not first.closed and time.monotonic() < until:
        time.sleep(0.01)
    assert first.closed
    assert hears.got(1 if clean else 0) == ([Got("gone")] if clean else [])


@pytest.mark.parametrize(
    ("pattern", "heard"),
    [("+/tele", ["a"]), ("#", ["a", "b", "c", "d"]), ("m/#", ["b", "c"]), ("m/+/tele", ["c"]), ("m", ["d"][:0])],
)
def test_filters(shared: Any, room: str, pattern: str, heard: list[str]) -> None:
    hears = subscriber(shared, f"{room}/{pattern}")
    client = publisher(shared)
    for topic, text in (("x/tele", "a"), ("m/cmd", "b"), ("m/1/tele", "c"), ("y/z/conn", "d")):
        client.publish(f"{room}/{topic}", text)
    assert [got.text for got in hears.got(len(heard))] == heard


def test_a_message_that_has_expired_is_not_delivered(shared: Any, room: str) -> None:
    hears = subscriber(shared, f"{room}/a")
    hears.goodbye()
    client = publisher(shared)
    client.publish(f"{room}/a", "soon over", expires_s=1)
    client.publish(f"{room}/a", "lasting", expires_s=600)
    time.sleep(2.1)
    hears.connect()
    assert hears.got(1) == [Got("lasting")]


def test_a_restart_in_order_keeps_sessions_queues_and_retained_messages(own: Any, room: str) -> None:
    hears = subscriber(own, f"{room}/a")
    client = publisher(own)
    client.publish(f"{room}/kept", "retained", retain=True)
    client.publish(f"{room}/a", "1")
    assert hears.got(1) == [Got("1")]
    hears.goodbye()
    client.publish(f"{room}/a", "2")
    client.goodbye()
    own.restart()
    assert hears.connect() is True
    assert hears.got(2) == [Got("1", dup=True), Got("2")]
    assert subscriber(own, f"{room}/kept").got(1) == [Got("retained", retained=True)]

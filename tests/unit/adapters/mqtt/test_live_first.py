"""A subscriber that lets live messages pass the history of other devices: acknowledgements, failures, memory, stops."""

import asyncio

import mqtt5
import pytest

from adapters.mqtt.backoff import Backoff
from adapters.mqtt.connection import MqttConnection
from adapters.mqtt.lanes import Lanes
from adapters.mqtt.subscriber import MqttSubscriber
from tests.unit.adapters.mqtt.scripted import ScriptedBroker, until


def subscriber(broker, **options):
    options = {"answer_within_s": 30.0, "backoff": Backoff(0.01, 0.05), "live_first": True} | options
    return MqttSubscriber(broker.url, "ingest-0", ["t/#"], **options)


def packet(device, packet_id, samples=0, duplicate=False):
    """History of so many samples, or one live sample."""
    body = b'{"seq":%d}' % packet_id
    if samples:
        one = b'{"seq":%d,"hist":true,"ts":1763778000000}' % packet_id
        body = b"[" + b",".join([one] * samples) + b"]"
    return mqtt5.PublishPacket(
        f"t/{device}/tele", payload=body, qos=mqtt5.QoS(1), duplicate=duplicate, packet_id=packet_id
    )


AHEAD = 99


class Together:
    """Sends messages so that they have all arrived before the first of them is chosen: behind another one, whose
    handling takes until then. How much of a storm a socket hands over at once is the machine's affair."""

    def __init__(self):
        self.sub, self._begun, self._sent = None, asyncio.Event(), 0

    async def send(self, link, *packets):
        """What the script calls; returns when the one ahead is acknowledged."""
        self._sent = len(packets)
        self._begun.clear()
        await link.write(packet("ahead", AHEAD))
        await self._begun.wait()
        await link.write(*packets)
        assert (await link.read()).packet_id == AHEAD

    async def was_ahead(self, batch):
        """What the handler asks first; waits where it is so."""
        if [one.packet_id for one in batch] != [AHEAD]:
            return False
        self._begun.set()
        await until(lambda: self.sub.unacknowledged == 1 + self._sent)
        return True


STORM = [("a", 1, 1_600), ("b", 2, 1_600), ("a", 3, 1_600), ("live", 4), ("a", 5), ("live", 6)]


async def test_live_messages_pass_and_acknowledgements_leave_in_the_order_of_arrival():
    acked, batches, stop, together = [], [], asyncio.Event(), Together()

    async def script(link):
        await link.accept()
        await together.send(link, *(packet(*one) for one in STORM))
        while len(acked) < 6:
            acked.append((await link.read()).packet_id)
        stop.set()
        await link.until_gone()

    async def handler(batch):
        if not await together.was_ahead(batch):
            batches.append([one.packet_id for one in batch])

    async with ScriptedBroker(script) as broker:
        sub = together.sub = subscriber(broker)
        await asyncio.wait_for(sub.run(handler, stop), 60)
    assert batches == [[4, 6, 1, 2], [3], [5]]
    assert acked == [1, 2, 3, 4, 5, 6]
    assert (sub.counters.received, sub.counters.acked, sub.unacknowledged) == (7, 7, 0)


async def test_a_failure_acknowledges_nothing_that_came_after_it():
    acked, handled, stop, together = [], [], asyncio.Event(), Together()

    async def first(link):
        await link.accept()
        await together.send(link, *(packet(*one) for one in STORM))
        while True:
            acked.append((await link.read()).packet_id)

    async def second(link):
        await link.accept(session_present=True)
        await together.send(link, *(packet(*one, duplicate=True) for one in [(*one, 0)[:3] for one in STORM[2:]]))
        for expected in (3, 4, 5, 6):
            assert (await link.read()).packet_id == expected
        stop.set()
        await link.until_gone()

    async def handler(batch):
        if await together.was_ahead(batch):
            return
        handled.append([one.packet_id for one in batch])
        if len(handled) == 2:
            await until(lambda: acked == [1, 2])  # they are on their way, and the failure breaks the connection off
            raise OSError("the store is away")

    async with ScriptedBroker(first, second) as broker:
        together.sub = subscriber(broker)
        await asyncio.wait_for(together.sub.run(handler, stop), 60)
    assert acked == [1, 2]
    assert handled == [[4, 6, 1, 2], [3], [4, 6, 3], [5]]


async def test_a_stop_leaves_the_rest_of_a_backlog_to_the_broker():
    acked, stop, left, together = [], asyncio.Event(), asyncio.Event(), Together()

    async def script(link):
        await link.accept()
        await together.send(link, *(packet(*one) for one in STORM))
        while not isinstance(answer := await link.read(), mqtt5.DisconnectPacket):
            acked.append(answer.packet_id)
        left.set()

    async def handler(batch):
        if not await together.was_ahead(batch):
            stop.set()

    async with ScriptedBroker(script) as broker:
        together.sub = subscriber(broker)
        await asyncio.wait_for(together.sub.run(handler, stop), 60)
        await asyncio.wait_for(left.wait(), 60)
    assert acked == [1, 2]


async def test_a_full_memory_pauses_the_socket_until_there_is_room(monkeypatch: pytest.MonkeyPatch):
    held, seen, stop, waiting = [], [], asyncio.Event(), asyncio.Event()
    hold = MqttConnection.hold
    monkeypatch.setattr(MqttConnection, "hold", lambda connection: (held.append(1), hold(connection)))
    monkeypatch.setattr(
        "adapters.mqtt.subscriber.Lanes", lambda **options: Lanes(**options, history_share=100, most_bytes=3_000)
    )

    async def script(link):
        await link.accept()
        for number in range(1, 101):
            await link.write(packet(f"d{number % 7}", number, 60))
            if number == 50:  # enough to fill it, and as much again that comes in a pause
                await waiting.wait()
        for number in range(1, 101):
            assert (await link.read()).packet_id == number
        stop.set()
        await link.until_gone()

    async def handler(batch):
        if not seen:
            await until(lambda: sub.unacknowledged == 50)
            waiting.set()
        seen.extend(one.packet_id for one in batch)
        await asyncio.sleep(0.001)

    async with ScriptedBroker(script) as broker:
        sub = subscriber(broker, max_batch=10)
        await asyncio.wait_for(sub.run(handler, stop), 60)
    assert held
    assert sorted(seen) == list(range(1, 101))


def large_live(device, packet_id, size):
    body = b'{"seq":%d,"note":"%s"}' % (packet_id, b"x" * size)
    return mqtt5.PublishPacket(f"t/{device}/tele", payload=body, qos=mqtt5.QoS(1), packet_id=packet_id)


async def test_a_pause_ends_when_the_last_of_a_full_memory_is_handed_out(monkeypatch: pytest.MonkeyPatch):
    held, seen, stop = [], [], asyncio.Event()
    hold = MqttConnection.hold
    monkeypatch.setattr(MqttConnection, "hold", lambda connection: (held.append(1), hold(connection)))
    monkeypatch.setattr("adapters.mqtt.subscriber.Lanes", lambda **options: Lanes(**options, most_bytes=3_000))

    async def script(link):
        await link.accept()
        await link.write(packet("h", 1, 2), *(large_live(f"d{number}", number, 1_900) for number in range(2, 8)))
        for number in range(1, 8):
            assert (await link.read()).packet_id == number
        await link.write(packet("later", 8))
        assert (await link.read()).packet_id == 8
        stop.set()
        await link.until_gone()

    async def handler(batch):
        if not seen:
            await until(lambda: sub.unacknowledged == 7)
        seen.append([one.packet_id for one in batch])

    async with ScriptedBroker(script) as broker:
        sub = subscriber(broker, max_batch=2)
        await asyncio.wait_for(sub.run(handler, stop), 60)
    assert held, "the memory was never full, so this shows nothing"
    assert sorted(number for batch in seen for number in batch) == list(range(1, 9))


async def test_messages_that_wait_are_bounded_by_bytes_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("adapters.mqtt.connection.BACKLOG_BYTES", 100_000)
    most, stop = [], asyncio.Event()

    async def script(link):
        await link.accept()
        await link.write(large_live("d", 1, 10))
        for number in range(2, 302):  # 3 MB, more than the sockets between us hold
            await link.write(large_live(f"d{number % 5}", number, 10_000))
        for number in range(1, 302):
            assert (await link.read()).packet_id == number
        stop.set()
        await link.until_gone()

    async def handler(batch):
        if not most:
            await asyncio.sleep(0.3)
        most.append(sum(len(one.payload) for one in batch))

    async with ScriptedBroker(script) as broker:
        await asyncio.wait_for(subscriber(broker, receive_maximum=1_000).run(handler, stop), 60)
    assert sum(most) > 3_000_000
    assert max(most) < 100_000 + 2 * (1 << 18)

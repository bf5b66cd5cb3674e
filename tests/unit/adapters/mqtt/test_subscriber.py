import asyncio

import mqtt5
import pytest

from adapters.mqtt.backoff import Backoff
from adapters.mqtt.errors import BrokerRefusedError, SessionTakenOverError
from adapters.mqtt.subscriber import MqttSubscriber
from tests.unit.adapters.mqtt.scripted import ScriptedBroker, message, until


def subscriber(broker, **options):
    options = {"answer_within_s": 30.0, "backoff": Backoff(0.01, 0.05)} | options
    return MqttSubscriber(broker.url, "ingest-0", ["t/#"], **options)


class Collector:
    def __init__(self, enough=1):
        self.batches, self.enough, self.stop = [], enough, asyncio.Event()

    @property
    def payloads(self):
        return [delivery.payload for batch in self.batches for delivery in batch]

    async def __call__(self, batch):
        self.batches.append(batch)
        if len(self.payloads) >= self.enough:
            self.stop.set()


async def run(sub, collector, within_s=60):
    await asyncio.wait_for(sub.run(collector, collector.stop), within_s)


async def test_it_asks_for_a_persistent_session_and_bounds_what_is_in_flight():
    seen = []

    async def script(link):
        seen.extend(await link.accept())
        await link.write(message(b"a", 1))
        await link.until_gone()

    async with ScriptedBroker(script) as broker:
        sub = subscriber(broker, receive_maximum=50, session_expiry_s=3600, max_packet_bytes=5000)
        await run(sub, Collector())
    connect, subscribe = seen
    assert (connect.client_id, connect.clean_start, connect.session_expiry_interval) == ("ingest-0", False, 3600)
    assert (connect.receive_max, connect.max_packet_size) == (50, 5000)
    assert [(f.pattern, int(f.max_qos)) for f in subscribe.topic_filters] == [("t/#", 1)]


async def test_acknowledgements_leave_in_order_after_the_handler_and_the_goodbye_is_clean():
    order = []

    async def script(link):
        await link.accept()
        await link.write(message(b"a", 5), message(b"b", 3), message(b"q0", 0, qos=0), message(b"c", 9))
        order.extend([(await link.read()).packet_id for _ in range(3)])
        goodbye = await link.read()
        assert goodbye.reason_code == mqtt5.DisconnectReasonCode.NORMAL_DISCONNECTION
        order.append("goodbye")

    collector = Collector(4)

    async def handler(batch):
        order.append("handled")
        await collector(batch)

    async with ScriptedBroker(script) as broker:
        sub = subscriber(broker)
        await asyncio.wait_for(sub.run(handler, collector.stop), 60)
        await until(lambda: "goodbye" in order)
    assert order == ["handled", 5, 3, 9, "goodbye"]
    assert collector.payloads == [b"a", b"b", b"q0", b"c"]
    assert (sub.counters.received, sub.counters.acked) == (4, 3)


async def test_a_failing_handler_acknowledges_nothing_and_sees_the_messages_again():
    acked = []

    async def first(link):
        await link.accept()
        await link.write(message(b"a", 1), message(b"b", 2))
        while True:
            acked.append(await link.read())

    async def second(link):
        await link.accept(session_present=True)
        await link.write(message(b"a", 1, duplicate=True), message(b"b", 2, duplicate=True))
        await link.until_gone()

    collector = Collector(2)
    calls = []

    async def handler(batch):
        calls.append(len(batch))
        if len(calls) == 1:
            raise RuntimeError("the store is full")
        await collector(batch)

    async with ScriptedBroker(first, second) as broker:
        sub = subscriber(broker)
        await asyncio.wait_for(sub.run(handler, collector.stop), 60)
    assert acked == []
    assert [d.dup for batch in collector.batches for d in batch] == [True, True]
    assert (sub.counters.handler_failures, sub.counters.reconnects) == (1, 1)
    assert sub.counters.session_present
    assert "the store is full" in sub.counters.last_failure


async def test_the_next_batch_arrives_while_one_is_handled_and_waits_its_turn():
    begun = asyncio.Event()

    async def script(link):
        await link.accept()
        await link.write(message(b"1", 1))
        await begun.wait()
        await link.write(*(message(b"%d" % n, n) for n in range(2, 8)))
        await link.until_gone()

    collector, running, overlaps = Collector(7), [], []

    async def handler(batch):
        overlaps.append(len(running))
        running.append(batch)
        begun.set()
        if len(overlaps) == 1:
            await until(lambda: sub.unacknowledged == 7)
        await asyncio.sleep(0.02)
        running.pop()
        await collector(batch)

    async with ScriptedBroker(script) as broker:
        sub = subscriber(broker, max_batch=4)
        await asyncio.wait_for(sub.run(handler, collector.stop), 60)
    assert [len(batch) for batch in collector.batches] == [1, 4, 2]
    assert collector.payloads == [b"%d" % n for n in range(1, 8)]
    assert overlaps == [0, 0, 0]


async def test_a_session_taken_over_ends_it_without_a_fight():
    async def script(link):
        await link.accept()
        await link.write(mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER))

    async with ScriptedBroker(script) as broker:
        with pytest.raises(SessionTakenOverError, match="session taken over \\(142\\)"):
            await run(subscriber(broker), Collector())
        await asyncio.sleep(0.1)
        assert broker.connections == 1


async def test_it_does_not_connect_again_once_it_may_not():
    async def script(link):
        await link.accept()

    permits = [True, True, False]

    async def may_connect():
        return permits.pop(0)

    async with ScriptedBroker(script) as broker:
        with pytest.raises(SessionTakenOverError, match="may not connect"):
            await run(subscriber(broker, may_connect=may_connect), Collector())
        assert broker.connections == 2


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (
            mqtt5.ConnAckPacket(reason_code=mqtt5.ConnAckReasonCode.BAD_USER_NAME_OR_PASSWORD),
            "bad user name or password \\(134\\)",
        ),
        (mqtt5.ConnAckPacket(reason_code=mqtt5.ConnAckReasonCode.NOT_AUTHORIZED, reason_str="ask Bob"), "'ask Bob'"),
        (b"\x20\x02\x00\x01", "speaks only MQTT 3.1.1"),
    ],
)
async def test_a_refusal_that_will_not_change_ends_it_with_the_reason(answer, says):
    async def script(link):
        await link.read()
        await link.write(answer)
        await link.until_gone()

    async with ScriptedBroker(script) as broker:
        with pytest.raises(BrokerRefusedError, match=says):
            await run(subscriber(broker), Collector())


async def test_a_filter_that_is_not_granted_is_named():
    async def script(link):
        await link.read()
        await link.write(mqtt5.ConnAckPacket())
        await link.write(mqtt5.SubAckPacket((await link.read()).packet_id, [mqtt5.SubAckReasonCode.NOT_AUTHORIZED]))
        await link.until_gone()

    async with ScriptedBroker(script) as broker:
        with pytest.raises(BrokerRefusedError, match="did not grant QoS 1 on 't/#': not_authorized \\(135\\)"):
            await run(subscriber(broker), Collector())


async def test_a_busy_broker_is_tried_again():
    async def busy(link):
        await link.read()
        await link.write(mqtt5.ConnAckPacket(reason_code=mqtt5.ConnAckReasonCode.SERVER_BUSY))

    async def ready(link):
        await link.accept()
        await link.write(message(b"a", 1))
        await link.until_gone()

    async with ScriptedBroker(busy, busy, ready) as broker:
        sub, collector = subscriber(broker), Collector()
        await run(sub, collector)
    assert collector.payloads == [b"a"]
    assert "server busy (137)" in sub.counters.last_failure


async def test_a_silent_broker_is_given_up_and_tried_again():
    async def silent(link):
        await link.accept()
        await until(lambda: sub.counters.connected)
        sub._connection._answer_within_s = 0.2  # from here on: its handshake may take its time, as may that of the next
        await link.until_gone()

    async def alive(link):
        await link.accept()
        await link.write(message(b"a", 1))
        await link.until_gone()

    async with ScriptedBroker(silent, alive) as broker:
        sub, collector = subscriber(broker, keepalive_s=1), Collector()
        await run(sub, collector)
    assert collector.payloads == [b"a"]
    assert "is silent for" in sub.counters.last_failure


async def test_a_quiet_broker_is_asked_whether_it_lives():
    """What follows from its answers, and from none, is told by test_liveness, where nobody is short of time."""
    pings = []

    async def script(link):
        await link.accept()
        while len(pings) < 2:
            pings.append(type(await link.read()).__name__)
            await link.write(mqtt5.PingRespPacket())
        await link.write(message(b"a", 1))
        await link.until_gone()

    async with ScriptedBroker(script) as broker:
        sub, collector = subscriber(broker, keepalive_s=1), Collector()
        await run(sub, collector)
        assert broker.connections == 1
    assert pings == ["PingReqPacket"] * 2


async def test_poison_is_acknowledged_in_its_turn_and_the_next_message_goes_on():
    acked = []
    broken = bytearray(message(b"poison", 2).write())
    broken[broken.index(b"t/x")] = 0xFF

    async def script(link):
        await link.accept()
        await link.write(message(b"a", 1), bytes(broken), message(b"x" * 5000, 3), message(b"b", 4))
        acked.extend([(await link.read()).packet_id for _ in range(4)])
        await link.until_gone()

    async with ScriptedBroker(script) as broker:
        sub, collector = subscriber(broker, max_packet_bytes=1000), Collector(4)
        await run(sub, collector)
        await until(lambda: len(acked) == 4)
        assert broker.connections == 1
    assert collector.payloads == [b"a", b"", b"", b"b"]
    faults = [delivery.fault or "" for batch in collector.batches for delivery in batch]
    assert [fault[:6] for fault in faults] == ["", "broken", "packet", ""]
    assert acked == [1, 2, 3, 4]
    assert sub.counters.faults == 2


async def test_a_flood_of_qos_0_stops_the_reading_instead_of_filling_memory():
    progress = []

    async def script(link):
        await link.accept()
        for number in range(400):
            await link.write(*[message(b"x" * 1000, 0, qos=0)] * 100)
            progress.append(number)
        await link.until_gone()

    gate, most = asyncio.Event(), []
    collector = Collector(40_000)

    async with ScriptedBroker(script) as broker:
        sub = subscriber(broker, receive_maximum=100)

        async def handler(batch):
            await gate.wait()
            most.append(sub.unacknowledged)
            await collector(batch)

        task = asyncio.create_task(sub.run(handler, collector.stop))
        stuck_at = 0
        while not stuck_at or stuck_at < len(progress):
            stuck_at = len(progress)
            await asyncio.sleep(0.3)
        gate.set()
        await asyncio.wait_for(task, 60)
        assert broker.connections == 1
    assert stuck_at < 400
    assert max(most) < 5000
    assert len(collector.payloads) == 40_000


async def test_stop_before_any_connection_returns_at_once():
    stop = asyncio.Event()
    sub = MqttSubscriber("mqtt://127.0.0.1:1", "c", ["t"], backoff=Backoff(600, 600))
    task = asyncio.create_task(sub.run(Collector(), stop))
    await until(lambda: sub.counters.last_failure)
    stop.set()
    await asyncio.wait_for(task, 60)
    assert "cannot reach mqtt://127.0.0.1:1" in sub.counters.last_failure


async def test_a_broker_that_falls_over_at_once_is_tried_ever_more_slowly():
    async def script(link):
        await link.accept()

    waits = []

    class Recording(Backoff):
        def next_s(self):
            waits.append(super().next_s())
            return waits[-1]

    async with ScriptedBroker(script) as broker:
        sub, stop = subscriber(broker, backoff=Recording(0.01, 5, jitter=lambda: 1.0)), asyncio.Event()
        began = asyncio.get_running_loop().time()
        task = asyncio.create_task(sub.run(Collector(), stop))
        await until(lambda: broker.connections >= 6)
        assert asyncio.get_running_loop().time() - began >= 0.31, "each wait is waited out"
        stop.set()
        await asyncio.wait_for(task, 60)
        assert broker.connections <= len(waits) + 1, "and comes before each connection but the first"
    assert waits[:5] == [0.01, 0.02, 0.04, 0.08, 0.16]


@pytest.mark.parametrize(("replay", "expected"), [(False, [1, 1]), (True, [0, 1])])
async def test_retained_messages_are_asked_for_again_only_when_wanted_and_only_once(replay, expected):
    asked, stop = [], asyncio.Event()

    async def script(link):
        _, subscribe = await link.accept(session_present=True)
        asked.append(int(subscribe.topic_filters[0].retain_handling))
        if len(asked) == 2:
            stop.set()

    async with ScriptedBroker(script) as broker:
        await asyncio.wait_for(subscriber(broker, replay_retained=replay).run(Collector(), stop), 60)
    assert asked[:2] == expected


@pytest.mark.parametrize("options", [{"receive_maximum": 0}, {"receive_maximum": 65_536}])
def test_a_senseless_receive_maximum_is_refused(options):
    with pytest.raises(ValueError, match="1 to 65535"):
        MqttSubscriber("mqtt://h", "c", ["t"], **options)


def test_no_filters_is_refused():
    with pytest.raises(ValueError, match="at least one topic filter"):
        MqttSubscriber("mqtt://h", "c", [])

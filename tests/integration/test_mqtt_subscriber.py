"""The subscriber on real brokers: nothing is lost by a kill of either side, and nothing is acknowledged too early."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time

import mqtt5
import pytest

from adapters.mqtt.backoff import Backoff
from adapters.mqtt.errors import BrokerRefusedError, SessionTakenOverError
from adapters.mqtt.publisher import MqttPublisher
from adapters.mqtt.subscriber import MqttSubscriber
from tests.integration.servers import broker_at, freeze, fresh_name, kill9, saved, thaw


def subscriber(url, client_id, pattern, **options):
    options = {"answer_within_s": 30.0, "backoff": Backoff(0.05, 0.3)} | options
    return MqttSubscriber(url, client_id, [pattern], **options)


class Running:
    """A subscriber at work, with what its handler has seen."""

    def __init__(self, sub, handler=None):
        self.sub, self.seen, self.batches, self.stop = sub, [], [], asyncio.Event()
        self._handler = handler

    async def __aenter__(self):
        self.task = asyncio.create_task(self.sub.run(self._handle, self.stop))
        await until(lambda: self.sub.counters.connected or self.task.done())
        return self

    async def __aexit__(self, *_):
        self.stop.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait_for(self.task, 60)

    async def _handle(self, batch):
        if self._handler is not None:
            await self._handler(batch)
        self.batches.append(len(batch))
        self.seen.extend(delivery.payload for delivery in batch)


async def until(holds, within_s=60.0):
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"did not happen within {within_s} s"
        await asyncio.sleep(0.01)


async def publish(url, topic, payloads):
    async with MqttPublisher(url, fresh_name("pub"), within_s=120) as publisher:
        await asyncio.gather(*(publisher.publish(topic, payload) for payload in payloads))


def numbers(first, last):
    return [b"%d" % number for number in range(first, last)]


CLIENT = """
import asyncio, sys
from adapters.mqtt.subscriber import MqttSubscriber

handled, most = 0, int(sys.argv[4])

async def handler(batch):
    global handled
    for delivery in batch:
        print(">" + delivery.payload.decode(), flush=True)
    handled += len(batch)
    await asyncio.sleep(0.01 if handled < most else 3600)

asyncio.run(MqttSubscriber(sys.argv[1], sys.argv[2], [sys.argv[3]], max_batch=40).run(handler, asyncio.Event()))
"""


def client_process(url, client_id, pattern, most):
    """A client that acknowledges batch by batch, and nothing more once it was given so many messages."""
    command = [sys.executable, "-c", CLIENT, url, client_id, pattern, str(most)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": os.getcwd()})


async def test_a_client_killed_before_it_acknowledged_gets_everything_again(broker):
    name, client_id = fresh_name(), fresh_name("ingest")
    topic = f"{name}/d/tele"
    process = client_process(broker.url, client_id, f"{name}/+/tele", 0)
    try:
        assert "mqtt.connected" in await asyncio.to_thread(process.stdout.readline)
        await publish(broker.url, topic, numbers(0, 300))
        assert await asyncio.to_thread(process.stdout.readline) == ">0\n"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    await publish(broker.url, topic, numbers(300, 400))
    async with Running(subscriber(broker.url, client_id, f"{name}/+/tele")) as again:
        await until(lambda: len(again.seen) >= 400)
        await asyncio.sleep(0.2)
    assert again.sub.counters.session_present
    assert again.seen[0] == b"0"
    assert len(again.seen) == 400
    assert set(again.seen) == set(numbers(0, 400))


async def test_a_client_killed_again_and_again_loses_nothing(broker):
    name, client_id = fresh_name(), fresh_name("ingest")
    topic, pattern = f"{name}/d/tele", f"{name}/+/tele"
    async with Running(subscriber(broker.url, client_id, pattern)):
        pass
    await publish(broker.url, topic, numbers(0, 2000))
    seen, handled = set(), []
    for _ in range(3):
        # Were we not scheduled for a while, it would be through with everything: it stops short of that by itself.
        process = client_process(broker.url, client_id, pattern, 500)
        assert "mqtt.connected" in await asyncio.to_thread(process.stdout.readline)
        lines = [await asyncio.to_thread(process.stdout.readline) for _ in range(200)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
        process.wait()
        told = [line[1:].strip().encode() for line in lines if line.startswith(">")]
        handled.append(len(told))
        seen.update(told)
    async with Running(subscriber(broker.url, client_id, pattern)) as last:
        await publish(broker.url, topic, [b"end"])
        await until(lambda: b"end" in last.seen)
    assert all(0 < count < 2000 for count in handled)
    assert set(numbers(0, 2000)) <= seen | set(last.seen)


async def test_acknowledged_messages_do_not_come_again(broker):
    name, client_id = fresh_name(), fresh_name("ingest")
    sub = subscriber(broker.url, client_id, f"{name}/#")
    async with Running(sub) as first:
        await publish(broker.url, f"{name}/x", numbers(0, 500))
        await until(lambda: len(first.seen) == 500)
    assert sub.counters.acked == 500
    async with Running(subscriber(broker.url, client_id, f"{name}/#")) as second:
        await publish(broker.url, f"{name}/x", [b"new"])
        await until(lambda: second.seen)
        await asyncio.sleep(0.2)
    assert second.seen == [b"new"]


async def test_a_failing_handler_gets_its_messages_again_in_order(broker):
    name = fresh_name()
    failures = [3]

    async def handler(batch):
        if failures[0]:
            failures[0] -= 1
            raise OSError("the store is away")

    sub = subscriber(broker.url, fresh_name("ingest"), f"{name}/#")
    async with Running(sub, handler) as running:
        await publish(broker.url, f"{name}/x", numbers(0, 50))
        await until(lambda: len(running.seen) >= 50)
    assert running.seen == numbers(0, 50)
    assert sub.counters.handler_failures == 3


async def test_the_receive_maximum_bounds_what_is_in_flight(mosquitto):
    name = fresh_name()
    gate = asyncio.Event()

    async def handler(batch):
        await gate.wait()

    sub = subscriber(mosquitto.url, fresh_name("ingest"), f"{name}/#", receive_maximum=30, max_batch=10)
    async with Running(sub, handler) as running:
        await publish(mosquitto.url, f"{name}/x", numbers(0, 500))
        await until(lambda: sub.unacknowledged >= 30)
        await asyncio.sleep(0.3)
        assert sub.unacknowledged == 30
        gate.set()
        await until(lambda: len(running.seen) == 500)
    assert running.seen == numbers(0, 500)
    assert max(running.batches) == 10


async def test_another_client_with_our_id_takes_the_session_and_the_lease_ends_the_fight(broker):
    name, client_id = fresh_name(), fresh_name("ingest")
    owner = ["first"]

    def permit(who):
        async def may_connect():
            return owner[0] == who

        return may_connect

    first = Running(subscriber(broker.url, client_id, f"{name}/#", may_connect=permit("first")))
    async with contextlib.AsyncExitStack() as stack:
        await first.__aenter__()
        owner[0] = "second"
        second = await stack.enter_async_context(
            Running(subscriber(broker.url, client_id, f"{name}/#", may_connect=permit("second")))
        )
        with pytest.raises(SessionTakenOverError):
            await asyncio.wait_for(first.task, 60)
        await publish(broker.url, f"{name}/x", numbers(0, 20))
        await until(lambda: len(second.seen) == 20)
        assert second.sub.counters.reconnects == 0
    assert first.seen == []


async def test_a_broker_killed_with_queued_messages_for_an_absent_client_delivers_all_of_them(tmp_path):
    client_id = fresh_name("ingest")
    server = broker_at(tmp_path)
    try:
        async with Running(subscriber(server.url, client_id, "q/#")):
            pass
        await publish(server.url, "q/x", numbers(0, 5000))
        await saved(server)
        kill9(server)
        server = broker_at(tmp_path, port=server.port)
        async with Running(subscriber(server.url, client_id, "q/#")) as running:
            await until(lambda: len(running.seen) >= 5000)
        assert running.sub.counters.session_present
        assert running.seen == numbers(0, 5000)
    finally:
        server.stop()


async def test_a_connected_subscriber_survives_the_kill_and_the_restart_of_its_broker(tmp_path):
    server = broker_at(tmp_path)
    try:
        async with Running(subscriber(server.url, fresh_name("ingest"), "q/#")) as running:
            await publish(server.url, "q/x", numbers(0, 10))
            await until(lambda: len(running.seen) == 10)
            kill9(server)
            await until(lambda: not running.sub.counters.connected)
            server = broker_at(tmp_path, port=server.port)
            await until(lambda: running.sub.counters.connected)
            await publish(server.url, "q/x", numbers(10, 20))
            await until(lambda: len(running.seen) >= 20)
        assert set(running.seen) == set(numbers(0, 20))
        assert running.sub.counters.reconnects == 1
    finally:
        server.stop()


async def test_a_frozen_broker_is_noticed_by_its_silence_and_found_again(tmp_path):
    server = broker_at(tmp_path)
    try:
        sub = subscriber(server.url, fresh_name("ingest"), "q/#", keepalive_s=2, answer_within_s=1.0)
        async with Running(sub) as running:
            freeze(server)
            await until(lambda: not sub.counters.connected)
            await until(lambda: "silent" in sub.counters.last_failure)
            thaw(server)
            await until(lambda: sub.counters.connected)
            await publish(server.url, "q/x", [b"alive"])
            await until(lambda: running.seen)
        assert running.seen == [b"alive"]
    finally:
        thaw(server)
        server.stop()


async def test_the_fallback_broker_forgets_its_sessions_when_it_dies(tmp_path):
    """What the docstring of the embedded broker says about rumqttd: it must not be mistaken for a durable one."""
    server = broker_at(tmp_path, "iotcore")
    try:
        client_id = fresh_name("ingest")
        async with Running(subscriber(server.url, client_id, "q/#")):
            pass
        await publish(server.url, "q/x", numbers(0, 10))
        kill9(server)
        server = broker_at(tmp_path, "iotcore", port=server.port)
        async with Running(subscriber(server.url, client_id, "q/#")) as running:
            await asyncio.sleep(0.5)
        assert not running.sub.counters.session_present
        assert running.seen == []
    finally:
        server.stop()


async def test_retained_messages_come_with_a_new_session_and_on_request(broker):
    name, client_id = fresh_name(), fresh_name("ingest")
    async with MqttPublisher(broker.url, fresh_name("pub")) as publisher:
        await publisher.publish(f"{name}/d/state", b"closed", retain=True)
    async with Running(subscriber(broker.url, client_id, f"{name}/+/state")) as fresh:
        await until(lambda: fresh.seen == [b"closed"])
    async with Running(subscriber(broker.url, client_id, f"{name}/+/state")) as resumed:
        await asyncio.sleep(0.3)
    assert resumed.seen == []
    replaying = subscriber(broker.url, client_id, f"{name}/+/state", replay_retained=True)
    async with Running(replaying) as replayed:
        if broker.program == "iotcore":
            # rumqttd does not send them again to a subscription it knows; its docstring says so.
            await asyncio.sleep(0.3)
            assert replayed.seen == []
        else:
            await until(lambda: replayed.seen == [b"closed"])


async def test_poison_topics_and_sizes_do_not_stop_the_devices_behind_them(broker):
    name = fresh_name()
    sub = subscriber(broker.url, fresh_name("ingest"), f"{name}/#", max_packet_bytes=2000)
    async with Running(sub) as running:
        for topic in (b"\x00", b"+", b"\xff\xfe", b"a" * 3000):
            await raw_publish(broker.port, name.encode() + b"/" + topic, b"poison")
        await raw_publish(broker.port, f"{name}/big".encode(), b"x" * 9000)
        await publish(broker.url, f"{name}/d/tele", [b"good"])
        await until(lambda: b"good" in running.seen)
        assert sub.counters.reconnects == 0
        assert sub.unacknowledged == 0 or await settled(sub)


async def settled(sub):
    await until(lambda: sub.unacknowledged == 0)
    return True


async def raw_publish(port, topic, payload):
    """Publish bytes no well-behaved client would send as a topic."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(mqtt5.ConnectPacket(fresh_name("raw"), clean_start=True, keep_alive=10).write())
    await reader.readexactly(4)
    stand_in = "T" * len(topic)
    packet = mqtt5.PublishPacket(stand_in, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=1).write()
    writer.write(packet.replace(stand_in.encode(), topic))
    with contextlib.suppress(ConnectionError, TimeoutError):  # some of these get no answer at all
        await asyncio.wait_for(reader.read(100), 0.3)
    writer.close()


async def test_a_broker_without_mqtt_5_does_not_leave_us_hanging(tmp_path):
    server = broker_at(tmp_path, "iotcore")
    try:
        sub = subscriber(server.other_urls["mqtt3.1.1"], "c", "t/#")
        stop = asyncio.Event()
        task = asyncio.create_task(sub.run(lambda batch: asyncio.sleep(0), stop))
        await until(lambda: sub.counters.last_failure)
        stop.set()
        await asyncio.wait_for(task, 60)
        assert "closed the connection" in sub.counters.last_failure
    finally:
        server.stop()


async def test_a_stop_waits_for_the_batch_in_hand_and_acknowledges_it(broker):
    name, client_id = fresh_name(), fresh_name("ingest")

    async def slow(batch):
        await running.stop.wait()
        await asyncio.sleep(0.3)

    sub = subscriber(broker.url, client_id, f"{name}/#")
    async with Running(sub, slow) as running:
        await publish(broker.url, f"{name}/x", [b"a"])
        await until(lambda: sub.counters.in_flight == 1)
    assert running.seen == [b"a"]
    async with Running(subscriber(broker.url, client_id, f"{name}/#")) as again:
        await asyncio.sleep(0.3)
    assert again.seen == []


@pytest.mark.parametrize("user", ["mqtt://twinmeter:wrong@", "mqtt://"])
async def test_wrong_credentials_end_it_with_a_clear_error(user, production_broker):
    sub = subscriber(f"{user}127.0.0.1:{production_broker.port}", "c", "t/#")
    with pytest.raises(BrokerRefusedError, match=r"not authorized \(135\)|bad user name or password"):
        await asyncio.wait_for(sub.run(lambda batch: asyncio.sleep(0), asyncio.Event()), 60)


@pytest.fixture(scope="module")
def production_broker(tmp_path_factory):
    from tests.integration.servers import production_mosquitto

    with production_mosquitto(tmp_path_factory.mktemp("production"), {"twinmeter": "right"}) as server:
        yield server


async def test_a_storm_of_history_interrupted_again_and_again_loses_nothing_and_keeps_each_devices_order(broker):
    name, client_id, url = fresh_name(), fresh_name("ingest"), broker.url
    sample = b'{"seq":%d,"hist":true,"ts":1763778000000}'
    seen, failures = {}, [6]

    async def handler(batch):
        await asyncio.sleep(0.002)
        if failures[0] and len(seen) % 3 == 0:
            failures[0] -= 1
            raise OSError("the store is away")
        for one in batch:
            numbers_of = seen.setdefault(one.topic, [])
            number = int(one.payload.partition(b'"seq":')[2].partition(b",")[0])
            if number not in numbers_of:
                numbers_of.append(number)

    options = {"receive_maximum": 300, "max_batch": 50, "live_first": True}
    async with Running(subscriber(url, client_id, f"{name}/#", **options), handler) as running:
        async with MqttPublisher(url, fresh_name("pub"), within_s=60) as publisher:
            for number in range(40):
                array = b"[" + b",".join([sample % number] * 60) + b"]"
                storm = [publisher.publish(f"{name}/d{device}/tele", array) for device in range(7)]
                live = [publisher.publish(f"{name}/l{device}/tele", b'{"seq":%d,"ts":1}' % number) for device in "xyz"]
                await asyncio.gather(*storm, *live)
        await until(lambda: sum(map(len, seen.values())) == 400)
        await until(lambda: not running.sub.unacknowledged)
    assert failures == [0]
    assert all(told == sorted(told) for told in seen.values())

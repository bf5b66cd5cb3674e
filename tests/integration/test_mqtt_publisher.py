"""The publisher on real brokers: resolved means confirmed, and the host status is never a lie for long."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time

import orjson
import pytest

from adapters.mqtt.backoff import Backoff
from adapters.mqtt.errors import BrokerRefusedError, PublishFailedError
from adapters.mqtt.publisher import MqttPublisher
from adapters.mqtt.subscriber import MqttSubscriber
from schemas.topics import host_status_topic
from tests.integration.servers import broker_at, freeze, fresh_name, kill9, production_mosquitto, saved, thaw


def publisher(url, **options):
    options = {"backoff": Backoff(0.05, 0.3), "within_s": 60} | options
    return MqttPublisher(url, fresh_name("pub"), **options)


@contextlib.asynccontextmanager
async def listening(url, pattern, seen):
    stop, sub = asyncio.Event(), MqttSubscriber(url, fresh_name("sub"), [pattern], backoff=Backoff(0.05, 0.3))

    async def handler(batch):
        seen.extend(batch)

    task = asyncio.create_task(sub.run(handler, stop))
    await until(lambda: sub.counters.connected or task.done())
    try:
        yield sub
    finally:
        stop.set()
        await asyncio.wait_for(task, 60)


def start(command):
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": os.getcwd()}, stdout=subprocess.DEVNULL)


async def until(holds, within_s=60.0):
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"did not happen within {within_s} s"
        await asyncio.sleep(0.01)


async def test_many_at_once_arrive_in_the_order_they_were_asked_for(broker):
    topic, seen = f"{fresh_name()}/cmd", []
    async with listening(broker.url, topic, seen), publisher(broker.url) as out:
        await asyncio.gather(*(out.publish(topic, b"%d" % n, expiry_s=60) for n in range(500)))
        await until(lambda: len(seen) >= 500)
    assert [delivery.payload for delivery in seen] == [b"%d" % n for n in range(500)]
    assert not any(delivery.retain for delivery in seen)


async def test_a_retained_message_is_kept_and_a_command_is_not(broker):
    name, seen = fresh_name(), []
    async with publisher(broker.url) as out:
        await out.publish(f"{name}/cfg", b"version 3", retain=True)
        await out.publish(f"{name}/cmd", b"open")
    async with listening(broker.url, f"{name}/+", seen):
        await until(lambda: seen)
        await asyncio.sleep(0.2)
    assert [(delivery.topic, delivery.payload) for delivery in seen] == [(f"{name}/cfg", b"version 3")]


async def test_an_expired_command_does_not_reach_a_device_that_comes_back_late(broker):
    name, device = fresh_name(), fresh_name("dev")

    async def visit(wanted):
        seen, stop, sub = [], asyncio.Event(), MqttSubscriber(broker.url, device, [f"{name}/cmd"])

        async def handler(batch):
            seen.extend(delivery.payload for delivery in batch)

        task = asyncio.create_task(sub.run(handler, stop))
        await until(lambda: sub.counters.connected and len(seen) >= wanted)
        await asyncio.sleep(0.3)
        stop.set()
        await task
        return seen

    assert await visit(wanted=0) == []
    async with publisher(broker.url) as out:
        await out.publish(f"{name}/cmd", b"stale", expiry_s=1)
        await out.publish(f"{name}/cmd", b"fresh", expiry_s=600)
    await asyncio.sleep(2.2)
    assert await visit(wanted=1) == [b"fresh"]


async def test_the_host_is_online_while_we_are_and_offline_after_a_goodbye(broker):
    host, seen = fresh_name("host"), []
    async with listening(broker.url, host_status_topic(host), seen):
        async with publisher(broker.url, host=host, sid="s-1") as out:
            await until(lambda: out.connected)
            await until(lambda: seen)
        await until(lambda: len(seen) == 2)
    assert [orjson.loads(delivery.payload) for delivery in seen] == [
        {"v": 1, "s": "online", "sid": "s-1"},
        {"v": 1, "s": "offline", "sid": "s-1"},
    ]


async def test_the_will_says_offline_when_the_process_is_killed(broker):
    host, seen = fresh_name("host"), []
    program = (
        "import asyncio, sys\n"
        "from adapters.mqtt.publisher import MqttPublisher\n"
        "async def main():\n"
        "    async with MqttPublisher(sys.argv[1], sys.argv[2], host=sys.argv[2]):\n"
        "        await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    async with listening(broker.url, host_status_topic(host), seen):
        command = [sys.executable, "-c", program, broker.url, host]
        process = start(command)
        try:
            await until(lambda: seen)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        await until(lambda: len(seen) == 2)
    assert [orjson.loads(delivery.payload)["s"] for delivery in seen] == ["online", "offline"]


async def test_messages_survive_the_restart_of_the_broker_under_them(tmp_path):
    server, seen = broker_at(tmp_path), []
    try:
        async with listening(server.url, "q/#", seen), publisher(server.url) as out:
            await out.publish("q/x", b"before")
            await saved(server)  # only then does the listener's session outlive the kill
            kill9(server)
            waiting = [asyncio.create_task(out.publish("q/x", b"%d" % n)) for n in range(20)]
            await asyncio.sleep(0.3)
            assert not any(task.done() for task in waiting)
            server = broker_at(tmp_path, port=server.port)
            await asyncio.gather(*waiting)
            assert out.reconnects == 1
            await until(lambda: {delivery.payload for delivery in seen} >= {b"%d" % n for n in range(20)})
    finally:
        server.stop()


async def test_a_publish_without_a_broker_ends_in_time_and_says_why():
    async with publisher("mqtt://127.0.0.1:1", within_s=0.5) as out:
        await until(lambda: out.last_failure)
        with pytest.raises(
            PublishFailedError, match=r"t/x was not confirmed within 0\.5 s: .* is not reached \(.*refused"
        ):
            await out.publish("t/x", b"")


async def test_a_publish_to_a_silent_broker_ends_in_time(tmp_path):
    server = broker_at(tmp_path)
    try:
        async with publisher(server.url, within_s=1.0, keepalive_s=600) as out:
            await until(lambda: out.connected)
            freeze(server)
            began = time.monotonic()
            with pytest.raises(PublishFailedError, match="connected but did not confirm it"):
                await out.publish("t/x", b"")
            assert time.monotonic() - began < 60, "by its own time, long before the keep-alive"
            thaw(server)
            await confirmed(out)
    finally:
        thaw(server)
        server.stop()


async def confirmed(out):
    """Publish until it is confirmed: with a second for each attempt, one may fail where nobody is scheduled."""
    for _ in range(30):
        with contextlib.suppress(PublishFailedError):
            return await out.publish("t/x", b"")
    pytest.fail("the broker answers again, and nothing is confirmed")


async def test_a_topic_with_a_wildcard_is_refused_at_once(mosquitto):
    async with publisher(mosquitto.url) as out:
        with pytest.raises(ValueError, match="wildcard"):
            await out.publish("t/+/cmd", b"")


async def test_a_topic_the_broker_denies_is_an_error_and_not_a_success(tmp_path):
    with production_mosquitto(tmp_path, {"em-001": "secret"}) as server:
        url = f"mqtt://em-001:secret@127.0.0.1:{server.port}"
        async with publisher(url) as out:
            await out.publish("twinmeter/v1/park-1/em-001/tele", b"{}")
            with pytest.raises(PublishFailedError, match=r"refused the message: Not authorized \(135\)"):
                await out.publish("twinmeter/v1/park-1/em-002/tele", b"{}")


async def test_wrong_credentials_are_an_error_at_once(tmp_path):
    with production_mosquitto(tmp_path, {"twinmeter": "right"}) as server:
        async with publisher(f"mqtt://twinmeter:wr0ng@127.0.0.1:{server.port}") as out:
            began = time.monotonic()
            with pytest.raises(BrokerRefusedError, match=r"[Nn]ot authorized") as caught:
                await out.publish("t/x", b"")
            assert time.monotonic() - began < 30, "it does not wait out its minute"
            assert "wr0ng" not in str(caught.value)

"""The files of deploy/mosquitto on a real Mosquitto: every device confined to itself, TLS, nobody without a name."""

import asyncio
import contextlib
import subprocess

import mqtt5
import pytest

from adapters.embedded.processes import DEPLOY
from adapters.mqtt.errors import BrokerRefusedError
from adapters.mqtt.subscriber import MqttSubscriber
from tests.integration.servers import free_port, production_mosquitto

QOS1 = mqtt5.QoS.AT_LEAST_ONCE
PUBACK, SUBACK = mqtt5.PubAckReasonCode, mqtt5.SubAckReasonCode
ALLOWED = (PUBACK.SUCCESS, PUBACK.NO_MATCHING_SUBSCRIBERS)
PASSWORDS = {"twinmeter": "tm", "em-001": "one", "em-002": "two", "gw-01": "gw"}


@pytest.fixture(scope="module")
def production(tmp_path_factory):
    with production_mosquitto(tmp_path_factory.mktemp("production"), PASSWORDS) as server:
        yield server


class Device:
    """A raw MQTT 5 client of one user."""

    def __init__(self, port, user):
        self._port, self._user = port, user

    async def __aenter__(self):
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._rest = b""
        password = PASSWORDS[self._user].encode()
        hello = mqtt5.ConnectPacket(
            f"c-{self._user}", username=self._user, password=password, clean_start=True, keep_alive=30
        )
        self._writer.write(hello.write())
        assert (await self.read()).reason_code == mqtt5.ConnAckReasonCode.SUCCESS
        return self

    async def __aexit__(self, *_):
        self._writer.close()

    async def read(self):
        while True:
            try:
                packet, used = mqtt5.read(memoryview(self._rest))
                self._rest = self._rest[used:]
                return packet
            except IndexError:
                chunk = await asyncio.wait_for(self._reader.read(4096), 60)
                assert chunk, "the broker closed the connection"
                self._rest += chunk

    async def publish(self, topic, payload=b"{}"):
        self._writer.write(mqtt5.PublishPacket(topic, payload, qos=QOS1, packet_id=1).write())
        while not isinstance(packet := await self.read(), mqtt5.PubAckPacket):
            pass
        return packet.reason_code

    async def subscribe(self, pattern):
        self._writer.write(mqtt5.SubscribePacket(1, [mqtt5.TopicFilter(pattern, max_qos=QOS1)]).write())
        return (await self.read()).reason_codes[0]

    async def hears(self, count=0):
        """So many topics, and what else comes until it is quiet."""
        topics = set()
        while len(topics) < count:
            topics.add((await self.read()).topic)
        with contextlib.suppress(TimeoutError):
            while True:
                topics.add((await asyncio.wait_for(self.read(), 0.3)).topic)
        return topics


@pytest.mark.parametrize("verb", ["birth", "conn", "tele", "event", "state", "ack"])
async def test_a_device_may_write_what_goes_up_under_its_own_id(production, verb):
    async with Device(production.port, "em-001") as device:
        assert await device.publish(f"twinmeter/v1/park-1/em-001/{verb}") in ALLOWED
        assert await device.publish(f"twinmeter/v1/park-1/em-002/{verb}") == PUBACK.NOT_AUTHORIZED


@pytest.mark.parametrize(
    "topic",
    [
        "twinmeter/v1/park-1/em-001/cmd",
        "twinmeter/v1/park-1/em-001/cfg",
        "twinmeter/v1/$host/em-001/status",
        "twinmeter/v1/park-1/em-001/other",
        "elsewhere",
    ],
)
async def test_a_device_may_not_command_itself_nor_pose_as_the_host(production, topic):
    async with Device(production.port, "em-001") as device:
        assert await device.publish(topic) == PUBACK.NOT_AUTHORIZED


async def test_a_device_hears_its_own_commands_and_the_host_and_nothing_else(production):
    async with Device(production.port, "em-001") as device, Device(production.port, "twinmeter") as platform:
        for pattern in ("twinmeter/v1/+/em-001/cmd", "twinmeter/v1/#", "#"):
            await device.subscribe(pattern)
        for topic in (
            "twinmeter/v1/park-1/em-002/cmd",
            "twinmeter/v1/park-1/em-002/tele",
            "twinmeter/v1/park-1/em-002/cfg",
        ):
            assert await platform.publish(topic) in ALLOWED
        assert await device.hears() == set()
        own = {"twinmeter/v1/park-1/em-001/cmd", "twinmeter/v1/park-1/em-001/cfg", "twinmeter/v1/$host/h/status"}
        for topic in own:
            await platform.publish(topic)
        assert await device.hears(len(own)) == own


async def test_the_gateway_lines_of_the_acl_work_as_documented(tmp_path):
    acl = (DEPLOY / "mosquitto" / "acl").read_text()
    documented = [line.removeprefix("#").strip() for line in acl.partition("#   user gw-01")[2].splitlines()]
    gateway = "\n".join(["user gw-01", *[line for line in documented if line.startswith("topic ")]])
    assert gateway.count("topic ") == 8
    (tmp_path / "acl").write_text(acl + "\n" + gateway + "\n")
    with production_mosquitto(tmp_path, PASSWORDS, acl=tmp_path / "acl") as server:
        async with Device(server.port, "gw-01") as device:
            assert await device.publish("twinmeter/v1/park-1/em-001/tele") in ALLOWED
            assert await device.publish("twinmeter/v1/park-1/gw-01/conn") in ALLOWED
        for denied in ("park-1/em-001/cmd", "park-1/em-002/tele", "park-2/em-001/tele"):
            # Mosquitto 2.0.11 drops an MQTT 5 client after it has answered a denied message.
            async with Device(server.port, "gw-01") as device:
                assert await device.publish(f"twinmeter/v1/{denied}") == PUBACK.NOT_AUTHORIZED


async def test_nobody_gets_in_without_a_name(production):
    sub = MqttSubscriber(f"mqtt://127.0.0.1:{production.port}", "anonymous", ["#"])
    with pytest.raises(BrokerRefusedError, match="not authorized"):
        await asyncio.wait_for(sub.run(lambda batch: asyncio.sleep(0), asyncio.Event()), 60)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certs")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    openssl(
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
        "-days",
        "2",
        "-subj",
        "/CN=test CA",
    )
    openssl(
        "req", "-newkey", "rsa:2048", "-nodes", "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost"
    )
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    signing = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names"]
    openssl("x509", "-req", "-in", "server.csr", "-out", "server.pem", *signing)
    return folder


async def test_tls_by_the_example_file_and_only_with_the_right_authority(tmp_path, certificates):
    port = free_port()
    tls = (DEPLOY / "mosquitto" / "tls.conf.example").read_text()
    tls = tls.replace("listener 8883", f"listener {port} 127.0.0.1").replace("/mosquitto/certs/", f"{certificates}/")
    with production_mosquitto(tmp_path, PASSWORDS, extra=tls):
        stop = asyncio.Event()
        trusted = MqttSubscriber(f"mqtts://twinmeter:tm@127.0.0.1:{port}?ca={certificates}/ca.pem", "tls", ["t/#"])
        task = asyncio.create_task(trusted.run(lambda batch: asyncio.sleep(0), stop))
        async with asyncio.timeout(60):
            while not (trusted.counters.connected or task.done()):  # noqa: ASYNC110 - seen from outside only
                await asyncio.sleep(0.01)
        stop.set()
        await asyncio.wait_for(task, 60)
        assert trusted.counters.connects == 1
        stranger = MqttSubscriber(f"mqtts://twinmeter:tm@127.0.0.1:{port}", "tls", ["t/#"])
        with pytest.raises(BrokerRefusedError, match=r"is not trusted: .*; name its CA by \?ca=FILE"):
            await asyncio.wait_for(stranger.run(lambda batch: asyncio.sleep(0), asyncio.Event()), 60)

"""When a connection takes its broker for gone, told by a clock that only the test moves."""

import asyncio

import mqtt5
import pytest

from adapters.mqtt.connection import MqttConnection
from tests.unit.adapters.mqtt.scripted import message

KEEPALIVE_S, ANSWER_S = 20, 10.0


class HandLoop:
    """What a connection asks of its event loop about time."""

    def __init__(self):
        self.now, self._timers = 0.0, []

    def time(self):
        return self.now

    def call_later(self, delay, callback):
        timer = Timer(self.now + delay, callback)
        self._timers.append(timer)
        return timer

    def advance(self, seconds):
        """Let so much time pass, and whatever is due in it happen at its time."""
        end = self.now + seconds
        while due := [timer for timer in self._timers if timer.at <= end]:
            timer = min(due, key=lambda one: one.at)
            self._timers.remove(timer)
            self.now = timer.at
            timer.callback()
        self.now = end

    def sleep(self, seconds):
        """Let so much time pass in which nothing can happen; what is due is done at its end."""
        self.now += seconds
        for timer in [timer for timer in self._timers if timer.at <= self.now]:
            self._timers.remove(timer)
            timer.callback()


class Timer:
    def __init__(self, at, callback):
        self.at, self.callback = at, callback

    def cancel(self):
        self.callback = lambda: None


class Wire:
    """A transport that answers pings, or does not."""

    def __init__(self):
        self.connection, self.answers, self.pings = None, True, 0

    def write(self, data):
        if isinstance(mqtt5.read(memoryview(data))[0], mqtt5.PingReqPacket):
            self.pings += 1
            if self.answers:
                self.connection.data_received(mqtt5.PingRespPacket().write())

    def abort(self):
        pass

    pause_reading = resume_reading = abort


@pytest.fixture
async def line():
    """A connection that has shaken hands, its wire and its clock."""
    wire, loop = Wire(), HandLoop()
    connection = MqttConnection("mqtt://b", max_packet_bytes=1000, backlog_limit=9, answer_within_s=ANSWER_S)
    connection._loop, connection._last_in, connection._last_out = loop, 0.0, 0.0
    wire.connection = connection
    connection.connection_made(wire)
    shaking = asyncio.create_task(connection.handshake(mqtt5.ConnectPacket("c", keep_alive=KEEPALIVE_S)))
    await asyncio.sleep(0)
    connection.data_received(mqtt5.ConnAckPacket().write())
    await shaking
    return connection, wire, loop


async def test_a_quiet_broker_that_answers_pings_is_kept(line):
    connection, wire, loop = line
    loop.advance(600)
    assert connection.failure is None
    assert 600 / KEEPALIVE_S <= wire.pings <= 600 / (KEEPALIVE_S / 4)


async def test_one_that_does_not_answer_is_given_up_within_a_keep_alive_and_the_time_to_answer(line):
    connection, wire, loop = line
    wire.answers = False
    loop.advance(KEEPALIVE_S / 2 + ANSWER_S)
    assert (connection.failure, wire.pings) == (None, 1)
    loop.advance(KEEPALIVE_S / 2)
    assert "is silent for" in str(connection.failure)


async def test_messages_are_a_sign_of_life_as_well(line):
    connection, wire, loop = line
    wire.answers = False
    for number in range(1, 100):
        loop.advance(KEEPALIVE_S / 4)
        connection.data_received(message(b"x", number).write())
        connection.take(9)
    assert connection.failure is None


@pytest.fixture
def asked(line):
    """The same once it has asked, and has no answer yet."""
    _, wire, loop = line
    wire.answers = False
    loop.advance(KEEPALIVE_S / 2)
    assert wire.pings == 1
    return line


async def test_the_silence_of_a_pause_is_ours(asked):
    connection, _, loop = asked
    connection.hold()
    loop.advance(600)
    assert connection.failure is None
    connection.resume()
    loop.advance(KEEPALIVE_S / 2 + ANSWER_S)
    assert connection.failure is None, "it has its whole time again"
    loop.advance(KEEPALIVE_S / 2)
    assert "is silent for" in str(connection.failure)


async def test_a_process_that_slept_does_not_blame_the_broker(asked):
    connection, wire, loop = asked
    loop.sleep(600)
    assert connection.failure is None, "the answer may lie in the socket"
    connection.data_received(mqtt5.PingRespPacket().write())
    wire.answers = True
    loop.advance(600)
    assert connection.failure is None


async def test_nor_does_a_sleep_save_a_broker_that_is_gone(asked):
    connection, _, loop = asked
    loop.sleep(600)
    loop.advance(KEEPALIVE_S / 2 + ANSWER_S)
    assert "is silent for" in str(connection.failure)

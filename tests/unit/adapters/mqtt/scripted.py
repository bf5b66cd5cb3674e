"""A broker that does exactly what a test tells it, for behaviour no broker at hand shows on demand."""

import asyncio
import contextlib
import time

import mqtt5


async def until(holds, within_s=60.0):
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"did not happen within {within_s:g} s"
        await asyncio.sleep(0.005)


class ScriptedBroker:
    """Serves each connection with the next script; the last script serves all further ones.

    A script is `async def script(link)` with `link.read()` for the next packet and `link.write(packet or bytes)`.
    """

    def __init__(self, *scripts):
        self._scripts = list(scripts)
        self.connections = 0
        self.errors = []

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"mqtt://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self._tasks = set()
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.errors:
            raise self.errors[0]

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        script = self._scripts[min(self.connections, len(self._scripts) - 1)]
        self.connections += 1
        try:
            await script(Link(reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except AssertionError as error:
            self.errors.append(error)
        finally:
            with contextlib.suppress(ConnectionError):
                writer.close()


class Link:
    def __init__(self, reader, writer):
        self._reader, self._writer, self._rest = reader, writer, b""

    async def read(self):
        """The next packet from the client; raises IncompleteReadError when it is gone."""
        while True:
            with contextlib.suppress(IndexError):
                packet, used = mqtt5.read(memoryview(self._rest))
                self._rest = self._rest[used:]
                return packet
            chunk = await self._reader.read(65_536)
            if not chunk:
                raise asyncio.IncompleteReadError(b"", None)
            self._rest += chunk

    async def write(self, *packets):
        self._writer.write(b"".join(packet if isinstance(packet, bytes) else packet.write() for packet in packets))
        await self._writer.drain()

    async def accept(self, **connack):
        """Answer CONNECT and SUBSCRIBE; returns both packets."""
        connect = await self.read()
        await self.write(mqtt5.ConnAckPacket(**connack))
        subscribe = await self.read()
        codes = [mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE] * len(subscribe.topic_filters)
        await self.write(mqtt5.SubAckPacket(subscribe.packet_id, codes))
        return connect, subscribe

    async def until_gone(self):
        """Swallow whatever comes until the client is gone, or says goodbye: then a broker ends the connection."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while not isinstance(await self.read(), mqtt5.DisconnectPacket):
                pass


def message(payload, packet_id, topic="t/x", *, qos=1, **options):
    """A PUBLISH as the broker sends it."""
    level = mqtt5.QoS.AT_LEAST_ONCE if qos else mqtt5.QoS.AT_MOST_ONCE
    return mqtt5.PublishPacket(topic, payload, qos=level, packet_id=packet_id if qos else None, **options)

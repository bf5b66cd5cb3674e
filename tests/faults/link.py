"""A network that can be made bad: one TCP proxy a link, on a free port of 127.0.0.1, in a thread of its own.

```
with Link.to(server.url) as link:         # link.url is the server's URL through the link
    link.slow(0.2, jitter_s=0.1)           # every chunk is late; order holds, as TCP's does
    link.throttle(10_000)                  # bytes a second, each way
    link.partition()                       # nothing passes; connections stay open, nobody is told
    link.partition(TO_SERVER)              # one way only
    link.swallow()                         # half-open: connections are accepted and never answered
    link.refuse()                          # connections are reset as they come
    link.reset()                           # RST to both ends of every connection there is
    link.heal()                            # everything passes again
```

A partition loses nothing by itself: what was under way is held and passes when it heals, as TCP sends again what a
network lost. One that lasts longer than the ends' patience ends with `heal(reset=True)`: what was held is lost, and
both ends learn that their connections are gone. What was swallowed is always lost. Chance comes from the seed given.

Every method may be called from any thread and returns when the change holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from random import Random
from types import TracebackType
from typing import Any, Final, Literal
from urllib.parse import urlsplit

Way = Literal["to_server", "to_client"]
TO_SERVER: Final[Way] = "to_server"
TO_CLIENT: Final[Way] = "to_client"
BOTH: Final[tuple[Way, ...]] = (TO_SERVER, TO_CLIENT)
CHUNK_BYTES = 16_384
DEFAULT_PORTS = {"redis": 6379, "mqtt": 1883, "asyncpg": 5432, "postgres": 5432, "http": 80}
_ANSWER_WITHIN_S = 60.0


class Conditions:
    """What holds for every chunk and every new connection now."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.jitter_s = 0.0
        self.bytes_per_s: int | None = None
        self.held: frozenset[Way] = frozenset()
        self.swallowing = False
        self.refusing = False


class Link:
    """A link to one server. Counters: `accepted` connections, `passed` bytes by way."""

    def __init__(self, host: str, port: int, *, seed: int = 0) -> None:
        self.host = host
        self.port = port
        self.listens = 0
        self.accepted = 0
        self.passed: dict[Way, int] = {TO_SERVER: 0, TO_CLIENT: 0}
        self._original = ""
        self._random = Random(seed)
        self._now = Conditions()
        self._open: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"link-{port}", daemon=True)

    @classmethod
    def to(cls, url: str, *, seed: int = 0) -> Link:
        """A link to the server of a URL such as `redis://:secret@127.0.0.1:6379/0`."""
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORTS[parts.scheme]
        link = cls(parts.hostname or "127.0.0.1", port, seed=seed)
        link._original = url
        return link

    @property
    def url(self) -> str:
        """The URL given to `to`, through this link."""
        parts = urlsplit(self._original)
        credentials, at, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{credentials}{at}127.0.0.1:{self.listens}").geturl()

    @property
    def connections(self) -> int:
        """Connections that stand now."""
        return len(self._open)

    @property
    def swallowing(self) -> int:
        """Connections that stand now and have lost something."""
        return sum(one.swallowed for one in tuple(self._open))

    def __enter__(self) -> Link:
        self._thread.start()
        self._call(self._start)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._call(self._stop)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_ANSWER_WITHIN_S)
        self._loop.close()

    def slow(self, delay_s: float, *, jitter_s: float = 0.0) -> None:
        """Every chunk arrives so much later, and up to `jitter_s` more; 0 is as fast as ever."""
        self._change(delay_s=delay_s, jitter_s=jitter_s)

    def throttle(self, bytes_per_s: int | None) -> None:
        """At most so many bytes a second, on each connection and way; None is as many as come."""
        self._change(bytes_per_s=bytes_per_s)

    def partition(self, *ways: Way) -> None:
        """Nothing passes, one way or (without a way named) both; also no farewell of either end."""
        self._change(held=self._now.held | set(ways or BOTH))

    def swallow(self) -> None:
        """The server's machine is gone: whatever is sent to it is lost, connections are accepted and never answered."""
        self._change(swallowing=True)

    def refuse(self) -> None:
        """Connections are reset as soon as they come; those that stand are left alone."""
        self._change(refusing=True)

    def reset(self) -> None:
        """Reset every connection that stands, towards both ends."""
        self._call(self._reset_all)

    def heal(self, *, reset: bool = False) -> None:
        """All is well again. Whatever was swallowed from is reset, with `reset` every other connection, too."""
        self._call(lambda: self._heal(reset))

    def _change(self, **conditions: Any) -> None:
        async def apply() -> None:
            for name, value in conditions.items():
                setattr(self._now, name, value)
            self._tell()

        self._call(apply)

    def _call(self, act: Callable[[], Coroutine[Any, Any, None]]) -> None:
        asyncio.run_coroutine_threadsafe(act(), self._loop).result(_ANSWER_WITHIN_S)

    def _tell(self) -> None:
        """Wake every pump that waits for the conditions to change."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=CHUNK_BYTES)
        self.listens = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._reset_all()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _reset_all(self) -> None:
        for connection in list(self._open):
            connection.reset()

    async def _heal(self, reset: bool) -> None:
        for connection in list(self._open):
            if reset or connection.swallowed:
                connection.reset()
        self._now = Conditions()
        self._tell()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self._now.refusing:
            _abort(writer)
            return
        connection = _Connection(writer)
        self._open.add(connection)
        try:
            await self._serve(connection, reader)
        except (OSError, asyncio.CancelledError):
            pass  # reset by the test, or by one of the ends
        finally:
            self._open.discard(connection)
            connection.close()

    async def _serve(self, connection: _Connection, reader: asyncio.StreamReader) -> None:
        if self._now.swallowing:
            connection.swallowed = True
            await _drain(reader)
            return
        await self._until_open(TO_SERVER)
        far_reader, connection.server = await asyncio.open_connection(self.host, self.port, limit=CHUNK_BYTES)
        await asyncio.gather(
            self._pump(connection, reader, connection.server, TO_SERVER),
            self._pump(connection, far_reader, connection.client, TO_CLIENT),
        )

    async def _pump(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way
    ) -> None:
        while True:
            await self._until_open(way)
            chunk = await reader.read(CHUNK_BYTES)
            if self._now.swallowing:
                connection.swallowed = True
                await asyncio.Event().wait()  # until reset: neither bytes nor a farewell get through
            await self._take_time(len(chunk))
            await self._until_open(way)
            if not chunk:
                if writer.can_write_eof():
                    with contextlib.suppress(OSError):
                        writer.write_eof()
                return
            writer.write(chunk)
            await writer.drain()
            self.passed[way] += len(chunk)

    async def _take_time(self, size: int) -> None:
        now = self._now
        seconds = now.delay_s + (self._random.uniform(0, now.jitter_s) if now.jitter_s else 0.0)
        if now.bytes_per_s:
            seconds += size / now.bytes_per_s
        if seconds:
            await asyncio.sleep(seconds)

    async def _until_open(self, way: Way) -> None:
        while way in self._now.held:
            await self._changed.wait()


class _Connection:
    """The two ends of one connection."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.client = client
        self.server: asyncio.StreamWriter | None = None
        self.swallowed = False
        self.task = asyncio.current_task()

    def reset(self) -> None:
        for writer in (self.client, self.server):
            if writer is not None:
                _abort(writer)
        if self.task is not None:
            self.task.cancel()

    def close(self) -> None:
        for writer in (self.client, self.server):
            if writer is not None:
                writer.close()


async def _drain(reader: asyncio.StreamReader) -> None:
    while await reader.read(CHUNK_BYTES):
        pass


def _abort(writer: asyncio.StreamWriter) -> None:
    """Close with RST, as a machine does that has forgotten the connection."""
    wire = writer.get_extra_info("socket")
    if wire is not None:
        with contextlib.suppress(OSError):
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()

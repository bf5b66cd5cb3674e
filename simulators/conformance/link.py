"""A link that can be cut: devices connect here instead of at the broker, and the kit takes the wire away for a while.

Cutting resets the connections that stand and refuses new ones until the time is over, as a switch without power does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

_CHUNK = 65_536


class Link:
    """A TCP proxy in front of a broker."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._wires: set[asyncio.StreamWriter] = set()
        self._down = False

    async def cut(self, seconds: float) -> None:
        """Take the wire away for so long; returns when it is back."""
        self._down = True
        for wire in list(self._wires):
            wire.transport.abort()
        await asyncio.sleep(seconds)
        self._down = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until either side ends it."""
        if self._down:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self._wires |= {writer, far_writer}
        try:
            await asyncio.gather(self._carry(reader, far_writer), self._carry(far_reader, writer))
        finally:
            for wire in (writer, far_writer):
                self._wires.discard(wire)
                wire.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                writer.write(chunk)
                await writer.drain()
        writer.transport.abort()


@contextlib.asynccontextmanager
async def open_link(listen: str, host: str, port: int) -> AsyncIterator[Link]:
    """A link from `listen` (host:port) to a broker. Raises OSError where the port is taken."""
    own_host, _, own_port = listen.rpartition(":")
    link = Link(host, port)
    server = await asyncio.start_server(link.serve, own_host or "127.0.0.1", int(own_port))
    async with server:
        try:
            yield link
        finally:
            await link.cut(0)

"""Connections to Redis as redis-py makes them, but quick to send, and never deaf to a cancellation.

redis-py puts every command it sends under `asyncio.wait_for`. Before Python 3.12 that returns the result and forgets
the cancellation where a task is cancelled in the very step in which the sending ended (bpo-37658). Whoever cancels a
task that reads for ever, and waits for its end, then waits for ever: a live feed, a demonstration that stops. Here the
limit is an `asyncio.timeout`, which loses nothing and needs no task for each command.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

if TYPE_CHECKING:
    from collections.abc import Iterable

_pack: Any
try:
    from hiredis import pack_command as _pack
except ImportError:  # works without, at about twice the cost
    _pack = None


class _Swift:
    """What is done otherwise than in the connection class that this is mixed into."""

    encoder: Any
    socket_timeout: float | None
    is_connected: bool
    connect_check_health: Any
    check_health: Any
    disconnect: Any
    _send_packed_command: Any

    def pack_command(self, *args: Any) -> list[bytes]:
        """The command in the Redis protocol, packed in one pass, in C where hiredis is installed. redis-py's asyncio
        connection joins the growing buffer anew for each argument, which for a commit of many groups costs more than
        everything else together."""
        words = args[0].split() if isinstance(args[0], str) else args[:1]
        if _pack is not None:
            return [_pack((*words, *args[1:]))]
        parts = [b"*%d\r\n" % (len(words) + len(args) - 1)]
        for arg in (*words, *args[1:]):
            kind = type(arg)
            if kind is bytes:
                data = arg
            elif kind is str:
                data = arg.encode()
            else:
                data = self.encoder.encode(arg)
            parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
        return [b"".join(parts)]

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        """Send within the time limit of the socket. Raises redis-py's TimeoutError and ConnectionError; whatever it
        raises, the connection is dropped, since half of a command may be on its way."""
        if not self.is_connected:
            await self.connect_check_health(check_health=False)
        if check_health:
            await self.check_health()
        sent = [command.encode()] if isinstance(command, str) else [command] if isinstance(command, bytes) else command
        try:
            async with asyncio.timeout(self.socket_timeout or None):
                await self._send_packed_command(sent)
        except BaseException as error:
            await self.disconnect(nowait=True)
            if isinstance(error, TimeoutError):
                raise RedisTimeoutError("Timeout writing to socket") from None
            if isinstance(error, OSError):
                raise RedisConnectionError(f"Error while writing to socket: {error}") from error
            raise


@cache
def swift(connection: Any) -> Any:
    """A connection class of redis-py's with these differences."""
    return type(f"Swift{connection.__name__}", (_Swift, connection), {})

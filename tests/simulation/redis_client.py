"""A client of the simulated Redis with the face of redis-py's, as far as the twin store and its stream look at it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from hashlib import sha1
from types import SimpleNamespace
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError, WatchError
from redis.exceptions import TimeoutError as RedisTimeoutError

from tests.simulation.redis_data import RedisData, text
from tests.simulation.redis_scripts import run_script

_READING = (
    "hget hmget hgetall hexists smembers srandmember zrange zrangebyscore zscan zcard exists xlen xrange xrevrange"
    " xinfo_groups xread watch"
)
READS = frozenset(_READING.split())
Command = tuple[str, tuple[Any, ...], dict[str, Any]]
Way = Callable[[str, Callable[[], Any]], Awaitable[Any]]
"""How a call gets to the server and its answer back: (what it is called, what it does there)."""


async def straight(_name: str, effect: Callable[[], Any]) -> Any:
    """A way without faults."""
    await asyncio.sleep(0)
    return effect()


class SimRedisServer:
    """One server: its data, the scripts it knows, and those who wait for entries."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self.data = RedisData(clock)
        self.scripts: set[str] = set()
        self.refuses_writes = ""
        """The error of a server that cannot write now, such as `MISCONF ...`."""
        self.written: Callable[[], object] = lambda: None
        """Told before a command that writes."""
        self._changed: list[asyncio.Future[None]] = []

    def run(self, commands: list[Command]) -> list[Any]:
        """Run commands one after another, as a transaction; every answer, errors as values."""
        if any(name not in READS for name, _, _ in commands):
            if self.refuses_writes:
                return [ResponseError(self.refuses_writes) for _ in commands]
            self.written()
        answers: list[Any] = []
        for name, args, kwargs in commands:
            try:
                answers.append(self._one(name, args, kwargs))
            except ResponseError as error:
                answers.append(error)
        return answers

    def _one(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if name == "execute_command":
            return self._command(str(args[0]).lower(), args[1:])
        answer = getattr(self.data, name)(*args, **kwargs)
        if name in ("xadd", "unlink", "delete", "xgroup_create"):
            self.announce()
        return answer

    def _command(self, name: str, args: tuple[Any, ...]) -> Any:
        if name not in ("eval", "evalsha"):
            return getattr(self.data, name)(*args)
        script, size = args[0], int(args[1])
        if name == "evalsha":
            known = [one for one in self.scripts if sha1(one.encode(), usedforsecurity=False).hexdigest() == script]
            if not known:
                raise NoScriptError("NOSCRIPT No matching script. Please use EVAL.")
            script = known[0]
        self.scripts.add(script)
        answer = run_script(self.data, script, [text(key) for key in args[2 : 2 + size]], list(args[2 + size :]))
        self.announce()
        return answer

    def announce(self) -> None:
        """Wake those who wait for entries."""
        waiting, self._changed = self._changed, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def drop_connections(self) -> None:
        """The server died: whoever waits for entries is told that the connection is gone."""
        waiting, self._changed = self._changed, []
        for future in waiting:
            if not future.done():
                future.set_exception(RedisConnectionError("simulated: connection closed by server"))

    async def change(self, within_s: float) -> bool:
        """Wait for an entry; False when none came in time."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._changed.append(future)
        try:
            async with asyncio.timeout(within_s):
                await future
        except TimeoutError:
            return False
        return True


class SimRedis:
    """The client of one process; `way` leads to the server, `retries` as redis-py makes them."""

    def __init__(self, server: SimRedisServer, way: Way = straight, *, retries: int = 3) -> None:
        self.server = server
        self._way = way
        self._retries = retries
        self.connection_pool = SimpleNamespace(connection_kwargs={"host": "simulated", "port": 0})

    async def aclose(self) -> None:
        """Nothing to close."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            (answer,) = await self.send([(name, args, kwargs)])
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call

    async def send(self, commands: list[Command]) -> list[Any]:
        """Run commands at the server; a connection that breaks is tried again, as redis-py does it."""
        name = "+".join(sorted({_title(command) for command in commands}))
        for attempt in range(self._retries + 1):
            try:
                answers: list[Any] = await self._way(name, lambda: self.server.run(commands))
                return answers
            except (RedisConnectionError, RedisTimeoutError):
                if attempt == self._retries:
                    raise
                await asyncio.sleep(0.05 * 2**attempt)
        raise AssertionError("unreachable")

    def pipeline(self, transaction: bool = True) -> SimPipeline:
        """Commands collected and sent together."""
        return SimPipeline(self)

    async def xreadgroup(
        self, group: str, consumer: str, streams: dict[str, str], count: int | None = None, block: int | None = None
    ) -> list[Any]:
        """Read as a consumer group; waits up to `block` ms for the first entry."""
        return await self._reading(("xreadgroup", (group, consumer, streams), {"count": count}), block)

    async def xread(self, streams: dict[str, str], count: int | None = None, block: int | None = None) -> list[Any]:
        """Read behind an id; waits up to `block` ms for the first entry."""
        return await self._reading(("xread", (streams,), {"count": count}), block)

    async def _reading(self, command: Command, block: int | None) -> list[Any]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (block or 0) / 1000
        while True:
            (answer,) = await self.send([command])
            if isinstance(answer, Exception):
                raise answer
            left_s = deadline - loop.time()
            if answer or block is None or left_s <= 0 or not await self.server.change(left_s):
                return answer  # type: ignore[no-any-return]


def _title(command: Command) -> str:
    name, args, _ = command
    return str(args[0]).lower() if name == "execute_command" else name


class SimPipeline:
    """Commands collected; `watch` makes them hold only while the keys are as they were."""

    def __init__(self, client: SimRedis) -> None:
        self._client = client
        self._commands: list[Command] = []
        self._watched: dict[str, int] = {}
        self._immediate = False

    async def __aenter__(self) -> SimPipeline:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._commands, self._watched, self._immediate = [], {}, False

    async def watch(self, *keys: str) -> None:
        """From here on commands run at once, until `multi`."""
        versions = self._client.server.data.versions
        self._watched = {key: versions.get(key, 0) for key in keys}
        self._immediate = True

    def multi(self) -> None:
        """Collect again."""
        self._immediate = False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if self._immediate:
            return getattr(self._client, name)

        def collect(*args: Any, **kwargs: Any) -> SimPipeline:
            self._commands.append((name, args, kwargs))
            return self

        return collect

    async def execute(self) -> list[Any]:
        """Send them. Raises WatchError where a watched key has changed, the first error otherwise."""
        commands, self._commands = self._commands, []
        watched, self._watched = self._watched, {}
        data = self._client.server.data

        def checked() -> list[Any]:
            if any(data.versions.get(key, 0) != version for key, version in watched.items()):
                return [WatchError("Watched variable changed.")]
            return self._client.server.run(commands)

        name = "+".join(sorted({_title(command) for command in commands})) or "nothing"
        answers: list[Any] = await self._client._way(name, checked)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

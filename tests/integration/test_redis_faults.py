"""The twin store against a Redis that fails: gone, frozen, full, wiped, set back in time, corrupted by hand."""

from __future__ import annotations

import asyncio
import inspect
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from adapters.embedded import RunningServer, start_redis
from adapters.embedded.ports import is_free
from adapters.twins import RedisEffectStream, RedisTwinStore, StoreUnavailableError, connect
from adapters.twins.entry_id import order
from tests.conformance.twin_values import a_gateway, a_group, charge, notice, plain, stream_of
from tests.integration.servers import free_port, freeze, fresh_name, kill9, thaw, wait_until
from twin.core.model import Group
from twin.ports import DeadLetter, GroupChange, StoreLostError

NOW = 1_750_000_000_000
PATIENCE_S = inspect.signature(connect).parameters["timeout_s"].default
"""So long a client waits for an answer of Redis, where nothing else is said."""


@pytest.fixture
def site() -> str:
    """A site no other test uses."""
    return fresh_name("park")


@asynccontextmanager
async def store_at(url: str, **options: Any) -> AsyncIterator[RedisTwinStore]:
    """A store on its own connections."""
    store = RedisTwinStore(connect(url, **options))
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def raw_at(url: str) -> AsyncIterator[Any]:
    """Redis without anything of ours."""
    client: Redis = connect(url)
    try:
        yield client
    finally:
        await client.aclose()


async def one(store: RedisTwinStore, site: str, name: str = "t-1") -> Group:
    """One group that must be there."""
    return (await store.load(site, [name]))[name]


def be_impatient(client: Any, seconds: float) -> None:
    """From now on a client waits only so long for an answer. What a test does before its fault has all the time."""
    pool = client.connection_pool
    pool.connection_kwargs["socket_timeout"] = seconds
    for connection in pool._available_connections:
        connection.socket_timeout = seconds


async def charges(url: str, site: str, name: str = "t-1") -> int:
    """Charges as a newcomer reads them."""
    async with store_at(url) as store:
        tenant = (await one(store, site, name)).tenant
        assert tenant is not None
        return tenant.charges_nano


async def everything(raw: Any, site: str) -> dict[bytes, bytes]:
    """All keys of a site as Redis dumps them."""
    return {key: await raw.dump(key) async for key in raw.scan_iter(match=f"{{{site}}}:*")}


async def test_forgotten_script_is_loaded_again(redis_server: RunningServer, site: str) -> None:
    async with store_at(redis_server.url) as store, raw_at(redis_server.url) as raw:
        await store.replace_site(site, 1, stream_of([a_group(site)]), wake=NOW)
        for _ in range(3):
            await raw.script_flush()
            assert await store.commit(site, [charge(await one(store, site))], now=NOW) == frozenset()
    assert await charges(redis_server.url, site) == 3


@pytest.mark.parametrize("broken", ["timers", "dir", "gws", "guard:cutoff", "gw:gw-2", "fx", "g:t-2"])
async def test_failing_commit_writes_nothing_at_all(redis_server: RunningServer, site: str, broken: str) -> None:
    """A script that fails half way keeps its writes, so it must fail before the first one."""
    async with store_at(redis_server.url) as store, raw_at(redis_server.url) as raw:
        groups = [a_group(site, "t-1"), a_group(site, "t-2")]
        await store.replace_site(site, 1, stream_of(groups), wake=NOW)
        loaded = await store.load(site, ["t-1", "t-2"])
        moved = a_group(site, "t-2", meters=2, gateway="gw-2")
        changes = [
            charge(loaded["t-1"], 1, effects=(notice(1),), wake=NOW + 1, guards={"cutoff": 1}),
            GroupChange(before=loaded["t-2"], after=moved, effects=(notice(2),), guards={"cutoff": 1}),
        ]
        await raw.delete(f"{{{site}}}:{broken}")
        await raw.set(f"{{{site}}}:{broken}", "not what it should be")
        before = await everything(raw, site)
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await store.commit(site, changes, now=NOW)
        assert await everything(raw, site) == before


async def test_nobody_there(tmp_path: Path, site: str) -> None:
    port = free_port()
    async with store_at(f"redis://:secret@127.0.0.1:{port}/0", retries=1) as store:
        for question in (
            store.load(site, ["t-1"]),
            store.group_of(site, "em-1"),
            store.generation(site),
            store.commit(site, [charge(a_group(site))], now=NOW),
            store.replace_site(site, 1, stream_of([a_group(site)]), wake=NOW),
            store.due(site, now=NOW, limit=1),
            store.dead_letter(site, [DeadLetter(topic="t", payload=b"", reason="r", path="", at=NOW)]),
            store.sites(),
        ):
            with pytest.raises(StoreUnavailableError, match=f"127.0.0.1:{port}/0: cannot be reached.*is it running"):
                await question
    stream = RedisEffectStream(connect(f"redis://127.0.0.1:{port}", retries=0))
    with pytest.raises(StoreUnavailableError):
        await stream.read(site, "ledger", "w", count=1, block_ms=0)


async def test_committed_twins_survive_kill_9(tmp_path: Path, site: str) -> None:
    server = start_redis(tmp_path, appendfsync="always")
    port = server.port
    stream = RedisEffectStream(connect(server.url, retries=0))
    try:
        async with store_at(server.url) as store:
            await store.replace_site(site, 1, stream_of([a_group(site)]), wake=NOW)
            for turn in range(20):
                await store.commit(site, [charge(await one(store, site), effects=(notice(turn),))], now=NOW)
            taken = await stream.read(site, "ledger", "w", count=5, block_ms=0)
            kill9(server)
            with pytest.raises(StoreUnavailableError):
                await stream.read(site, "ledger", "w", count=9, block_ms=100)
            server = start_redis(tmp_path, appendfsync="always", port=port)
            assert server.port == port
            assert await store.commit(site, [charge(await one(store, site), effects=(notice(20),))], now=NOW) == set()
            assert await charges(server.url, site) == 21
            again = await stream.read(site, "ledger", "w", count=5, block_ms=0)
            assert again == taken, "a broken read is followed by what was handed out and never acknowledged"
            rest = await stream.read(site, "ledger", "w", count=99, block_ms=0)
            rest += await stream.read(site, "ledger", "w", count=99, block_ms=0)
            assert [e.effects[0].ts for e in again + rest] == list(range(21))  # type: ignore[union-attr]
    finally:
        await stream.close()
        server.stop(10)


async def test_store_set_back_in_time_is_noticed(tmp_path: Path, site: str) -> None:
    """A backup that is an hour old has the right generation, and every revision in it once was true."""
    data, backup = tmp_path / "data", tmp_path / "backup"
    server = start_redis(data, appendfsync="always")
    port = server.port
    try:
        async with store_at(server.url) as store:
            await store.replace_site(site, 4, stream_of([a_group(site), a_group(site, "t-2")]), wake=NOW)
            await store.commit(site, [charge(await one(store, site), effects=(notice(1),))], now=NOW)
            server.stop(10)
            shutil.copytree(data, backup)
            server = start_redis(data, appendfsync="always", port=port)
            await store.commit(site, [charge(await one(store, site), effects=(notice(2),))], now=NOW)
            held = await store.load(site, ["t-1", "t-2"])
            known = await store.generation(site)
            server.stop(10)
            shutil.rmtree(data)
            shutil.copytree(backup, data)
            server = start_redis(data, appendfsync="always", port=port)
            with pytest.raises(StoreLostError, match="back in time"):
                await store.commit(site, [charge(held["t-2"])], now=NOW)
            assert await store.generation(site) is None
            async with store_at(server.url) as newcomer:
                generation, last = await newcomer.generation(site) or (0, "0-0")
                assert known is not None
                assert generation == 4
                assert order(last) < order(known[1]), "a newcomer can compare it with SQL"
            await store.replace_site(site, 5, stream_of([a_group(site, charges=2)]), wake=NOW)
            assert await store.generation(site) == (5, known[1])
            assert await store.commit(site, [charge(await one(store, site))], now=NOW) == frozenset()
            assert await charges(server.url, site) == 3
    finally:
        server.stop(10)


async def test_full_memory_refuses_and_resumes(tmp_path: Path, site: str) -> None:
    server = start_redis(tmp_path)
    try:
        async with store_at(server.url) as store, raw_at(server.url) as raw:
            await store.replace_site(site, 1, stream_of([a_group(site)]), wake=NOW)
            group = await one(store, site)
            before = await everything(raw, site)
            await raw.config_set("maxmemory", "100kb")
            with pytest.raises(StoreUnavailableError, match="out of memory"):
                await store.commit(site, [charge(group, effects=(notice(1),))], now=NOW)
            assert await everything(raw, site) == before
            await raw.config_set("maxmemory", "0")
            assert await store.commit(site, [charge(await one(store, site))], now=NOW) == frozenset()
    finally:
        server.stop(10)


async def test_read_only_replica_is_named(tmp_path: Path, site: str) -> None:
    server = start_redis(tmp_path)
    try:
        async with store_at(server.url, retries=0) as store, raw_at(server.url) as raw:
            await store.replace_site(site, 1, stream_of([a_group(site)]), wake=NOW)
            group = await one(store, site)
            await raw.execute_command("REPLICAOF", "127.0.0.1", free_port())
            with pytest.raises(StoreUnavailableError, match="replica"):
                await store.commit(site, [charge(group)], now=NOW)
            await raw.execute_command("REPLICAOF", "NO", "ONE")
            assert await store.commit(site, [charge(await one(store, site))], now=NOW) == frozenset()
    finally:
        server.stop(10)


async def test_commit_in_doubt_is_decided_again_and_counts_once(tmp_path: Path, site: str) -> None:
    """Redis freezes with the commit on its way: nobody knows whether it was applied; the revision does."""
    server = start_redis(tmp_path)
    client = connect(server.url, timeout_s=60, retries=0)
    store = RedisTwinStore(client)
    try:
        async with raw_at(server.url) as raw:
            await store.replace_site(site, 1, stream_of([a_group(site)]), wake=NOW)
            await store.commit(site, [charge(await one(store, site))], now=NOW)
            group = await one(store, site)
            await raw.ping()
            freeze(server)
            be_impatient(client, 0.3)
            with pytest.raises(StoreUnavailableError, match="no answer in time"):
                await store.commit(site, [charge(group, effects=(notice(1),))], now=NOW)
            thaw(server)
            be_impatient(client, 60)
            # It reads the commit, and then that the connection has ended.
            while len(await raw.client_list()) > 1:  # noqa: ASYNC110 - seen from outside only
                await asyncio.sleep(0.02)
            fresh = await one(store, site)
            assert fresh.revision in (group.revision, group.revision + 1)
            refused = await store.commit(site, [charge(group, effects=(notice(1),))], now=NOW)
            assert refused == (frozenset() if fresh.revision == group.revision else {"t-1"})
        assert await charges(server.url, site) == 2
    finally:
        thaw(server)
        await store.close()
        server.stop(10)


async def test_frozen_redis_does_not_hang_a_reader(tmp_path: Path, site: str) -> None:
    server = start_redis(tmp_path)
    client = connect(server.url, timeout_s=60, retries=0)
    stream = RedisEffectStream(client)
    try:
        async with store_at(server.url) as store:
            await store.replace_site(site, 1, stream_of([a_group(site)]), wake=NOW)
        await stream.join(site, "ledger")
        freeze(server)
        be_impatient(client, 0.3)
        with pytest.raises(StoreUnavailableError):
            await asyncio.wait_for(stream.read(site, "ledger", "w", count=1, block_ms=50), 60)
    finally:
        thaw(server)
        await stream.close()
        server.stop(10)


async def test_long_waits_are_cut_below_the_time_limit(redis_server: RunningServer, site: str) -> None:
    """Waiting for an entry is no reason to think that Redis is dead."""
    client = connect(redis_server.url, timeout_s=60, retries=0)
    asked, plain_read = [], client.xreadgroup

    async def xreadgroup(*names: Any, block: int | None, **options: Any) -> Any:
        asked.append(block or 0)
        return await plain_read(*names, block=block, **options)

    client.xreadgroup = xreadgroup  # type: ignore[method-assign]
    stream = RedisEffectStream(client)
    assert await asyncio.wait_for(stream.read(site, "ledger", "w", count=1, block_ms=2_700), 60) == []
    assert max(asked) <= PATIENCE_S * 1_000 / 2
    await stream.close()


@pytest.fixture
def one_node_cluster(tmp_path: Path) -> Iterator[str]:
    """A Redis Cluster with one node that has all slots: it refuses calls with keys of several slots."""
    port = next(port for port in iter(free_port, None) if port < 55_000 and is_free(port + 10_000))  # its cluster bus
    program = shutil.which("redis-server") or pytest.skip("redis-server is not installed")
    server = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path), "--cluster-enabled", "yes"],
        stdout=subprocess.DEVNULL,
    )

    def says(*words: str) -> str:
        return subprocess.run(["redis-cli", "-p", str(port), *words], capture_output=True, text=True).stdout

    try:
        wait_until(lambda: "PONG" in says("PING"))
        if "Redis Cluster" not in says("CLUSTER", "ADDSLOTSRANGE", "0", "16383"):
            says("CLUSTER", "ADDSLOTS", *map(str, range(16_384)))
        wait_until(lambda: "cluster_state:ok" in says("CLUSTER", "INFO"))
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait(10)


async def test_every_call_stays_in_one_slot(one_node_cluster: str) -> None:
    stream = RedisEffectStream(connect(one_node_cluster, retries=0))
    async with store_at(one_node_cluster) as store:
        for site in ("park-1", "park-2"):
            groups = [a_group(site, f"t-{n}", gateway="gw-1") for n in range(3)]
            await store.replace_site(site, 1, stream_of([*groups, a_gateway(site, "gw-1")]), wake=NOW)
            await store.add_groups(site, [a_group(site, "t-9", gateway="gw-2"), groups[0]], wake=NOW)
            loaded = await store.load(site, ["t-0", "t-1", "t-9", "gw-1"])
            changes = [charge(loaded["t-0"], effects=(notice(1),), guards={"a": 1, "b": 1}, wake=NOW)]
            changes.append(GroupChange(before=loaded["t-9"], after=a_group(site, "t-9", gateway="gw-3")))
            assert await store.commit(site, changes, now=NOW) == frozenset()
            assert await store.guards_used(site, {"a": 1_000, "b": 1_000}, now=NOW) == {"a": 1, "b": 1}
            assert await store.due(site, now=NOW, limit=2) == ["gw-1", "t-0"]
            (entry,) = await stream.read(site, "ledger", "w", count=9, block_ms=0)
            await stream.acknowledge(site, "ledger", [entry.id])
            assert await stream.trim(site, ledger_position=entry.id, keep=0) == 1
            assert await stream.lag(site, "ledger") == 0
            await stream.join(site, "ledger", after=entry.id)
            await store.replace_site(site, 2, stream_of(groups), wake=NOW, position=entry.id)
            assert plain(await one(store, site, "t-0")) == groups[0]
        assert await store.sites() == ["park-1", "park-2"]
    await stream.close()

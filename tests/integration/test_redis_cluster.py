"""The twin store on a Redis Cluster of three nodes: sites over all of them, a slot that moves under way, a node that
dies without a replica."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from adapters.twins import RedisEffectStream, RedisLeases, RedisTwinStore, StoreUnavailableError, connect
from adapters.twins.cluster import connect_cluster
from tests.conformance.twin_values import a_gateway, a_group, charge, notice, stream_of
from tests.integration.redis_cluster import Cluster, cluster  # noqa: F401 - a fixture
from tests.integration.servers import fresh_name, kill9
from twin.flows.consume_effects import ConsumerLoop, LedgerWriter
from twin.ports import StoreLostError


@pytest.fixture
async def store(cluster: Cluster) -> AsyncIterator[RedisTwinStore]:  # noqa: F811
    made = patient(cluster)
    yield made
    await made.close()


def patient(cluster: Cluster) -> RedisTwinStore:  # noqa: F811
    """A commit whose answer comes too late is made again, and counts twice here: no answer comes too late."""
    return RedisTwinStore(connect(cluster.url, timeout_s=60))


async def a_site(store: RedisTwinStore, cluster: Cluster, node: int) -> str:  # noqa: F811
    """A site with two tenants behind a gateway whose keys lie on this node."""
    while cluster.home_of(site := fresh_name("s")) != node:
        pass
    groups = [a_group(site, "t-1", gateway="gw-1"), a_group(site, "t-2", meters=2), a_gateway(site, "gw-1")]
    await store.replace_site(site, 1, stream_of(groups), wake=5)
    return site


async def charge_once(store: RedisTwinStore, site: str, name: str = "t-1", nano: int = 7) -> None:
    """Read, decide, commit, and again where somebody was quicker."""
    while True:
        group = (await store.load(site, [name]))[name]
        if not await store.commit(site, [charge(group, nano, effects=(notice(1),), wake=9, guards={"r": 1})], now=9):
            return


async def charges(store: RedisTwinStore, site: str, name: str = "t-1") -> int:
    tenant = (await store.load(site, [name]))[name].tenant
    assert tenant is not None
    return tenant.charges_nano


class Books:
    """What a ledger was given."""

    def __init__(self) -> None:
        self.serials: list[int] = []
        self.at = "0-0"

    async def position(self, site: str) -> str:
        return self.at

    async def post(self, site: str, entries: Any) -> None:
        self.serials += [entry.serial for entry in entries]
        self.at = entries[-1].id


async def test_sites_lie_whole_on_different_nodes_and_everything_works_on_each(cluster: Cluster, store: RedisTwinStore):  # noqa: F811
    sites = [await a_site(store, cluster, node) for node in range(3)]
    stream = RedisEffectStream(connect(cluster.url, retries=0))
    for site in sites:
        for _ in range(3):
            await charge_once(store, site)
        assert await store.group_of(site, "em-t-1-0") == "t-1"
        assert await store.group_of(site, "em-nobody") is None
        assert await store.devices_behind(site, "gw-1") == ["t-1"]
        assert set(await store.due(site, now=9, limit=9)) == {"t-1", "t-2", "gw-1"}
        assert await store.guards_used(site, {"r": 60_000}, now=9) == {"r": 3}
        assert {group.id async for group in await store.groups(site)} == {"t-1", "t-2", "gw-1"}
        assert len(await store.directory(site)) == 7
        await store.raise_fence([site])
        books = Books()
        writer, stop = LedgerWriter(stream, books), asyncio.Event()  # type: ignore[arg-type]
        running = asyncio.create_task(ConsumerLoop(stream, writer, "w").run(site, stop))
        await until(lambda books=books: books.serials == [1, 2, 3])  # type: ignore[misc]
        stop.set()
        await running
        assert await stream.lag(site, "ledger") == 0
        assert await stream.trim(site, ledger_position=books.at, keep=1) == 2
    assert set(sites) <= set(await store.sites())
    keys = [node.client.dbsize() for node in cluster.nodes]
    assert all(keys), f"every node has keys: {keys}"
    leases = RedisLeases(connect(cluster.url))
    assert await leases.take("ingest", "00", "one", ttl_ms=60_000) > 0
    await stream.close()


async def test_a_rebuild_on_a_cluster_stops_who_works_on_the_old_twins(cluster: Cluster, store: RedisTwinStore):  # noqa: F811
    site = await a_site(store, cluster, 1)
    other = RedisTwinStore(connect(cluster.url))
    group = (await other.load(site, ["t-1"]))["t-1"]
    await store.replace_site(site, 2, stream_of([a_group(site, "t-1", charges=100)]), wake=5)
    with pytest.raises(StoreLostError):
        await other.commit(site, [charge(group)], now=9)
    assert await charges(store, site) == 100
    assert await store.group_of(site, "em-t-2-0") is None
    await other.close()


async def test_a_slot_moves_to_another_node_while_readings_are_committed(cluster: Cluster, store: RedisTwinStore):  # noqa: F811
    """ASK, TRYAGAIN and MOVED: each commit arrives once, or is refused and made again."""
    site = await a_site(store, cluster, 0)
    stop, done = asyncio.Event(), 0
    waited: set[bool] = set()

    async def commit_on() -> None:
        nonlocal done
        while not stop.is_set():
            try:
                await charge_once(store, site)
            except StoreUnavailableError as error:
                waited.add("moving" in str(error))
                continue
            done += 1

    working = asyncio.create_task(commit_on())
    await until(lambda: done >= 20)
    cluster.begin_move(site, to=2)
    await asyncio.sleep(0.2)
    while await asyncio.to_thread(cluster.move_keys, site, 2, 1):  # noqa: ASYNC110 - it does the work
        await asyncio.sleep(0.05)
    at_move = done
    cluster.end_move(site, to=2)
    await until(lambda: done >= at_move + 50)
    stop.set()
    await working
    assert waited <= {True}, "nothing but the moving of keys holds a commit up"
    fresh = RedisTwinStore(connect(cluster.url))
    assert await charges(fresh, site) == 7 * done
    assert len(await RedisEffectStream(connect(cluster.url)).peek(site, "0-0", 100_000)) == done
    await fresh.close()


async def test_a_node_that_dies_takes_only_its_sites_and_brings_them_back(cluster: Cluster):  # noqa: F811
    before, store = patient(cluster), RedisTwinStore(connect(cluster.url, timeout_s=1.0, retries=1))
    sites = [await a_site(before, cluster, node) for node in range(3)]
    for site in sites:
        await charge_once(before, site)
    kill9(cluster.nodes[2].server)
    with pytest.raises(StoreUnavailableError) as caught:
        await charge_once(store, sites[2])
    assert "Redis at 127.0.0.1:" in str(caught.value)
    for _ in range(10):
        await again(store, sites[0])
        with pytest.raises(StoreUnavailableError, match=r"cannot be reached|cluster|no answer"):
            await charge_once(store, sites[2])
        await asyncio.sleep(0.1)
    cluster.nodes[2].start_again()
    await asyncio.to_thread(cluster.wait_whole)
    afterwards = patient(cluster)
    for site in sites[1:]:
        await again(afterwards, site)
        assert await charges(afterwards, site) == 14
    for one in (before, store, afterwards):
        await one.close()


async def again(store: RedisTwinStore, site: str) -> None:
    """Commit as soon as it is possible again."""
    for _ in range(600):
        try:
            return await charge_once(store, site)
        except StoreUnavailableError:
            await asyncio.sleep(0.1)
    pytest.fail("the cluster did not come back")


async def until(holds: Any, within_s: float = 60.0) -> None:
    deadline = asyncio.get_running_loop().time() + within_s
    while not holds():
        assert asyncio.get_running_loop().time() < deadline, "did not happen in time"
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("url", ["redis+cluster://127.0.0.1", "redis+cluster://h:7000,h", "redis+cluster://h:7000/3"])
async def test_a_url_of_a_cluster_that_cannot_be_read_says_why(url: str):
    with pytest.raises(ValueError, match=r"not host:port|only database 0"):
        connect(url)


async def test_user_and_password_of_the_url_are_used():
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    client = connect_cluster("rediss+cluster://me:p%40ss@one:7000,two:7001", Retry(NoBackoff(), 0))
    assert client.connection_kwargs["username"] == "me"
    assert client.connection_kwargs["password"] == "p@ss"

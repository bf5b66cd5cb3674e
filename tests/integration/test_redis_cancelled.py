"""Who is cancelled while he talks to Redis ends, at whatever step of the talk it comes."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio.cluster import RedisCluster

from adapters.embedded import RunningServer
from adapters.twins import RedisEffectStream, connect
from adapters.twins.swift import swift
from tests.integration.servers import fresh_name

STEPS = 16
"""A question of a follower takes fewer steps of the loop than this until it waits for the answer."""


@pytest.mark.parametrize("step", range(1, STEPS))
async def test_a_follower_that_is_cancelled_ends(redis_server: RunningServer, step: int) -> None:
    """Live feeds and demonstrations wait for that end. The step after sending is where redis-py itself forgets."""
    stream, site = RedisEffectStream(connect(redis_server.url)), fresh_name("park")

    async def follow() -> None:
        async for _ in stream.follow(site, "0-0"):
            pass

    for _ in range(8):
        following = asyncio.create_task(follow())
        for _ in range(step):
            await asyncio.sleep(0)
        following.cancel()
        done, _ = await asyncio.wait({following}, timeout=60)
        assert done, f"cancelled after {step} steps, and it goes on"
        assert following.cancelled()
    await stream.close()


def test_nodes_of_a_cluster_are_talked_to_in_the_same_way() -> None:
    for scheme in ("redis+cluster", "rediss+cluster"):
        client = connect(f"{scheme}://127.0.0.1:1,127.0.0.1:2")
        assert isinstance(client, RedisCluster)
        manager = client.nodes_manager
        kind = manager.connection_kwargs["connection_class"]
        assert kind.__name__.startswith("Swift")
        assert kind is swift(kind.__mro__[2])
        assert {node.connection_class for node in manager.startup_nodes.values()} == {kind}

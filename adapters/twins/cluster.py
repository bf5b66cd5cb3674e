"""Redis Cluster: the same twins on several nodes, each site whole on one of them.

All keys of a site have one slot, so every script and transaction stays on one node; redis-py finds the node, and
follows MOVED and ASK while a slot moves. A node that is gone without a replica takes its sites with it until it is
back: commands on them fail as on any Redis that is gone. Sites of other nodes go on where the nodes are configured with
`cluster-require-full-coverage no`, as they should be.

    redis+cluster://[user:password@]host:port[,host:port...]     rediss+cluster:// with TLS

The nodes named are asked for the others, so any that answers is enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster

from adapters.twins.swift import swift

if TYPE_CHECKING:
    from redis.asyncio.retry import Retry

SCHEMES: Final = ("redis+cluster", "rediss+cluster")


def is_cluster_url(url: str) -> bool:
    """Whether a URL means a cluster."""
    return url.partition("://")[0] in SCHEMES


def connect_cluster(url: str, retry: Retry, **options: Any) -> RedisCluster:
    """A client of the whole cluster. Raises ValueError for a URL that cannot be read."""
    parts = urlsplit(url)
    credentials, _, places = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    if parts.path.strip("/") not in ("", "0"):
        raise ValueError("a Redis Cluster has only database 0: leave the path of its URL empty")
    client = RedisCluster(
        startup_nodes=[_node(place) for place in places.split(",")],
        username=unquote(user) or None,
        password=unquote(password) or None,
        ssl=parts.scheme == "rediss+cluster",
        retry=retry,
        require_full_coverage=False,
        **options,
    )
    _connect_swiftly(client)
    return client


def _connect_swiftly(client: Any) -> None:
    """For the nodes that are named, and for those that they will tell of."""
    options = client.nodes_manager.connection_kwargs
    options["connection_class"] = swift(options["connection_class"])
    for node in client.nodes_manager.startup_nodes.values():
        node.connection_class = options["connection_class"]


def _node(place: str) -> ClusterNode:
    host, colon, port = place.rpartition(":")
    if not colon or not host or not port.isdigit():
        raise ValueError(f"{place!r} in the URL of the Redis Cluster is not host:port")
    return ClusterNode(host.strip("[]"), int(port))


async def client_of_key(client: Any, key: str) -> Any:
    """A plain client of the node that has a key now; the client itself where there is no cluster.

    For WATCH, which has to hold on to one connection; close it afterwards with `close_client_of_key`.
    """
    if not isinstance(client, RedisCluster):
        return client
    await client.initialize()
    node: Any = client.get_node_from_key(key)
    kept = ("username", "password", "client_name", "socket_timeout", "socket_connect_timeout", "protocol")
    settings = {name: node.connection_kwargs[name] for name in kept if name in node.connection_kwargs}
    tls = {name: value for name, value in node.connection_kwargs.items() if name.startswith("ssl_")}
    return Redis(host=node.host, port=node.port, ssl=bool(tls), **settings, **tls)


async def close_client_of_key(client: Any, plain: Any) -> None:
    """Close what `client_of_key` made, where it made something."""
    if plain is not client:
        await plain.aclose()

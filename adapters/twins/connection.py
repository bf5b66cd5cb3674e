"""Connecting to Redis, and saying clearly what is wrong when it does not answer.

Whatever keeps Redis from doing its work (not there, still loading, disk full, out of memory, read-only replica) is one
thing to the flows: nothing may be acknowledged, try again later. That is StoreUnavailableError, a builtin
ConnectionError, so that nobody outside this room needs to know redis-py.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, cast

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    ClusterError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    ResponseError,
    SlotNotCoveredError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from adapters.twins.cluster import connect_cluster, is_cluster_url
from adapters.twins.swift import swift

if TYPE_CHECKING:
    from types import TracebackType

_REFUSALS = {
    "OOM": "it is out of memory: raise `maxmemory`, or let the ledger catch up",
    "MISCONF": "it cannot write to its disk: free some space; it takes writes again by itself",
    "READONLY": "it is a read-only replica: point the URL at the primary",
    "LOADING": "it is still loading its data",
    "MASTERDOWN": "it is a replica without its primary",
    "CLUSTERDOWN": "the cluster is down",
    "NOPERM": "this user may not do that: see `deploy/redis` for the commands that are needed",
    "BUSY": "it is busy with a script that somebody else runs",
    "NOREPLICAS": "it has too few replicas to accept writes",
}
_REFUSAL_WORD = re.compile(rf"\b(?:{'|'.join(_REFUSALS)})\b")
_REFUSALS_BY_CLASS: tuple[tuple[type[Exception], str], ...] = (
    (SlotNotCoveredError, "no node of the cluster has these keys now"),
    (TryAgainError, "the keys are just moving to another node of the cluster; this is over by itself"),
    (MovedError, "the keys have moved to another node of the cluster; this is over by itself"),
    (AskError, "the keys are just moving to another node of the cluster; this is over by itself"),
    (RedisClusterException, "the cluster cannot be used: are its nodes running, and have they replicas?"),
    (AuthenticationError, "it refuses the password: put the right one into the URL"),
    (BusyLoadingError, _REFUSALS["LOADING"]),
    (OutOfMemoryError, _REFUSALS["OOM"]),
    (ReadOnlyError, _REFUSALS["READONLY"]),
    (MasterDownError, _REFUSALS["MASTERDOWN"]),
    (ClusterDownError, _REFUSALS["CLUSTERDOWN"]),
    (NoPermissionError, _REFUSALS["NOPERM"]),
    (ClusterError, "the keys are just moving to another node of the cluster; this is over by itself"),
)
"""redis-py takes the leading word off some errors and keeps it as a class; inside a script the word is anywhere."""


class StoreUnavailableError(ConnectionError):
    """Redis cannot be reached or cannot work now. Nothing is known to be written: acknowledge nothing, try later."""


def connect(url: str, *, timeout_s: float = 5.0, retries: int = 3) -> Redis:
    """A client for twins and streams, of one Redis or of a cluster (`adapters.twins.cluster`). No connection is made
    until the first command.

    A command that fails to get through is repeated `retries` times with a growing pause. That is safe for commits: if
    the first attempt did arrive, the second is refused by the revision and the caller decides again.
    """
    backoff = ExponentialWithJitterBackoff(base=0.05, cap=1.0) if retries else NoBackoff()
    options: dict[str, Any] = {
        "protocol": 2,
        "decode_responses": False,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "socket_keepalive": True,
        "health_check_interval": 30,
        "client_name": "twinmeter",
    }
    if is_cluster_url(url):
        return cast(Redis, connect_cluster(url, Retry(backoff, retries), **options))
    client = Redis.from_url(url, retry=Retry(backoff, retries), **options)
    pool: Any = client.connection_pool
    pool.connection_class = swift(pool.connection_class)
    return client


def address(client: Redis) -> str:
    """Where a client connects to, without credentials."""
    if isinstance(client, RedisCluster):
        return ",".join(sorted(f"{node.host}:{node.port}" for node in client.nodes_manager.startup_nodes.values()))
    settings = client.connection_pool.connection_kwargs
    if "path" in settings:
        return f"unix:{settings['path']}"
    return f"{settings.get('host', 'localhost')}:{settings.get('port', 6379)}/{settings.get('db') or 0}"


class Reaching:
    """`with Reaching(client):` turns redis-py's errors of availability into StoreUnavailableError."""

    __slots__ = ("_client",)

    def __init__(self, client: Redis) -> None:
        self._client = client

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        if error is not None and (reason := _reason(error)) is not None:
            raise StoreUnavailableError(f"Redis at {address(self._client)}: {reason}") from error
        return False


def _reason(error: BaseException) -> str | None:
    if isinstance(error, RedisTimeoutError):
        return f"no answer in time ({error}); is it overloaded, or the network down?"
    for kind, reason in _REFUSALS_BY_CLASS:
        if isinstance(error, kind):
            return f"{reason} ({error})"
    if isinstance(error, RedisConnectionError):
        return f"cannot be reached ({error}); is it running, and is TWINMETER_REDIS_URL right?"
    if isinstance(error, ResponseError) and (word := _REFUSAL_WORD.search(str(error))):
        return f"{_REFUSALS[word[0]]} ({error})"
    return None

"""The twin store: twins, timers and the effect stream of every site, in Redis or in memory."""

from adapters.twins.connection import StoreUnavailableError, connect
from adapters.twins.leases import RedisLeases
from adapters.twins.memory import MemoryEffectStream, MemoryRedis, MemoryTwinStore
from adapters.twins.store import RedisTwinStore
from adapters.twins.stream import RedisEffectStream

__all__ = [
    "MemoryEffectStream",
    "MemoryRedis",
    "MemoryTwinStore",
    "RedisEffectStream",
    "RedisLeases",
    "RedisTwinStore",
    "StoreUnavailableError",
    "connect",
]

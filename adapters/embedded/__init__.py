"""Child servers for a laptop: a Redis and an MQTT broker of our own, on 127.0.0.1, gone when we are gone.

Everything else in the product reaches them over their real protocol and cannot tell them from a server in production.
"""

from adapters.embedded.broker import start_broker
from adapters.embedded.processes import EmbeddedServerError, RunningServer
from adapters.embedded.redis_server import start_redis

__all__ = ["EmbeddedServerError", "RunningServer", "start_broker", "start_redis"]

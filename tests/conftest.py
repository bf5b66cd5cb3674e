"""Servers and database templates that all tests of a worker share: one of each, started when first asked for."""

from tests.integration.servers import broker, mosquitto, postgres_server, redis_server
from tests.unit.adapters.store.engines import postgres_template, sqlite_template

__all__ = ["broker", "mosquitto", "postgres_server", "postgres_template", "redis_server", "sqlite_template"]

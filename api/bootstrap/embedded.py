"""Child servers of a laptop installation: whatever the settings leave open is started here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from adapters.embedded.broker import start_broker
from adapters.embedded.redis_server import start_redis

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapters.embedded.processes import RunningServer
    from api.settings import Settings


class Embedded:
    """Child servers of a laptop installation, and the settings that point to them."""

    def __init__(self, settings: Settings, servers: list[RunningServer]) -> None:
        self.settings = settings
        self.servers = servers

    def dead(self) -> list[RunningServer]:
        """The servers that have died."""
        return [server for server in self.servers if not server.is_running]

    def stop(self) -> None:
        """Stop the children, broker first, so that nothing arrives while Redis saves."""
        for server in reversed(self.servers):
            server.stop()


def start_embedded(settings: Settings, progress: Callable[[str], object] | None = None) -> Embedded:
    """Start whatever the settings leave open: Redis, a broker, SQLite. Call from the main thread.

    Raises EmbeddedServerError with the end of the server's log.
    """
    data = settings.data_dir.resolve()
    data.mkdir(parents=True, exist_ok=True)
    servers: list[RunningServer] = []
    if not settings.redis_url:
        executable = settings.embedded_redis or None
        servers.append(start_redis(data / "redis", executable=executable, progress=progress))
        settings = msgspec.structs.replace(settings, redis_url=servers[-1].url)
    if not settings.mqtt_url:
        kind = settings.embedded_broker or "auto"
        servers.append(start_broker(data / "broker", kind=kind, progress=progress))  # type: ignore[arg-type]
        settings = msgspec.structs.replace(settings, mqtt_url=servers[-1].url)
    if not settings.database_url:
        settings = msgspec.structs.replace(settings, database_url=f"sqlite:///{data / 'twinmeter.sqlite3'}")
    return Embedded(settings, servers)

"""Serving the API inside a process that does other things as well: uvicorn without its own signal handling."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from typing import TYPE_CHECKING, Final

import structlog
import uvicorn

from api.http.app import create_app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from api.bootstrap import Platform

log = structlog.get_logger(__name__)

BACKLOG: Final = 1_024
LINGER_S: Final = 5
"""How long requests in hand may take when the process stops."""


class QuietServer(uvicorn.Server):
    """A uvicorn server that leaves the signals of the process, and its life, alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to whoever runs the process."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve. Raises RuntimeError where that fails, as when the database is away just then: uvicorn would
        end the process, and with it all that has nothing to do with the API."""
        try:
            await super().startup(sockets=sockets)
        except SystemExit:
            raise RuntimeError("the HTTP server could not start; the log says why") from None


async def serve_http(platform: Platform, stop: asyncio.Event) -> None:
    """Serve until `stop` is set. The address that was bound is `platform.http_url`. Raises RuntimeError where it cannot
    start, or ends by itself.

    Where the port of the settings is taken, the log says by what, and a free one is used. A start after a failure asks
    for the port that was bound before: whoever has found the API stays in touch with it.
    """
    host, port = platform.settings.http_address
    listener = listen(host, platform.http_port or port, platform)
    platform.http_port = listener.getsockname()[1]
    app = create_app(platform)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="on",
        server_header=False,
        timeout_graceful_shutdown=LINGER_S,
        h11_max_incomplete_event_size=64 * 1024,
    )
    server = QuietServer(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    stopping = asyncio.create_task(stop.wait())
    try:
        platform.http_url = url_of(listener)
        log.info("the API listens", url=platform.http_url)
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await app.state.feed.close()  # feeds never end by themselves and would hold up the stop
        server.should_exit = True
        await serving
        if not stop.is_set():
            raise RuntimeError("the HTTP server ended by itself; the log says why")
    finally:
        platform.http_url = ""
        stopping.cancel()
        serving.cancel()
        listener.close()


def listen(host: str, port: int, platform: Platform) -> socket.socket:
    """A listening socket at the wanted address, or at a free port of that host when the port is taken."""
    try:
        return bound(host, port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or port == 0:
            raise
    log.warning("the port is taken, using another", host=host, port=port, by=platform.who_listens(port))
    return bound(host, 0)


def bound(host: str, port: int) -> socket.socket:
    """A listening socket at an address. Raises OSError where it is taken or is not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host.strip("[]"), port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def url_of(listener: socket.socket) -> str:
    """The URL of a listening socket; one that listens everywhere is reached at 127.0.0.1."""
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 -- compared, not bound
    return f"http://{f'[{shown}]' if ':' in shown and not shown.startswith('[') else shown}:{port}"

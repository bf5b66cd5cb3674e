"""Metrics of a process that serves no API: each single service tells its own counters at an address of its own.

The API's `/metrics` tells of its own process and of what stands in Redis and SQL; how many readings an ingest process
has decided on only that process knows. Nobody is asked for a token, so the address should be one of this machine.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog
import uvicorn
from prometheus_client import generate_latest

from api.http.metrics import CONTENT_TYPE, process_registry
from api.http.serve import QuietServer, bound, url_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from socket import socket

    from api.http.backend import Backend

log = structlog.get_logger(__name__)

PATH: Final = "/metrics"


def listen_for_metrics(address: tuple[str, int], who_listens: Callable[[int], str]) -> socket:
    """A listening socket. Raises OSError, with who has the port, where it cannot be: a scraper would look in vain."""
    host, port = address
    try:
        return bound(host, port)
    except OSError as error:
        by = f", taken by {who_listens(port)}" if port else ""
        raise OSError(error.errno, f"metrics cannot be served at {host}:{port}{by}: {error.strerror}") from None


async def serve_metrics(backend: Backend, listener: socket, stop: asyncio.Event) -> None:
    """Answer scrapes until `stop` is set."""
    config = uvicorn.Config(
        metrics_app(backend), log_config=None, access_log=False, lifespan="off", server_header=False
    )
    server = QuietServer(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    log.info("metrics are served", url=url_of(listener) + PATH)
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving
    finally:
        stopping.cancel()
        listener.close()


def metrics_app(backend: Backend) -> Callable[..., Awaitable[None]]:
    """An ASGI application that knows `GET /metrics` and nothing else."""
    registry = process_registry(backend)

    async def answer(scope: dict[str, Any], _receive: Any, send: Any) -> None:
        found = scope["type"] == "http" and scope["path"] == PATH and scope["method"] in ("GET", "HEAD")
        body = generate_latest(registry) if found else b"there is only /metrics here\n"
        kind = CONTENT_TYPE if found else "text/plain; charset=utf-8"
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200 if found else 404, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope.get("method") == "HEAD" else body})

    return answer

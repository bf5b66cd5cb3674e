"""What happens around every answer: security headers, and the time it took."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Message, Receive, Scope, Send

SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}
STARTED: Final = "twinmeter_started"


async def secure(message: Message, _scope: Scope) -> None:
    """Security headers on every answer, those of the framework's own refusals included. There is no CORS."""
    if message["type"] != "http.response.start":
        return
    headers = MutableScopeHeaders.from_message(message)
    for name, value in SECURITY_HEADERS.items():
        headers.setdefault(name, value)
    headers.setdefault("Cache-Control", "no-store")


class Stopwatch:
    """ASGI middleware: measures the time until an answer begins."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and observe when the answer starts."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()

        async def observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                handler = scope.get("route_handler")
                operation = getattr(handler, "operation_id", None) or "other"
                requests = scope["litestar_app"].state.metrics.requests
                requests.labels(str(operation), str(message["status"])).observe(time.perf_counter() - started)
            await send(message)

        await self._app(scope, receive, observed)

"""Calls of outside systems over HTTP, signed, to the addresses that the settings allow and to no other.

A call is a POST of JSON. `Twinmeter-Delivery` is the same at every repeat, so that the receiver can know one that it
has had; `Idempotency-Key` carries it too. `Twinmeter-Signature: t=SECONDS,v1=HEX` is the HMAC-SHA256 of `SECONDS.BODY`
with the webhook's own secret: who checks it, and that SECONDS is recent, knows that the call is ours and is no replay.
Redirects are not followed: they could lead anywhere.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import TYPE_CHECKING

import structlog

from twin.ports import WebhookAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import httpx

    from twin.ports import WebhookTarget

log = structlog.get_logger(__name__)

ANSWER_MAX = 300
"""Characters of an answer that are kept."""


def signature(secret: str, seconds: int, body: bytes) -> str:
    """The value of the `Twinmeter-Signature` header."""
    mac = hmac.new(secret.encode(), f"{seconds}.".encode() + body, sha256)
    return f"t={seconds},v1={mac.hexdigest()}"


class WebhookSender:
    """Sends calls to named targets; `now` is the clock of the signatures (Unix ms, real time)."""

    def __init__(self, targets: Mapping[str, WebhookTarget], now: Callable[[], int]) -> None:
        self._targets = targets
        self._now = now
        self._client: httpx.AsyncClient | None = None

    def allows(self, site: str, name: str) -> str:
        """Why a site's rules may not call this webhook; an empty text where they may."""
        target = self._targets.get(name)
        if target is None:
            return f"the settings name no webhook {name!r}"
        if target.sites and site not in target.sites:
            return f"the settings do not open webhook {name!r} to site {site!r}"
        return ""

    async def send(self, name: str, delivery: str, body: bytes) -> WebhookAnswer:
        """POST a body once; whatever comes of it is an answer, status 0 where nobody answered."""
        import httpx  # few processes ever call anybody

        target = self._targets[name]
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "twinmeter",
            "Twinmeter-Webhook": name,
            "Twinmeter-Delivery": delivery,
            "Idempotency-Key": delivery,
        }
        if target.secret:
            headers["Twinmeter-Signature"] = signature(target.secret, self._now() // 1000, body)
        try:
            answer = await self._open().post(target.url, content=body, headers=headers, timeout=target.timeout_s)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return WebhookAnswer(0, f"{type(error).__name__}: {error}"[:ANSWER_MAX])
        wait = answer.headers.get("Retry-After", "")
        retry_after_ms = int(wait) * 1000 if wait.isascii() and wait.isdigit() and len(wait) < 7 else 0
        return WebhookAnswer(answer.status_code, answer.text[:ANSWER_MAX], retry_after_ms)

    async def close(self) -> None:
        """Close kept connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _open(self) -> httpx.AsyncClient:
        if self._client is None:
            import httpx

            self._client = httpx.AsyncClient(follow_redirects=False, trust_env=False)
        return self._client

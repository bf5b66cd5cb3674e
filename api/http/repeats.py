"""Calls that come twice: the same person, key and content get the same answer, and nothing happens again."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import msgspec
from litestar import Response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from api.http.backend import Backend
    from api.http.identity import Person

HIT: Final = {"Idempotency-Hit": "true"}


class Call(msgspec.Struct, frozen=True):
    """What was asked, by whom, under which key."""

    site: str
    person: Person
    key: str
    content: tuple[Any, ...]

    @property
    def scope(self) -> str:
        """Keys belong to the person who chose them."""
        return f"http:{self.person.name}"

    @property
    def digest(self) -> str:
        """A hash of the content."""
        return sha256(msgspec.json.encode(self.content)).hexdigest()


async def once(backend: Backend, call: Call, act: Callable[[], Awaitable[msgspec.Struct]]) -> Response[Any]:
    """Carry out the act and answer 202, or give the answer that was given before.

    The act itself must be idempotent by the same key: a crash before the answer is kept makes it run again. Raises
    MoneyRefusedError `idempotency_conflict` for a key that came with another content.
    """
    given = await backend.answers.given(call.site, call.scope, call.key, call.digest)
    if given is not None:
        return _accepted(given, HIT)
    fresh = msgspec.json.encode(await act()).decode()
    kept = await backend.answers.keep(call.site, call.scope, call.key, call.digest, fresh, backend.clock.now())
    return _accepted(kept, {})


def _accepted(answer: str, headers: dict[str, str]) -> Response[Any]:
    return Response(answer.encode(), status_code=202, media_type="application/json", headers=headers)

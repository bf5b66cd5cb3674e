"""Bodies as JSON, read strictly: UTF-8, and no name twice in one object: nobody knows which of the two is meant.
The character NUL, which no text of SQL can hold, stands nowhere in it."""

from __future__ import annotations

import json
from typing import Any

from litestar import Request

from api.http.problems import Problem


class StrictRequest(Request[Any, Any, Any]):
    """A request whose JSON body is refused where it is not what it seems to be."""

    async def json(self) -> Any:
        """The body as data. Raises Problem `malformed`."""
        check_json(await self.body())
        return await super().json()


def check_json(body: bytes) -> None:
    """Raises Problem `malformed` for what is not UTF-8, nested without end, names a field twice in one object, or holds
    the character NUL.

    What is not JSON at all is left to the reader that follows.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise Problem("malformed", f"the body is not UTF-8: byte {error.start} ({error.reason})") from None
    try:
        data = json.loads(text or "null", object_pairs_hook=_members)
    except RecursionError:
        raise Problem("malformed", "the body is nested too deeply") from None
    except ValueError:
        return
    if "\\u0000" in text and _holds_nul(data):
        raise Problem("malformed", "the body holds the character NUL (\\u0000)")


def _holds_nul(data: Any) -> bool:
    if isinstance(data, dict):
        return any(_holds_nul(part) for pair in data.items() for part in pair)
    if isinstance(data, list):
        return any(map(_holds_nul, data))
    return isinstance(data, str) and "\0" in data


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise Problem("malformed", f"the body names {name!r} twice; say it once")
        members[name] = value
    return members

"""Pages: how many, from where on, and what a page of the store becomes."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

from litestar.params import Parameter

from api.http.problems import invalid

if TYPE_CHECKING:
    from api.http.alarm_backend import Page

DEFAULT_LIMIT: Final = 50
MOST: Final = 500

Limit = Annotated[int, Parameter(query="limit", ge=1, le=MOST, description="Most entries of one page.")]
Cursor = Annotated[
    str | None,
    Parameter(query="cursor", max_length=100, description="`next` of the page before; absent for the first page."),
]

Item = TypeVar("Item")


async def page_of(reading: Awaitable[Page[Item]]) -> Page[Item]:
    """The page that is read. Raises Problem `validation` for a cursor that the list never gave out."""
    try:
        return await reading
    except ValueError:
        raise invalid("cursor", "is not a cursor of this list; take `next` of the page before") from None

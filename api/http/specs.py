"""What every route says of its refusals in the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final

from litestar.datastructures import ResponseHeader
from litestar.openapi.datastructures import ResponseSpec

from api.http.bodies import ProblemBody
from api.http.problems import MEDIA_TYPE

TEXT: Final = {
    304: "The twin is as the caller knows it.",
    400: "The request cannot be read.",
    401: "No valid token.",
    403: "The role may not do this.",
    404: "It does not exist, or the token may not know of it.",
    409: "It contradicts what is there; `code` says how.",
    412: "The twin has changed since it was read.",
    413: "The body is too large.",
    415: "The body is of another type.",
    422: "A field is not valid; `errors` names it.",
    429: "Too many at once.",
    503: "A part of the platform is away; try again.",
}


def refusals(*statuses: int) -> dict[int, ResponseSpec]:
    """Specs of the given statuses, and of those that every protected route has."""
    return {
        status: ResponseSpec(
            ProblemBody,
            description=TEXT[status],
            media_type=MEDIA_TYPE,
            generate_examples=False,
        )
        for status in sorted({401, 403, 503, *statuses})
    }


def not_modified() -> dict[int, Any]:
    """The spec of 304."""
    return {304: ResponseSpec(None, description=TEXT[304], generate_examples=False)}


ETAG: Final = ResponseHeader(
    name="ETag", description="Revision of the twin, for If-None-Match and If-Match.", documentation_only=True
)
IDEMPOTENCY_HIT: Final = ResponseHeader(
    name="Idempotency-Hit",
    description="`true` when this key had carried out the same before and nothing happened now.",
    documentation_only=True,
)

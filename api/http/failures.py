"""Failures as problems: whatever a route raises leaves as `application/problem+json`, and never with a stack trace."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any, Final

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from api.http.language import preferred_language
from api.http.problems import CATALOGUE, MEDIA_TYPE, Problem, body_of
from twin.flows.apply_messages import ContendedError
from twin.ports import LedgerUnavailableError, MoneyRefusedError, StoreFullError, StoreLostError
from twin.recorded import VersionRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

AnyRequest = Request[Any, Any, Any]

log = structlog.get_logger(__name__)

BY_STATUS: Final = {
    400: "malformed",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
    422: "validation",
    429: "too_many_requests",
    503: "unavailable",
}
MONEY_FIELDS: Final = {
    "amount": "amount",
    "key": "Idempotency-Key",
    "channel": "channel",
    "reference": "reference",
    "reason": "reason",
}
PASSING: Final = (StoreLostError, StoreFullError, ContendedError, ConnectionError, TimeoutError)
RETRY_AFTER_S: Final = "2"
MISSING: Final = re.compile(r"Missing required \w+ parameter '([^']+)'")


def answer(request: AnyRequest, problem: Problem) -> Response[dict[str, Any]]:
    """The response of a problem, in the caller's language."""
    language = preferred_language(request.headers.get("accept-language"))
    headers = {"Content-Language": language, "Vary": "Accept-Language", **problem.headers}
    body = body_of(problem, language, request.scope["path"])
    return Response(body, status_code=problem.kind.status, media_type=MEDIA_TYPE, headers=headers)


def on_problem(request: AnyRequest, problem: Problem) -> Response[dict[str, Any]]:
    """A refusal of ours."""
    return answer(request, problem)


def on_money_refused(request: AnyRequest, error: MoneyRefusedError) -> Response[dict[str, Any]]:
    """The ledger refused; its codes are ours, or name the field at fault."""
    field = MONEY_FIELDS.get(error.code)
    if field is None:
        return answer(request, Problem(error.code if error.code in CATALOGUE else "validation", error.detail))
    code = "amount" if field == "amount" else "validation"
    return answer(request, Problem(code, error.detail, errors=[{"field": field, "message": error.detail}]))


def on_version_refused(request: AnyRequest, error: VersionRefusedError) -> Response[dict[str, Any]]:
    """A version of rules cannot be added or activated; `errors` says what stands in the way."""
    errors = [{"field": "rules", "message": problem} for problem in error.problems]
    problem = Problem(error.code, error.detail, errors=errors) if errors else Problem(error.code, error.detail)
    return answer(request, problem)


def on_validation(request: AnyRequest, error: ValidationException) -> Response[dict[str, Any]]:
    """Input that does not have the shape of the route."""
    missing = MISSING.search(error.detail)
    if missing is not None:
        errors = [{"field": missing[1], "message": "is missing"}]
    elif isinstance(error.extra, list) and error.extra:
        errors = [_field_error(request, entry) for entry in error.extra]
    else:
        return answer(request, Problem("malformed", error.detail))
    detail = "; ".join(f"{entry['field']}: {entry['message']}" for entry in errors)
    return answer(request, Problem("validation", detail, errors=errors))


def _field_error(request: AnyRequest, entry: Any) -> dict[str, str]:
    if not isinstance(entry, dict):
        return {"field": "", "message": str(entry)}
    name = _wire_name(request, str(entry.get("key", "")))
    return {"field": name, "message": str(entry.get("message", "is not valid"))}


def _wire_name(request: AnyRequest, key: str) -> str:
    """What the caller calls a parameter: the name of its header or query parameter; `body` for the body as a whole."""
    if key in ("", "data"):
        return "body"
    handler = request.scope.get("route_handler")
    parameter = handler.parsed_fn_signature.parameters.get(key) if handler is not None else None
    definition = parameter.kwarg_definition if parameter is not None else None
    return getattr(definition, "header", None) or getattr(definition, "query", None) or key


def on_http_error(request: AnyRequest, error: HTTPException) -> Response[dict[str, Any]]:
    """What the framework refuses: no such address, method, media type, size."""
    if error.status_code >= 500 and error.status_code != 503:
        return on_anything(request, error)
    problem = Problem(BY_STATUS.get(error.status_code, "malformed"), _detail(request, error), headers=error.headers)
    return answer(request, problem)


def _detail(request: AnyRequest, error: HTTPException) -> str:
    if error.status_code == 404:
        return f"there is nothing at {request.scope['path']}"
    if error.status_code == 405:
        return f"{request.method} is not possible at {request.scope['path']}"
    return error.detail


def on_passing_trouble(request: AnyRequest, error: Exception) -> Response[dict[str, Any]]:
    """The store or the database is away for the moment: nothing is answered that could not be checked."""
    log.warning("request refused for now", path=request.scope["path"], error=repr(error)[:500])
    detail = "a part of the platform is not available at the moment; try again"
    return answer(request, Problem("unavailable", detail, headers={"Retry-After": RETRY_AFTER_S}))


def on_ledger_trouble(request: AnyRequest, error: LedgerUnavailableError) -> Response[dict[str, Any]]:
    """The database cannot be written to or read: nothing was done, and the same call may be repeated."""
    log.error("the ledger is not available", path=request.scope["path"], error=str(error)[:500])
    detail = "the ledger cannot do it for the moment (its database is full or away); nothing was done, try again"
    return answer(request, Problem("ledger_unavailable", detail, headers={"Retry-After": RETRY_AFTER_S}))


def on_anything(request: AnyRequest, error: Exception) -> Response[dict[str, Any]]:
    """A fault of ours. The caller gets a number under which the log tells more."""
    number = secrets.token_hex(6)
    log.error("request failed", path=request.scope["path"], number=number, exc_info=error)
    return answer(request, Problem("internal", f"something went wrong here; the log has it as {number}", number=number))


EXCEPTION_HANDLERS: Final[dict[type[Exception] | int, Callable[[AnyRequest, Any], Response[Any]]]] = {
    Problem: on_problem,
    MoneyRefusedError: on_money_refused,
    VersionRefusedError: on_version_refused,
    ValidationException: on_validation,
    HTTPException: on_http_error,
    **dict.fromkeys(PASSING, on_passing_trouble),
    LedgerUnavailableError: on_ledger_trouble,
    Exception: on_anything,
}

"""Instants as people write them on a command line, and as it shows them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.errors import WrongUsageError

if TYPE_CHECKING:
    from datetime import tzinfo

At = Annotated[
    str | None, typer.Option("--at", help="Instant, ISO 8601 (local time of the site without an offset) or Unix ms.")
]


def instant(text: str, zone: tzinfo, option: str) -> int:
    """Unix ms of what a person wrote; without an offset it is local time of the site. Raises WrongUsageError."""
    if text.isdigit():
        return int(text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise WrongUsageError(f"{option} {text!r}: write an instant such as 2026-01-12T09:30 or Unix ms") from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=zone)
    return int(found.timestamp()) * 1000 + found.microsecond // 1000


def far_instant(text: str | None) -> int | None:
    """Unix ms for the API, which alone knows the site's zone: an offset must be written."""
    if text is None or text.isdigit():
        return None if text is None else int(text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise WrongUsageError(f"--at {text!r}: with --url write an offset, such as 2026-01-12T09:30+08:00, or Unix ms")
    return instant(text, UTC, "--at")


def minute(ts: int) -> str:
    """An instant (Unix ms) to the minute, in UTC."""
    return datetime.fromtimestamp(ts / 1000, UTC).strftime("%Y-%m-%d %H:%MZ")

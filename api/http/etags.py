"""ETags: the revision of a twin, and the conditions that name it (RFC 9110, 13.1)."""

from __future__ import annotations


def etag_of(revision: int) -> str:
    """The strong validator of a revision."""
    return f'"{revision}"'


def matches(condition: str, etag: str, *, weak: bool) -> bool:
    """Whether a list of ETags, or `*`, names this one. `weak` comparison also takes `W/` for the same."""
    if condition.strip() == "*":
        return True
    tags = [tag.strip() for tag in condition.split(",")]
    if weak:
        tags = [tag.removeprefix("W/") for tag in tags]
    return etag in tags

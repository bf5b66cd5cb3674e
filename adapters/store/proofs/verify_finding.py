"""What verification finds, and how it tells its progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

Progress = Callable[[str, int], object]
"""(name of the check, rows seen so far)"""
Seen = Callable[[int], object]
"""Rows seen so far by one check."""

PAGE = 2_000


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong: a stable code, the place, and the detail for a person."""

    severity: Literal["error", "warning"]
    code: str
    where: str
    detail: str


def error(code: str, where: str, detail: str) -> Finding:
    """A breach."""
    return Finding("error", code, where, detail)

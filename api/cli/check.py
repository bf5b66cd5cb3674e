"""The outcome of one look at what the platform stands on."""

from __future__ import annotations

from typing import Literal

import msgspec


class Check(msgspec.Struct, frozen=True):
    """What was looked at, how it is, and what to do about it."""

    name: str
    state: Literal["ok", "warning", "failed"]
    found: str
    remedy: str = ""

"""Ids of effect-stream entries, `ms-n`: compared as two numbers, never as text (`9-0` is older than `10-0`)."""

from __future__ import annotations

BEGINNING = "0-0"
"""Older than every entry: the position of a ledger that has seen none."""


def order(entry_id: str) -> tuple[int, int]:
    """Sort key of an id. Raises ValueError for text that is not `ms-n`."""
    ms, dash, serial = entry_id.partition("-")
    if not dash or not ms.isdecimal() or not serial.isdecimal():
        raise ValueError(f"effect-stream id {entry_id!r}: expected `ms-n`, for example `1750000000000-0`")
    return int(ms), int(serial)


def newest(*ids: str) -> str:
    """The newest of the ids given; the beginning when there is none."""
    return max(ids, key=order, default=BEGINNING)


def following(entry_id: str) -> str:
    """The smallest id that is newer."""
    ms, serial = order(entry_id)
    return f"{ms}-{serial + 1}"

"""Draws from a seed: one stream of random numbers a purpose, so that one more draw here changes nothing there."""

from __future__ import annotations

from hashlib import blake2b
from random import Random


def stream(seed: int, *purpose: object) -> Random:
    """A source of random numbers for one purpose of one seed; the same everywhere and for ever."""
    text = repr((seed, *purpose)).encode()
    return Random(int.from_bytes(blake2b(text, digest_size=8).digest(), "big"))

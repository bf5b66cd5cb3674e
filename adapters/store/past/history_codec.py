"""Blocks of recorded messages: columns as MessagePack, deflated.

Columns of like values lie side by side (instants as differences, verbs and devices as small numbers, payloads in one
row), which deflate likes: a block of one device's day takes a fraction of the bytes of its payloads. Level 1 while
messages come in, because that is cheap; level 6 when they are sorted by device, because they stay so.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import msgspec

from twin.recorded import Recorded

if TYPE_CHECKING:
    from collections.abc import Sequence

QUICK, SMALL = 1, 6


class _Columns(msgspec.Struct, array_like=True):
    """One block; `device` and `verb` are positions in `names`, `later` is the time since the message before, ms."""

    names: list[str]
    start: int
    later: list[int]
    device: list[int]
    verb: list[int]
    length: list[int]
    payloads: bytes


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Columns)


def pack(messages: Sequence[Recorded], level: int) -> bytes:
    """A block of messages, which must not be empty."""
    names: dict[str, int] = {}
    columns = _Columns([], messages[0].received_at, [], [], [], [], b"")
    at = columns.start
    for message in messages:
        columns.later.append(message.received_at - at)
        at = message.received_at
        columns.device.append(names.setdefault(message.device, len(names)))
        columns.verb.append(names.setdefault(message.verb, len(names)))
        columns.length.append(len(message.payload))
    columns.names = list(names)
    columns.payloads = b"".join(message.payload for message in messages)
    return zlib.compress(_ENCODER.encode(columns), level)


def unpack(blob: bytes) -> list[Recorded]:
    """The messages of a block. Raises ValueError for bytes that are none."""
    try:
        columns = _DECODER.decode(zlib.decompress(blob))
    except (zlib.error, msgspec.MsgspecError) as error:
        raise ValueError(f"a block of the recorded history cannot be read: {error}") from None
    names, payloads = columns.names, columns.payloads
    found: list[Recorded] = []
    at, place = columns.start, 0
    for later, device, verb, length in zip(columns.later, columns.device, columns.verb, columns.length, strict=True):
        at += later
        found.append(Recorded(at, names[device], names[verb], payloads[place : place + length]))
        place += length
    return found

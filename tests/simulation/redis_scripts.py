"""The Lua scripts of the twin store, word for word in Python: their meaning is held to the real ones by the
conformance suites."""

from __future__ import annotations

from typing import Any

from redis.exceptions import ResponseError

from adapters.twins import script as scripts
from tests.simulation.redis_data import RedisData, Stream, flat, raw, read_id, text, write_id

HEADER = 7


def run_script(data: RedisData, script: str, keys: list[str], arguments: list[Any]) -> Any:
    """Run a script of the product. Raises ResponseError for one that nobody has written out here."""
    if script == scripts.COMMIT:
        return _commit(data, keys, arguments)
    if script == scripts.TRIM:
        return _trim(data, keys, arguments)
    if script == scripts.RAISE_FENCE:
        return _raise_fence(data, keys, arguments)
    raise ResponseError("the simulated server does not know this script")


def _commit(data: RedisData, keys: list[str], argv: list[Any]) -> list[Any]:
    builder, generation, last, count = data.hmget(keys[0], "builder", "gen", "last", "count")
    if generation is None:
        return [b"LOST", b"it has no generation: it was wiped, or a rebuild is under way"]
    assert last is not None
    assert count is not None
    if builder != raw(argv[0]):
        return [b"LOST", b"another rebuild replaced the twins (generation %b)" % generation]
    if read_id(last.decode()) < read_id(text(argv[1])):
        return [b"LOST", b"it went back in time: its newest effect is %b" % last]
    length = data.xlen(keys[1])
    if length == 0 and last != b"0-0" and not data.exists(keys[1]):
        return [b"LOST", b"its effect stream is gone"]
    if not _knows(data, keys, last, text(argv[1])):
        return [b"LOST", b"it went back in time and another process wrote on"]
    changes, rest = _changes(keys, argv)
    fits = [(data.hget(change["key"], "rev") or b"") == raw(change["revision"]) for change in changes]
    refused = [place for place, fit in enumerate(fits, 1) if not fit]
    accepted = [change for change, fit in zip(changes, fits, strict=True) if fit]
    if rest:
        seen = data.hget(keys[0], rest[0])
        if seen is not None and int(seen) > int(text(rest[1])):
            return [b"FENCED", seen]
        data.hset(keys[0], rest[0], rest[1])
    asks = any(text(change["effects"]) for change in accepted)
    if asks and length >= int(text(argv[2])):
        return [b"FULL", b"%d" % length]
    newest, number = _write(data, keys, argv, accepted, last, int(count))
    if asks:
        data.hset(keys[0], mapping={"last": newest, "count": number})
    return [b"OK", newest, *refused]


def _knows(data: RedisData, keys: list[str], last: bytes, seen: str) -> bool:
    """Whether the effect that the process has seen last is in the stream, or was dropped from it in order."""
    if last == raw(seen) or data.xrange(keys[1], seen, seen, 1):
        return True
    marks = data.hmget(keys[0], "trimmed", "base")
    return any(mark is not None and read_id(mark.decode()) >= read_id(seen) for mark in marks)


def _write(
    data: RedisData, keys: list[str], argv: list[Any], accepted: list[dict[str, Any]], newest: bytes, number: int
) -> tuple[bytes, int]:
    """Write the changes; the newest effect and their count afterwards."""
    for change in accepted:
        if change["fields"]:
            data.hset(change["key"], mapping=flat(change["fields"]))
        if change["gone"]:
            data.hdel(change["key"], *change["gone"])
        if text(change["wake"]):
            data.zadd(keys[2], {change["group"]: text(change["wake"])})
        revision = text(change["fields"][1]) if change["fields"] else text(change["revision"])
        for first in range(0, len(change["ops"]), 3):
            _index(data, keys, change["ops"][first : first + 3], text(change["group"]), revision, argv)
        if text(change["effects"]):
            number += 1
            newest = data.xadd(keys[1], {"n": number, "g": change["group"], "e": change["effects"]})
    return newest, number


def _changes(keys: list[str], argv: list[Any]) -> tuple[list[dict[str, Any]], list[Any]]:
    """The changes, and the lease and token behind them where there are any."""
    found = []
    at = 6
    for number in range(int(text(argv[5]))):
        group, revision, wake, effects, fields, gone, ops = argv[at : at + HEADER]
        at += HEADER
        parts = []
        for size in (int(text(fields)), int(text(gone)), 3 * int(text(ops))):
            parts.append(list(argv[at : at + size]))
            at += size
        found.append(
            {"key": keys[5 + number], "group": group, "revision": revision, "wake": wake, "effects": effects}
            | {"fields": parts[0], "gone": parts[1], "ops": parts[2]}
        )
    return found, argv[at:]


def _raise_fence(data: RedisData, keys: list[str], argv: list[Any]) -> int:
    seen = data.hget(keys[0], argv[0])
    if data.exists(keys[0]) and (seen is None or int(seen) < int(text(argv[1]))):
        data.hset(keys[0], argv[0], argv[1])
    return 0


def _index(data: RedisData, keys: list[str], op: list[Any], group: str, revision: str, argv: list[Any]) -> None:
    kind, place, name = text(op[0]), int(text(op[1])), text(op[2])
    if kind == "D":
        data.hset(keys[3], name, group)
    elif kind == "d":
        if data.hget(keys[3], name) == raw(group):
            data.hdel(keys[3], name)
    elif kind == "W":
        data.sadd(keys[place - 1], group)
        data.sadd(keys[4], name)
    elif kind == "w":
        data.srem(keys[place - 1], group)
    elif kind == "G":
        data.zremrangebyscore(keys[place - 1], "-inf", f"({text(argv[4])}")
        data.zadd(keys[place - 1], {f"{group}:{revision}:{name}": text(argv[3])})


def _trim(data: RedisData, keys: list[str], argv: list[Any]) -> int:
    length, keep = data.xlen(keys[1]), int(text(argv[1]))
    if length <= keep:
        return 0
    stream: Stream = data.keys[keys[1]]
    ms, serial = read_id(text(argv[0]))
    needed = (ms, serial + 1)
    for group in stream.groups.values():
        first = min(group.pending) if group.pending else (group.last[0], group.last[1] + 1)
        needed = min(needed, first)
    droppable = sum(1 for entry in stream.entries if entry < needed)
    drop = min(droppable, length - keep)
    if drop <= 0:
        return 0
    trimmed = list(stream.entries)[drop - 1]
    data.xtrim(keys[1], length - drop)
    data.hset(keys[0], "trimmed", write_id(trimmed))
    return drop

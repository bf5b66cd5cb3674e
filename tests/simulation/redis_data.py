"""What a Redis server does with its data, as far as the twin store asks for it: hashes, sets, sorted sets, streams.

Every method is one command and happens at once, as in the real server. Values are bytes, as they come over the wire.
The commands that a script consists of are written out in `redis_scripts.py`. The conformance suites of the twin store
run on this server and on the real ones alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from redis.exceptions import ResponseError

Id = tuple[int, int]


def raw(value: Any) -> bytes:
    """A value as it goes over the wire."""
    if type(value) is bytes:
        return value
    return value.encode() if type(value) is str else str(value).encode()


def text(value: Any) -> str:
    """A name as text."""
    return value.decode() if isinstance(value, bytes) else str(value)


def read_id(name: str, *, last: bool = False) -> Id:
    """A stream id; `ms` alone is the first (or the last) of that millisecond."""
    if name in ("-", "+"):
        return (0, 0) if name == "-" else (2**63, 0)
    ms, _, serial = name.partition("-")
    return int(ms), int(serial) if serial else (2**63 if last else 0)


def write_id(entry: Id) -> bytes:
    """As Redis writes it."""
    return b"%d-%d" % entry


class Readers:
    """A consumer group of a stream."""

    __slots__ = ("last", "pending")

    def __init__(self, last: Id) -> None:
        self.last = last
        self.pending: dict[Id, bytes] = {}

    def copy(self) -> Readers:
        """As it is now."""
        made = Readers(self.last)
        made.pending = dict(self.pending)
        return made


class Stream:
    """Entries by rising id, and the groups that read them."""

    __slots__ = ("entries", "groups", "last")

    def __init__(self) -> None:
        self.entries: dict[Id, dict[bytes, bytes]] = {}
        self.last: Id = (0, 0)
        self.groups: dict[str, Readers] = {}

    def copy(self) -> Stream:
        """As it is now; entries never change."""
        made = Stream()
        made.entries, made.last = dict(self.entries), self.last
        made.groups = {name: group.copy() for name, group in self.groups.items()}
        return made

    def after(self, start: Id, count: int | None) -> list[tuple[Id, dict[bytes, bytes]]]:
        """Entries with an id above `start`."""
        found = []
        for entry in reversed(self.entries):
            if entry <= start:
                break
            found.append(entry)
        return [(entry, self.entries[entry]) for entry in found[::-1][:count]]


Value = dict[bytes, bytes] | set[bytes] | dict[bytes, float] | Stream


class RedisData:
    """The data of one server. `clock` gives its time in Unix ms; `version` changes with every key that is written."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self.keys: dict[str, Any] = {}
        self.versions: dict[str, int] = {}
        self._writes = 0

    def copy(self) -> dict[str, Any]:
        """All data as a backup file would have it."""
        return {key: value.copy() for key, value in self.keys.items()}

    def restore(self, copy: Mapping[str, Any]) -> None:
        """Go on with an older copy; everything that was watched has changed."""
        touched = {*self.keys, *copy}
        self.keys = {key: value.copy() for key, value in copy.items()}
        for key in touched:
            self.touch(key)

    def touch(self, key: str) -> None:
        """A key was written."""
        self._writes += 1
        self.versions[key] = self._writes

    def _at(self, key: str, kind: type, make: bool = False) -> Any:
        value = self.keys.get(key)
        if value is None:
            if make:
                value = self.keys[key] = kind()
            else:
                return kind()
        elif not isinstance(value, kind):
            raise ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")
        if make:
            self.touch(key)
        return value

    def _tidy(self, key: str) -> None:
        if not isinstance(self.keys.get(key), Stream) and not self.keys.get(key, True):
            del self.keys[key]

    # --- hashes

    def hget(self, key: str, field: Any) -> bytes | None:
        return self._at(key, dict).get(raw(field))

    def hmget(self, key: str, *fields: Any) -> list[bytes | None]:
        found = self._at(key, dict)
        return [found.get(raw(field)) for field in fields]

    def hgetall(self, key: str) -> dict[bytes, bytes]:
        return dict(self._at(key, dict))

    def hexists(self, key: str, field: Any) -> bool:
        return raw(field) in self._at(key, dict)

    def hset(self, key: str, field: Any = None, value: Any = None, *, mapping: Mapping[Any, Any] | None = None) -> int:
        wanted = dict(mapping or {})
        if field is not None:
            wanted[field] = value
        at = self._at(key, dict, make=True)
        new = sum(1 for name in wanted if raw(name) not in at)
        at.update((raw(name), raw(one)) for name, one in wanted.items())
        return new

    def hdel(self, key: str, *fields: Any) -> int:
        at = self._at(key, dict)
        gone = [raw(field) for field in fields if at.pop(raw(field), None) is not None]
        if gone:
            self.touch(key)
            self._tidy(key)
        return len(gone)

    # --- sets

    def sadd(self, key: str, *members: Any) -> int:
        at = self._at(key, set, make=True)
        before = len(at)
        at.update(raw(member) for member in members)
        return len(at) - before

    def srem(self, key: str, *members: Any) -> int:
        at = self._at(key, set)
        before = len(at)
        at.difference_update(raw(member) for member in members)
        if len(at) != before:
            self.touch(key)
            self._tidy(key)
        return before - len(at)

    def smembers(self, key: str) -> set[bytes]:
        return set(self._at(key, set))

    def srandmember(self, key: str, number: int) -> list[bytes]:
        return sorted(self._at(key, set))[:number]

    # --- sorted sets

    def zadd(self, key: str, mapping: Mapping[Any, Any]) -> int:
        at = self._at(key, dict, make=True)
        new = sum(1 for member in mapping if raw(member) not in at)
        at.update((raw(member), float(score)) for member, score in mapping.items())
        return new

    def zrem(self, key: str, *members: Any) -> int:
        return self.hdel(key, *members)

    def _ranked(self, key: str) -> list[tuple[bytes, float]]:
        return sorted(self._at(key, dict).items(), key=lambda pair: (pair[1], pair[0]))

    def zrange(self, key: str, start: int, end: int, withscores: bool = False) -> list[Any]:
        ranked = self._ranked(key)[start : None if end == -1 else end + 1]
        return ranked if withscores else [member for member, _ in ranked]

    def zrangebyscore(self, key: str, low: Any, high: Any, start: int | None = None, num: int | None = None) -> Any:
        fits = _score_range(low, high)
        found = [member for member, score in self._ranked(key) if fits(score)]
        return found if start is None or num is None else found[start : start + num]

    def zremrangebyscore(self, key: str, low: Any, high: Any) -> int:
        gone = self.zrangebyscore(key, low, high)
        return self.zrem(key, *gone) if gone else 0

    def zscan(self, key: str, cursor: int, count: int = 10) -> tuple[int, list[tuple[bytes, float]]]:
        return 0, self._ranked(key)

    def zcard(self, key: str) -> int:
        return len(self._at(key, dict))

    # --- keys

    def unlink(self, *names: Any) -> int:
        gone = 0
        for name in names:
            if self.keys.pop(text(name), None) is not None:
                gone += 1
                self.touch(text(name))
        return gone

    delete = unlink

    def exists(self, key: str) -> int:
        return int(key in self.keys)

    def flushall(self) -> None:
        self.restore({})

    # --- streams

    def xlen(self, key: str) -> int:
        return len(self._at(key, Stream).entries)

    def xadd(
        self, key: str, fields: Mapping[Any, Any], id: str = "*", maxlen: int | None = None, approximate: bool = True
    ) -> bytes:
        stream = self._at(key, Stream, make=True)
        now = self._clock()
        if id == "*":
            entry = (now, 0) if now > stream.last[0] else (stream.last[0], stream.last[1] + 1)
        else:
            entry = read_id(id)
            if entry <= stream.last:
                raise ResponseError("The ID specified in XADD is equal or smaller than the target stream top item")
        stream.entries[entry] = {raw(name): raw(value) for name, value in fields.items()}
        stream.last = entry
        if maxlen is not None:
            self.xtrim(key, maxlen)
        return write_id(entry)

    def xdel(self, key: str, *ids: Any) -> int:
        entries = self._at(key, Stream).entries
        return sum(1 for name in ids if entries.pop(read_id(text(name)), None) is not None)

    def xtrim(self, key: str, maxlen: int) -> int:
        entries = self._at(key, Stream, make=True).entries
        gone = list(entries)[: max(0, len(entries) - maxlen)]
        for entry in gone:
            del entries[entry]
        return len(gone)

    def xrange(self, key: str, min: Any = "-", max: Any = "+", count: int | None = None) -> list[Any]:
        low, open_ = text(min), text(min).startswith("(")
        start, end = read_id(low.lstrip("(")), read_id(text(max), last=True)
        first = (start[0], start[1] + 1) if open_ else start
        rows = [(entry, fields) for entry, fields in self._at(key, Stream).entries.items() if first <= entry <= end]
        return [(write_id(entry), fields) for entry, fields in rows[:count]]

    def xrevrange(self, key: str, count: int | None = None) -> list[Any]:
        rows = list(self._at(key, Stream).entries.items())[::-1]
        return [(write_id(entry), fields) for entry, fields in rows[:count]]

    def xgroup_create(self, key: str, name: str, id: str = "$", mkstream: bool = False) -> bool:
        if key not in self.keys and not mkstream:
            raise ResponseError("The XGROUP subcommand requires the key to exist.")
        stream = self._at(key, Stream, make=True)
        if text(name) in stream.groups:
            raise ResponseError("BUSYGROUP Consumer Group name already exists")
        stream.groups[text(name)] = Readers(read_id(text(id)))
        return True

    def xgroup_destroy(self, key: str, name: str) -> int:
        return int(self._at(key, Stream).groups.pop(text(name), None) is not None)

    def xinfo_groups(self, key: str) -> list[dict[str, Any]]:
        if key not in self.keys:
            raise ResponseError("no such key")
        return [
            {"name": raw(name), "pending": len(group.pending), "last-delivered-id": write_id(group.last)}
            for name, group in sorted(self._at(key, Stream).groups.items())
        ]

    def xack(self, key: str, group: str, *ids: Any) -> int:
        readers = self._at(key, Stream).groups.get(text(group))
        if readers is None:
            return 0
        return sum(1 for name in ids if readers.pending.pop(read_id(text(name)), None) is not None)

    def xreadgroup(self, group: str, consumer: str, streams: Mapping[str, str], count: int | None = None) -> list[Any]:
        ((key, start),) = streams.items()
        stream = self._at(key, Stream)
        readers = stream.groups.get(group)
        if readers is None:
            raise ResponseError(f"NOGROUP No such key '{key}' or consumer group '{group}' in XREADGROUP")
        if start == ">":
            rows = stream.after(readers.last, count)
            for entry, _ in rows:
                readers.pending[entry] = raw(consumer)
                readers.last = entry
            return [(raw(key), [(write_id(entry), fields) for entry, fields in rows])] if rows else []
        first = read_id(start)
        mine = sorted(entry for entry, name in readers.pending.items() if name == raw(consumer) and entry > first)
        return [(raw(key), [(write_id(entry), stream.entries.get(entry, {})) for entry in mine[:count]])]

    def xread(self, streams: Mapping[str, str], count: int | None = None) -> list[Any]:
        ((key, start),) = streams.items()
        rows = self._at(key, Stream).after(read_id(text(start)), count)
        return [(raw(key), [(write_id(entry), fields) for entry, fields in rows])] if rows else []


def _score_range(low: Any, high: Any) -> Callable[[float], bool]:
    def bound(value: Any) -> tuple[float, bool]:
        said = text(value)
        return (-math.inf if said == "-inf" else math.inf if said == "+inf" else float(said.lstrip("("))), (
            said.startswith("(")
        )

    (least, least_open), (most, most_open) = bound(low), bound(high)
    return lambda score: (
        (least < score if least_open else least <= score) and (score < most if most_open else score <= most)
    )


def flat(mapping: Iterable[Any]) -> dict[Any, Any]:
    """Pairs that were given one after another."""
    values = list(mapping)
    return dict(zip(values[::2], values[1::2], strict=True))

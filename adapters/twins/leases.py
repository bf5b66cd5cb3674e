"""Leases in Redis, by its own clock, all under one hash tag: a beat is one script call, on a cluster too.

    `{$lease}:kinds`            set    kinds of work
    `{$lease}:<kind>:members`   hash   owner -> `until since host layout`
    `{$lease}:<kind>`           hash   piece -> `owner token until since changes`; owner `-` when it is free
    `{$lease}:note:<name>`      set    words that go with a piece (topic filters of its session at the broker)

A token is greater than any before it: one more than the last, or the server's milliseconds where that is greater, so a
wiped Redis does not count again from the beginning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from adapters.twins.connection import Reaching
from adapters.twins.script import Script
from twin.leases import LayoutError, Lease, LeaseView, Member

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from redis.asyncio import Redis

TAG: Final = "{$lease}:"
"""No site can have this tag: an id has no dollar sign."""
KINDS: Final = TAG + "kinds"
NOTES_AT_ONCE: Final = 1_000
NO_LAYOUT: Final = "-"

_SCRIPT = """
-- KEYS 1 leases of a kind  2 its members  3 kinds; ARGV 1 operation, then what it needs. Times are of this server, ms.
local call = redis.call
local clock = call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local function number(value) return string.format('%.0f', value) end
local function words(text)
  local list = {}
  for word in string.gmatch(text, '%S+') do list[#list + 1] = word end
  return list
end
local function lease(name)
  local text = call('HGET', KEYS[1], name)
  if not text then return '-', 0, 0, 0, 0 end
  local found = words(text)
  return found[1], tonumber(found[2]), tonumber(found[3]), tonumber(found[4]), tonumber(found[5])
end
local function put(name, owner, token, untl, since, changes)
  call('HSET', KEYS[1], name, table.concat({owner, number(token), number(untl), number(since), number(changes)}, ' '))
end

if ARGV[1] == 'take' then
  local name, me, ttl = ARGV[2], ARGV[3], tonumber(ARGV[4])
  local owner, token, untl, since, changes = lease(name)
  if owner ~= '-' and untl > now then return '0' end
  token = math.max(token + 1, now)
  put(name, me, token, now + ttl, now, changes + 1)
  return number(token)
elseif ARGV[1] == 'give' then
  local owner, token, untl, since, changes = lease(ARGV[2])
  if owner ~= ARGV[3] or number(token) ~= ARGV[4] then return '0' end
  if ARGV[5] == '1' then call('HDEL', KEYS[1], ARGV[2]) else put(ARGV[2], '-', token, 0, now, changes) end
  return '0'
elseif ARGV[1] == 'beat' then
  local me, host, ttl, layout = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
  local mine = call('HGET', KEYS[2], me)
  local since = mine and tonumber(words(mine)[2]) or now
  local all = call('HGETALL', KEYS[2])
  for i = 1, #all, 2 do
    local member = words(all[i + 1])
    if all[i] == me then
    elseif tonumber(member[1]) <= now then
      call('HDEL', KEYS[2], all[i])
    elseif member[4] ~= layout and (not mine or tonumber(member[2]) < since) then
      return {'LAYOUT', member[3], member[4]}
    end
  end
  call('HSET', KEYS[2], me, table.concat({number(now + ttl), number(since), host, layout}, ' '))
  call('SADD', KEYS[3], ARGV[6])
  for i = 7, #ARGV, 2 do
    local owner, token, untl, from, changes = lease(ARGV[i])
    if owner == me and number(token) == ARGV[i + 1] then put(ARGV[i], me, token, now + ttl, from, changes) end
  end
end
return {'OK', number(now), call('HGETALL', KEYS[2]), call('HGETALL', KEYS[1])}
"""


class RedisLeases:
    """The `Leases` port on Redis."""

    def __init__(self, client: Redis) -> None:
        self._client: Any = client
        self._reaching = Reaching(client)
        self._script = Script(client, _SCRIPT)

    async def beat(
        self, kind: str, owner: str, host: str, held: Mapping[str, int], *, ttl_ms: int, layout: str
    ) -> LeaseView:
        """Renew membership and leases. Raises LayoutError, StoreUnavailableError."""
        flat: list[str | bytes | int] = [part for pair in held.items() for part in pair]
        answer = await self._call(
            kind, "beat", _word(owner), _word(host), ttl_ms, _word(layout or NO_LAYOUT), kind, *flat
        )
        if answer[0] == b"LAYOUT":
            raise LayoutError(
                f"process {answer[1].decode()} divides {kind} as {answer[2].decode()}, this one as {layout}: "
                "give all processes the same settings; this one waits until the other has ended"
            )
        return _view(answer)

    async def take(self, kind: str, name: str, owner: str, *, ttl_ms: int) -> int:
        """Take a free piece; its token, or 0."""
        return int(await self._call(kind, "take", _word(name), _word(owner), ttl_ms))

    async def give(self, kind: str, name: str, owner: str, token: int, *, forget: bool = False) -> None:
        """Give a piece up."""
        await self._call(kind, "give", name, owner, token, int(forget))

    async def leave(self, kind: str, owner: str) -> None:
        """Take no part any more."""
        with self._reaching:
            await self._client.hdel(_keys(kind)[1], owner)

    async def view(self, kind: str) -> LeaseView:
        """Members and leases as they are."""
        return _view(await self._call(kind, "look"))

    async def kinds(self) -> Sequence[str]:
        """Kinds of work that ever had a lease, sorted."""
        with self._reaching:
            return sorted(kind.decode() for kind in await self._client.smembers(KINDS))

    async def notes(self, name: str) -> frozenset[str]:
        """Words that go with a piece."""
        with self._reaching:
            return frozenset(
                [word.decode() async for word in self._client.sscan_iter(_note(name), count=NOTES_AT_ONCE)]
            )

    async def note(self, name: str, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
        """Change them, so many at once that Redis is not held up."""
        with self._reaching:
            for command, given in ((self._client.sadd, list(add)), (self._client.srem, list(remove))):
                for first in range(0, len(given), NOTES_AT_ONCE):
                    await command(_note(name), *given[first : first + NOTES_AT_ONCE])

    async def _call(self, kind: str, *arguments: str | bytes | int) -> Any:
        with self._reaching:
            return await self._script(_keys(kind), arguments)


def _keys(kind: str) -> list[str]:
    return [f"{TAG}{kind}", f"{TAG}{kind}:members", KINDS]


def _note(name: str) -> str:
    return f"{TAG}note:{name}"


def _word(text: str) -> str:
    if not text or any(letter.isspace() for letter in text):
        raise ValueError(f"{text!r}: a name here must not be empty or hold blanks")
    return text


def _view(answer: Sequence[Any]) -> LeaseView:
    now = int(answer[1])
    members = [_member(name, text, now) for name, text in _pairs(answer[2])]
    leases = [_lease(name, text, now) for name, text in _pairs(answer[3])]
    return LeaseView(
        members=tuple(sorted((member for member in members if member.left_ms > 0), key=lambda member: member.owner)),
        leases=tuple(sorted(leases, key=lambda lease: lease.name)),
    )


def _pairs(flat: Sequence[bytes]) -> list[tuple[str, list[str]]]:
    return [(flat[at].decode(), flat[at + 1].decode().split()) for at in range(0, len(flat), 2)]


def _member(name: str, words: list[str], now: int) -> Member:
    until, since, host, _layout = words
    return Member(name, host, age_ms=now - int(since), left_ms=int(until) - now)


def _lease(name: str, words: list[str], now: int) -> Lease:
    owner, token, until, since, changes = words
    left = int(until) - now
    return Lease(
        name, owner if owner != "-" and left > 0 else "", int(token), max(left, 0), now - int(since), int(changes)
    )

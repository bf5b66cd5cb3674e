"""The Lua scripts of the twin store, and how they are run.

COMMIT is the only writer of twins while a site is live. It validates everything before its first write, because Redis
keeps the writes of a script that fails half way. It does no arithmetic on twins: revisions and values arrive as text,
are compared as text and are written as text (Lua numbers are doubles). Arguments are flat with counts, because
unpacking JSON or MessagePack in Lua costs more than the commit itself.

    KEYS  1 generation  2 effects  3 timers  4 directory  5 gateways  6.. one per change  then guards and gateways
    ARGV  1 builder token  2 newest effect id this process knows  3 bound of the effect stream  4 now
          5 guard horizon  6 number of changes, then for each change
          group, expected revision ('' = must not exist), wake ('' leave, else instant or '+inf'), effects ('' none),
          number of field arguments, number of deleted fields, number of index operations, then
          field, value, ... ; deleted field, ... ; operation, place, name, ...
          and last, where the caller works under a lease, the field of its fence in the generation hash and its token
    index operations: G count a cutoff (place = index in KEYS, name = count); D / d put a device into / take it out of
          the directory (name = device); W / w add / remove the group to / from a gateway (place = index in KEYS).
    returns {'OK', newest effect id, index of each refused change...} or {'FULL', length} or {'LOST', why} or
            {'FENCED', the newer token that was here}

The field list of a change starts with `rev` and its new value; a change without fields writes nothing at all and only
asks whether the revision still holds.
"""

from __future__ import annotations

from hashlib import sha1
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis

_ORDER = """
local function parts(id)
  local ms, serial = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(serial)
end
local function older(left, right)
  if left == right then return false end
  local left_ms, left_serial = parts(left)
  local right_ms, right_serial = parts(right)
  return left_ms < right_ms or (left_ms == right_ms and left_serial < right_serial)
end
"""

COMMIT = (
    _ORDER
    + """
local HEADER = 7
local call = redis.call
local site = call('HMGET', KEYS[1], 'builder', 'gen', 'last', 'count')
if not site[2] then return {'LOST', 'it has no generation: it was wiped, or a rebuild is under way'} end
if site[1] ~= ARGV[1] then return {'LOST', 'another rebuild replaced the twins (generation ' .. site[2] .. ')'} end
if older(site[3], ARGV[2]) then
  return {'LOST', 'it went back in time: its newest effect is ' .. site[3] .. ', this process has seen ' .. ARGV[2]}
end
local length = call('XLEN', KEYS[2])
if length == 0 and site[3] ~= '0-0' and call('EXISTS', KEYS[2]) == 0 then
  return {'LOST', 'its effect stream is gone'}
end
if site[3] ~= ARGV[2] and #call('XRANGE', KEYS[2], ARGV[2], ARGV[2], 'COUNT', 1) == 0 then
  local marks, known = call('HMGET', KEYS[1], 'trimmed', 'base'), false
  for i = 1, 2 do known = known or (marks[i] and not older(marks[i], ARGV[2])) end
  if not known then
    return {'LOST', 'it went back in time and another process wrote on: it does not know effect ' .. ARGV[2]}
  end
end

-- Everything that can refuse or fail comes first. Reading the size of a key also proves that it has the right type.
call('ZCARD', KEYS[3])
local changes, at = tonumber(ARGV[6]), 7
local places, reply, asks, indexes = {}, {'OK', site[3]}, false, false
for i = 1, changes do
  local ops = tonumber(ARGV[at + 6])
  if (call('HGET', KEYS[5 + i], 'rev') or '') == ARGV[at + 1] then
    places[i] = at
    if ARGV[at + 3] ~= '' then asks = true end
    if ops > 0 then indexes = true end
  else
    reply[#reply + 1] = i
  end
  at = at + HEADER + tonumber(ARGV[at + 4]) + tonumber(ARGV[at + 5]) + 3 * ops
end
if ARGV[at] then
  local seen = call('HGET', KEYS[1], ARGV[at])
  if seen and tonumber(seen) > tonumber(ARGV[at + 1]) then return {'FENCED', seen} end
end
if asks and length >= tonumber(ARGV[3]) then return {'FULL', tostring(length)} end
if indexes then
  call('HLEN', KEYS[4])
  call('SCARD', KEYS[5])
  for k = 6 + changes, #KEYS do
    local kind = call('TYPE', KEYS[k]).ok
    if kind ~= 'none' and kind ~= 'set' and kind ~= 'zset' then
      return redis.error_reply('WRONGTYPE ' .. KEYS[k] .. ' is a ' .. kind)
    end
  end
end

local function index(op, place, name, group, revision)
  if op == 'D' then
    call('HSET', KEYS[4], name, group)
  elseif op == 'd' then
    if call('HGET', KEYS[4], name) == group then call('HDEL', KEYS[4], name) end
  elseif op == 'W' then
    call('SADD', KEYS[tonumber(place)], group)
    call('SADD', KEYS[5], name)
  elseif op == 'w' then
    call('SREM', KEYS[tonumber(place)], group)
  elseif op == 'G' then
    local guard = KEYS[tonumber(place)]
    call('ZREMRANGEBYSCORE', guard, '-inf', '(' .. ARGV[5])
    call('ZADD', guard, ARGV[4], group .. ':' .. revision .. ':' .. name)
  end
end

local last, count = site[3], tonumber(site[4])
for i = 1, changes do
  local place = places[i]
  if place then
    local group, wake, effects = ARGV[place], ARGV[place + 2], ARGV[place + 3]
    local fields, gone, ops = tonumber(ARGV[place + 4]), tonumber(ARGV[place + 5]), tonumber(ARGV[place + 6])
    local a = place + HEADER
    for first = a, a + fields - 1, 1000 do
      call('HSET', KEYS[5 + i], unpack(ARGV, first, math.min(first + 999, a + fields - 1)))
    end
    local revision = ARGV[a + 1]
    a = a + fields
    for first = a, a + gone - 1 do call('HDEL', KEYS[5 + i], ARGV[first]) end
    a = a + gone
    if wake ~= '' then call('ZADD', KEYS[3], wake, group) end
    for op = a, a + 3 * ops - 1, 3 do index(ARGV[op], ARGV[op + 1], ARGV[op + 2], group, revision) end
    if effects ~= '' then
      count = count + 1
      last = call('XADD', KEYS[2], '*', 'n', string.format('%.0f', count), 'g', group, 'e', effects)
    end
  end
end
if ARGV[at] then call('HSET', KEYS[1], ARGV[at], ARGV[at + 1]) end
if asks then call('HSET', KEYS[1], 'last', last, 'count', string.format('%.0f', count)) end
reply[2] = last
return reply
"""
)

TRIM = (
    _ORDER
    + """
-- KEYS 1 generation 2 effects; ARGV 1 ledger position 2 entries to keep; returns how many entries were dropped.
local call = redis.call
local length, keep = call('XLEN', KEYS[2]), tonumber(ARGV[2])
if length <= keep then return 0 end
local function following(id)
  local ms, serial = string.match(id, '^(%d+)-(%d+)$')
  return ms .. '-' .. string.format('%.0f', tonumber(serial) + 1)
end
local needed = following(ARGV[1])
for _, flat in ipairs(call('XINFO', 'GROUPS', KEYS[2])) do
  local group = {}
  for i = 1, #flat, 2 do group[flat[i]] = flat[i + 1] end
  local first = following(group['last-delivered-id'])
  if group['pending'] > 0 then first = call('XPENDING', KEYS[2], group['name'])[2] end
  if older(first, needed) then needed = first end
end
local function serial_from(id, otherwise)
  local entry = call('XRANGE', KEYS[2], id, '+', 'COUNT', 1)[1]
  return entry and tonumber(entry[2][2]) or otherwise
end
local count = tonumber(call('HGET', KEYS[1], 'count') or '0')
local droppable = serial_from(needed, count + 1) - serial_from('-', count + 1)
local drop = math.min(droppable, length - keep)
if drop <= 0 then return 0 end
-- In two steps, because the id of the newest entry dropped is to be known.
call('XTRIM', KEYS[2], 'MAXLEN', length - drop + 1)
local trimmed = call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1][1]
call('XTRIM', KEYS[2], 'MAXLEN', length - drop)
call('HSET', KEYS[1], 'trimmed', trimmed)
return drop
"""
)


RAISE_FENCE = """
-- KEYS 1 generation; ARGV 1 field of the fence 2 token. Tokens only grow; nothing is left in a site that is not there.
local seen = redis.call('HGET', KEYS[1], ARGV[1])
if redis.call('EXISTS', KEYS[1]) == 1 and (not seen or tonumber(seen) < tonumber(ARGV[2])) then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
return 0
"""


class Script:
    """One Lua script, called by its digest; a server that does not know it yet is given the text."""

    __slots__ = ("_client", "_digest", "_text")

    def __init__(self, client: Redis, text: str) -> None:
        self._client: Any = client
        self._text = text
        self._digest = sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, keys: Sequence[str], arguments: Sequence[str | bytes | int]) -> Any:
        """Run it; EVAL also loads it, so a restarted or replaced server costs one more round trip, once."""
        try:
            return await self._client.execute_command("EVALSHA", self._digest, len(keys), *keys, *arguments)
        except NoScriptError:
            return await self._client.execute_command("EVAL", self._text, len(keys), *keys, *arguments)

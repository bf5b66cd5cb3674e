"""Groups as Redis hashes: one field per twin and per contract, so that a reading rewrites only what it touched.

Contracts (upper case) and states (lower case) are separate fields because contracts change with an import and states
with every reading. A field is MessagePack without defaults: a quarter smaller than JSON and quicker to write (twins are
the bulk of Redis' memory; people read them through the API). Effects are JSON, because others read the stream, too.
Whether a field changed is asked by identity, because the core copies what it changes and shares the rest. Fields this
version does not know are passed over and left in place: during a rolling upgrade a newer version may have written them.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from twin.core.effects import AnyEffect
from twin.core.model import (
    BreakerContract,
    BreakerTwin,
    Contract,
    GatewayTwin,
    Group,
    MeterContract,
    MeterTwin,
    OwedAct,
    TenantTwin,
)
from twin.ports import DeadLetter

if TYPE_CHECKING:
    from collections.abc import Mapping

REVISION: Final = "rev"
CLOCKWORK: Final = "x"
DEAD_PAYLOAD_MAX: Final = 16_384

_encode = msgspec.msgpack.Encoder().encode
_encode_effects = msgspec.json.Encoder().encode
_effects_decoder = msgspec.json.Decoder(tuple[AnyEffect, ...])
_clockwork_decoder = msgspec.msgpack.Decoder(tuple[int, int | None])

_SINGLES: Final = (
    ("contract", "T", msgspec.msgpack.Decoder(Contract)),
    ("tenant", "t", msgspec.msgpack.Decoder(TenantTwin)),
    ("gateway", "g", msgspec.msgpack.Decoder(GatewayTwin)),
    ("owed", "o", msgspec.msgpack.Decoder(tuple[OwedAct, ...])),
)
_MANY: Final = (
    ("meter_contracts", "M:", msgspec.msgpack.Decoder(MeterContract)),
    ("meters", "m:", msgspec.msgpack.Decoder(MeterTwin)),
    ("breaker_contracts", "B:", msgspec.msgpack.Decoder(BreakerContract)),
    ("breakers", "b:", msgspec.msgpack.Decoder(BreakerTwin)),
)
_FIELDS: Final = tuple(field for _, field, _ in (*_SINGLES, *_MANY))
_parts: Final = attrgetter(*(name for name, _, _ in (*_SINGLES, *_MANY)))
_SINGLE_BY_FIELD: Final = {field.encode(): (name, decoder) for name, field, decoder in _SINGLES}
_MANY_BY_PREFIX: Final = {prefix.encode(): (name, decoder) for name, prefix, decoder in _MANY}


class CorruptTwinError(Exception):
    """A stored field cannot be read as the twin it should be."""


def encode_group(group: Group) -> dict[str, bytes]:
    """All fields of a group, revision included."""
    fields: dict[str, bytes] = {REVISION: str(group.revision).encode()}
    if group.acts_seq or group.wake is not None:
        fields[CLOCKWORK] = _encode((group.acts_seq, group.wake))
    for name, field, _ in _SINGLES:
        value = getattr(group, name)
        if value is not None:
            fields[field] = _encode(value)
    for name, prefix, _ in _MANY:
        for twin_id, value in getattr(group, name).items():
            fields[prefix + twin_id] = _encode(value)
    return fields


def changed_fields(before: Group, after: Group) -> tuple[list[str | bytes], list[str]]:
    """What to write (field, value, field, value, ...) and what to delete to turn one stored group into the other.

    The revision is left to the caller.
    """
    writes: list[str | bytes] = []
    gone: list[str] = []
    if after.acts_seq != before.acts_seq or after.wake != before.wake:
        writes += (CLOCKWORK, _encode((after.acts_seq, after.wake)))
    for field, old, new in zip(_FIELDS, _parts(before), _parts(after), strict=True):
        if new is old:
            continue
        if len(field) > 1:
            _changed_twins(field, old, new, writes, gone)
        elif new is None:
            gone.append(field)
        else:
            writes += (field, _encode(new))
    return writes, gone


def _changed_twins(
    prefix: str, before: Mapping[str, Any], after: Mapping[str, Any], writes: list[str | bytes], gone: list[str]
) -> None:
    for twin_id, value in after.items():
        if before.get(twin_id) is not value:
            writes += (prefix + twin_id, _encode(value))
    gone.extend(prefix + twin_id for twin_id in before if twin_id not in after)


def decode_group(site: str, group: str, fields: Mapping[bytes, bytes]) -> Group:
    """A group from its stored fields. Raises CorruptTwinError naming the field that cannot be read."""
    found: dict[str, Any] = {name: {} for name, _, _ in _MANY}
    for field, value in fields.items():
        try:
            _decode_field(found, field, value)
        except (msgspec.DecodeError, ValueError) as error:
            raise CorruptTwinError(
                f"group {group!r} of site {site!r}, field {field.decode(errors='replace')!r}: {error}"
            ) from error
    if "revision" not in found:
        raise CorruptTwinError(f"group {group!r} of site {site!r} has no field `rev`")
    return Group(site=site, id=group, **found)


def _decode_field(found: dict[str, Any], field: bytes, value: bytes) -> None:
    if (many := _MANY_BY_PREFIX.get(field[:2])) is not None:
        found[many[0]][field[2:].decode()] = many[1].decode(value)
    elif (single := _SINGLE_BY_FIELD.get(field)) is not None:
        found[single[0]] = single[1].decode(value)
    elif field == b"rev":
        found["revision"] = int(value)
    elif field == b"x":
        found["acts_seq"], found["wake"] = _clockwork_decoder.decode(value)


def encode_effects(effects: tuple[AnyEffect, ...]) -> bytes:
    """Effects as a JSON array; each carries its tag in `t`."""
    return _encode_effects(effects)


def decode_effects(data: bytes) -> tuple[AnyEffect, ...]:
    """Effects of one stream entry. Raises msgspec.DecodeError."""
    return _effects_decoder.decode(data)


def encode_dead_letter(letter: DeadLetter) -> dict[str, bytes | str | int]:
    """Stream fields of a dead letter; an oversized payload is cut, because the store must stay bounded."""
    payload = letter.payload[:DEAD_PAYLOAD_MAX]
    return {"topic": letter.topic, "payload": payload, "reason": letter.reason, "path": letter.path, "at": letter.at}


def decode_dead_letter(fields: Mapping[bytes, bytes]) -> DeadLetter:
    """A dead letter from its stream fields."""
    return DeadLetter(
        topic=fields[b"topic"].decode(),
        payload=fields[b"payload"],
        reason=fields[b"reason"].decode(),
        path=fields[b"path"].decode(),
        at=int(fields[b"at"]),
    )

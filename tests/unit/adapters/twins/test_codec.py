"""Groups and effects survive being stored, whole or as the difference of two."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.twins.codec import (
    CorruptTwinError,
    changed_fields,
    decode_effects,
    decode_group,
    encode_effects,
    encode_group,
)
from tests.conformance.twin_values import a_group, any_effects, any_group, charged
from twin.core.effects import AnyEffect
from twin.core.model import Group

relaxed = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def stored(fields: dict[str, bytes]) -> dict[bytes, bytes]:
    """Fields as Redis gives them back."""
    return {name.encode(): value for name, value in fields.items()}


def pairs(flat: list[str | bytes]) -> Iterable[tuple[bytes, bytes]]:
    """(field, value) of a flat list."""
    raw = [part.encode() if isinstance(part, str) else part for part in flat]
    return zip(raw[::2], raw[1::2], strict=True)


@relaxed
@given(group=any_group())
def test_any_group_survives(group: Group) -> None:
    assert decode_group(group.site, group.id, stored(encode_group(group))) == group


@relaxed
@given(effects=any_effects())
def test_any_effects_survive(effects: tuple[AnyEffect, ...]) -> None:
    assert decode_effects(encode_effects(effects)) == effects


@relaxed
@given(before=any_group(), other=any_group(), data=st.data())
def test_a_difference_makes_one_group_the_other(before: Group, other: Group, data: st.DataObject) -> None:
    shared = {name: getattr(before, name) for name in before.__struct_fields__ if data.draw(st.booleans())}
    after = msgspec.structs.replace(other, **{**shared, "site": before.site, "id": before.id})
    writes, gone = changed_fields(before, after)
    fields = stored(encode_group(before))
    fields.update(pairs(writes))
    for name in gone:
        del fields[name.encode()]
    fields[b"rev"] = str(after.revision).encode()
    assert decode_group(before.site, before.id, fields) == after


def test_a_reading_writes_only_what_it_touched() -> None:
    group = a_group("park", meters=3)
    after = charged(group)
    meters = {**group.meters, "em-t-1-1": msgspec.structs.replace(group.meters["em-t-1-1"], at=5)}
    after = msgspec.structs.replace(after, meters=meters)
    writes, gone = changed_fields(group, after)
    assert writes[::2] == ["t", "m:em-t-1-1"]
    assert gone == []


def test_no_change_writes_nothing() -> None:
    group = a_group("park", meters=3)
    assert changed_fields(group, group) == ([], [])
    assert changed_fields(group, msgspec.structs.replace(group, meters=dict(group.meters))) == ([], [])


def test_money_is_exact_at_the_edges() -> None:
    group = a_group("park", charges=2**63 - 1)
    assert group.tenant is not None
    group.tenant.credits_nano = -(2**63)
    read = decode_group("park", "t-1", stored(encode_group(group)))
    assert read.tenant is not None
    assert (read.tenant.charges_nano, read.tenant.credits_nano) == (2**63 - 1, -(2**63))


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        (b"t", b"", "'t'"),
        (b"m:em-1", msgspec.msgpack.encode({"id": 5}), "'m:em-1'.*Expected `str`"),
        (b"b:br-1", b"\xff", "'b:br-1'"),
        (b"rev", b"many", "'rev'"),
        (b"x", msgspec.msgpack.encode([1]), "'x'"),
    ],
)
def test_a_field_that_cannot_be_read_is_named(field: bytes, value: bytes, said: str) -> None:
    fields = {**stored(encode_group(a_group("park"))), field: value}
    with pytest.raises(CorruptTwinError, match=f"group 't-1' of site 'park', field {said}"):
        decode_group("park", "t-1", fields)


def test_a_group_without_revision_is_corrupt() -> None:
    with pytest.raises(CorruptTwinError, match="no field `rev`"):
        decode_group("park", "t-1", {b"t": msgspec.msgpack.encode({"id": "t-1"})})


def test_fields_of_a_newer_version_are_passed_over() -> None:
    fields = {**stored(encode_group(a_group("park"))), b"Z:new": b"?", b"y": b"?"}
    assert decode_group("park", "t-1", fields) == a_group("park")

"""Twins for tests: small ones by name, and hypothesis strategies that follow the model by themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from functools import cache
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect as mi

from twin.core.effects import AnyEffect, NotificationWanted
from twin.core.model import (
    BreakerContract,
    BreakerTwin,
    Contract,
    GatewayTwin,
    Group,
    MeterContract,
    MeterTwin,
    Register,
    TenantTwin,
)
from twin.ports import GroupChange

INT64 = st.integers(-(2**63), 2**63 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | INT64 | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def a_group(site: str, name: str = "t-1", *, meters: int = 1, gateway: str | None = None, charges: int = 0) -> Group:
    """A tenant with meters `em-<name>-0`..., each with a breaker."""
    ids = [f"{name}-{index}" for index in range(meters)]
    return Group(
        site=site,
        id=name,
        contract=Contract(id=name, account=f"acc-{name}"),
        tenant=TenantTwin(id=name, credits_nano=50_000_000_000, credits_seq=3, charges_nano=charges),
        meter_contracts={
            f"em-{i}": MeterContract(id=f"em-{i}", tariff="flat", breaker=f"br-{i}", gateway=gateway) for i in ids
        },
        meters={f"em-{i}": MeterTwin(id=f"em-{i}", register=Register(opening=7, seen=7, head=7)) for i in ids},
        breaker_contracts={f"br-{i}": BreakerContract(id=f"br-{i}", meters=(f"em-{i}",), gateway=gateway) for i in ids},
        breakers={f"br-{i}": BreakerTwin(id=f"br-{i}", relay="closed") for i in ids},
    )


def a_gateway(site: str, name: str) -> Group:
    """The group of a gateway."""
    return Group(site=site, id=name, gateway=GatewayTwin(id=name))


def charged(group: Group, amount_nano: int = 1) -> Group:
    """The group after its tenant was charged; everything else is shared."""
    assert group.tenant is not None
    tenant = msgspec.structs.replace(group.tenant, charges_nano=group.tenant.charges_nano + amount_nano)
    return msgspec.structs.replace(group, tenant=tenant)


def charge(group: Group, amount_nano: int = 1, **more: Any) -> GroupChange:
    """A change that charges the tenant."""
    return GroupChange(before=group, after=charged(group, amount_nano), **more)


def notice(ts: int) -> NotificationWanted:
    """An effect that tells itself from others by its time."""
    return NotificationWanted(tenant="t-1", template="low-balance", ts=ts)


async def stream_of(groups: Iterable[Group]) -> AsyncIterator[Group]:
    """Groups as a rebuild delivers them."""
    for group in groups:
        yield group


def plain(group: Group) -> Group:
    """The group without what the store itself adds: revision and wake."""
    return msgspec.structs.replace(group, revision=0, wake=None)


@cache
def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Every value a type of the model may have."""
    return _strategy(mi.type_info(kind))


def any_group() -> st.SearchStrategy[Group]:
    """Any group at all."""
    return values_of(Group)


def any_effects() -> st.SearchStrategy[tuple[AnyEffect, ...]]:
    """Any effects at all."""
    return st.lists(values_of(AnyEffect), max_size=3).map(tuple)


def _strategy(info: mi.Type) -> st.SearchStrategy[Any]:
    match info:
        case mi.AnyType():
            return JSON
        case mi.NoneType():
            return st.none()
        case mi.BoolType():
            return st.booleans()
        case mi.IntType():
            return INT64
        case mi.StrType():
            return st.text(max_size=12)
        case mi.BytesType():
            return st.binary(max_size=12)
        case mi.LiteralType(values=values):
            return st.sampled_from(values)
        case mi.UnionType(types=types):
            return st.one_of(*map(_strategy, types))
        case mi.DictType(key_type=key, value_type=value):
            return st.dictionaries(_strategy(key), _strategy(value), max_size=2)
        case mi.TupleType(item_types=items):
            return st.tuples(*map(_strategy, items))
        case mi.VarTupleType(item_type=item):
            return st.lists(_strategy(item), max_size=3).map(tuple)
        case mi.StructType(cls=cls, fields=fields):
            return _structs(cls, fields)
    raise TypeError(f"no strategy for {info}: teach twin_values how to make one")


def _structs(cls: type, fields: tuple[mi.Field, ...]) -> st.SearchStrategy[Any]:
    required = {field.name: _strategy(field.type) for field in fields if field.required}
    optional = {field.name: _strategy(field.type) for field in fields if not field.required}
    return st.fixed_dictionaries(required, optional=optional).map(lambda values: cls(**values))

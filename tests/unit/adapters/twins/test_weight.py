"""What most twins have in common is not stored: they are the bulk of Redis' memory."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from adapters.store.sites.registry import SqlRegistry
from adapters.twins.change import newborn
from adapters.twins.codec import decode_group, encode_group
from schemas.telemetry import decode_telemetry
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.park import NOW, SITE
from tests.unit.twin.scene import make_policy
from twin.core.decide import decide
from twin.core.model import UNHEARD, Contract, Group
from twin.flows import translate

DEFAULTS = {
    "T": {"m", "a"},  # mode prepaid, the tenant's own wallet
    "t": {"s"},  # supply state NORMAL
    "m": {"c", "q"},  # nothing heard of the connection, quality good
    "b": {"c"},
}
"""Names of fields, as stored, that a twin like most others has at their default."""


def fields_of(group: Group) -> dict[str, dict[str, Any]]:
    """Stored fields of a group that hold twins or contracts with such defaults, decoded."""
    found = encode_group(group).items()
    return {name: msgspec.msgpack.decode(value) for name, value in found if name.partition(":")[0] in DEFAULTS}


def reading(group: Group) -> Group:
    """The group after a reading just as it comes from a device."""
    payload = (
        b'{"v":1,"ts":%d,"sid":"s1","seq":1,"q":"good","d":{"import_wh":120000,"power_w":0,"relay":"closed"}}' % NOW
    )
    device = next(iter(group.meters))
    for envelope in decode_telemetry(payload):
        group = decide(group, translate.telemetry(device, envelope, NOW), NOW, make_policy()).group
    return group


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_defaults_are_left_out_after_a_rebuild_and_a_reading(park) -> None:
    groups = [group async for group in SqlRegistry(park).rebuilt_groups(SITE)]
    assert len(groups) > 1
    rebuilt = next(newborn(group, generation=1, wake=NOW) for group in groups if group.id == "t-001")
    for group in (rebuilt, reading(rebuilt)):
        for name, stored in fields_of(group).items():
            assert not DEFAULTS[name[0]] & stored.keys(), f"{name} stores {stored}"
        again = decode_group(SITE, group.id, {name.encode(): value for name, value in encode_group(group).items()})
        assert again == group
        assert all(meter.conn is UNHEARD for meter in again.meters.values())


def test_who_is_charged_without_an_account_of_his_own() -> None:
    assert Contract("t-1").charged_account == "tenant:t-1:wallet"
    assert Contract("t-1", account="elsewhere").charged_account == "elsewhere"

"""A rebuild keeps what a tenant or a person is waiting for (a closing, an incident's end), and what rules have set."""

from __future__ import annotations

import pytest

from adapters.store.engine.database import Database
from adapters.store.journals.lock_acts import LockWish, change_lock
from adapters.store.posting.ledger import SqlLedger
from adapters.store.sites.registry import SqlRegistry
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.park import NOW, SITE, entry
from twin.core.effects import (
    CommandChanged,
    ConfigTaken,
    ConfigWanted,
    IncidentOpened,
    LockChanged,
    ParamChanged,
    RelayReported,
)


@pytest.mark.parametrize(
    ("target", "state", "locked", "wishes"),
    [
        ("open", "verified", False, True),
        ("open", "verified", True, False),
        ("closed", "sent", False, True),
        ("closed", "verified", False, False),
    ],
)
async def test_a_breaker_that_we_opened_and_nothing_locks_still_wants_to_close(
    park: Database, ledger: SqlLedger, registry: SqlRegistry, target: str, state: str, locked: bool, wishes: bool
) -> None:
    older = CommandChanged("br-001", "c-1", "breaker.set", "open", 40, "verified", NOW, NOW, NOW + 1)
    newest = CommandChanged("br-001", "c-2", "breaker.set", target, 41, state, NOW + 5, NOW + 4, NOW + 9)
    lock = LockChanged("br-001", "manual", locked, "bob", "work", NOW)
    await ledger.post(SITE, [entry(1, lock, older), entry(2, newest)])
    groups = {group.id: group async for group in registry.rebuilt_groups(SITE)}
    breaker = groups["t-002"].breakers["br-001"]
    assert breaker.fence > 41, "commands that SQL never heard of may be on their way"
    assert (breaker.close is not None) == wishes


@pytest.mark.parametrize(
    ("first", "second", "stands"), [(NOW + 9, None, None), (None, NOW + 9, None), (NOW + 9, NOW + 5, NOW + 9)]
)
async def test_of_two_locks_of_a_kind_the_longer_one_stands_after_a_rebuild(
    park: Database, registry: SqlRegistry, first: int | None, second: int | None, stands: int | None
) -> None:
    for key, until in (("k1", first), ("k2", second)):
        await change_lock(park, SITE, LockWish(True, "br-001", "manual", "bob", key, NOW, key, until))
    groups = {group.id: group async for group in registry.rebuilt_groups(SITE)}
    assert groups["t-002"].breakers["br-001"].locks["manual"].until == stands
    await change_lock(park, SITE, LockWish(False, "br-001", "manual", "bob", "done", NOW, "k3"))
    groups = {group.id: group async for group in registry.rebuilt_groups(SITE)}
    assert not groups["t-002"].breakers["br-001"].locks


async def test_a_breaker_closed_since_on_site_is_left_to_whoever_opened_it(
    park: Database, ledger: SqlLedger, registry: SqlRegistry
) -> None:
    ours = CommandChanged("br-001", "c-1", "breaker.set", "open", 40, "verified", NOW + 2, NOW, NOW + 9)
    moves = [RelayReported("br-001", relay, NOW + at) for relay, at in (("open", 1), ("closed", 5), ("open", 8))]
    await ledger.post(SITE, [entry(1, ours, *moves)])
    groups = {group.id: group async for group in registry.rebuilt_groups(SITE)}
    assert groups["t-002"].breakers["br-001"].close is None


async def test_incidents_of_a_meter_with_a_relay_go_where_they_heal(
    park: Database, ledger: SqlLedger, registry: SqlRegistry
) -> None:
    opened_now = [IncidentOpened("em-001", kind, NOW, "") for kind in ("command_unverified", "clock_ahead")]
    await ledger.post(SITE, [entry(1, *opened_now)])
    group = {group.id: group async for group in registry.rebuilt_groups(SITE)}["t-001"]
    assert list(group.breakers["em-001"].incidents) == ["command_unverified"]
    assert list(group.meters["em-001"].incidents) == ["clock_ahead"]


async def test_parameters_that_rules_have_set_come_back(
    park: Database, ledger: SqlLedger, registry: SqlRegistry
) -> None:
    def said(scope: str, twin: str, name: str, value: str | int | bool | None, ts: int = NOW) -> ParamChanged:
        return ParamChanged(scope, twin, name, ts, value, None, "hot", 7, "hot")

    await ledger.post(
        SITE,
        [
            entry(1, said("meter", "em-002", "limit_w", 3_000), said("tenant", "t-002", "grace", "2h")),
            entry(2, said("breaker", "br-001", "armed", True), said("gateway", "gw-01", "quiet", False)),
            entry(3, said("meter", "em-002", "limit_w", 2_500, NOW + 5), said("tenant", "t-002", "low", "5.00")),
            entry(4, said("tenant", "t-002", "low", None, NOW + 9)),
        ],
    )
    await ledger.post(SITE, [entry(5, said("meter", "em-002", "limit_w", 9, NOW - 5))])
    groups = {group.id: group async for group in registry.rebuilt_groups(SITE)}
    group = groups["t-002"]
    assert group.meters["em-002"].params == {"limit_w": 2_500}, "the newest, whole numbers stay whole numbers"
    assert group.tenant is not None
    assert group.tenant.params == {"grace": "2h"}, "what gave way is gone"
    assert group.breakers["br-001"].params == {"armed": True}
    assert groups["@gw-01"].gateway is not None
    assert groups["@gw-01"].gateway.params == {"quiet": False}
    assert groups["t-001"].meters["em-001"].params == {}, "and nobody else's"


async def test_the_newest_configuration_of_a_device_comes_back_to_be_told_anew(
    park: Database, ledger: SqlLedger, registry: SqlRegistry
) -> None:
    tight, wide = {"limit_w": 200}, {"limit_w": 2_000}
    told = ConfigWanted("br-001", 7, tight, NOW, NOW)
    taken = ConfigTaken("br-001", 7, tight, NOW, NOW + 5)
    await ledger.post(
        SITE, [entry(1, told), entry(2, taken), entry(3, ConfigWanted("br-001", 9, wide, NOW + 8, NOW + 8))]
    )
    await ledger.post(SITE, [entry(4, ConfigWanted("br-001", 7, tight, NOW, NOW + 9, 2))])
    rows = await park.fetch("SELECT ver, settings, taken_ts FROM device_config ORDER BY ver")
    assert [tuple(row) for row in rows] == [(7, '{"limit_w":200}', NOW + 5), (9, '{"limit_w":2000}', None)]
    groups = {group.id: group async for group in registry.rebuilt_groups(SITE)}
    breaker = groups["t-002"].breakers["br-001"]
    assert breaker.cfg is not None
    assert (breaker.cfg.ver, breaker.cfg.settings, breaker.cfg.issued) == (9, wide, 0)
    assert (breaker.limit_set, breaker.plan_at) == (2_000, 0), "its first wake follows what holds now"
    assert groups["t-001"].breakers["em-001"].cfg is None

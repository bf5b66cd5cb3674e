"""Reads for screens, tokens and audit, on both engines."""

from __future__ import annotations

import pytest

from adapters.store.engine.database import Database
from adapters.store.journals.read_models import CursorError
from adapters.store.posting.ledger import SqlLedger
from adapters.store.sites.queries import SqlQueries
from adapters.store.watching.alarm_care import SqlAlarms
from adapters.store.watching.tokens import SqlTokens, TokenError
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.park import NOW, SITE, charge, entry
from twin.core.effects import AlarmChanged, CommandChanged, IncidentOpened, IncidentResolved
from twin.ports import TopUp


@pytest.fixture
async def busy(park: Database) -> Database:
    """The park with five charges, two payments, alarms, incidents and commands."""
    ledger = SqlLedger(park)
    for number in range(5):
        await ledger.post(SITE, [entry(number + 1, charge(number * 10, number * 10 + 10, estimated=number == 4))])
    for number in (1, 2):
        await ledger.top_up(SITE, TopUp("t-002", number, "cash", f"R-{number}", f"k-{number}", "bob", NOW))
    effects = []
    for number in range(3):
        effects.append(AlarmChanged("low", 1, f"t-00{number}", NOW, NOW, "major", number > 0, because={"n": number}))
        effects.append(IncidentOpened(f"em-00{number}", "clock_skew", NOW, "late"))
        command = ("br-001", f"c-{number}", "breaker.set", "open", number + 1, "created", NOW, NOW, NOW + 1)
        effects.append(CommandChanged(*command, why={"rule": "low"}))
    await ledger.post(SITE, [entry(9, *effects, IncidentResolved("em-000", "clock_skew", NOW, NOW + 1))])
    return park


async def test_a_ledger_in_pages_newest_first(busy: Database) -> None:
    queries = SqlQueries(busy)
    lines, cursor = [], None
    while True:
        page = await queries.tenant_ledger(SITE, "t-002", cursor=cursor, limit=3)
        lines += page.items
        cursor = page.next
        if cursor is None:
            break
    assert [line.kind for line in lines] == ["topup", "topup", *["charge"] * 5]
    assert [line.amount_nano for line in lines] == [2, 1, *[-8_500_000] * 5]
    intervals = await queries.charged_intervals(SITE, lines[2].seq)
    assert [(row.from_qty, row.to_qty, row.price_micro, row.estimated) for row in intervals] == [
        (40, 50, 850_000, True)
    ]


async def test_tenants_with_balances(busy: Database) -> None:
    queries = SqlQueries(busy)
    page = await queries.tenants(SITE, limit=1)
    assert [tenant.id for tenant in page.items] == ["t-001"]
    page = await queries.tenants(SITE, limit=1, cursor=page.next)
    assert [(tenant.id, tenant.balance_nano) for tenant in page.items] == [("t-002", 3 - 50 * 850_000)]
    assert page.next is None
    tenant = await queries.tenant(SITE, "t-001")
    assert tenant is not None
    assert (tenant.name, tenant.credits_nano) == ({"und": "老王面馆"}, 100_000_000_000)
    assert await queries.tenant(SITE, "t-999") is None


async def test_devices(busy: Database) -> None:
    queries = SqlQueries(busy)
    page = await queries.devices(SITE)
    assert [(device.id, device.tenant) for device in page.items] == [
        ("br-001", "t-002"), ("em-001", "t-001"), ("em-002", "t-002"), ("em-spare", None), ("gw-01", None),
        ("wm-001", "t-001"),
    ]  # fmt: skip
    device = await queries.device(SITE, "em-001")
    assert device is not None
    assert device.settings["imax_a"] == 60
    assert await queries.device(SITE, "em-999") is None


async def test_alarms_incidents_and_commands(busy: Database) -> None:
    queries = SqlQueries(busy)
    alarms = SqlAlarms(busy)
    assert [alarm.twin for alarm in (await alarms.page(SITE, now=NOW)).items] == ["t-002", "t-001", "t-000"]
    standing = await alarms.page(SITE, now=NOW, active=True)
    assert [alarm.because for alarm in standing.items] == [{"n": 2}, {"n": 1}]
    assert [alarm.twin for alarm in (await alarms.page(SITE, now=NOW, active=False)).items] == ["t-000"]
    assert len((await queries.incidents(SITE)).items) == 3
    opened = await queries.incidents(SITE, open_only=True, limit=1)
    assert [incident.device for incident in opened.items] == ["em-002"]
    rest = await queries.incidents(SITE, open_only=True, cursor=opened.next)
    assert [incident.device for incident in rest.items] == ["em-001"]
    assert len((await queries.incidents(SITE, device="em-000")).items) == 1
    commands = await queries.commands(SITE, "br-001", limit=2)
    assert [(command.cmd, command.why) for command in commands.items] == [
        ("c-2", {"rule": "low"}),
        ("c-1", {"rule": "low"}),
    ]
    assert [command.cmd for command in (await queries.commands(SITE, "br-001", cursor=commands.next)).items] == ["c-0"]


async def test_payments_and_audit(busy: Database) -> None:
    queries = SqlQueries(busy)
    assert [payment.reference for payment in (await queries.payments(SITE)).items] == ["R-2", "R-1"]
    assert (await queries.payments(SITE, tenant="t-001")).items == []
    audit = (await queries.audit(SITE, limit=1)).items[0]
    assert (audit.who, audit.what, audit.subject, audit.before) == ("bob", "topup", "tenant t-002", {"credits_nano": 1})


@pytest.mark.parametrize("cursor", ["x", "-1", "1.5", "9" * 19, "1" * 40, "²"])
async def test_a_made_up_cursor_is_refused(busy: Database, cursor: str) -> None:
    with pytest.raises(CursorError, match="not a cursor"):
        await SqlQueries(busy).audit(SITE, cursor=cursor)


async def test_tokens(database: Database) -> None:
    tokens = SqlTokens(database)
    known = {"name": "carol", "role": "finance", "secret": "s3cret", "site": None, "tenant": None}
    made = await tokens.create(**known, who="owner", now=NOW)
    assert await tokens.create(**known, who="owner", now=NOW + 1) == made
    assert await tokens.lookup("s3cret") == made
    assert await tokens.lookup("other") is None
    assert await tokens.tokens() == [made]
    assert await database.fetch("SELECT 1 FROM token WHERE digest = 's3cret'") == []
    assert await tokens.revoke(made.id, who="owner", now=NOW + 2)
    assert not await tokens.revoke(made.id, who="owner", now=NOW + 3)
    assert await tokens.lookup("s3cret") is None
    rows = await database.fetch("SELECT what FROM audit ORDER BY id")
    assert [row[0] for row in rows] == ["token.create", "token.revoke"]
    with pytest.raises(TokenError, match="unknown role"):
        await tokens.create(**{**known, "role": "god", "secret": "x"}, who="owner", now=NOW)
    with pytest.raises(TokenError, match="must name its site"):
        await tokens.create(**{**known, "role": "tenant", "secret": "x"}, who="owner", now=NOW)

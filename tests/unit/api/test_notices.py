"""Notices: one for two hundred meters behind one gateway, none for what is shelved, and a record of each."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
from ruamel.yaml import YAML

from adapters.notify.log_notifier import LogNotifier
from adapters.store.posting.ledger import SqlNoticeBook
from adapters.store.sites.contacts import SqlContacts
from tests.unit.api import parks
from tests.unit.api.parks import SITE
from tests.unit.api.stage import START, Stage
from twin.core.effects import NotificationWanted
from twin.core.messages import ConnectionChanged, Tick
from twin.flows.group_notices import AlarmGroups
from twin.flows.import_site import import_site
from twin.flows.notify_people import NoticeSender
from twin.ports import Addressees, Entry, Person, SiteDocument

PACK = Path(__file__).parents[3] / "rules" / "packs" / "device-health.yaml"
METERS = 200
OFFLINE_AFTER_MS = 5 * 60_000


class Told:
    """A notifier that remembers; the second time it is asked while `fails`, it raises."""

    def __init__(self) -> None:
        self.notices: list[tuple[str, str, dict[str, Any]]] = []
        self.addressees: list[Addressees] = []
        self.fails = False

    async def notify(self, site: str, tenant: str, template: str, data: Any, addressees: Addressees) -> str:
        if self.fails:
            raise ConnectionError("the channel is away")
        self.notices.append((tenant, template, dict(data)))
        self.addressees.append(addressees)
        return f"told:{len(self.notices)}"


def big_park() -> SiteDocument:
    """Two hundred tenants with a meter each behind gw-01, and one behind gw-02; the health pack only."""
    document = parks.document()
    names = [f"m-{number:03d}" for number in range(METERS + 1)]
    gateways = [{"id": "gw-01"}, {"id": "gw-02"}]
    devices = [
        {"id": name, "kind": "electricity_meter", "gateway": "gw-02" if name == names[-1] else "gw-01", "opening_wh": 0}
        for name in names
    ]
    supplies = {name: [{"meter": name, "tariff": "shop-flat"}] for name in names}
    tenants = [{"id": f"t-{name}", "name": name, "mode": "postpaid", "supplies": supplies[name]} for name in names]
    pack = YAML(typ="safe").load(PACK.read_text(encoding="utf-8"))
    body = {**document.site, "gateways": gateways, "devices": devices, "tenants": tenants}
    return msgspec.structs.replace(document, site=body, rulesets={pack["ruleset"]: pack})


@pytest.fixture
async def outage(stage: Stage) -> Stage:
    """Every meter has been offline for five minutes."""
    await import_site(stage, big_park(), who="test")
    names = [f"m-{number:03d}" for number in range(METERS + 1)]
    now = stage.clock.now()
    online = {f"t-{name}": [ConnectionChanged(name, "online", "s1", now)] for name in names}
    await stage.applier.apply(SITE, online)
    stage.clock.at += 1_000
    offline = {f"t-{name}": [ConnectionChanged(name, "offline", "s1", stage.clock.at)] for name in names}
    await stage.applier.apply(SITE, offline)
    stage.clock.at += OFFLINE_AFTER_MS + 1_000
    await stage.applier.apply(SITE, {f"t-{name}": [Tick()] for name in names})
    return stage


def sender(stage: Stage, told: Told) -> NoticeSender:
    book = SqlNoticeBook(stage.database, stage.clock.now)
    return NoticeSender(stage.stream, told, book, AlarmGroups(stage.store, stage.policies), SqlContacts(stage.database))


async def consume(stage: Stage, by: NoticeSender, *, count: int = 500) -> int:
    """Everything that waits for the notices; returns how many notices were wanted."""
    await by.start(SITE)
    wanted = 0
    while entries := await stage.stream.read(SITE, by.name, "test", count=count, block_ms=0):
        await by.consume(SITE, entries)
        await stage.stream.acknowledge(SITE, by.name, [entry.id for entry in entries])
        wanted += sum(isinstance(effect, NotificationWanted) for entry in entries for effect in entry.effects)
    return wanted


async def states(stage: Stage) -> Counter[str]:
    rows = await stage.database.fetch("SELECT state FROM notification WHERE site = ?", SITE)
    return Counter(row[0] for row in rows)


async def test_two_hundred_meters_behind_one_gateway_are_one_notice(outage: Stage) -> None:
    told = Told()
    wanted = await consume(outage, sender(outage, told), count=37)
    assert wanted == METERS + 1
    assert [template for _, template, _ in told.notices] == ["device_offline"] * 2, "one for each gateway"
    assert await states(outage) == {"delivered": 2, "grouped": METERS - 1}
    await outage.post()
    assert await states(outage) == {"delivered": 2, "grouped": METERS - 1}, "the ledger changes nothing of it"
    standing = await outage.alarms.page(SITE, now=outage.clock.now(), active=True, limit=500)
    assert sum(alarm.rule == "device-offline" for alarm in standing.items) == METERS + 1, "each alarm stands by itself"


async def test_one_batch_says_how_many(outage: Stage) -> None:
    told = Told()
    await consume(outage, sender(outage, told), count=10_000)
    assert sorted(data["alarms"] for _, _, data in told.notices) == [1, METERS]


async def test_the_leader_of_a_group_is_told_after_a_crash(outage: Stage) -> None:
    told = Told()
    told.fails = True
    with pytest.raises(ConnectionError):
        await consume(outage, sender(outage, told))
    told.fails = False
    by = sender(outage, told)
    pending = await outage.stream.read(SITE, by.name, "test", count=10_000, block_ms=0, pending=True)
    await by.consume(SITE, pending)
    await consume(outage, by)
    assert len(told.notices) == 2
    assert (await states(outage))["delivered"] == 2


async def test_a_shelved_alarm_is_not_told_and_the_record_says_why(outage: Stage) -> None:
    await outage.post()
    page = await outage.alarms.page(SITE, now=outage.clock.now(), limit=500)
    alarm = next(alarm for alarm in page.items if alarm.twin == f"m-{METERS:03d}" and alarm.rule == "device-offline")
    until = outage.clock.at + 3_600_000
    await outage.alarms.care(
        SITE, alarm=alarm.id, what="shelve", who="lin", ts=START, key="k", text="gateway is replaced", until=until
    )
    told = Told()
    by = sender(outage, told)
    await consume(outage, by)
    assert len(told.notices) == 1, "the other gateway alone"
    assert by.withheld == {"suppressed": 1, "grouped": METERS - 1}
    rows = await outage.database.fetch("SELECT tenant, proof FROM notification WHERE state = 'suppressed'")
    assert [row[0] for row in rows] == [f"t-m-{METERS:03d}"]
    assert "by lin: gateway is replaced" in rows[0][1]


OFFICE = Person("Office", "+86 21 5555 0100")
NIGHT = Person("Night watch", email="night@example.com", language="zh")


async def with_people(stage: Stage) -> SqlContacts:
    document = parks.document()
    contacts = {
        "operator": [{"person": OFFICE.person, "phone": OFFICE.phone}],
        "night-watch": [{"person": NIGHT.person, "email": NIGHT.email, "language": "zh"}],
    }
    tenants = [dict(entry) for entry in document.site["tenants"]]
    tenants[0] |= {"contact": {"person": "Wang", "phone": "+86 139 0000 0000"}, "language": "zh"}
    body = {**document.site, "contacts": contacts, "tenants": tenants}
    await import_site(stage, msgspec.structs.replace(document, site=body), who="test")  # type: ignore[arg-type]
    return SqlContacts(stage.database)


async def test_a_notice_reaches_whom_it_is_for_and_nobody_else(stage: Stage) -> None:
    contacts = await with_people(stage)
    tenant = parks.document().site["tenants"][0]["id"]
    wang = Person("Wang", "+86 139 0000 0000", language="zh")
    assert await contacts.people(SITE, tenant, "tenant") == (wang,)
    assert await contacts.people(SITE, tenant, "operator") == (OFFICE,)
    assert await contacts.people(SITE, tenant, "night-watch") == (NIGHT,)
    assert await contacts.people(SITE, tenant, "nobody-knows") == (OFFICE,), "an unknown group falls to the operator"
    assert await contacts.people(SITE, "t-nobody", "tenant") == ()
    told = Told()
    both = NotificationWanted(tenant, "overload", START, {"rule": "r"}, "both", ("sms",), twin="em-001")
    watch = NotificationWanted(tenant, "overload", START, {"rule": "r"}, "night-watch", twin="em-001")
    by = sender(stage, told)
    for _ in range(2):
        await by.consume(SITE, [Entry("1-1", tenant, (both, watch))])
    assert told.addressees == [
        Addressees("tenant", (wang,), ("sms",)),
        Addressees("operator", (OFFICE,), ("sms",)),
        Addressees("night-watch", (NIGHT,)),
    ], "once each, though the entry came twice"
    rows = await stage.database.fetch("SELECT recipient, twin, channels FROM notification ORDER BY id")
    assert [tuple(row) for row in rows] == [
        ("tenant", "em-001", '["sms"]'), ("operator", "em-001", '["sms"]'), ("night-watch", "em-001", "")
    ]  # fmt: skip


async def test_two_meters_of_a_tenant_at_one_instant_are_two_notices(stage: Stage) -> None:
    told = Told()
    one = NotificationWanted("t-001", "overload", START, {"rule": "r", "meter": "em-001"}, twin="em-001")
    other = NotificationWanted("t-001", "overload", START, {"rule": "r", "meter": "em-002"}, twin="em-002")
    for entry in (Entry("1-1", "t-001", (one, other)), Entry("1-2", "t-001", (other,))):
        await sender(stage, told).consume(SITE, [entry])
    assert [data["meter"] for _, _, data in told.notices] == ["em-001", "em-002"]


async def test_the_log_shows_who_is_told() -> None:
    notifier = LogNotifier()
    with structlog.testing.capture_logs() as lines:
        proof = await notifier.notify(
            SITE, "t-001", "overload", {"rule": "r"}, Addressees("operator", (OFFICE,), ("sms",))
        )
        other = await notifier.notify(SITE, "t-001", "overload", {"rule": "r"})
    assert lines[0]["to"] == "operator"
    assert lines[0]["people"] == [{"person": "Office", "phone": "+86 21 5555 0100"}]
    assert lines[0]["channels"] == ["sms"]
    assert (lines[1]["to"], lines[1]["people"]) == ("tenant", [])
    assert proof != other

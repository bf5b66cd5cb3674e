"""Comparing twins with the ledger while both move: what is proved, what is a breach, what is in motion."""

from __future__ import annotations

import msgspec
import pytest

from adapters.twins.memory import MemoryEffectStream, MemoryTwinStore
from billing.rating import Slice
from twin.core.model import Group, MeterTwin, Register, TenantTwin
from twin.flows import verify_site as flow
from twin.flows.verify_site import verify_site
from twin.ports import GroupChange

SITE = "park-1"


class Marks(msgspec.Struct):
    heads: dict
    credits_nano: dict
    charges_nano: dict
    acts: dict


class SqlSide:
    """Registry, ledger and books of a site whose SQL says what the test says; `on_marks` happens at each look."""

    def __init__(self, marks):
        self.said = marks
        self.looks = 0
        self.found = []
        self.on_marks = None

    async def generation(self, _site):
        return 1, "0-0"

    async def position(self, _site):
        return "0-0"

    async def findings(self, _site, *, deep=None):
        for finding in self.found:
            yield finding

    async def marks(self, _site):
        self.looks += 1
        if self.on_marks is not None:
            await self.on_marks(self.looks)
        return self.said

    async def totals(self, _site):
        return flow.LedgerTotals()


class Parts(msgspec.Struct):
    registry: SqlSide
    store: MemoryTwinStore
    stream: MemoryEffectStream
    ledger: SqlSide
    books: SqlSide


def charge(from_qty, to_qty):
    return Slice(1, 2, from_qty, to_qty, 202601, 0, None, None, 10, 10 * (to_qty - from_qty), False)


def tenant_group(*, posted=100, head=150, credits_nano=5_000, acts_seq=2):
    register = Register(
        seen=head, head=head, posted=posted, opened=True, row=charge(posted, head) if head > posted else None
    )
    tenant = TenantTwin("t-1", credits_nano=credits_nano, charges_nano=10 * head)
    return Group(SITE, "t-1", tenant=tenant, meters={"em-1": MeterTwin("em-1", register=register)}, acts_seq=acts_seq)


def agreeing():
    return Marks({"em-1": (1, 100)}, {"t-1": 5_000}, {"t-1": 1_000}, {"t-1": 2})


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(flow, "PAUSE_S", 0.0)


async def installation(group, marks):
    store = MemoryTwinStore()

    async def groups():
        yield group

    await store.replace_site(SITE, 1, groups(), wake=0)
    sql = SqlSide(marks)
    return Parts(sql, store, MemoryEffectStream(store.redis), sql, sql), sql


async def change(parts, **totals):
    """Somebody else commits a change of the tenant's twin."""
    before = (await parts.store.load(SITE, ["t-1"]))["t-1"]
    after = msgspec.structs.replace(before, tenant=msgspec.structs.replace(before.tenant, **totals))
    assert not await parts.store.commit(SITE, [GroupChange(before, after)], now=0)


async def test_a_twin_that_agrees_is_proved_at_the_first_look():
    parts, sql = await installation(tenant_group(), agreeing())
    proof = await verify_site(parts, SITE)
    assert (proof.ok, proof.groups, proof.open_nano, proof.findings, sql.looks) == (True, 1, 500, [], 1)


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        ({"heads": {"em-1": (1, 90)}}, "em-1: the twin posted epoch 1 up to 100, SQL has epoch 1 up to 90"),
        ({"heads": {"em-1": (2, 100)}}, "SQL has epoch 2 up to 100"),
        ({"heads": {}}, "SQL has no chain"),
        ({"charges_nano": {"t-1": 999}}, "t-1: the twin posted charges of 1000 nano, SQL has 999"),
        ({"credits_nano": {"t-1": 4_999}}, "t-1: the twin has credits of 5000 nano, SQL 4999"),
        ({"acts": {"t-1": 1}}, "the twin has acts up to 2, SQL up to 1"),
        ({"acts": {"t-1": 3}}, "the twin has acts up to 2, SQL up to 3"),
        ({"credits_nano": {"t-1": 5_000, "t-9": 1}}, "the store has no such twin"),
    ],
)
async def test_a_difference_that_stands_still_is_a_breach(marks, said):
    parts, _ = await installation(tenant_group(), msgspec.structs.replace(agreeing(), **marks))
    proof = await verify_site(parts, SITE)
    assert not proof.ok
    assert any(said in finding.detail for finding in proof.findings), proof.findings
    assert proof.in_motion == []


@pytest.mark.parametrize(
    ("register", "said"),
    [
        (Register(seen=150, head=150, posted=100, opened=True), "open row covers (100, 100), not [100, 150)"),
        (Register(seen=150, head=150, posted=100, opened=True, row=charge(110, 150)), "open row covers (110, 150)"),
        (Register(seen=140, head=150, posted=150, opened=True), "ahead of the last reading 140"),
    ],
)
async def test_a_twin_that_contradicts_itself_is_a_breach(register, said):
    group = tenant_group()
    group.meters["em-1"].register = register
    proof = await verify_site((await installation(group, agreeing()))[0], SITE)
    assert any(said in finding.detail for finding in proof.findings if finding.code == "twin_inconsistent")


async def test_an_act_on_its_way_is_waited_for():
    late = msgspec.structs.replace(agreeing(), credits_nano={"t-1": 6_000}, acts={"t-1": 2})
    parts, sql = await installation(tenant_group(acts_seq=1), late)

    async def deliver(look):
        if look == 3:
            before = (await parts.store.load(SITE, ["t-1"]))["t-1"]
            tenant = msgspec.structs.replace(before.tenant, credits_nano=6_000)
            after = msgspec.structs.replace(before, tenant=tenant, acts_seq=2)
            assert not await parts.store.commit(SITE, [GroupChange(before, after)], now=0)

    sql.on_marks = deliver
    proof = await verify_site(parts, SITE)
    assert (proof.ok, proof.in_motion, sql.looks > 3) == (True, [], True)


async def test_a_twin_that_moves_between_the_looks_is_looked_at_again_and_never_accused():
    parts, sql = await installation(tenant_group(), agreeing())

    async def charge_on(look):
        sql.said.charges_nano["t-1"] = 1_000 + 10 * look  # SQL is read just after the twin has posted once more
        await change(parts, charges_nano=1_500 + 10 * look)

    sql.on_marks = charge_on
    proof = await verify_site(parts, SITE)
    assert (proof.ok, proof.in_motion, sql.looks) == (True, ["t-1"], flow.ROUNDS)


async def test_what_sql_finds_about_itself_is_part_of_the_proof():
    parts, sql = await installation(tenant_group(), agreeing())
    sql.found = [flow.Finding("warning", "refused", "effect 7", "look at it")]
    assert (await verify_site(parts, SITE)).ok
    sql.found = [flow.Finding("error", "gap", "meter em-1", "50 Wh are missing")]
    proof = await verify_site(parts, SITE)
    assert (proof.ok, [finding.code for finding in proof.findings]) == (False, ["gap"])


async def test_a_store_without_the_site_is_a_breach_that_says_what_to_do():
    sql = SqlSide(agreeing())
    store = MemoryTwinStore()
    proof = await verify_site(Parts(sql, store, MemoryEffectStream(store.redis), sql, sql), SITE)
    assert [finding.code for finding in proof.findings] == ["twins_lost"]
    assert "twinmeter rebuild" in proof.findings[0].detail


async def test_a_ledger_that_stands_still_is_named():
    parts, sql = await installation(tenant_group(), agreeing())

    async def ahead(_site):
        return 1, "5-0"

    async def known(_site, _entry_id):
        return True

    parts.store.generation = ahead
    parts.stream.knows = known
    sql.generation = ahead
    proof = await verify_site(parts, SITE, within_s=0.1)
    assert [finding.code for finding in proof.findings] == ["ledger_behind"]

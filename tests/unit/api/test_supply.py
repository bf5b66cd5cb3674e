"""Emergency credit, warnings and warning cuts over HTTP, and the proof of warnings over a rebuild."""

from __future__ import annotations

from typing import Any

import pytest
from httpx import AsyncClient

from adapters.store.posting.ledger import SqlNoticeBook
from tests.unit.api import parks
from tests.unit.api.parks import SITE
from tests.unit.api.stage import ADMIN, Stage, bearer
from twin.core.effects import NotificationWanted
from twin.core.model import Group
from twin.flows.import_site import import_site
from twin.flows.prove_warnings import ProvingBook

TENANT = f"/api/v1/sites/{SITE}/tenants/t-002"
SUPPLY, TAKE, CONFIRM = f"{TENANT}/supply", f"{TENANT}/emergency-credit", f"{TENANT}/warning-confirmations"


def keyed(name: str) -> dict[str, str]:
    return {**ADMIN, "Idempotency-Key": name}


@pytest.fixture
async def consenting(stage: Stage) -> Stage:
    """The tea house, that has paid nothing, may take an emergency credit of 30."""
    document = parks.document()
    entry: dict[str, Any] = document.site["tenants"][1]
    entry |= {"emergency_credit": "30.00", "params": {"emergency_opt_in": True}}
    await import_site(stage, document, who="test")
    return stage


async def tea_house(stage: Stage) -> Group:
    return (await stage.store.load(SITE, ["t-002"]))["t-002"]


async def rebuilt(stage: Stage) -> Group:
    return {group.id: group async for group in stage.registry.rebuilt_groups(SITE)}["t-002"]


async def test_the_emergency_credit_is_taken_once_and_only_where_it_is_offered(
    client: AsyncClient, consenting: Stage
) -> None:
    told = (await client.get(SUPPLY, headers=ADMIN)).json()
    assert (told["emergency_limit"], told["emergency_offered"], told["emergency_taken"]) == (
        "30.000000000",
        True,
        False,
    )
    mine = bearer(await consenting.token("tenant", site=SITE, tenant="t-002"), **{"Idempotency-Key": "k-1"})
    for _ in range(2):
        answer = await client.post(TAKE, headers=mine)
        assert (answer.status_code, answer.json()["emergency_taken"]) == (202, True)
    again = await client.post(TAKE, headers=keyed("k-2"))
    assert (again.status_code, again.json()["code"]) == (409, "not_offered")
    after = await rebuilt(consenting)
    assert after.owed is not None
    assert [one.kind for one in after.owed] == ["emergency"], "a rebuild carries it out where nothing of it is posted"
    await consenting.post()
    after = await rebuilt(consenting)
    assert after.tenant is not None
    assert (after.owed, after.tenant.params) == (None, {"emergency_taken": True})


async def test_nobody_takes_the_credit_of_another_tenant(client: AsyncClient, consenting: Stage) -> None:
    other = bearer(await consenting.token("tenant", site=SITE, tenant="t-001"), **{"Idempotency-Key": "k-1"})
    assert (await client.post(TAKE, headers=other)).status_code in (403, 404)
    assert (await tea_house(consenting)).tenant.params == {}  # type: ignore[union-attr]


async def test_a_warning_cut_is_confirmed_by_the_tenant(client: AsyncClient, consenting: Stage) -> None:
    act = await consenting.ledger.place_lock(
        SITE, breaker="br-001", lock="warning", who="warning-cut", why="low", ts=consenting.clock.now(), key="k-0"
    )
    await consenting.delivery.deliver([act])
    assert (await client.get(SUPPLY, headers=ADMIN)).json()["warning_cuts"] == ["br-001"]
    answer = await client.post(CONFIRM, headers=keyed("k-1"))
    assert (answer.status_code, answer.json()["warning_cuts"]) == (202, [])


async def test_what_was_delivered_is_proof_also_after_a_crash_and_a_rebuild(consenting: Stage) -> None:
    book = ProvingBook(SqlNoticeBook(consenting.database, consenting.clock.now), consenting.applier, consenting.clock)
    await consenting.play("t-002")
    notice = NotificationWanted("t-002", "low_balance", consenting.clock.now(), twin="t-002", to="tenant")
    for other in (NotificationWanted("t-002", "low_balance", 5, to="operator"), NotificationWanted("t-002", "x", 6)):
        await book.told(SITE, other, "proof")
    assert (await tea_house(consenting)).tenant.warned_at is None  # type: ignore[union-attr]
    await SqlNoticeBook(consenting.database, consenting.clock.now).told(SITE, notice, "proof")  # and died
    assert await book.was_told(SITE, notice)
    warned = (await tea_house(consenting)).tenant.warned_at  # type: ignore[union-attr]
    assert warned == consenting.clock.now()
    await consenting.post()
    assert (await rebuilt(consenting)).tenant.warned_at == warned  # type: ignore[union-attr]

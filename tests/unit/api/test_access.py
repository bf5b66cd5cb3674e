"""Who may do what: tokens, roles, scopes. Every route of the application is tried, not a list of them."""

from __future__ import annotations

import json

import pytest
from httpx import AsyncClient, Response
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

from api.http.app import create_app
from api.http.identity import ensure_admin, operation_of
from api.http.permissions import PERMISSIONS, ROLES, TENANT, is_public, may
from tests.unit.api.parks import OTHER_SITE, SITE
from tests.unit.api.stage import ADMIN, Stage, bearer

BODIES = {
    "topUpTenant": {"amount": "1.00", "channel": "cash", "reference": "R-9"},
    "commandDevice": {"target": "open", "reason": "test"},
    "placeLock": {"kind": "manual", "reason": "test"},
    "ackAlarm": {"text": "seen"},
    "unackAlarm": {},
    "commentAlarm": {"text": "test"},
    "assignAlarm": {"assignee": "lin"},
    "shelveAlarm": {"reason": "test", "until": 4_000_000_000_000},
    "unshelveAlarm": {},
    "openAccount": {"id": "t-009", "mode": "prepaid", "reason": "test"},
    "correctEntry": {"original": "P1", "reason": "test"},
    "enterByHand": {"amount": "1.00", "reason": "test"},
    "transferBalance": {"to": "t-001", "amount": "1.00", "reason": "test"},
    "writeOffArrears": {"reason": "test"},
    "createDebt": {"amount": "1.00", "reason": "test"},
    "cancelDebt": {"reason": "test"},
    "writeOffDebt": {"reason": "test"},
    "returnDeposit": {"amount": "1.00", "reason": "test"},
    "requestRefund": {"payment": "P1", "amount": "1.00", "reason": "test"},
    "payRefund": {"reference": "W-1", "reason": "test"},
    "failRefund": {"reason": "test"},
    "guaranteeSupply": {"until": None, "reason": "test"},
    "moveOutTenant": {"reason": "test"},
    "closeAccount": {"reason": "test"},
    "reopenAccount": {"reason": "test"},
    "approveRequest": {"reason": "test"},
    "rejectRequest": {"reason": "test"},
    "cancelRequest": {"reason": "test"},
    "createToken": {"name": "another", "role": "om"},
}


class Ids(dict[str, str]):
    """Values of path parameters; one that no test names is `1`, a number and a name."""

    def __missing__(self, key: str) -> str:
        return "1"


def routes_of(app: Litestar) -> list[tuple[str, str, HTTPRouteHandler]]:
    """(method, path template, handler) of every route, OPTIONS left out."""
    return [
        (str(method), route.path_format, handler)
        for route in app.routes
        for handler in route.route_handlers
        for method in handler.http_methods
        if method != "OPTIONS"
    ]


@pytest.fixture
def app(stage: Stage) -> Litestar:
    """The application, to look at."""
    return create_app(stage)


async def call(client: AsyncClient, route: tuple[str, str, HTTPRouteHandler], secret: str, **ids: str) -> Response:
    """Call a route with a body that it would accept."""
    method, path, handler = route
    known = {
        "site": SITE,
        "tenant": "t-002",
        "device": "em-002",
        "kind": "manual",
        "debt": "D1",
        "refund": "R1",
        "request_id": "A1",
        "name": "nobody",
        "path": "x",
        "report": "revenue",
        "seq": "1",
        "bill": "B-1",
        "alarm": "1",
        "meter": "em-002",
    }
    url = path.format_map(Ids({**known, **ids}))
    body = BODIES.get(operation_of(handler))
    headers = bearer(secret, **{"Idempotency-Key": "k", "Accept-Language": "en"})
    return await client.request(method, url, json=body, headers=headers, params={"reason": "test"})


def test_every_route_has_a_row_and_every_row_a_route(app: Litestar) -> None:
    operations = {operation_of(handler) for _, _, handler in routes_of(app)}
    assert "" not in operations
    assert operations == {operation for operation in PERMISSIONS if "." not in operation}
    assert {operation.partition(".")[0] for operation in PERMISSIONS} == operations


def test_what_has_no_row_is_denied() -> None:
    assert not any(may(role, "somethingNew") for role in ROLES)
    assert not is_public("somethingNew")
    assert not may("stranger", "getTenant")


async def test_no_token_no_answer(client: AsyncClient, app: Litestar, stage: Stage) -> None:
    revoked = await stage.token("owner", name="gone")
    token = next(token for token in await stage.tokens.tokens() if token.name == "gone")
    await stage.tokens.revoke(token.id, who="test", now=stage.clock.now())
    for route in routes_of(app):
        if is_public(operation_of(route[2])):
            continue
        for secret in ("", "wrong", "x" * 5000, revoked):
            answer = await call(client, route, secret)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), route[:2]
            assert answer.headers["www-authenticate"].startswith("Bearer")
    for value in ("Basic abc", "bearer", "Bearer  ", ADMIN["Authorization"].removeprefix("Bearer ")):
        assert (await client.get("/api/v1/sites", headers={"Authorization": value})).status_code == 401


async def test_a_tenants_token_reaches_nothing_of_others(client: AsyncClient, app: Litestar, stage: Stage) -> None:
    """Every route with the token of t-001 on what belongs to t-002: refused, as if it did not exist."""
    secret = await stage.token(TENANT, site=SITE, tenant="t-001")
    tried = 0
    for route in routes_of(app):
        operation = operation_of(route[2])
        if is_public(operation) or operation in ("listSites", "getSite", "followEvents"):
            continue  # public, or filtered: tests of their own below and beside
        answer = await call(client, route, secret)
        assert answer.status_code in (403, 404), (route[:2], answer.text)
        if answer.status_code == 404:
            nobody = await call(client, route, secret, tenant="t-404", device="em-404")
            assert nobody.text == answer.text.replace("t-002", "t-404").replace("em-002", "em-404"), route[:2]
            assert nobody.headers.keys() == answer.headers.keys()
            tried += 1
    assert tried >= 5


async def test_a_tenants_token_reaches_its_own(client: AsyncClient, stage: Stage) -> None:
    headers = bearer(await stage.token(TENANT, site=SITE, tenant="t-001"))
    base = f"/api/v1/sites/{SITE}"
    for path in ("tenants/t-001", "tenants/t-001/ledger", "tenants/t-001/payments", "devices/em-001",
                 "devices/em-001/commands", ""):  # fmt: skip
        answer = await client.get(f"{base}/{path}".rstrip("/"), headers=headers)
        assert answer.status_code == 200, (path, answer.text)
    sites = (await client.get("/api/v1/sites", headers=headers)).json()["items"]
    assert [site["id"] for site in sites] == [SITE]


async def test_a_sites_token_does_not_reach_another_site(client: AsyncClient, app: Litestar, stage: Stage) -> None:
    secret = await stage.token("owner", site=SITE)
    for route in routes_of(app):
        if "{site" not in route[1]:
            continue
        answer = await call(client, route, secret, site=OTHER_SITE, tenant="t-900", device="em-900")
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_site"), route[:2]
        nowhere = await call(client, route, secret, site="park-9", tenant="t-900", device="em-900")
        assert nowhere.text == answer.text.replace(OTHER_SITE, "park-9")


async def test_roles_follow_the_table(client: AsyncClient, app: Litestar, stage: Stage) -> None:
    secrets = {role: await stage.token(role) for role in ROLES if role != TENANT}
    for route in routes_of(app):
        operation = operation_of(route[2])
        if is_public(operation) or operation in ("followEvents",):
            continue
        for role, secret in secrets.items():
            answer = await call(client, route, secret, tenant="t-404", device="em-404")
            assert (answer.status_code == 403) == (not may(role, operation)), (operation, role, answer.text)


async def test_tokens_are_made_shown_once_and_ended(client: AsyncClient, stage: Stage) -> None:
    wish = {"name": "front-desk", "role": "finance", "site": SITE}
    made = await client.post("/api/v1/tokens", json=wish, headers=ADMIN)
    assert made.status_code == 201
    secret = made.json()["token"]
    assert len(secret) >= 43
    assert made.json()["created_by"] == "admin"
    rows = await stage.database.fetch("SELECT * FROM token")
    assert secret not in json.dumps([tuple(row) for row in rows])
    listed = (await client.get("/api/v1/tokens", headers=ADMIN)).json()["items"]
    assert [token["name"] for token in listed] == ["front-desk", "admin"]
    assert all("token" not in token for token in listed)
    mine = bearer(secret)
    assert (await client.get(f"/api/v1/sites/{SITE}/tenants/t-001", headers=mine)).status_code == 200
    assert (await client.get("/api/v1/tokens", headers=mine)).status_code == 403
    again = await client.post("/api/v1/tokens", json=wish, headers=ADMIN)
    assert (again.status_code, again.json()["code"]) == (409, "name_taken")
    assert (await client.delete("/api/v1/tokens/front-desk", headers=ADMIN)).status_code == 204
    assert (await client.get(f"/api/v1/sites/{SITE}/tenants/t-001", headers=mine)).status_code == 401
    gone = await client.delete("/api/v1/tokens/front-desk", headers=ADMIN)
    assert (gone.status_code, gone.json()["code"]) == (404, "unknown_token")


@pytest.mark.parametrize(
    ("wish", "status", "code"),
    [
        ({"name": "a", "role": "tenant", "site": SITE}, 422, "validation"),
        ({"name": "a", "role": "om", "site": SITE, "tenant": "t-001"}, 422, "validation"),
        ({"name": "a", "role": "king"}, 422, "validation"),
        ({"name": "a/b", "role": "om"}, 422, "validation"),
        ({"name": "a", "role": "om", "site": "park-9"}, 404, "unknown_site"),
        ({"name": "a", "role": "tenant", "site": SITE, "tenant": "t-404"}, 404, "unknown_tenant"),
    ],
)
async def test_tokens_that_are_refused(client: AsyncClient, wish: dict, status: int, code: str) -> None:
    answer = await client.post("/api/v1/tokens", json=wish, headers=ADMIN)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_an_owner_of_a_site_gives_access_to_that_site_only(client: AsyncClient, stage: Stage) -> None:
    headers = bearer(await stage.token("owner", name="site-owner", site=SITE))
    everywhere = await client.post("/api/v1/tokens", json={"name": "a", "role": "owner"}, headers=headers)
    assert (everywhere.status_code, everywhere.json()["errors"][0]["field"]) == (422, "site")
    wish = {"name": "a", "role": "owner", "site": OTHER_SITE}
    assert (await client.post("/api/v1/tokens", json=wish, headers=headers)).status_code == 404
    listed = (await client.get("/api/v1/tokens", headers=headers)).json()["items"]
    assert [token["name"] for token in listed] == ["site-owner"]
    assert (await client.delete("/api/v1/tokens/admin", headers=headers)).status_code == 404
    assert (await client.get("/api/v1/sites", headers=ADMIN)).status_code == 200


async def test_the_administrators_token_follows_the_settings(client: AsyncClient, stage: Stage) -> None:
    await ensure_admin(stage)
    assert (await client.get("/api/v1/sites", headers=ADMIN)).status_code == 200
    stage.settings = type(stage.settings)(admin_token="another secret of the administrator")
    await ensure_admin(stage)
    assert (await client.get("/api/v1/sites", headers=ADMIN)).status_code == 401
    new = bearer(stage.settings.admin_token)
    assert (await client.get("/api/v1/sites", headers=new)).status_code == 200
    assert (await client.delete("/api/v1/tokens/admin", headers=new)).status_code == 204
    await ensure_admin(stage)
    assert (await client.get("/api/v1/sites", headers=new)).status_code == 401


async def test_acts_bear_the_name_of_the_person(client: AsyncClient, stage: Stage) -> None:
    headers = bearer(await stage.token("manager", name="Lin"), **{"Idempotency-Key": "k"})
    url = f"/api/v1/sites/{SITE}/devices/em-001/commands"
    await client.post(url, json={"target": "open", "reason": "works"}, headers=headers)
    audited = (await stage.queries.audit(SITE)).items
    assert [(line.who, line.what) for line in audited[:1]] == [("Lin", "lock.place")]

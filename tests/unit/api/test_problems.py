"""Refusals: one shape for all of them, in two languages, with nothing of our insides."""

from __future__ import annotations

import pytest
from httpx import AsyncClient

from api.http.language import preferred_language
from api.http.problems import CATALOGUE
from tests.unit.api.parks import SITE
from tests.unit.api.stage import ADMIN, Stage
from twin.ports import StoreLostError

MEMBERS = {"type", "code", "title", "status", "detail", "instance"}


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "zh"),
        ("", "zh"),
        ("en", "en"),
        ("en-US,en;q=0.9", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en;q=0.5, zh;q=0.4", "en"),
        ("fr, en;q=0.2", "en"),
        ("fr", "zh"),
        ("*", "zh"),
        ("zh;q=0, *", "en"),
        ("en;q=nonsense", "zh"),
    ],
)
def test_language(header: str | None, language: str) -> None:
    assert preferred_language(header) == language


async def test_every_refusal_has_the_same_shape(client: AsyncClient) -> None:
    topups = f"/api/v1/sites/{SITE}/tenants/t-001/topups"
    keyed = {**ADMIN, "Idempotency-Key": "k"}
    answers = {
        "unauthenticated": await client.get("/api/v1/sites"),
        "unknown_site": await client.get("/api/v1/sites/park-9", headers=ADMIN),
        "not_found": await client.get("/api/v1/nothing", headers=ADMIN),
        "method_not_allowed": await client.put("/api/v1/sites", headers=ADMIN),
        "malformed": await client.post(topups, content=b'{"amount": ', headers=keyed),
        "too_large": await client.post(topups, content=b'"' + b"x" * 70_000 + b'"', headers=keyed),
        "validation": await client.get(f"/api/v1/sites/{SITE}/tenants?limit=0", headers=ADMIN),
    }
    for code, answer in answers.items():
        assert answer.headers["content-type"] == "application/problem+json", code
        body = answer.json()
        assert body.keys() >= MEMBERS
        assert (body["code"], body["status"], answer.status_code) == (code, answer.status_code, CATALOGUE[code].status)
        assert body["title"] == CATALOGUE[code].zh
        assert body["type"] == f"urn:problem-type:twinmeter:{code}"
        assert answer.headers["content-language"] == "zh"
        assert "Traceback" not in answer.text
    assert set(answers["method_not_allowed"].headers["allow"].split(", ")) == {"GET", "OPTIONS"}
    assert answers["validation"].json()["errors"][0]["field"] == "limit"


async def test_titles_in_english(client: AsyncClient) -> None:
    answer = await client.get("/api/v1/sites", headers={"Accept-Language": "en"})
    assert answer.json()["title"] == CATALOGUE["unauthenticated"].en
    assert (answer.headers["content-language"], answer.headers["vary"]) == ("en", "Accept-Language")


async def test_ids_that_cannot_be_are_refused(client: AsyncClient) -> None:
    for path in ("sites/a%20b", f"sites/{SITE}/tenants/x%7By", f"sites/{SITE}/devices/{'x' * 65}"):
        answer = await client.get(f"/api/v1/{path}", headers=ADMIN)
        assert (answer.status_code, answer.json()["code"]) == (422, "validation"), path


async def test_a_fault_of_ours_shows_nothing_of_it(client: AsyncClient, stage: Stage) -> None:
    class Broken:
        async def load(self, *_: object) -> None:
            raise RuntimeError("secret insides at /some/path")

    stage.store = Broken()
    answer = await client.get(f"/api/v1/sites/{SITE}/tenants/t-001", headers=ADMIN)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret" not in answer.text
    assert answer.json()["number"] in answer.json()["detail"]


async def test_trouble_that_passes_asks_to_come_again(client: AsyncClient, stage: Stage) -> None:
    stage.store.redis.flush()  # as FLUSHALL
    answer = await client.get(f"/api/v1/sites/{SITE}/tenants/t-001", headers=ADMIN)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["retry-after"]
    with pytest.raises(StoreLostError):
        await stage.store.load(SITE, ["t-001"])


async def test_without_the_database_nothing_is_let_through(client: AsyncClient, stage: Stage) -> None:
    await stage.database.fetch("SELECT 1")
    async with stage.database.write() as tx:
        await tx.execute("ALTER TABLE token RENAME TO token_away")
    for path in ("/api/v1/sites", f"/api/v1/sites/{SITE}/tenants/t-001", "/api/v1/tokens"):
        assert (await client.get(path, headers=ADMIN)).status_code >= 500


async def test_security_headers_everywhere(client: AsyncClient) -> None:
    for path in ("/api/v1/sites", "/health/live", "/metrics", "/schema", "/nothing"):
        headers = (await client.get(path, headers={**ADMIN, "Origin": "https://example.com"})).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers


def test_every_code_is_in_both_languages() -> None:
    for code, kind in CATALOGUE.items():
        assert 400 <= kind.status < 600, code
        assert kind.zh
        assert kind.en.isascii(), code

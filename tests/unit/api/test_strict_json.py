"""Bodies that are not what they seem to be: not UTF-8, or with a name that is said twice."""

from __future__ import annotations

import pytest
from httpx import AsyncClient

from tests.unit.api.parks import SITE
from tests.unit.api.stage import ADMIN, Stage

TOPUPS = f"/api/v1/sites/{SITE}/tenants/t-001/topups"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"amount": "1.00", "channel": "\xff\xfe"}', "UTF-8"),
        (b"\xff\xfe{\x00", "UTF-8"),
        (b'{"amount": "1.00", "channel": "cash", "amount": "1000.00"}', "'amount' twice"),
        (b'{"amount": "1.00", "channel": "cash", "\\u0061mount": "9.00"}', "'amount' twice"),
        (b'{"amount": "1.00", "channel": {"a": 1, "a": 2}}', "'a' twice"),
        (b"[" * 30_000, "malformed"),
        (b'{"amount": ', "malformed"),
        (b'{"amount": "1.00", "channel": "\\ud800"}', "malformed"),
    ],
)
async def test_refused_as_malformed_and_nothing_happens(
    client: AsyncClient, stage: Stage, body: bytes, says: str
) -> None:
    headers = {**ADMIN, "Idempotency-Key": "k", "Content-Type": "application/json", "Accept-Language": "en"}
    answer = await client.post(TOPUPS, content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed"), answer.text
    assert says in answer.text
    assert (await stage.queries.payments(SITE)).items == []


async def test_the_same_name_in_two_objects_is_fine(client: AsyncClient) -> None:
    headers = {**ADMIN, "Idempotency-Key": "k"}
    body = {"amount": "1.00", "channel": "cash", "reference": "有效"}
    assert (await client.post(TOPUPS, json=body, headers=headers)).status_code == 201

"""Numbers, cursors and texts that nobody sends in good faith: every route refuses them with a code, none falls over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from httpx import AsyncClient, Response

from tests.unit.api.parks import SITE
from tests.unit.api.stage import ADMIN, Stage, bearer

HUGE = (2**63 - 1, 2**63, 10**19, 10**40)
CURSORS = ("-1", "0", "1e9", "1_000", "١٢٣", "9" * 18, "9" * 30, "9" * 100, "a:b", "1:2:3", "99999999999999999999:1")
PATH = {
    "site": SITE, "tenant": "t-001", "device": "em-001", "kind": "manual", "debt": "D1", "refund": "R1",
    "request_id": "A1", "name": "nobody", "report": "revenue", "seq": "1", "bill": "B-1", "alarm": "1",
    "meter": "em-001", "job": "S1", "incident": "1", "rule": "arrears-cutoff", "ruleset": "residential-prepaid",
    "version": "1", "month": "202601", "token_id": "1", "payment": "P1",
}  # fmt: skip


async def described(client: AsyncClient) -> dict[str, Any]:
    document: dict[str, Any] = (await client.get("/schema/openapi.json")).json()
    return document


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if "events" not in path:  # the feed never ends
                yield method, path, operation


def url_of(path: str, **more: str) -> str:
    return path.format_map(dict.fromkeys(names_in(path), "1") | PATH | more)


def names_in(path: str) -> list[str]:
    return [part.partition("}")[0] for part in path.split("{")[1:]]


def is_number(schema: dict[str, Any]) -> bool:
    kinds = [schema, *schema.get("oneOf", ()), *schema.get("anyOf", ())]
    return any(kind.get("type") == "integer" for kind in kinds)


def refused_well(answer: Response, what: str) -> str:
    """Nothing where the answer is one of ours; else what went wrong."""
    if answer.status_code < 500 or answer.json().get("code") in ("unavailable", "document"):
        return ""
    return f"{what}: {answer.status_code} {answer.text[:120]}"


def told(wrong: list[str]) -> str:
    return "\n".join(line for line in wrong if line)


async def test_no_number_in_a_path_or_query_is_too_large_for_an_answer(client: AsyncClient) -> None:
    wrong = []
    for method, path, operation in operations(await described(client)):
        for parameter in operation.get("parameters", ()):
            if parameter["in"] not in ("path", "query") or not is_number(parameter["schema"]):
                continue
            for value in HUGE:
                name, text = parameter["name"], str(value)
                in_path = parameter["in"] == "path"
                url = url_of(path, **({name: text} if in_path else {}))
                params = {"reason": "test"} | ({} if in_path else {name: text})
                answer = await client.request(method, url, params=params, headers={**ADMIN, "Idempotency-Key": "k"})
                wrong.append(refused_well(answer, f"{method} {path} {name}={text}"))
    assert not any(wrong), told(wrong)


async def test_a_cursor_that_no_list_gave_out_is_refused(client: AsyncClient) -> None:
    wrong = []
    for method, path, operation in operations(await described(client)):
        if not any(parameter["name"] == "cursor" for parameter in operation.get("parameters", ())):
            continue
        for cursor in CURSORS:
            answer = await client.request(method, url_of(path), params={"cursor": cursor}, headers=ADMIN)
            wrong.append(refused_well(answer, f"{method} {path} cursor={cursor}"))
    assert not any(wrong), told(wrong)


def example_of(schema: dict[str, Any], schemas: dict[str, Any], depth: int = 0) -> Any:
    """A value that the schema accepts, more or less."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    if schema.get("examples"):
        return schema["examples"][0]
    for kind in ("oneOf", "anyOf", "allOf"):
        if kind in schema:
            return example_of(schema[kind][0], schemas, depth + 1)
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        wanted = schema.get("required", [])
        return {name: example_of(schema["properties"][name], schemas, depth + 1) for name in wanted}
    if kind == "array":
        return [example_of(schema.get("items", {}), schemas, depth + 1)] if depth < 6 else []
    return {"integer": 1, "boolean": True, "null": None}.get(str(kind), "x")


def body_schema(operation: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any] | None:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return None
    schema: dict[str, Any] = content["schema"]
    return schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


async def test_no_number_in_a_body_is_too_large_for_an_answer(client: AsyncClient) -> None:
    document = await described(client)
    schemas = document["components"]["schemas"]
    wrong = []
    for method, path, operation in operations(document):
        schema = body_schema(operation, schemas)
        if schema is None:
            continue
        plain = example_of(schema, schemas)
        for name, field in schema.get("properties", {}).items():
            for value in HUGE if is_number(field) else ():
                headers = {**ADMIN, "Idempotency-Key": f"{name}-{value}"}
                answer = await client.request(method, url_of(path), json={**plain, name: value}, headers=headers)
                wrong.append(refused_well(answer, f"{method} {path} {name}={value}"))
    assert not any(wrong), told(wrong)


async def test_no_body_and_no_address_holds_the_character_nul(client: AsyncClient) -> None:
    comment = f"/api/v1/sites/{SITE}/alarms/1/comments"
    headers = {**ADMIN, "Idempotency-Key": "k", "Content-Type": "application/json"}
    for body in ('{"text": "a\\u0000b"}', '{"text": "a", "te\\u0000xt": [{"a": ["\\u0000"]}]}'):
        answer = await client.post(comment, content=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed"), body
    answer = await client.post(comment, content='{"text": "\\\\u0000 in words"}', headers=headers)
    assert answer.json()["code"] == "unknown_alarm"
    for address in (f"/api/v1/sites/{SITE}/incidents?device=%00", f"/api/v1/sites/{SITE}/bills/B%001"):
        answer = await client.get(address, headers=ADMIN)
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed"), address


@pytest.mark.parametrize(
    "query", ["(" * 1_000 + "true" + ")" * 1_000, "!" * 1_999 + "x", "-" * 1_999 + "1", "1" * 2_000]
)
async def test_a_condition_without_end_is_refused(client: AsyncClient, query: str) -> None:
    wish = {"operation": "open", "select": {"query": query}}
    answer = await client.post(f"/api/v1/sites/{SITE}/switch-previews", json=wish, headers=ADMIN)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation")


async def test_a_plan_has_so_many_times_that_its_preview_does_not_hold_up_the_others(client: AsyncClient) -> None:
    path = f"/api/v1/sites/{SITE}/plans/schedules/preview"
    times = [f"{hour:02d}:00-{hour:02d}:30" for hour in range(24)]
    answer = await client.post(path, json={"off": [{"times": times}] * 5}, headers=ADMIN)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation")
    assert "120 times of day" in answer.json()["detail"]
    assert (await client.post(path, json={"off": [{"times": times}] * 4}, headers=ADMIN)).status_code == 200


async def test_an_order_may_name_as_many_breakers_as_it_may_be_about(client: AsyncClient) -> None:
    wish = {"operation": "open", "select": {"devices": [f"em-{number:040d}" for number in range(20_000)]}}
    answer = await client.post(f"/api/v1/sites/{SITE}/switch-previews", json=wish, headers=ADMIN)
    assert (answer.status_code, answer.json()["skips"]) == (200, {"unknown_device": 20_000})
    wish["select"]["devices"] *= 3  # type: ignore[index]
    answer = await client.post(f"/api/v1/sites/{SITE}/switch-previews", json=wish, headers=ADMIN)
    assert answer.status_code in (413, 422)
    given = {"devices": [f"em-{number:040d}" for number in range(5_000)], "plan": None, "reason": "test"}
    path = f"/api/v1/sites/{SITE}/plans/limits/assignments"
    answer = await client.post(path, json=given, headers={**ADMIN, "Idempotency-Key": "k"})
    assert answer.status_code in (404, 422), "refused for what it names, not for its size"


async def test_the_longest_key_is_long_enough_for_every_act(client: AsyncClient, stage: Stage) -> None:
    await stage.connect("t-001", "em-001")
    now = stage.clock.now()
    pending = await stage.ledger.place_lock(
        SITE, breaker="em-001", lock="warning", who="test", why="test", ts=now, key="w", until=None
    )
    await stage.delivery.deliver([pending])
    tenant = bearer(await stage.token("tenant", site=SITE, tenant="t-001"))
    path = f"/api/v1/sites/{SITE}/tenants/t-001/warning-confirmations"
    answer = await client.post(path, headers={**tenant, "Idempotency-Key": "k" * 200})
    assert (answer.status_code, answer.json()["warning_cuts"]) == (202, [])

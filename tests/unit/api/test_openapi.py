"""The OpenAPI document: complete, valid, and changed only on purpose.

TWINMETER_UPDATE_GOLDEN=1 writes the present document as the one to compare with.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from httpx import AsyncClient
from jsonschema import Draft202012Validator

from api.http.permissions import PERMISSIONS, is_public

GOLDEN = Path(__file__).parents[2] / "golden" / "openapi.json"


async def test_the_document_changes_only_on_purpose(client: AsyncClient) -> None:
    answer = await client.get("/schema")
    assert answer.status_code == 200
    document = answer.json()
    document["info"]["version"] = "any"
    text = json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    if os.environ.get("TWINMETER_UPDATE_GOLDEN"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8"), "see the head of this file for how to accept the change"


async def test_every_operation_says_what_it_is(client: AsyncClient) -> None:
    document = (await client.get("/schema/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert {operation["operationId"] for operation in operations} == {
        operation for operation in PERMISSIONS if "." not in operation and operation != "readSchema"
    }
    for operation in operations:
        name = operation["operationId"]
        assert operation["summary"], name
        assert operation["description"], name
        if not is_public(name):
            assert operation["security"] == [{"bearer": []}], name
            assert {"401", "403"} <= operation["responses"].keys(), name
            assert "application/problem+json" in operation["responses"]["403"]["content"], name
        for parameter in operation.get("parameters", ()):
            assert parameter["description"] or parameter["schema"], name


async def test_schemas_are_schemas_and_examples_fit(client: AsyncClient) -> None:
    document = (await client.get("/schema")).json()
    examples = 0
    for name, schema in document["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        for field, part in schema.get("properties", {}).items():
            for example in part.get("examples", ()):
                errors = list(Draft202012Validator({**document, **part}).iter_errors(example))
                assert not errors, (name, field, errors)
                examples += 1
    assert examples >= 5
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"

# ruff: noqa: E501 -- the prose of the pages is wrapped as Markdown, not as code
"""The page of the HTTP API, made from its OpenAPI document, its permissions and its catalogue of refusals."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from api.http.app import create_app
from api.http.permissions import PERMISSIONS, PUBLIC, ROLES
from api.http.problems import CATALOGUE

METHODS = ("get", "post", "put", "patch", "delete")


def page() -> str:
    """The page as Markdown."""
    document = openapi()
    lines = [
        "# HTTP API",
        "",
        document["info"]["description"],
        "",
        "The OpenAPI 3.1 document is served at `/schema` (JSON; YAML at `/schema/openapi.yaml`). Send",
        "`Authorization: Bearer TOKEN`; `TWINMETER_ADMIN_TOKEN` is the first administrator's. Calls that move money or switch",
        "something need an `Idempotency-Key`: the same key with the same body does it once and says `Idempotency-Hit: true`",
        "the second time, with another body it is refused (409).",
        "",
        "## Operations",
        "",
        "| call | what it does | operation |",
        "|---|---|---|",
    ]
    operations = list(_operations(document))
    lines += [
        f"| `{call}` | {told['summary']} | [{told['operationId']}](#{told['operationId'].lower()}) |"
        for call, told in operations
    ]
    lines += ["", "## Who may do what", "", *_permissions(), ""]
    for call, told in operations:
        lines += _operation(call, told)
    lines += [
        "## Refusals",
        "",
        "Every refusal is `application/problem+json` (RFC 9457). `code` is stable; `title` follows",
        "`Accept-Language`, Chinese unless English is preferred.",
        "",
        *_refusals(),
    ]
    return "\n".join(lines).rstrip() + "\n"


def openapi() -> dict[str, Any]:
    """The OpenAPI document. An application opens nothing before it starts, so it needs no platform to be described."""
    nothing = cast("Any", SimpleNamespace(stream=None, store=None))
    schema: dict[str, Any] = create_app(nothing).openapi_schema.to_schema()
    return schema


def _operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", item[method])
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    ]


def _permissions() -> list[str]:
    lines = [f"| operation | {' | '.join(ROLES)} |", "|---|" + "---|" * len(ROLES)]
    for operation, allowed in PERMISSIONS.items():
        marks = ["no token" if PUBLIC in allowed else "yes" if role in allowed else "" for role in ROLES]
        lines.append(f"| {operation} | {' | '.join(marks)} |")
    return [
        *lines,
        "",
        "What is not in the table is denied. A name with a dot is a part that needs more: releasing a `credit` lock gives supply",
        "to somebody who has not paid. A tenant's token sees its own tenant only, and gets for another's the same answer as for",
        "one that does not exist.",
    ]


def _operation(call: str, told: dict[str, Any]) -> list[str]:
    lines = [f"### {told['operationId']}", "", f"`{call}`", "", str(told.get("description", "")), ""]
    parameters = told.get("parameters", [])
    if parameters:
        lines += ["| parameter | in | | meaning |", "|---|---|---|---|"]
        for parameter in parameters:
            need = "required" if parameter.get("required") else ""
            lines.append(
                f"| `{parameter['name']}` | {parameter['in']} | {need} | {_line(parameter.get('description', ''))} |"
            )
        lines.append("")
    body = told.get("requestBody")
    if body:
        lines += [f"Body: `{_name_of(body)}`.", ""]
    answers = [f"{status} `{_name_of(answer)}`" for status, answer in told["responses"].items() if status < "300"]
    refused = [status for status in told["responses"] if status >= "300"]
    return [*lines, f"Answers {', '.join(answers)}; refuses with {', '.join(refused) or 'nothing'}.", ""]


def _name_of(part: dict[str, Any]) -> str:
    schema: dict[str, Any] = next((media.get("schema", {}) for media in part.get("content", {}).values()), {})
    reference = schema.get("$ref", "")
    return str(reference).rpartition("/")[2] or str(next(iter(part.get("content", {})), "no body"))


def _refusals() -> list[str]:
    lines = ["| code | status | 标题 | title |", "|---|---|---|---|"]
    return lines + [f"| `{code}` | {kind.status} | {kind.zh} | {kind.en} |" for code, kind in CATALOGUE.items()]


def _line(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")

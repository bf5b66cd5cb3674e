# ruff: noqa: E501 -- the prose of the pages is wrapped as Markdown, not as code
"""One page for each message and file of the contract, made from its JSON Schema.

A page has one table of fields for the document itself and one for every object inside it, however deep, under the name
that the schema gives it. What a field may hold is said in the words of the schema (`title`) where it has any, because
those are the words of the refusals, too.
"""

from __future__ import annotations

import json
from typing import Any

from schemas.registry import names, schema

GROUPS = {
    "Messages of devices (up)": ("birth", "conn", "tele", "event", "state", "ack"),
    "Messages to devices (down)": ("cfg", "cmd", "host"),
    "Files": ("site", "tariff", "ruleset", "fleet"),
}
Node = dict[str, Any]


def pages() -> dict[str, str]:
    """File name -> text of every page, the index `README.md` among them."""
    made = {f"{name}.md": _page(name) for name in names()}
    listed = [name for group in GROUPS.values() for name in group]
    assert sorted(listed) == sorted(names()), "every schema has its place in the index"
    made["README.md"] = _index()
    return made


def _index() -> str:
    lines = [
        "# The contract, message by message and file by file",
        "",
        "Everything outsiders may rely on: what devices send and obey, and what people write. Each page is made from the JSON",
        "Schema of the same name in [`schemas/`](../../schemas), which is what the program itself checks by; editors can use",
        "the schemas directly. A version is never changed, a new one is put beside it.",
        "",
    ]
    for title, members in GROUPS.items():
        lines += [f"## {title}", "", "| page | what it is |", "|---|---|"]
        lines += [
            f"| [{schema(name)['title']}]({name}.md) | {_cell(schema(name)['description'])} |" for name in members
        ]
        lines.append("")
    return "\n".join(lines)


def _page(name: str) -> str:
    root = schema(name)
    lines = [
        f"# {root['title']}",
        "",
        root["description"],
        "",
        f"Schema: [`{name}.v1.json`](../../schemas/{name}.v1.json)",
        "",
    ]
    body = _Tables(root)
    start = body.object_of(root) or root
    lines += body.table(start)
    while body.waiting:
        title, node = body.waiting.pop(0)
        lines += ["", f"## {title}", ""]
        if node.get("description"):
            lines += [node["description"], ""]
        lines += body.table(node)
    lines += ["", "## Examples", ""]
    for example in root.get("examples", ()):
        lines += ["```json", json.dumps(example, ensure_ascii=False, indent=1), "```", ""]
    return "\n".join(lines).rstrip() + "\n"


class _Tables:
    """Tables of the objects of one schema, each shown once."""

    def __init__(self, root: Node) -> None:
        self._root = root
        self._shown: dict[str, str] = {}
        self.waiting: list[tuple[str, Node]] = []

    def resolve(self, node: Node) -> Node:
        """Follow references; what stands beside a reference (its description) wins."""
        while "$ref" in node:
            path = node["$ref"]
            if path.startswith("#/$defs/"):
                target = self._root["$defs"][path.removeprefix("#/$defs/")]
            else:
                target = {"title": f"see [{path}]({path.removesuffix('.v1.json')}.md)"}
            node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
        return node

    def object_of(self, node: Node) -> Node | None:
        """The object that a node is, or has as its items or alternatives; None for plain values."""
        node = self.resolve(node)
        if "properties" in node:
            return node
        for key in ("items", "else", "then"):
            inner = self.object_of(node[key]) if isinstance(node.get(key), dict) else None
            if inner is not None:
                return inner
        return next((found for part in node.get("oneOf", ()) if (found := self.object_of(part))), None)

    def table(self, node: Node) -> list[str]:
        """The fields of one object; objects among them are put in line."""
        required = set(node.get("required", ()))
        lines = ["| field | | what it holds | meaning |", "|---|---|---|---|"]
        for name, field in node["properties"].items():
            told = self.resolve(field)
            need = "required" if name in required else ""
            lines.append(
                f"| `{name}` | {need} | {_cell(self._holds(name, field))} | {_cell(told.get('description', ''))} |"
            )
        extra = node.get("additionalProperties")
        if isinstance(extra, dict):
            lines.append(
                f"| *any other name* | | {_cell(self._holds('other', extra))} | {_cell(extra.get('description', ''))} |"
            )
        elif extra is not False:
            lines.append("| *any other name* | | anything | Kept as it is. |")
        return lines

    def _holds(self, name: str, field: Node) -> str:
        node = self.resolve(field)
        inner = self.object_of(node)
        if inner is not None:
            word = self._section(name, inner)
            return f"list of [{word}](#{_anchor(word)})" if self._is_list(node) else f"[{word}](#{_anchor(word)})"
        return self._plain(node)

    def _section(self, name: str, node: Node) -> str:
        """The heading under which an object is shown; the same object has one place."""
        key = json.dumps(node.get("properties"), sort_keys=True)
        if key not in self._shown:
            title = str(node.get("title", name)).removeprefix("a ").removeprefix("an ")
            while title in self._shown.values():
                title = f"{title} of {name}"
            self._shown[key] = title
            self.waiting.append((title, node))
        return self._shown[key]

    def _is_list(self, node: Node) -> bool:
        return node.get("type") == "array" or (
            isinstance(node.get("then"), dict) and node["then"].get("type") == "array"
        )

    def _plain(self, node: Node) -> str:
        if "const" in node:
            return f"`{json.dumps(node['const'], ensure_ascii=False)}`"
        if "enum" in node:
            text = ", ".join(f"`{json.dumps(value, ensure_ascii=False)}`" for value in node["enum"])
        elif node.get("type") == "array":
            items = node.get("items")
            text = f"list of {self._plain(self.resolve(items))}" if isinstance(items, dict) else "list"
        elif isinstance(node.get("then"), dict) and isinstance(node.get("else"), dict):
            text = f"{self._plain(self.resolve(node['else']))}, or {self._plain(self.resolve(node['then']))}"
        else:
            text = str(node.get("title") or node.get("type") or "anything")
            if isinstance(node.get("additionalProperties"), dict):
                text = f"names with {self._plain(self.resolve(node['additionalProperties']))}"
            text += _range(node)
        return text + (f"; default `{json.dumps(node['default'], ensure_ascii=False)}`" if "default" in node else "")


def _range(node: Node) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    if node.get("type") != "integer" or low is None:
        return ""
    return f", {low} to {high}" if high is not None and high < 1 << 53 else f", at least {low}"


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")


def _anchor(title: str) -> str:
    """The anchor that Markdown renderers give a heading."""
    kept = "".join(letter for letter in title.lower() if letter.isalnum() or letter in " -_")
    return kept.replace(" ", "-")

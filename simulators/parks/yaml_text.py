"""YAML as people would write it: the outline in blocks, each item of a list on one line."""

from __future__ import annotations

import json
import re
from typing import Any

_PLAIN = re.compile(r"[A-Za-z\u4e00-\u9fff][A-Za-z0-9_./\u4e00-\u9fff-]*( [A-Za-z0-9_./\u4e00-\u9fff-]+)*")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def block(document: dict[str, Any]) -> str:
    """A document in block style to the depth of its lists, in flow style below. Reads back equal."""
    lines: list[str] = []
    for key, value in document.items():
        if isinstance(value, list) and value:
            lines.append(f"{key}:")
            lines += [f"- {flow(item)}" for item in value]
        else:
            lines.append(f"{key}: {flow(value)}")
    return "\n".join(lines) + "\n"


def flow(value: Any) -> str:
    """One value on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    if isinstance(value, str):
        is_plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS
        return value if is_plain else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)

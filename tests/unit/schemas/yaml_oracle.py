"""A second reader of YAML, in plain Python and of another author, to hold ours against: the parser of ruamel.yaml.

It turns whole node trees into data by recursion, where ours takes the events of libyaml one by one; what they share is
the meaning of words that stand without quotes.
"""

from __future__ import annotations

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from schemas.yaml_text import _plain

PathTuple = tuple[str | int, ...]


class RefusedError(Exception):
    """The text is not YAML, or holds what no document of ours may hold."""


def read(text: str) -> tuple[Any, dict[PathTuple, tuple[int, int]]]:
    """The data of a text and the place of each value. Raises RefusedError."""
    try:
        documents = list(YAML(typ="safe", pure=True).compose_all(text))
    except (YAMLError, RecursionError, ValueError, AttributeError) as error:
        raise RefusedError(str(error)) from None
    if len(documents) > 1:
        raise RefusedError("more than one document")
    places: dict[PathTuple, tuple[int, int]] = {}
    data = _data(documents[0], (), places) if documents and documents[0] is not None else None
    return data, places


def _data(node: Node, path: PathTuple, places: dict[PathTuple, tuple[int, int]]) -> Any:
    if node.anchor:
        raise RefusedError("anchors are left to other tests")
    places[path] = (node.start_mark.line + 1, node.start_mark.column + 1)
    if isinstance(node, ScalarNode):
        return _scalar(node)
    if not isinstance(node, MappingNode):
        return [_data(item, (*path, index), places) for index, item in enumerate(node.value)]
    found: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, ScalarNode) or not isinstance(_scalar(key), str) or key.value in found:
            raise RefusedError("a key that is no text, or stands twice")
        found[key.value] = _data(value, (*path, key.value), places)
    return found


def _scalar(node: ScalarNode) -> Any:
    value = node.value if node.style else _plain(node.value)
    if isinstance(value, float) or (type(value) is int and abs(value) >= 2**63):
        raise RefusedError("a float, or a number beyond 64 bits")
    return value

"""Our reader of YAML and a second one agree: data and places of generated documents, and of every file we ship."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from schemas.documents import Document, DocumentError, read_document
from tests.unit.schemas import yaml_oracle

ROOT = Path(__file__).parents[3]
FOLDERS = ("rules", "simulators", "tests", "deploy", "docs")
FILES = sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.yaml"))

WORDS = st.sampled_from(
    [
        *("on", "off", "yes", "no", "true", "True", "null", "~", "0x1f", "0o17", "017", "1_000", "12:30:45", "<<"),
        *(
            "2026-01-01",
            "1e3",
            "1.",
            ".5",
            "-.inf",
            ".nan",
            "=",
            "y",
            "N",
            "+12",
            "#",
            "'",
            "&",
            "*x",
            "!t",
            "%d",
            "@a",
        ),
        *("`a", "|", ">", "{", "[1", "é", "?", ":", "-", "---", "...", "&x", "#a", "中文"),
        *("", "- a", "a: b", "a #b", '"', "a\nb", "😀 ok", "\t", " a ", "a\\b"),
    ]
)
TEXTS = WORDS | st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="\x85"), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=15,
)


def written(value: Any, *, flow: bool) -> str:
    """A value as ruamel.yaml writes it, by YAML 1.2."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = flow
    yaml.representer.ignore_aliases = lambda _value: True
    buffer = io.StringIO()
    yaml.dump(value, buffer)
    return buffer.getvalue()


def ours(text: str) -> Document | None:
    try:
        return read_document(text, "some.yaml")
    except DocumentError:
        return None


def places_of(document: Document) -> dict[Any, tuple[int, int]]:
    return {path: document.locate(path) for path in document.places.paths()}


@given(VALUES, st.booleans())
@settings(max_examples=150, deadline=None)
def test_what_another_writer_wrote_is_read_as_it_was_meant(value: Any, flow: bool) -> None:
    text = written(value, flow=flow)
    document = ours(text)
    if document is None:  # refused, never misread: libyaml knows no unquoted text in a flow that begins so
        assert flow, text
        assert re.search(r"[?:]\S", text), text
        return
    assert document.data == value
    data, places = yaml_oracle.read(text)
    assert (data, places) == (value, places_of(document))


PARTS = ["a", "b: ", "- ", "\n", "\n  ", "{", "}", "[", "]", ",", ": ", "'", '"', "1", " #", "x y", "? ", "no", "|\n"]


@given(st.lists(st.sampled_from(PARTS), max_size=14))
@settings(max_examples=300, deadline=None)
def test_what_both_readers_take_they_take_alike(parts: list[str]) -> None:
    text = "".join(parts)
    document = ours(text)
    try:
        data, places = yaml_oracle.read(text)
    except yaml_oracle.RefusedError:
        return
    if document is not None:
        assert document.data == data, text
        assert _of_something(places_of(document), data) == _of_something(places, data), text


def _of_something(places: dict[Any, Any], data: Any) -> dict[Any, Any]:
    """Places without those of empty values: where nothing is written, the readers place it before or after a blank."""
    return {path: place for path, place in places.items() if _at(data, path) is not None}


def _at(data: Any, path: Any) -> Any:
    for step in path:
        data = data[step]
    return data


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_file_that_we_ship(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    try:
        data, places = yaml_oracle.read(text)
    except yaml_oracle.RefusedError:
        assert ours(text) is None or "&" in text
        return
    document = ours(text)
    assert document is not None
    assert (document.data, places_of(document)) == (data, places)

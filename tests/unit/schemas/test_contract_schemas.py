"""The schema files themselves: valid drafts, described, and right about their own examples and the contract's."""

import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from schemas import registry
from schemas.documents import load_checked

GOLDEN = Path(__file__).parents[2] / "golden" / "contract"
WIRE = ("ack", "birth", "cfg", "cmd", "conn", "event", "host", "state", "tele")
FILES = ("fleet", "ruleset", "site", "tariff")


def _properties(node: Any, path: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Every named field of a schema outside of conditions, with its path."""
    if isinstance(node, list):
        return [item for index, member in enumerate(node) for item in _properties(member, f"{path}/{index}")]
    if not isinstance(node, dict):
        return []
    found = []
    for name, member in node.get("properties", {}).items():
        found.append((f"{path}/{name}", member))
    for key, member in node.items():
        if key not in ("if", "allOf", "anyOf", "oneOf", "examples"):
            found += _properties(member, f"{path}/{key}")
    return found


def test_the_registry_knows_every_message_and_file() -> None:
    assert set(registry.names()) == {*WIRE, *FILES}


def test_an_unknown_schema_is_named() -> None:
    with pytest.raises(KeyError, match="telemetry"):
        registry.schema("telemetry")


def test_a_schema_handed_out_is_a_copy() -> None:
    registry.schema("conn")["properties"].clear()
    assert "sid" in registry.schema("conn")["properties"]


@pytest.mark.parametrize("name", registry.names())
def test_each_schema_is_a_valid_draft_2020_12_with_identity(name: str) -> None:
    document = registry.schema(name)
    Draft202012Validator.check_schema(document)
    assert document["$id"] == f"https://twinmeter.dev/schemas/{name}.v1.json"
    assert document["title"]
    assert document["description"]


@pytest.mark.parametrize("name", registry.names())
def test_every_field_is_described(name: str) -> None:
    assert not [path for path, field in _properties(registry.schema(name)) if not field.get("description")]


@pytest.mark.parametrize("name", registry.names())
def test_no_schema_admits_a_float_by_type(name: str) -> None:
    assert not re.search(r'"number"', str(registry.schema(name)).replace("'", '"'))


@pytest.mark.parametrize("name", registry.names())
def test_each_example_is_right_and_refused_with_a_field_too_many(name: str) -> None:
    for example in registry.schema(name)["examples"]:
        assert registry.problems(name, example) == []
        if isinstance(example, dict):
            [problem] = registry.problems(name, {**example, "zz": 1})
            assert problem.path == "zz"


@pytest.mark.parametrize("path", sorted(GOLDEN.iterdir()), ids=lambda path: path.name)
def test_what_the_contract_shows_is_right(path: Path) -> None:
    assert load_checked(path, path.stem.split("-with-")[0]).data


@pytest.mark.parametrize("name", WIRE)
def test_a_version_of_the_message_is_exactly_the_integer_1(name: str) -> None:
    example = registry.schema(name)["examples"][0]
    for wrong in (1.0, True, "1", 2, None):
        assert "v" in {problem.path for problem in registry.problems(name, {**example, "v": wrong})}


@pytest.mark.parametrize("name", WIRE)
def test_the_end_of_an_id_is_the_end_of_its_text(name: str) -> None:
    example = registry.schema(name)["examples"][0]
    field = "sid" if "sid" in example else "cmd" if "cmd" in example else None
    if field:
        assert field in {p.path for p in registry.problems(name, {**example, field: example[field] + "\n"})}


@pytest.mark.parametrize("ts", [0, 86_400_000, 4_291_747_200_000, 2**53])
def test_a_wrong_device_clock_is_not_refused_at_the_door(ts: int) -> None:
    example = registry.schema("tele")["examples"][0]
    assert registry.problems("tele", {**example, "ts": ts}) == []


def test_positions_of_relays_and_valves_are_the_same_in_every_message() -> None:
    told: dict[str, set[tuple[str, ...]]] = {"relay": set(), "valve": set()}
    for name in ("ack", "birth", "event", "state", "tele"):
        found = [(path.rpartition("/")[2], field) for path, field in _properties(registry.schema(name))]
        for channel, field in found:
            if channel in told and "enum" in field:
                told[channel].add(tuple(field["enum"]))
    assert told == {
        "relay": {("open", "armed", "closed")},
        "valve": {("open", "closed", "limited", "opening", "closing")},
    }

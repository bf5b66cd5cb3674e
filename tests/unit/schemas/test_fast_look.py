"""Whatever is wrong with a document, the narrowed look finds what the whole look of the reference finds."""

from __future__ import annotations

import json
import random
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import registry
from schemas.documents import load_checked
from schemas.fast_look import LOOKING_AT
from schemas.registry import Problem
from tests.unit.rules.fuzz import rule_file

GOLDEN = Path(__file__).parents[2] / "golden" / "contract"
NONSENSE: tuple[Any, ...] = (None, True, 1.0, 0.5, -1, 2**63, 10**30, "", "x", [], {}, [[]], {"x": 1}, "\ud800", 1, "1")


def by_the_reference(name: str, document: Any) -> list[Problem]:
    """All problems by the reference implementation, which looks at everything."""
    assert LOOKING_AT.get() is None
    return sorted(registry._told(registry._errors(name, document), None, None))


def spots(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a document."""
    found: list[tuple[Any, Any]] = []
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in list(members):
        found.append((value, key))
        found += spots(member)
    return found


def spoiled(document: Any, chance: random.Random) -> Any:
    document = deepcopy(document)
    for _ in range(chance.randrange(1, 4)):
        whole, key = chance.choice(spots(document))
        way = chance.randrange(4)
        if way == 0:
            whole.pop(key)
        elif way == 1:
            whole[key] = deepcopy(chance.choice(NONSENSE))
        elif way == 2 and isinstance(whole, dict):
            whole[chance.choice(("x", "kind", "when"))] = deepcopy(whole[key])
        else:
            other, name = chance.choice(spots(document))
            whole[key] = deepcopy(other[name])
    return document


@pytest.mark.parametrize("name", ["ruleset", "tariff", "site"])
@given(seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_the_same_problems_are_told(name: str, seed: int) -> None:
    document = spoiled(load_checked(GOLDEN / f"{name}.yaml", name).data, random.Random(seed))
    expected = by_the_reference(name, document)
    found = registry.problems(name, document)
    if len(expected) < registry.PROBLEMS_MAX:
        assert found == expected, json.dumps(document, ensure_ascii=True)
    assert bool(found) is bool(expected)


@given(st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_the_same_problems_of_spoiled_packs(seed: int) -> None:
    document = rule_file(random.Random(seed))
    assert registry.problems("ruleset", document) == by_the_reference("ruleset", document)

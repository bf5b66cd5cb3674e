"""Scenes with rules of one's own."""

from __future__ import annotations

from typing import Any

from rules.ruleset import compile_ruleset
from tests.unit.twin.scene import MIDNIGHT, Scene, make_policy
from twin.core.effects import AlarmChanged, RuleChanged
from twin.core.policy import SitePolicy
from twin.core.view import TWIN_MODEL


def document(*rules: dict[str, Any], version: int = 1, **more: Any) -> dict[str, Any]:
    """A rule file; a rule needs no more than an id, `on` and `when`."""
    usual = {"scope": {"twin": "meter"}, "then": [{"alarm": {"severity": "major"}}]}
    found = [{**usual, **rule} for rule in rules]
    return {"apiVersion": "twinmeter.rules/v1", "ruleset": "own", "version": version, "rules": found, **more}


def policy_of(*rules: dict[str, Any], version: int = 1, site: dict[str, Any] | None = None, **more: Any) -> SitePolicy:
    """A policy with these rules alone."""
    ruleset = compile_ruleset(document(*rules, version=version, **more), TWIN_MODEL)
    return make_policy(rulesets=[ruleset], params=site)


def scene_of(*rules: dict[str, Any], start: int = MIDNIGHT, **more: Any) -> Scene:
    """A tenant with one meter, ruled by these."""
    parts = {name: more.pop(name) for name in ("params", "calendars") if name in more}
    return Scene(policy=policy_of(*rules, **parts), start=start, **more)


def moves(scene: Scene, rule: str) -> list[str]:
    """Transitions of a rule so far."""
    return [effect.transition for effect in scene.caused(RuleChanged) if effect.rule == rule]


def alarms(scene: Scene) -> list[tuple[str, bool]]:
    """(twin, active) of alarms so far."""
    return [(effect.twin, effect.active) for effect in scene.caused(AlarmChanged) if not effect.rule.startswith("@")]

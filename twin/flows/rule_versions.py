"""Versions of rules: checked, compared with what runs, activated, taken back.

A version is added once and never changes. Activating one moves a pointer in SQL; every process sees that within a
second and compiles the new rules before its next decision, and a decision works by one policy from beginning to end.
What does not compile, does not fit the parameters that tenants have, or starts a conflict nobody agreed to, is refused
before anything moves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from rules.conflicts import find_conflicts
from rules.errors import ParamError, RulesetError
from rules.params import param_value
from rules.ruleset import compile_ruleset
from schemas.registry import problems as schema_problems
from twin.core.view import TWIN_MODEL
from twin.recorded import VersionRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rules.rule import Ruleset
    from twin.flows.policies import CompiledPolicies
    from twin.ports import Clock, Registry, SiteDocument
    from twin.recorded import Activation, RuleBook

MOST_PROBLEMS = 20


class Parts(Protocol):
    """What moving pointers needs of an installation; `api.bootstrap.Platform` has it all."""

    @property
    def registry(self) -> Registry: ...

    @property
    def rule_book(self) -> RuleBook: ...

    @property
    def policies(self) -> CompiledPolicies: ...

    @property
    def clock(self) -> Clock: ...


class Preview(msgspec.Struct, frozen=True):
    """What an activation would change. `kept` are rules whose running `for` goes on, because `when` and `for` are the
    same."""

    ruleset: str
    version: int
    active: int | None
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    """Parameters and calendars that are declared otherwise than before."""
    new_conflicts: tuple[str, ...] = ()
    standing_conflicts: tuple[str, ...] = ()


async def add_version(parts: Parts, site: str, document: dict[str, Any], *, who: str) -> bool:
    """Check a rule file's document and store it as a version, not active; False where it stands there already.

    Raises VersionRefusedError `rules_invalid` or `version_exists`.
    """
    await _check(parts, site, document)
    return await parts.rule_book.add(site, document, who=who, now=parts.clock.now())


async def preview_activation(parts: Parts, site: str, ruleset: str, version: int) -> Preview:
    """What activating a version would change. Raises VersionRefusedError for one that is unknown or does not fit."""
    document = await parts.rule_book.version_document(site, ruleset, version)
    if document is None:
        known = [str(found.version) for found in await parts.rule_book.versions(site, ruleset)]
        text = f"site {site} has no version {version} of {ruleset}; known: {', '.join(known) or 'none'}"
        raise VersionRefusedError("unknown_version", text)
    candidate, sources = await _check(parts, site, document)
    before = {name: compile_ruleset(found, TWIN_MODEL) for name, found in sources.rulesets.items()}
    after = {**before, ruleset: candidate}
    standing = _conflicts(before)
    old = before.get(ruleset)
    return _compared(
        Preview(
            ruleset,
            version,
            old.version if old is not None else None,
            new_conflicts=tuple(line for line in _conflicts(after) if line not in standing),
            standing_conflicts=tuple(line for line in _conflicts(after) if line in standing),
        ),
        sources.rulesets.get(ruleset, {"rules": []}),
        document,
        (old, candidate),
    )


async def activate_version(
    parts: Parts, site: str, ruleset: str, version: int, *, who: str, why: str, accept_conflicts: bool = False
) -> tuple[Preview, Activation]:
    """Move the pointer to a version.

    Raises VersionRefusedError: `unknown_version`, `already_active`, `rules_invalid`, `rule_conflicts` (with the
    conflicts in `problems`), or `moved` where somebody else was quicker.
    """
    preview = await preview_activation(parts, site, ruleset, version)
    if preview.active == version:
        raise VersionRefusedError("already_active", f"version {version} of {ruleset} is active")
    if preview.new_conflicts and not accept_conflicts:
        text = f"version {version} of {ruleset} would start {len(preview.new_conflicts)} conflicts"
        raise VersionRefusedError("rule_conflicts", text, preview.new_conflicts)
    activation = await _point(parts, site, preview, version, who, why, "activate")
    return preview, activation


async def roll_back(parts: Parts, site: str, ruleset: str, *, who: str, why: str) -> tuple[Preview, Activation]:
    """Back to the version that was active before the present one was activated; again, to the one before that.

    Raises VersionRefusedError `nothing_to_roll_back`.
    """
    target = rollback_target(await parts.rule_book.activations(site, ruleset))
    if target is None:
        text = f"site {site} had no version of {ruleset} before the present one"
        raise VersionRefusedError("nothing_to_roll_back", text)
    preview = await preview_activation(parts, site, ruleset, target)
    return preview, await _point(parts, site, preview, target, who, why, "rollback")


async def deactivate(parts: Parts, site: str, ruleset: str, *, who: str, why: str) -> Activation:
    """Switch a ruleset off. Raises VersionRefusedError where it is not on."""
    active = next((found.version for found in await parts.rule_book.versions(site, ruleset) if found.active), None)
    if active is None:
        raise VersionRefusedError("unknown_version", f"site {site} has no active version of {ruleset}")
    return await _point(parts, site, Preview(ruleset, active, active), None, who, why, "deactivate")


def rollback_target(activations: list[Activation]) -> int | None:
    """The version before the present one: what a rollback left behind does not come back by another."""
    stack: list[int | None] = []
    for moved in activations:
        if moved.source == "rollback":
            while stack and stack[-1] != moved.version:
                stack.pop()
            if stack:
                continue
        if not stack or stack[-1] != moved.version:
            stack.append(moved.version)
    earlier = [version for version in stack[:-1] if version is not None]
    return earlier[-1] if earlier else None


async def _point(
    parts: Parts, site: str, preview: Preview, version: int | None, who: str, why: str, source: str
) -> Activation:
    activation = await parts.rule_book.point(
        site,
        preview.ruleset,
        version,
        expected=preview.active,
        who=who,
        why=why,
        now=parts.clock.now(),
        source=source,
    )
    await parts.policies.refresh(site)
    return activation


async def _check(parts: Parts, site: str, document: dict[str, Any]) -> tuple[Ruleset, SiteDocument]:
    """The compiled document, and what runs at the site. Raises VersionRefusedError `rules_invalid`, `unknown_site`."""
    found = [f"{problem.path or 'document'}: {problem.message}" for problem in schema_problems("ruleset", document)]
    if found:
        raise VersionRefusedError("rules_invalid", "the rules do not fit their schema", tuple(found[:MOST_PROBLEMS]))
    try:
        candidate = compile_ruleset(document, TWIN_MODEL)
    except RulesetError as error:
        lines = tuple(str(error).splitlines()[:MOST_PROBLEMS])
        raise VersionRefusedError("rules_invalid", "the rules do not compile", lines) from None
    try:
        whole = await parts.registry.document(site)
    except LookupError as error:
        raise VersionRefusedError("unknown_site", str(error)) from None
    wrong = tuple(_wrong_overrides(candidate, whole))
    if wrong:
        text = "parameters of the site, its tenants or devices do not fit the rules"
        raise VersionRefusedError("rules_invalid", text, wrong[:MOST_PROBLEMS])
    return candidate, whole


def _wrong_overrides(ruleset: Ruleset, document: SiteDocument) -> Iterator[str]:
    site = document.site
    layers = [("site", site.get("params", {}))]
    layers += [(f"tenant {entry['id']}", entry.get("params", {})) for entry in site.get("tenants", ())]
    layers += [(f"device {entry['id']}", entry.get("params", {})) for entry in site.get("devices", ())]
    for where, params in layers:
        for name, raw in params.items():
            param = ruleset.params.get(name)
            if param is None:
                continue
            try:
                param_value(param, raw)
            except ParamError as error:
                yield f"{where}: {error}"


def _conflicts(rulesets: dict[str, Ruleset]) -> list[str]:
    return [conflict.message for conflict in find_conflicts(list(rulesets.values()))]


def _compared(
    preview: Preview, old: dict[str, Any], new: dict[str, Any], compiled: tuple[Ruleset | None, Ruleset]
) -> Preview:
    before = {rule["id"]: rule for rule in old["rules"]}
    after = {rule["id"]: rule for rule in new["rules"]}
    both = [name for name in after if name in before]
    kept: list[str] = []
    if compiled[0] is not None:
        prints = [{rule.id: rule.fingerprint for rule in ruleset.rules} for ruleset in (compiled[0], compiled[1])]
        kept = [name for name in both if "for" in after[name] and prints[0].get(name) == prints[1].get(name)]
    settings = tuple(
        f"{part}.{name}"
        for part in ("params", "calendars")
        for name in sorted({*old.get(part, {}), *new.get(part, {})})
        if old.get(part, {}).get(name) != new.get(part, {}).get(name)
    )
    return msgspec.structs.replace(
        preview,
        settings=settings,
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        changed=tuple(name for name in both if before[name] != after[name]),
        kept=tuple(kept),
    )

"""A small twin model for the tests of this room, read from a plain environment, and the example ruleset."""

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from ruamel.yaml import YAML

from rules.language.kinds import BOOL, DURATION, INT, MONEY, STRING, STRINGS, TIMESTAMP
from rules.language.values import PathSpec
from rules.ruleset import Ruleset, compile_ruleset, resolve_params
from rules.state import RuleState, Step
from rules.step import step
from rules.testing import PlainEnv, plain_model

SHANGHAI = ZoneInfo("Asia/Shanghai")
METER = frozenset({"meter"})
BOTH = frozenset({"meter", "tenant"})
PACKS = Path(__file__).parents[3] / "rules" / "packs"


def spec(kind: Any, unit: str | None = None, scopes: frozenset[str] = BOTH) -> PathSpec:
    return PathSpec(kind, unit, lambda _env: None, scopes)


MODEL = plain_model(
    {
        "account.balance": spec(MONEY),
        "tenant.account": spec(STRING),
        "tenant.mode": spec(STRING),
        "tenant.protected": spec(BOOL),
        "meter.id": spec(STRING, scopes=METER),
        "meter.tariff": spec(STRING, scopes=METER),
        "meter.interval": spec(DURATION, scopes=METER),
        "gateway.id": spec(STRING, scopes=METER),
        "breaker.locks": spec(STRINGS),
        "conn.state": spec(STRING, scopes=METER),
        "reading.quality": spec(STRING, scopes=METER),
        "reading.delta": spec(INT, scopes=METER),
        "reading.at": spec(TIMESTAMP, scopes=METER),
        "reading.power_w": spec(INT, "W", METER),
        "reading.step_w": spec(INT, "W", METER),
        "reading.step_pf_milli": spec(INT, "milli", METER),
    }
)


def example() -> dict[str, Any]:
    """The seven rules of the contract's example, of the residential pack, with its first test, fresh at every call."""
    document = pack("residential-prepaid")
    rules = [rule for rule in document["rules"] if rule["id"] != "warning-cut"]
    return {**document, "rules": rules, "tests": document["tests"][:1]}


def pack(name: str) -> dict[str, Any]:
    """The document of a pack, fresh at every call."""
    return deepcopy(_pack_as_read(name))


@cache
def _pack_as_read(name: str) -> dict[str, Any]:
    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, 2)
    return yaml.load((PACKS / f"{name}.yaml").read_text(encoding="utf-8"))


def one_rule(**parts: Any) -> dict[str, Any]:
    """A document with one overload-like rule, changed by `parts` (None takes a part away)."""
    rule: dict[str, Any] = {
        "id": "hot",
        "scope": {"twin": "meter"},
        "on": ["reading.power_w"],
        "when": "reading.power_w > 6000",
        "then": [{"alarm": {"severity": "major"}}],
    }
    rule.update(parts)
    rule = {name: part for name, part in rule.items() if part is not None}
    return {"apiVersion": "twinmeter.rules/v1", "ruleset": "one", "version": 1, "rules": [rule]}


class Bench:
    """One twin and one rule on a table: set values, send triggers, look at the steps."""

    def __init__(self, document: dict[str, Any], rule_id: str, start: int = 1_767_542_400_000, **params: Any) -> None:
        self.ruleset: Ruleset = compile_ruleset(document, MODEL)
        self.rule = self.ruleset.by_id[rule_id]
        self.env = PlainEnv(start, SHANGHAI, self.ruleset, resolve_params(self.ruleset, params))
        self.state: RuleState | None = None
        self.last: Step = Step()

    def set(self, **values: Any) -> "Bench":
        """Set paths, with `__` for the dot: `reading__power_w=6500`."""
        self.env.values.update({name.replace("__", "."): value for name, value in values.items()})
        return self

    def at(self, seconds: float, trigger: str | None = None, **values: Any) -> Step:
        """One step so many seconds after the start; without a trigger a timer."""
        self.set(**values)
        self.env.now = self.env.start + round(seconds * 1000)
        self.last = step(self.rule, self.env, self.state, self.env.now, trigger)
        if self.last.changed:
            self.state = self.last.state
        return self.last

    @property
    def name(self) -> str:
        """The name of the state."""
        return self.state.state if self.state is not None else "normal"

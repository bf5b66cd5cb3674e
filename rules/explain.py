"""Why a rule has fired, or why it has not: one record for people and programs, and its telling in Chinese or English.

The record is made by the evaluator itself: `explain` takes one dry step (for the gate) and evaluates the same tree
with a trace (for the clauses). Nothing is changed by asking.
"""

from collections.abc import Callable
from datetime import UTC, tzinfo
from typing import Any

import msgspec

from rules.language.tracer import Clause, Trace
from rules.literals import print_duration, print_timestamp
from rules.rule import CLOCK, Rule
from rules.state import FIRED, NORMAL, PENDING, RECOVERING, RuleState, Step
from rules.step import inhibitor, step


class Pending(msgspec.Struct, frozen=True):
    """How long the condition has held, and how long it must."""

    elapsed_ms: int
    required_ms: int


class ActiveRecord(msgspec.Struct, frozen=True):
    """The calendar gate: whether it is open, and when that changes."""

    calendar: str
    open: bool
    until_ms: int


class GuardRecord(msgspec.Struct, frozen=True):
    """The guard: firings used, and how many are allowed in its window."""

    used: int
    max: int
    per_ms: int


class Record(msgspec.Struct, frozen=True):
    """One explanation, ready for JSON. `gate` is the first gate that stops the rule now; empty when it is fired.

    `clauses` are those of the scope's condition and of the rule's own, or of each level, and, of a rule that is fired,
    those of what clears it; `inputs` every path read.
    `actions` are the actions that were or would be carried out, by name.
    """

    rule: str
    version: int
    twin: str
    at: int
    state: str
    gate: str
    clauses: tuple[Clause, ...]
    inputs: dict[str, str]
    scope: str = ""
    severity: str = ""
    pending: Pending | None = None
    active: ActiveRecord | None = None
    inhibited_by: str = ""
    guard: GuardRecord | None = None
    actions: tuple[str, ...] = ()


def explain(rule: Rule, env: Any, state: RuleState | None, now: int) -> Record:
    """Explain a rule for a twin at an instant (ms). `env.twin_id`, where it exists, names the twin."""
    dry = step(rule, env, state, now, next((on for on in rule.on if on != CLOCK), CLOCK))
    trace = Trace()
    if rule.where is not None:
        rule.where.trace(env, trace)
    for level in rule.levels:
        level.when.trace(env, trace)
    name = state.state if state is not None else NORMAL
    fired = name in (FIRED, RECOVERING)
    if fired and rule.clear is not None and rule.clear.when is not None:
        rule.clear.when.trace(env, trace)
    # What the next message would bring about has not happened yet, except for a rule that keeps no fired state.
    gate = dry.gate or ("" if fired or rule.repeats else "trigger")
    return Record(
        rule=rule.id,
        version=rule.version,
        twin=str(getattr(env, "twin_id", "")),
        at=now,
        state=name,
        gate="" if fired else gate,
        clauses=tuple(trace.clauses),
        inputs=trace.inputs,
        scope=rule.scope_twin,
        severity=rule.severity(state.level) if state is not None else "",
        pending=_pending(rule, env, state, dry, now),
        active=_active(rule, env, now),
        inhibited_by=inhibitor(rule, env),
        guard=_guard(rule, env),
        actions=tuple(_name(plan.action) for plan in rule.actions),
    )


def _pending(rule: Rule, env: Any, state: RuleState | None, dry: Step, now: int) -> Pending | None:
    """The running `for`: of the stored state, or of the one that a step now would begin."""
    required = rule.for_(env) if rule.for_ is not None else None
    running = state if state is not None and state.since_ms else dry.state
    if not isinstance(required, int) or running is None or not running.since_ms:
        return None
    return Pending(max(now - running.since_ms, 0), required)


def _active(rule: Rule, env: Any, now: int) -> ActiveRecord | None:
    if rule.active is None:
        return None
    _, until, is_open = rule.active.segment(now, env.zone)
    return ActiveRecord(str(rule.active), is_open, until)


def _guard(rule: Rule, env: Any) -> GuardRecord | None:
    return None if rule.guard is None else GuardRecord(env.guard_used(rule.id), rule.guard.max, rule.guard.per_ms)


def _name(action: Any) -> str:
    """`lock breaker credit`, `alarm critical`, `notify low_balance`: the tag and what it is about."""
    about = (getattr(action, field, "") for field in ("target", "lock", "severity", "template", "name"))
    return " ".join([type(action).__name__.lower(), *(str(part) for part in about if part)])


def render(record: Record, language: str, zone: tzinfo = UTC) -> str:
    """The record as one paragraph that a newcomer understands; `language` is `zh` or `en`, times are of the zone."""
    words = _WORDS.get(language)
    if words is None:
        raise ValueError(f"no explanations in {language!r}: zh or en")
    parts = [words["head"].format(rule=record.rule, version=record.version, at=print_timestamp(record.at, zone))]
    parts.append(words["on"].format(twin=record.twin) if record.twin else "")
    parts.append(words[f"state_{record.state}"].format(severity=record.severity))
    gate = _GATES.get(record.gate)
    parts.append(words[f"gate_{record.gate}"].format(**gate(record, zone)) if gate is not None else "")
    parts.append(words["clauses"] + words["comma"].join(_clause(clause, words) for clause in record.clauses))
    return "".join(part for part in parts if part) + words["stop"]


GATE_PASSED = {"zh": "通过", "en": "passed"}
"""What is said where no gate stopped a rule."""


def clause_text(clause: Clause, language: str) -> str:
    """One clause with its values and what it gave; `language` is `zh` or `en`."""
    return _clause(clause, _WORDS[language])


def _clause(clause: Clause, words: dict[str, str]) -> str:
    verdict = {True: "true", False: "false", None: "unknown"}[clause.result]
    values = f"{clause.left} {clause.op} {clause.right}" if clause.op else clause.left
    told = words[verdict].format(reason=words.get(clause.freshness, clause.freshness))
    return words["clause"].format(text=clause.text, values=values, verdict=told)


def _no_words(_record: Record, _zone: tzinfo) -> dict[str, str]:
    return {}


def _inhibitor_words(record: Record, _zone: tzinfo) -> dict[str, str]:
    return {"by": record.inhibited_by}


def _pending_words(record: Record, _zone: tzinfo) -> dict[str, str]:
    pending = record.pending or Pending(0, 0)
    return {"elapsed": print_duration(pending.elapsed_ms), "required": print_duration(pending.required_ms)}


def _active_words(record: Record, zone: tzinfo) -> dict[str, str]:
    active = record.active
    return {
        "calendar": active.calendar if active is not None else "",
        "until": print_timestamp(active.until_ms, zone) if active is not None else "",
    }


def _guard_words(record: Record, _zone: tzinfo) -> dict[str, str]:
    guard = record.guard or GuardRecord(0, 0, 0)
    return {"used": str(guard.used), "max": str(guard.max), "per": print_duration(guard.per_ms)}


_GATES: dict[str, Callable[[Record, tzinfo], dict[str, str]]] = {
    "where": _no_words,
    "when": _no_words,
    "unknown": _no_words,
    "error": _no_words,
    "trigger": _no_words,
    "cooldown": _no_words,
    "protected": _no_words,
    "mode_changed": _no_words,
    "not_warned": _no_words,
    "water_kept": _no_words,
    PENDING: _pending_words,
    "active": _active_words,
    "inhibited_by": _inhibitor_words,
    "guard": _guard_words,
}

_WORDS: dict[str, dict[str, str]] = {
    "en": {
        "head": "Rule {rule} (version {version}) at {at}",
        "on": " on {twin}",
        "state_normal": " is not fired",
        "state_pending": " is waiting",
        "state_deferred": " is due but held back",
        "state_fired": " has fired",
        "state_recovering": " has fired and is recovering",
        "state_unknown": " cannot decide",
        "state_error": " cannot be computed",
        "gate_where": ", because it does not apply here",
        "gate_when": ", because its condition does not hold",
        "gate_unknown": ", because a value it needs is missing or too old",
        "gate_error": ", because its condition has no result",
        "gate_trigger": ", because it waits for the next message",
        "gate_cooldown": ", because it acted a short while ago",
        "gate_pending": ": its condition has held for {elapsed} of {required}",
        "gate_active": ", because its time window ({calendar}) is closed until {until}",
        "gate_inhibited_by": ", because {by} holds it back",
        "gate_protected": ", because the supply is guaranteed for now",
        "gate_mode_changed": ", because the tenant has come from paying afterwards a short while ago",
        "gate_not_warned": ", because it is not proved that a warning was delivered long enough ago",
        "gate_water_kept": ", because water is not cut off for arrears here",
        "gate_guard": ": {used} of {max} firings in {per} are used, and a person must approve more",
        "clauses": ". What it looked at: ",
        "clause": "{text} ({values}) is {verdict}",
        "true": "true",
        "false": "false",
        "unknown": "unknown ({reason})",
        "comma": "; ",
        "stop": ".",
    },
    "zh": {
        "head": "规则 {rule}（第 {version} 版）在 {at} ",
        "on": "对 {twin} ",
        "state_normal": "未触发",
        "state_pending": "正在等待",
        "state_deferred": "已到期但暂缓执行",
        "state_fired": "已触发",
        "state_recovering": "已触发，正在恢复",
        "state_unknown": "无法判断",
        "state_error": "无法计算",
        "gate_where": "，因为它不适用于此对象",
        "gate_when": "，因为条件不成立",
        "gate_unknown": "，因为所需的数值缺失或已过期",
        "gate_error": "，因为条件算不出结果",
        "gate_trigger": "，因为要等下一条上报",
        "gate_cooldown": "，因为刚刚执行过，尚在冷却期",
        "gate_pending": "：条件已持续 {elapsed}，需要 {required}",
        "gate_active": "，因为允许时段（{calendar}）关闭，直到 {until}",
        "gate_inhibited_by": "，因为被 {by} 抑制",
        "gate_protected": "，因为正处于保电期内",
        "gate_mode_changed": "，因为刚由后付费转为预付费",
        "gate_not_warned": "，因为尚无催费通知按时送达的证明",
        "gate_water_kept": "，因为此处欠费不停水",
        "gate_guard": "：{per} 内已触发 {used} 次（上限 {max}），其余须经人工批准",
        "clauses": "。判断依据：",
        "clause": "{text}（{values}）{verdict}",
        "true": "成立",
        "false": "不成立",
        "unknown": "未知（{reason}）",
        "missing": "缺失",
        "stale": "已过期",
        "comma": "；",
        "stop": "。",
    },
}

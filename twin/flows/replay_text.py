"""A replay told in words: what both versions of the rules would have done, differences first; Chinese or English."""

from __future__ import annotations

from typing import TYPE_CHECKING

from billing.money import format_nano
from rules.literals import print_timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import tzinfo

    from twin.flows.replay_compare import Difference, Row
    from twin.flows.replay_rules import ReplayResult

KINDS = {
    "cut": ("断开供应", "cut off"),
    "reconnected": ("恢复供应", "reconnected"),
    "locked": ("追加锁定", "locked as well"),
    "unlocked": ("解除一项锁定", "one lock less"),
    "alarm": ("告警", "alarm"),
    "alarm_over": ("告警解除", "alarm over"),
    "notified": ("通知", "notified"),
    "webhook": ("外部调用", "webhook"),
    "fired": ("规则触发", "fired"),
    "cleared": ("规则解除", "cleared"),
}
_WORDS = {
    "head": (
        "规则集 {ruleset}：第 {candidate} 版与现行{active}在 {site} 的重放",
        "Ruleset {ruleset}: version {candidate} beside {active}, replayed at {site}",
    ),
    "version": ("第 {version} 版", "the active version {version}"),
    "none": ("（未启用任何版本）", "nothing (no version is active)"),
    "span": (
        "{since} 至 {until}，{messages} 条消息，{tenants} 个租户",
        "{since} to {until}, {messages} messages, {tenants} tenants",
    ),
    "same": ("相同的结果 {same} 项，不同 {different} 项", "{same} findings alike, {different} differences"),
    "rules": ("按规则", "By rule"),
    "tenants": ("按租户", "By tenant"),
    "differences": ("差异", "Differences"),
    "columns": ("现行/候选", "active/candidate"),
    "more": ("……另有 {count} 项，见 --full 或 --json", "... {count} more, see --full or --json"),
    "only_active": ("只有现行版", "only the active version"),
    "only_candidate": ("只有候选版", "only the candidate"),
    "moved": ("现行 {active}，候选 {candidate}", "active {active}, candidate {candidate}"),
    "charges_same": ("电费水费不受影响：两版均为 {amount}", "Charges are unaffected: {amount} in both"),
    "charges_differ": (
        "注意：费用不同，现行 {active}，候选 {candidate}（{tenants} 个租户）",
        "Mind: charges differ, {active} and {candidate} ({tenants} tenants)",
    ),
    "guard": ("保护上限曾达到：{rules}", "Guards that were reached: {rules}"),
    "failed": ("无法处理的消息 {count} 条", "{count} messages could not be decided on"),
    "short_lead": (
        "假定：此前的历史不足一天，初始实时值未知",
        "Assumed: less than a day of history before the span, so live values were unknown at first",
    ),
    "new_ruleset": (
        "现行没有此规则集：与没有它的情形比较", "This ruleset is not active: compared with having none of it",
    ),
    "always": (
        "说明：用电与设备状态按历史记录，不因候选规则的断电而改变",
        "Note: consumption and what devices reported are as recorded, whatever either version would have cut",
    ),
    "nothing": ("没有差异", "No differences"),
}  # fmt: skip
SHOWN = 20


def render_replay(result: ReplayResult, language: str, zone: tzinfo, *, full: bool = False) -> str:
    """The result as lines of text; `language` is `zh` or `en`, instants are of the zone."""
    return "\n".join(_lines(result, 0 if language == "zh" else 1, zone, full=full))


def _lines(result: ReplayResult, language: int, zone: tzinfo, *, full: bool) -> Iterator[str]:
    def say(name: str, **values: object) -> str:
        return _WORDS[name][language].format(**values)

    compared = result.comparison
    known = result.active_version
    active = say("none") if known is None else say("version", version=known)
    yield say("head", ruleset=result.ruleset, candidate=result.candidate_version, active=active, site=result.site)
    since, until = print_timestamp(result.from_ts, zone), print_timestamp(result.to_ts, zone)
    yield say("span", since=since, until=until, messages=result.messages, tenants=result.tenants)
    yield say("same", same=compared.same, different=len(compared.differences))
    most = None if full else SHOWN
    for title, rows in (("rules", compared.rules), ("tenants", compared.tenants)):
        shown = rows if full else [row for row in rows if row.differences][:SHOWN]
        if shown:
            yield f"\n{say(title)} ({say('columns')})"
            yield from (_row(row, language) for row in shown)
    yield f"\n{say('differences')}" if compared.differences else f"\n{say('nothing')}"
    yield from (_difference(found, language, zone) for found in compared.differences[:most])
    if most is not None and len(compared.differences) > most:
        yield say("more", count=len(compared.differences) - most)
    yield ""
    yield from _closing(result, language)


def _closing(result: ReplayResult, language: int) -> Iterator[str]:
    def say(name: str, **values: object) -> str:
        return _WORDS[name][language].format(**values)

    ours, theirs = (format_nano(nano) for nano in result.charged_nano)
    if result.charges_differ:
        yield say("charges_differ", active=ours, candidate=theirs, tenants=len(result.charges_differ))
    else:
        yield say("charges_same", amount=ours)
    if result.guards_reached:
        yield say("guard", rules=", ".join(result.guards_reached))
    if result.failed:
        yield say("failed", count=len(result.failed))
    yield from (say(name) for name in result.assumptions)
    yield say("always")


def _row(row: Row, language: int) -> str:
    kinds = [kind for kind in KINDS if row.active.get(kind) or row.candidate.get(kind)]
    parts = [f"{KINDS[kind][language]} {row.active.get(kind, 0)}/{row.candidate.get(kind, 0)}" for kind in kinds]
    mark = "~" if row.differences else " "
    return f"{mark} {row.name}: {', '.join(parts)}"


def _difference(found: Difference, language: int, zone: tzinfo) -> str:
    times: Sequence[str | None] = [
        None if ts is None else print_timestamp(ts, zone) for ts in (found.active_ts, found.candidate_ts)
    ]
    what = f"{KINDS[found.kind][language]}{f' {found.detail}' if found.detail else ''}"
    who = found.twin if found.tenant in ("", found.twin) else f"{found.tenant}/{found.twin}"
    if found.active_ts is None:
        sign, when = "+", f"{times[1]} ({_WORDS['only_candidate'][language]})"
    elif found.candidate_ts is None:
        sign, when = "-", f"{times[0]} ({_WORDS['only_active'][language]})"
    else:
        sign, when = "~", _WORDS["moved"][language].format(active=times[0], candidate=times[1])
    return f"{sign} {who}: {what}, {found.rule}, {when}"

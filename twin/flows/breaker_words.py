"""Why a breaker is off and what would close it, in words: Chinese and English, for staff and for tenants.

Staff read who did what by which rule, and every command; tenants read the reasons and what they can do about them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from billing.money import format_nano
from rules.explain import clause_text
from rules.literals import print_timestamp
from twin.core.breaker_why import nameless
from twin.flows.tenant_words import LOCKS, SUPPLIES, UNKNOWN_LOCK

if TYPE_CHECKING:
    from datetime import tzinfo

    from twin.core.breaker_why import BreakerWhy, PastCommand, Release, StandingLock
    from twin.core.limit_why import LoadLimit

TOLD_COMMANDS = 5
VERDICTS = {
    "supplied": ("正常供应，没有锁定", "is on; nothing locks it"),
    "locked": ("已断开并锁定", "is off and locked"),
    "opening": ("已锁定，正在断开，尚未确认断开", "is locked and being opened; it is not off yet"),
    "kept_on": (
        "已锁定，但现在是不停供时段，仍在供应",
        "is locked and still on: this is a time in which nothing is cut off",
    ),
    "closing": ("锁定已全部解除，正在恢复供应", "has no lock left and is coming back"),
    "armed": ("已就绪，等待现场按键合闸", "is armed: somebody on site must confirm"),
    "opened_on_site": ("没有锁定，在现场断开，须在现场合闸", "was opened on site without a lock, and is closed there"),
    "closed_on_site": (
        "已锁定，但有人在现场合闸；平台不与之对抗",
        "is locked, and somebody closed it on site; it is not fought",
    ),
    "unknown": ("没有锁定，位置未知", "has no lock, and its position is not known"),
}  # fmt: skip
NEEDS = {
    "device_offline": ("设备恢复在线", "the device must be in reach again"),
    "position_unknown": ("设备上报其位置", "the device must tell its position"),
    "reading_stale": ("收到新的读数", "a fresh reading must come"),
    "retry_later": ("到 {at} 再次尝试", "it is tried again at {at}"),
    "confirm_on_site": ("现场按键确认", "somebody on site must confirm"),
    "close_on_site": ("在现场合闸", "it must be closed on site"),
}
RELEASES = {
    "top_up": ("充值不少于 {amount} 元", "a top-up of at least {amount}"),
    "rule": ("规则 {rule} 的条件成立（{clauses}）", "rule {rule}, once it holds ({clauses})"),
    "auto_release": ("{at} 自动解除", "by itself at {at}"),
    "ends": ("{at} 到期", "it ends at {at}"),
    "confirm": ("在开关处或手机上确认", "a confirmation at the switch or on a phone"),
    "person": ("由{roles}解除", "released by {roles}"),
}
ROLES = {
    "owner": ("所有者", "the owner"),
    "manager": ("经理", "a manager"),
    "finance": ("财务", "finance"),
    "om": ("运维", "an engineer"),
    "": ("物业", "the property office"),
}
WORDS = {
    "head": ("{supply}（{device}）{verdict}。", "The {supply} switch {device} {verdict}."),
    "opens_at": ("将于 {at} 断开。", "It is opened at {at}."),
    "since": ("自 {since} 起为 {position}。", "It has been {position} since {since}."),
    "lock": ("锁定“{reason}”：{who} 于 {since} 设置{why}。", "Locked, {reason}: by {who} at {since}{why}."),
    "tenant_lock": ("{reason}，自 {since} 起。", "It is off because {reason}, since {since}."),
    "rule": ("（规则 {rule}，第 {version} 版）", " (rule {rule}, version {version})"),
    "because": ("当时：{clauses}。", "At that moment: {clauses}."),
    "why": ("：{why}", ": {why}"),
    "release": ("解除方式：{ways}。", "It goes by: {ways}."),
    "needs": ("合闸还需要：{needs}。", "To close, besides: {needs}."),
    "trouble": ("未结告警 {kind}，自 {since}：{detail}。", "Standing incident {kind} since {since}: {detail}."),
    "limit_device": (
        "负载限额 {watts} W，设备自 {at} 起自行执行。",
        "Load limit {watts} W; the device itself keeps it since {at}.",
    ),
    "limit_waiting": (
        "负载限额 {watts} W，已下发 {tries} 次，设备尚未确认；在此之前由平台执行。",
        "Load limit {watts} W; sent {tries} times, not confirmed by the device yet; the platform keeps it meanwhile.",
    ),
    "limit_platform": ("负载限额 {watts} W，由平台执行。", "Load limit {watts} W; the platform keeps it."),
    "limit_off": (
        "负载限额已取消，已下发 {tries} 次，设备尚未确认。",
        "The load limit was taken off; sent {tries} times, not confirmed by the device yet.",
    ),
    "commands": ("最近的指令：", "Latest commands:"),
    "command": ("{issued} → {target}（{fence}）{by}：{steps}。", "{issued} to {target} (fence {fence}) {by}: {steps}."),
    "by_rule": ("依规则 {rule} 第 {version} 版", "by rule {rule} version {version}"),
    "by_who": ("由 {who}", "by {who}"),
}
JOIN = ("；", "; or ")
AND = ("，", ", ")
PARTS = {
    "rule": ("规则", "a rule"), "platform": ("平台", "the platform"), "on site": ("现场", "somebody on site"),
    "staff": ("物业", "the property office"), "": ("平台", "the platform"),
}  # fmt: skip


def breaker_sentences(why: BreakerWhy, language: str, zone: tzinfo, *, tenants: bool = False) -> str:
    """The whole answer in one language (`zh`, `en`), with local times of the site; `tenants` leaves out the office."""
    words = _Words(1 if language == "en" else 0, language, zone, tenants)
    parts = [words.head(why)]
    if why.opens_at is not None:
        parts.append(words.say("opens_at", at=words.instant(why.opens_at)))
    for lock in why.locks:
        parts += words.lock(lock)
    if why.needs:
        parts.append(
            words.say("needs", needs=AND[words.place].join(words.need(need.kind, need.at) for need in why.needs))
        )
    if why.load_limit is not None:
        parts.append(words.limit(why.load_limit))
    if not tenants:
        parts += [
            words.say("trouble", kind=one.kind, since=words.instant(one.since), detail=one.detail)
            for one in why.troubles
        ]
        if why.history.commands:
            parts.append(words.say("commands"))
            parts += [words.command(command) for command in why.history.commands[:TOLD_COMMANDS]]
    return "\n".join(part for part in parts if part)


class _Words:
    """One language (place 0 Chinese, 1 English) in one time zone, for staff or for tenants."""

    def __init__(self, place: int, language: str, zone: tzinfo, tenants: bool) -> None:
        self.place, self.language, self.zone, self.tenants = place, language, zone, tenants

    def say(self, name: str, **values: str) -> str:
        return WORDS[name][self.place].format(**values)

    def instant(self, ms: int) -> str:
        return print_timestamp(ms, self.zone)

    def head(self, why: BreakerWhy) -> str:
        supply = SUPPLIES[why.utility][self.place]
        told = self.say("head", supply=supply, device=why.device, verdict=VERDICTS[why.verdict][self.place])
        if why.position is None or why.since is None:
            return told
        return " ".join((told, self.say("since", position=why.position, since=self.instant(why.since))))

    def lock(self, lock: StandingLock) -> list[str]:
        reason = LOCKS.get(lock.lock, UNKNOWN_LOCK)[self.place]
        since = self.instant(lock.since)
        if self.tenants:
            parts = [self.say("tenant_lock", reason=reason, since=since)]
        else:
            version = str(lock.rule_version)
            why = self.say("rule", rule=lock.rule, version=version) if lock.rule else self.say("why", why=lock.why)
            parts = [self.say("lock", reason=reason, who=self.who(lock.who), since=since, why=why)]
        if lock.record is not None and not self.tenants:
            clauses = [clause_text(clause, self.language) for clause in lock.record.clauses if clause.result]
            parts.append(self.say("because", clauses=AND[self.place].join(clauses)) if clauses else "")
        if lock.releases:
            parts.append(self.say("release", ways=JOIN[self.place].join(self.release(one) for one in lock.releases)))
        return parts

    def release(self, release: Release) -> str:
        roles = [ROLES.get(role, (role, role))[self.place] for role in release.roles or ("",)]
        return RELEASES[release.kind][self.place].format(
            amount=format_nano(release.amount_nano or 0).removesuffix("0000000"),
            rule=release.rule,
            clauses=AND[self.place].join(clause_text(clause, self.language) for clause in release.clauses),
            at=self.instant(release.at) if release.at is not None else "",
            roles=("、", " or ")[self.place].join(roles),
        )

    def limit(self, limit: LoadLimit) -> str:
        at = self.instant(limit.taken_at) if limit.taken_at is not None else ""
        name = "limit_off" if limit.limit_w is None else f"limit_{limit.kept_by}"
        return self.say(name, watts=str(limit.limit_w), at=at, tries=str(limit.tries))

    def need(self, kind: str, at: int | None) -> str:
        return NEEDS[kind][self.place].format(at=self.instant(at) if at is not None else "")

    def who(self, who: str) -> str:
        return PARTS[who][self.place] if who in PARTS else nameless(who) if self.tenants else who

    def command(self, command: PastCommand) -> str:
        rule, who = command.why.get("rule"), str(command.why.get("who", ""))
        by = self.say("by_rule", rule=rule, version=str(command.why.get("ver", ""))) if rule else ""
        steps = [
            f"{step.state} {self.instant(step.ts)}{f' ({step.reason})' if step.reason else ''}"
            for step in command.steps
        ]
        return self.say(
            "command",
            issued=self.instant(command.issued),
            target=command.target,
            fence=str(command.fence),
            by=by or self.say("by_who", who=self.who(who)),
            steps=AND[self.place].join(steps) or command.state,
        )

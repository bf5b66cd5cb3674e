"""The words in which a tenant is told why the supply is off, or what is about to happen: Chinese and English.

Figures come from the clauses of the records: `account.balance <= -p.emergency_credit` with its values becomes "the
balance, -3.20, is not above 0.00". A clause about something tenants have no word for is left out; the staff see it.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import TYPE_CHECKING

import msgspec

from rules.explain import Record
from rules.literals import EPOCH, print_duration

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

    from rules.language.tracer import Clause

QUANTITIES = {
    "account.balance": ("余额", "the balance"),
    "reading.power_w": ("用电功率", "the power drawn"),
    "reading.step_w": ("突增功率", "the sudden load"),
    "reading.step_pf_milli": ("突增负荷功率因数（千分）", "its power factor in thousandths"),
    "reading.step_class": ("突增负荷类别", "the kind of load"),
    "reading.demand_w": ("需量", "the demand"),
    "reading.voltage_mv": ("电压", "the voltage"),
    "reading.current_ma": ("电流", "the current"),
    "reading.leakage_ma": ("漏电电流", "the leakage current"),
    "reading.temperature_dc": ("温度（0.1℃）", "the temperature in 0.1 degC"),
}
COMPARED = {
    "<": ("低于", "is below"),
    "<=": ("不高于", "is not above"),
    ">": ("高于", "is above"),
    ">=": ("不低于", "is not below"),
    "==": ("等于", "is"),
    "!=": ("不等于", "is not"),
}
LOCKS = {
    "credit": ("余额不足", "the credit is used up", "充值后自动恢复。", "A top-up brings it back by itself."),
    "warning": (
        "余额偏低的提醒断电", "a warning that the credit is low",
        "请在开关处按键或在手机上确认，随即恢复；稍后也会自动恢复。",
        "Confirm at the switch or on your phone and it returns at once; it also returns by itself after a while.",
    ),
    "overload": (
        "用电超过限额", "the load was above its limit",
        "请减少同时使用的电器；负荷正常后，请联系物业恢复。",
        "Use fewer appliances at once; the property office restores it when the load is normal.",
    ),
    "malignant": (
        "检测到违规电器", "an appliance that is not allowed was detected",
        "请停用该电器；系统稍后自动恢复，多次触发须联系物业。",
        "Unplug it; the supply returns by itself after a while, or by the property office after several times.",
    ),
    "leakage": (
        "检测到漏电", "a leakage current was detected",
        "请勿自行合闸，联系物业检查线路。", "Do not switch it on; ask the property office to check the wiring.",
    ),
    "voltage": (
        "电压异常", "the voltage was out of range",
        "电压恢复后由系统或物业恢复。", "It is restored when the voltage is normal.",
    ),
    "temperature": (
        "温度过高", "a temperature was too high",
        "请联系物业检查。", "Ask the property office to check it.",
    ),
    "manual": (
        "物业人工断开", "the property office switched it off",
        "请联系物业。", "Ask the property office.",
    ),
    "maintenance": (
        "正在检修", "works are going on", "检修结束后恢复。", "It returns when the works are done.",
    ),
    "schedule": (
        "按时段安排停止供应", "it is off by schedule", "到时自动恢复。", "It returns by schedule.",
    ),
}  # fmt: skip
UNKNOWN_LOCK = ("被锁定", "it is locked", "请联系物业。", "Ask the property office.")
HEADS = {
    "cut": ("您的{supply}自 {since} 起已断开：{reason}。", "Your {supply} has been off since {since}: {reason}."),
    "figures": ("当时{figures}。", "At that moment {figures}."),
    "held_for": ("该情况已持续 {time}。", "That had lasted {time}."),
    "until": ("最迟 {until} 恢复。", "It ends at {until} at the latest."),
    "rule": ("（规则 {rule}，第 {version} 版）", " (rule {rule}, version {version})"),
    "person": ("（{why}）", " ({why})"),
    "supplied": (
        "您的供应正常，没有任何锁定。余额 {balance}。", "Your supply is on; nothing locks it. Balance {balance}.",
    ),
    "closing": (
        "锁定已全部解除，正在恢复供应；若未恢复，请到现场确认合闸。",
        "Every lock is gone and the supply is coming back; if it does not, confirm at the switch.",
    ),
    "pending": (
        "注意：{reason}；若不改变，约 {time} 后将断开。",
        "Mind: {reason}; unless that changes, the supply goes off in about {time}.",
    ),
    "active": (
        "注意：{reason}，但现在是不停供时段，暂不断开，直到 {until}。",
        "Mind: {reason}, but this is a time in which nothing is cut; that ends at {until}.",
    ),
    "inhibited_by": (
        "注意：{reason}，但因 {by} 暂不断开。", "Mind: {reason}, but {by} keeps the supply on for now.",
    ),
    "guard": (
        "注意：{reason}；断开须经物业确认。", "Mind: {reason}; a person must confirm the cutoff.",
    ),
    "waiting": (
        "注意：{reason}，暂未断开。", "Mind: {reason}; the supply is still on.",
    ),
}  # fmt: skip
SUPPLIES = {"electricity": ("用电", "electricity"), "water": ("用水", "water")}
UNITS = {"d": ("天", "days"), "h": ("小时", "hours"), "m": ("分钟", "minutes"), "s": ("秒", "seconds")}
JOIN = ("，", ", and ")


class LockReason(msgspec.Struct, frozen=True):
    """One lock that stands on a supply; `record` explains the firing of the rule that placed it, where one did."""

    device: str
    utility: str
    lock: str
    who: str
    why: str
    since: int
    until: int | None = None
    rule: str = ""
    rule_version: int = 0
    record: Record | None = None


class TenantWhy(msgspec.Struct, frozen=True):
    """Where a tenant stands at an instant: `cut` while any lock stands; `ahead` are rules that are about to cut."""

    tenant: str
    at: int
    cut: bool
    balance_nano: int
    state: str
    locks: tuple[LockReason, ...]
    ahead: tuple[Record, ...]
    waiting_to_close: bool
    text: dict[str, str]
    """The whole story by language, `zh` and `en`."""


def sentences(why: TenantWhy, language: str, zone: tzinfo) -> str:
    """The whole story in one language (`zh`, `en`), with local times of the site."""
    words = _Words(1 if language == "en" else 0, zone)
    parts = [words.lock(lock) for lock in why.locks]
    if not why.locks:
        parts.append(words.say("closing") if why.waiting_to_close else words.supplied(why))
    parts += [words.ahead(record) for record in why.ahead]
    return words.gap.join(part for part in parts if part)


class _Words:
    """One language (0 Chinese, 1 English) in one time zone."""

    def __init__(self, language: int, zone: tzinfo) -> None:
        self.language = language
        self.zone = zone
        self.gap = " " if language else ""

    def say(self, name: str, **values: str) -> str:
        return HEADS[name][self.language].format(**values)

    def lock(self, lock: LockReason) -> str:
        reason = LOCKS.get(lock.lock, UNKNOWN_LOCK)
        told = reason[self.language]
        if lock.rule:
            told += self.say("rule", rule=lock.rule, version=str(lock.rule_version))
        elif lock.who not in ("rule", "platform") and lock.why:
            told += self.say("person", why=lock.why)
        supply = SUPPLIES[lock.utility][self.language]
        parts = [self.say("cut", supply=supply, since=self.instant(lock.since), reason=told)]
        if lock.record is not None:
            figures = self.figures(lock.record.clauses)
            if figures:
                parts.append(self.say("figures", figures=figures))
            pending = lock.record.pending
            if pending is not None and pending.required_ms:
                parts.append(self.say("held_for", time=self.duration(pending.required_ms)))
        if lock.until is not None:
            parts.append(self.say("until", until=self.instant(lock.until)))
        parts.append(reason[2 + self.language])
        return self.gap.join(parts)

    def supplied(self, why: TenantWhy) -> str:
        return self.say("supplied", balance=self.money(Decimal(why.balance_nano) / 1_000_000_000))

    def ahead(self, record: Record) -> str:
        """What a rule that waits is about to do, and what keeps it."""
        reason = self.figures(record.clauses) or record.rule
        if record.gate == "active" and record.active is not None:
            return self.say("active", reason=reason, until=self.instant(record.active.until_ms))
        if record.gate == "inhibited_by":
            return self.say("inhibited_by", reason=reason, by=record.inhibited_by)
        if record.gate == "guard":
            return self.say("guard", reason=reason)
        if record.state == "pending" and record.pending is not None:
            left_ms = max(record.pending.required_ms - record.pending.elapsed_ms, 0)
            return self.say("pending", reason=reason, time=self.duration(left_ms))
        return self.say("waiting", reason=reason)

    def figures(self, clauses: Sequence[Clause]) -> str:
        """What held, in figures a tenant knows."""
        told = [self.clause(clause) for clause in clauses if clause.result]
        return JOIN[self.language].join(dict.fromkeys(part for part in told if part))

    def clause(self, clause: Clause) -> str:
        name = clause.text.partition(f" {clause.op} ")[0].strip() if clause.op else ""
        quantity, compared = QUANTITIES.get(name), COMPARED.get(clause.op)
        if quantity is None or compared is None:
            return ""
        left, right = (self.value(name, side) for side in (clause.left, clause.right))
        if self.language:
            return f"{quantity[1]}, {left}, {compared[1]} {right}"
        return f"{quantity[0]} {left}，{compared[0]} {right}"

    def value(self, name: str, text: str) -> str:
        if not name.startswith("account."):
            return text
        try:
            return self.money(Decimal(text))
        except InvalidOperation:
            return text

    def money(self, amount: Decimal) -> str:
        cents = amount.quantize(Decimal("0.01"), ROUND_HALF_UP)
        return str(cents) if self.language else f"{cents} 元"

    def instant(self, ms: int) -> str:
        return (EPOCH + timedelta(milliseconds=ms)).astimezone(self.zone).strftime("%Y-%m-%d %H:%M")

    def duration(self, ms: int) -> str:
        whole = max(ms // 60_000, 1) * 60_000 if ms >= 60_000 else max(ms // 1_000, 1) * 1_000
        text = print_duration(whole)
        number, unit = text[:-1], text[-1]
        if self.language:
            return f"{number} {UNITS[unit][1].removesuffix('s') if number == '1' else UNITS[unit][1]}"
        return f"{number} {UNITS[unit][0]}"

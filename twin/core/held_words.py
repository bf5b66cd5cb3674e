"""Why a due cutoff waits, in words for tenants and clerks: Chinese and English."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

WORDS = {
    "active": ("现在是不停供时段", "this is a time in which nothing is cut off"),
    "inhibited_by": ("另有规则或保电设置暂缓执行", "another rule, or a guarantee, keeps the supply on"),
    "guard": ("短时间内停供过多，须经人工确认", "too many cutoffs in a short time: a person must confirm"),
    "cooldown": ("刚刚执行过，尚在间隔期", "it acted a short while ago"),
    "unknown": ("数据过旧或缺失，不据此停供", "the data are missing or too old to cut anybody off on"),
    "error": ("条件无法计算，请检查规则", "the condition cannot be computed; check the rule"),
    "protected": ("正处于保电期内", "the supply is guaranteed for now"),
    "mode_changed": ("刚由后付费转为预付费", "the tenant paid afterwards until a short while ago"),
    "not_warned": ("尚无催费通知按时送达的证明", "it is not proved that a warning was delivered in time"),
    "water_kept": ("欠费不停水", "water is not cut off for arrears"),
}
"""By gate; every gate that can hold a cutoff back is here."""


class HeldWords(msgspec.Struct, frozen=True):
    """One reason: the rule that waits, the gate that keeps it, and what that means."""

    rule: str
    gate: str
    zh: str
    en: str


def held_words(held: Iterable[str]) -> list[HeldWords]:
    """The reasons of a tenant twin (`rule: gate`) in words."""
    found = []
    for reason in held:
        rule, _, gate = reason.rpartition(": ")
        zh, en = WORDS.get(gate, (gate, gate))
        found.append(HeldWords(rule, gate, zh, en))
    return found

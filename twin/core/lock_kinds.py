"""Kinds of locks: which weighs more, and who may take which one off.

Order of weight: safety, then a person, then the supply guarantee (保电), then arrears, then a schedule. The guarantee
is no lock but a promise with an end: while it stands, nothing that weighs less than it is placed, and what stood of
that gives way. Safety and people are above it.

Money takes `credit` away and nothing else: a rule may release arrears and schedules, and of the other kinds only what
it has placed itself (its automatic release). `manual` and `maintenance` are for people. Everything ends with its
`until`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twin.core.model import Contract, Lock

SAFETY = ("overload", "malignant", "leakage", "voltage", "temperature")
PEOPLE = ("manual", "maintenance")
ARREARS = ("credit", "warning")
"""`warning` is the warning cut (预跳闸): it opens for a while, and a confirmation on site or by the tenant ends it."""
KINDS = (*SAFETY, *PEOPLE, *ARREARS, "schedule")
"""All kinds, in order of weight."""
BELOW_GUARANTEE = frozenset((*ARREARS, "schedule"))
BY_ANY_RULE = frozenset((*ARREARS, "schedule"))


def weight(kind: str) -> int:
    """Place in the order; a kind that is not known weighs least."""
    return KINDS.index(kind) if kind in KINDS else len(KINDS)


def rule_may_release(kind: str, lock: Lock, rule: str) -> bool:
    """Whether a rule may take this lock off."""
    return kind in BY_ANY_RULE or (lock.rule != "" and lock.rule == rule)


def guaranteed(contract: Contract | None, now: int) -> bool:
    """Whether the supply of this tenant is guaranteed now."""
    until = contract.protected_until if contract is not None else None
    return until is not None and now < until


def outranked(kind: str, contract: Contract | None, now: int) -> bool:
    """Whether a supply guarantee keeps a lock of this kind off."""
    return kind in BELOW_GUARANTEE and guaranteed(contract, now)

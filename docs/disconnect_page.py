# ruff: noqa: E501 -- the prose of the page is wrapped as Markdown, not as code
"""The page about cutoffs: the machine, the kinds of locks, what keeps a cutoff back, and how soon all is well again."""

from __future__ import annotations

from twin.core.commands import FIRST_RETRY_MS, FRESH_INTERVALS, LONGEST_RETRY_MS
from twin.core.disconnect import STATES, TABLE, diagram
from twin.core.held_words import WORDS
from twin.core.lock_kinds import BELOW_GUARANTEE, BY_ANY_RULE, KINDS, PEOPLE, SAFETY

MINUTE_MS = 60_000


def disconnect_page() -> str:
    """The whole page as Markdown."""
    return "\n".join([*_machine(), *_locks(), *_held(), *_credit(), *_time()])


def _machine() -> list[str]:
    words = [f"| `{state}` | {meaning} |" for state, meaning in STATES.items()]
    rows = [f"| {n} | {'any' if row.state == '*' else f'`{row.state}`'} | {row.when.replace('_', ' ')} | `{row.then}` |"
            for n, row in enumerate(TABLE, 1)]  # fmt: skip
    return [
        "# Where a tenant stands: the disconnect state machine",
        "",
        "The table in `twin/core/disconnect.py` derives one word from the facts about a prepaid tenant: balance bands, locks,",
        "commands under way and what the relay reports. It switches nothing itself: rules place and release locks, locks cause",
        "commands, devices report relays. Each move is recorded with the balance at that instant.",
        "",
        "| state | meaning |", "|---|---|", *words, "",
        "```mermaid", diagram().rstrip(), "```", "",
        "## The table",
        "",
        "Rows are tried from the top; the first whose state and fact match moves the machine, until none does. Their order is",
        "the priority of the reasons: safety before a person before arrears.",
        "",
        "| | from | when | to |", "|---|---|---|---|", *rows, "",
    ]  # fmt: skip


def _locks() -> list[str]:
    rows = [f"| `{kind}` | {_class_of(kind)} | {_releasers(kind)} |" for kind in KINDS]
    return [
        "## Locks",
        "",
        "A breaker is open for a set of reasons and closes when none is left. In order of weight; a supply guarantee (保电)",
        "stands between a person and arrears: while it does, nothing below it is placed, and what stood of that gives way.",
        "Every lock says who, why, since when, and may say until when: then it ends by itself.",
        "",
        "| lock | weight | taken off by |", "|---|---|---|", *rows, "",
        "A top-up takes off `credit` and nothing else. A rule that tries more is refused, and the breaker's incident",
        "`unlock_refused` names it. To lock again what is locked asks for another try, also against a hand on site.",
        "`warning` is the warning cut (预跳闸): the breaker opens, is armed, and closes when somebody confirms at it or the",
        "tenant does (`POST .../warning-confirmations`), at the latest when its time is over. For arrears a valve is only",
        "`limited`, where the site file says that it can be (`valve_limit`), and otherwise left alone.",
        "",
    ]  # fmt: skip


def _class_of(kind: str) -> str:
    if kind in SAFETY:
        return "safety"
    if kind in PEOPLE:
        return "a person"
    return "arrears" if kind in ("credit", "warning") else "schedule"


def _releasers(kind: str) -> str:
    if kind in BY_ANY_RULE:
        guarantee = ", a guarantee" if kind in BELOW_GUARANTEE else ""
        return f"rules, people, its end{guarantee}"
    return "people, its end, and the rule that placed it"


def _held() -> list[str]:
    rows = [f"| `{gate}` | {zh} | {en} |" for gate, (zh, en) in WORDS.items()]
    return [
        "## Why a due cutoff waits",
        "",
        "`HELD` always has its reasons (`GET .../tenants/ID/supply`), each with the rule that waits. It is asked again at least",
        "every minute, and with each fresh reading.",
        "",
        "| gate | 原因 | reason |", "|---|---|---|", *rows, "",
        "The last four hold for every rule, whatever its author wrote. `not_warned` is asked for by the parameter",
        "`notice_time`: only so long after a notice `low_balance`, `arrears_warning` or `warning_cut` was delivered to the",
        "tenant, with proof, is anything cut. The proof is good for one decline: it ends when the balance is in order again.",
        "",
        "The hours of a rule (`active`) hold for its commands as well: a device that was out of reach when the rule locked it,",
        "and comes back at a time in which nothing is cut off, is opened when that time ends, if it is still locked then; and",
        "a command for arrears expires where such a time begins.",
        "",
    ]  # fmt: skip


def _credit() -> list[str]:
    return [
        "## Emergency credit and changes of mode",
        "",
        "`emergency_credit` is how far below zero a supply goes on. With `emergency_opt_in` it counts only once the tenant has",
        "taken it (`POST .../emergency-credit`; offered below the second alarm), and until it is repaid in full. What comes in",
        "repays it first; the notice `emergency_repaid` says how much of the top-up that was and how much is left.",
        "A change between prepaid and postpaid never interrupts a supply: arrears locks end with the change to postpaid, and",
        "nothing is cut for arrears during `conversion_grace` (24 h) after the change to prepaid.",
        "",
    ]


def _time() -> list[str]:
    first, longest = FIRST_RETRY_MS // 1000, LONGEST_RETRY_MS // MINUTE_MS
    return [
        "## How soon the breaker is where it should be",
        "",
        "A command that fails is tried again with back-off, from "
        f"{first} s to {longest} minutes; one that was executed without proof is repeated once and people are told (`command_unverified`). After that",
        f"an opening is tried again every {longest} minutes while a lock stands, for somebody may have repaired the breaker, and a closing with that back-off.",
        "Once links, services and devices work again, the breaker stands as its locks want it",
        "",
        "- at the next reading, where the device has restarted or come back: everything is decided anew at once;",
        f"- otherwise within 50 minutes: the longest back-off ({longest} minutes), the life of an arrears command (15 minutes),",
        "  and the readings that prove it.",
        "",
        f"A close waits for a reading not older than {FRESH_INTERVALS} intervals. What a hand on site has moved is told and left:",
        "`closed_locally_under_lock` until the device restarts, a lock is placed or the last goes, `opened_locally` until closed",
        "there or a person places and releases a lock. `tests/unit/twin/test_switching_explored.py` holds all of this: 60 seeds with",
        "every run, 10 000 by `make soak`, each an hour and a half of lost, doubled, late and reordered messages, restarts,",
        "crashes, rebuilds, stuck and welded contacts, keys, levers and people.",
        "",
    ]

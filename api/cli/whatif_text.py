"""A what-if told to people: totals first, then whom it touches, most first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len

from billing.money import cents_half_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from billing.whatif import Comparison, Side
    from twin.explained import Question

Words = dict[str, str]
_HEADING = {
    "zh": "站点 {site} {month}：资费 {replaced} 换为 {tariff}，涉及 {tenants} 户",
    "en": "site {site}, {month}: {replaced} replaced by {tariff}, {tenants} tenants",
}
_SINCE_EVER = {
    "zh": "（新资费的首个版本晚于该月生效，此处按此前一直有效计算）",
    "en": "(its first version begins after the month; here it holds since ever)",
}
_COLUMNS: dict[str, tuple[str, str, str]] = {"zh": ("现行", "换后", "差额"), "en": ("now", "then", "difference")}
_MONEY: list[tuple[Words, Callable[[Side], int]]] = [
    ({"zh": "用量费", "en": "energy"}, lambda side: side.energy_nano),
    ({"zh": "固定费", "en": "fees"}, lambda side: side.fees_nano),
    ({"zh": "需量电费", "en": "demand"}, lambda side: side.demand_nano),
    ({"zh": "最低消费补差", "en": "minimum"}, lambda side: side.minimum_nano),
    ({"zh": "合计收入", "en": "revenue"}, lambda side: side.total_nano),
]
_COUNTS: list[tuple[Words, Callable[[Side], int]]] = [
    ({"zh": "进入更高阶梯（次）", "en": "higher tiers entered"}, lambda side: side.crossings),
    ({"zh": "余额耗尽（次）", "en": "balances run out"}, lambda side: side.cutoffs),
    ({"zh": "余额耗尽（户）", "en": "tenants run out"}, lambda side: int(side.cutoffs > 0)),
]
_WINNERS = {"zh": "少付 {count} 户", "en": "{count} pay less"}
_LOSERS = {"zh": "多付 {count} 户", "en": "{count} pay more"}
_SAME = {"zh": "不变 {count} 户", "en": "{count} pay the same"}
_NEWLY = {"zh": "新增余额耗尽 {count} 户", "en": "{count} would newly run out"}
_MORE = {"zh": "  另有 {count} 户（--full 全部列出）", "en": "  and {count} more (--full shows all)"}


def render_whatif(question: Question, found: Sequence[Comparison], lang: str, *, shown: int | None) -> str:
    """The outcome as text; money in cents, half up."""
    return "\n".join(_lines(question, found, lang, shown))


def _lines(question: Question, found: Sequence[Comparison], lang: str, shown: int | None) -> Iterator[str]:
    month = f"{question.month // 100}-{question.month % 100:02d}"
    names = {"replaced": question.replaced, "tariff": question.tariff.name, "tenants": len(found)}
    yield _HEADING[lang].format(site=question.site, month=month, **names)
    if question.since_ever:
        yield _SINCE_EVER[lang]
    yield _row("", _COLUMNS[lang])
    for words, value in _MONEY:
        now, then = (sum(value(side) for side in sides) for sides in _sides(found))
        if now or then or value is _MONEY[-1][1]:
            yield _row(words[lang], [_cents(nano) for nano in (now, then, then - now)])
    for words, value in _COUNTS:
        now, then = (sum(value(side) for side in sides) for sides in _sides(found))
        yield _row(words[lang], [str(number) for number in (now, then, then - now)])
    losers = sorted((one for one in found if one.difference_nano > 0), key=lambda one: -one.difference_nano)
    winners = sorted((one for one in found if one.difference_nano < 0), key=lambda one: one.difference_nano)
    yield from _list(_LOSERS, losers, lang, shown)
    yield from _list(_WINNERS, winners, lang, shown)
    yield _SAME[lang].format(count=len(found) - len(losers) - len(winners))
    yield from _list(_NEWLY, [one for one in found if one.then.cutoffs and not one.now.cutoffs], lang, shown)


def _sides(found: Sequence[Comparison]) -> tuple[list[Side], list[Side]]:
    return [one.now for one in found], [one.then for one in found]


def _list(words: Words, found: Sequence[Comparison], lang: str, shown: int | None) -> Iterator[str]:
    yield words[lang].format(count=len(found))
    for one in found[:shown]:
        amounts = (one.now.total_nano, one.then.total_nano, one.difference_nano)
        yield _row(f"  {one.tenant}", [_cents(nano) for nano in amounts])
    if shown is not None and len(found) > shown:
        yield _MORE[lang].format(count=len(found) - shown)


def _cents(nano: int) -> str:
    cents = cents_half_up(nano)
    return f"{'-' if cents < 0 else ''}{abs(cents) // 100}.{abs(cents) % 100:02d}"


def _row(name: str, cells: Sequence[str]) -> str:
    # A Chinese character takes two cells of a terminal.
    return name + " " * max(1, 26 - cell_len(name)) + "".join(" " * (14 - cell_len(cell)) + cell for cell in cells)

"""A derivation told to people, in Chinese or English: one line a step, indented as a tree, every number exact.

Quantities are printed in kWh or m3 with three decimals, prices with all six, amounts with all nine: rounding is for
screens, and this is where somebody checks them.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Literal

from billing.bill_terms import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from billing.derivation import Fact, Node

Lang = Literal["zh", "en"]
_UNITS = {"electricity": "kWh", "water": "m³"}
_PLAIN = (
    *("name", "tenant", "tariff", "period", "version_from", "epoch", "seq", "journal", "actor", "memo", "account"),
    *("meter", "rows", "kind", "month", "day", "value"),
)

_WORDS: dict[str, dict[Lang, str]] = {
    "charge": {
        "zh": "费用 {amount} = 用量 {quantity} {unit} × 单价 {price}",
        "en": "charge {amount} = {quantity} {unit} x {price}",
    },
    "adjustment": {
        "zh": "调整 {amount} = 应收 {new} − 已收 {old}（{reason}）",
        "en": "adjustment {amount} = {new} owed - {old} charged ({reason})",
    },
    "was": {"zh": "原计费", "en": "as it was charged"},
    "is": {"zh": "应计费", "en": "as it is owed"},
    "quantity": {
        "zh": "用量：表码 {from_reading} → {to_reading} {unit}，第 {epoch} 段",
        "en": "quantity: register {from_reading} to {to_reading} {unit}, epoch {epoch}",
    },
    "reading": {
        "zh": "读数 {from_time} 为 {from_reading}，{to_time} 为 {to_reading}：相差 {delta} {unit}，其中 {taken} 计入",
        "en": "reading {from_reading} at {from_time}, {to_reading} at {to_time}: {delta} {unit}, of which {taken} are "
        "this charge's",
    },
    "share": {
        "zh": "{mark} {from_time} – {to_time} {facts}：{quantity} {unit}",
        "en": "{mark} {from_time} - {to_time} {facts}: {quantity} {unit}",
    },
    "price": {
        "zh": "单价 {price}：资费 {tariff}，自 {version_from} 起的版本",
        "en": "price {price}: tariff {tariff}, version valid from {version_from}",
    },
    "unpriced": {"zh": "无资费：不收费", "en": "no tariff: free of charge"},
    "base": {"zh": "基础单价 {period} {price}", "en": "base price {period} {price}"},
    "tier": {
        "zh": "第 {tier} 阶梯（{range} {unit}，{span}已用 {use}）{how} {price}",
        "en": "tier {tier} ({range} {unit}, {use} used before in the {span}) {how} {price}",
    },
    "surcharge": {"zh": "附加 {name} {price}", "en": "surcharge {name} {price}"},
    "free": {
        "zh": "每月前 {upto} {unit} 免费（本月此前已用 {use}）",
        "en": "the first {upto} {unit} of a month are free ({use} used before)",
    },
    "line": {
        "zh": "账目 {seq}（{journal}），{time}，经办 {actor}：{memo}",
        "en": "ledger line {seq} ({journal}) at {time} by {actor}: {memo}",
    },
    "legs": {"zh": "借贷分录", "en": "accounts moved"},
    "leg": {"zh": "{account}：{amount}", "en": "{account}: {amount}"},
    "posted": {
        "zh": "表计 {meter} 的计费行，入账 {amount}{adjusted}",
        "en": "row of meter {meter}, posted at {amount}{adjusted}",
    },
    "more": {"zh": "另有 {rows} 行未列出", "en": "{rows} more rows are not shown"},
    "fee": {
        "zh": "{kind} {name} {meter} {month} {day}：{amount}",
        "en": "{kind} {name} {meter} {month} {day}: {amount}",
    },
    "fact": {"zh": "{name} = {value}", "en": "{name} = {value}"},
    "proof": {"zh": "由读数重算：{verdict}", "en": "computed again from the readings: {verdict}"},
}
_REASONS_ZH = {
    "a reading came late": "读数补传",
    "a reading had come late": "读数补传",
    "the payer changed between two readings": "两次读数之间更换了付费方",
    "the tenant changed": "租户变更",
    "rated again by hand": "人工重算",
    "the price changed": "价格变更",
}
"""Reasons are English sentences in the books; the usual ones are told in Chinese, others as they are."""
_JOURNALS_ZH = {
    "charge": "用量费",
    "adjustment": "调整",
    "fee": "费用",
    "share": "公摊",
    "topup": "充值",
    "opening": "期初余额",
    "correction": "冲正",
    "refund": "退费",
    "refund_paid": "退费已付",
    "transfer": "转账",
    "write_off": "核销",
}
_VERDICT: dict[bool, dict[Lang, str]] = {
    True: {"zh": "一致", "en": "the same"},
    False: {"zh": "不一致，请核查", "en": "NOT the same, look into it"},
}


def render(node: Node, lang: Lang, zone: tzinfo) -> str:
    """The tree as indented lines; instants in `zone`."""
    return "\n".join(_lines(node, lang, zone, "", ""))


def sentence(node: Node, lang: Lang, zone: tzinfo) -> str:
    """One step in words. A kind that has no words of its own is told by its facts."""
    words = _WORDS.get(node.kind)
    if words is None:
        facts = ", ".join(f"{name} {value}" for name, value in node.facts.items() if value not in (None, ""))
        return f"{node.kind}: {facts}" if facts else node.kind
    return " ".join(words[lang].format(**_spoken(node, lang, zone)).split())


def _lines(node: Node, lang: Lang, zone: tzinfo, first: str, rest: str) -> Iterator[str]:
    yield first + sentence(node, lang, zone)
    for index, child in enumerate(node.children):
        last = index == len(node.children) - 1
        yield from _lines(child, lang, zone, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "))


def _spoken(node: Node, lang: Lang, zone: tzinfo) -> dict[str, str]:
    facts = node.facts
    spoken = {name: str(facts[name]) for name in _PLAIN if facts.get(name) is not None}
    spoken |= {"unit": _UNITS.get(str(facts.get("utility")), ""), "period": str(facts.get("period") or "")}
    for name, (told, say) in _SPOKEN.items():
        if facts.get(name) is not None:
            spoken[told] = say(facts[name], zone)
    kind = _KINDS.get(node.kind)
    return spoken | (kind(facts, lang) if kind else {})


def _quantity(value: Fact, _zone: tzinfo) -> str:
    assert isinstance(value, int)
    sign, size = ("-" if value < 0 else ""), abs(value)
    return f"{sign}{size // 1000}.{size % 1000:03d}"


def _price(value: Fact, _zone: tzinfo) -> str:
    assert isinstance(value, int)
    sign, size = ("-" if value < 0 else ""), abs(value)
    return f"{sign}{size // 10**6}.{size % 10**6:06d}"


def _amount(value: Fact, _zone: tzinfo) -> str:
    assert isinstance(value, int)
    sign, size = ("-" if value < 0 else ""), abs(value)
    return f"{sign}{size // 10**9}.{size % 10**9:09d}"


def _time(value: Fact, zone: tzinfo) -> str:
    assert isinstance(value, int)
    return datetime.fromtimestamp(value // 1000, UTC).astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")


_SPOKEN: dict[str, tuple[str, Callable[[Fact, tzinfo], str]]] = {
    "amount_nano": ("amount", _amount),
    "old_nano": ("old", _amount),
    "new_nano": ("new", _amount),
    "price_micro": ("price", _price),
    "quantity": ("quantity", _quantity),
    "from_qty": ("from_reading", _quantity),
    "to_qty": ("to_reading", _quantity),
    "taken": ("taken", _quantity),
    "use": ("use", _quantity),
    "upto": ("upto", _quantity),
    "from_ts": ("from_time", _time),
    "to_ts": ("to_time", _time),
    "ts": ("time", _time),
}
"""By fact: its name in the sentences, and how it is said."""


def _of_reading(facts: dict[str, Fact], _lang: Lang) -> dict[str, str]:
    low, high = facts["from_qty"], facts["to_qty"]
    assert isinstance(low, int)
    assert isinstance(high, int)
    return {"delta": _quantity(high - low, UTC)}


def _of_share(facts: dict[str, Fact], lang: Lang) -> dict[str, str]:
    words = [str(facts[name]) for name in ("tenant", "period") if facts.get(name)]
    if facts.get("tier") is not None:
        words.append(_tier_name(facts["tier"], lang))
    if facts.get("estimated"):
        words.append({"zh": "按时间分摊", "en": "by time"}[lang])
    return {"mark": "▶" if facts.get("own") else "·", "facts": " ".join(words)}


def _of_tier(facts: dict[str, Fact], lang: Lang) -> dict[str, str]:
    low = _quantity(facts["from"], UTC)
    ends = {"zh": "以上", "en": "and more"}[lang] if facts["upto"] is None else f"- {_quantity(facts['upto'], UTC)}"
    how = ("取代为", "replaces the price by") if facts["replaces"] else ("加价", "adds")
    span = ("本年", "year") if facts["yearly"] else ("本月", "month")
    tier = facts["tier"]
    assert isinstance(tier, int)
    at = 0 if lang == "zh" else 1
    return {"range": f"{low} {ends}", "how": how[at], "span": span[at], "tier": str(tier + 1)}


def _of_adjustment(facts: dict[str, Fact], lang: Lang) -> dict[str, str]:
    reason = str(facts["reason"])
    return {"reason": _REASONS_ZH.get(reason, reason) if lang == "zh" else reason}


def _of_line(facts: dict[str, Fact], lang: Lang) -> dict[str, str]:
    journal = str(facts["journal"])
    return {"journal": _JOURNALS_ZH.get(journal, journal) if lang == "zh" else journal.replace("_", " ")}


def _of_posted(facts: dict[str, Fact], lang: Lang) -> dict[str, str]:
    later = {"zh": "，后经调整，现按以下计算", "en": ", adjusted since; as it holds now:"}[lang]
    return {"adjusted": later if facts["adjusted"] else ""}


def _of_fee(facts: dict[str, Fact], lang: Lang) -> dict[str, str]:
    kind = str(facts["kind"])
    words = KINDS.get(kind)
    optional = dict.fromkeys(("name", "meter", "month", "day"), "")
    return (
        optional
        | {name: str(facts[name]) for name in optional if name in facts}
        | {"kind": words[lang] if words else kind}
    )


def _of_proof(facts: dict[str, Fact], lang: Lang) -> dict[str, str]:
    return {"verdict": _VERDICT[bool(facts["agrees"])][lang]}


_KINDS: dict[str, Callable[[dict[str, Fact], Lang], dict[str, str]]] = {
    "reading": _of_reading,
    "share": _of_share,
    "tier": _of_tier,
    "adjustment": _of_adjustment,
    "posted": _of_posted,
    "fee": _of_fee,
    "line": _of_line,
    "proof": _of_proof,
}


def _tier_name(tier: Fact, lang: Lang) -> str:
    if tier == -1:
        return {"zh": "免费", "en": "free"}[lang]
    assert isinstance(tier, int)
    return {"zh": f"第 {tier + 1} 阶梯", "en": f"tier {tier + 1}"}[lang]

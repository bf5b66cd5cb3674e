"""The evidence of an alarm in words, Chinese and English: which meter, when, what came on, and what shows it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rules.literals import EPOCH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import tzinfo

CLASSES = {
    "malignant": ("恶性负载", "a load that is not allowed"),
    "allowed": ("允许的电器", "an allowed appliance"),
    "motor": ("电动机启动", "the start of a motor"),
    "reactive": ("非阻性负载", "a load that is not resistive"),
    "outside": ("不在控制功率段内", "outside the controlled bands"),
    "unknown": ("功率因数未知", "a load of unknown power factor"),
}
SOURCES = {"stream": ("平台由逐秒数据识别", "found by the platform in its one-second samples"),
           "device": ("电表自行上报", "told by the meter itself")}  # fmt: skip


def evidence_words(evidence: Mapping[str, Any], zone: tzinfo) -> dict[str, str]:
    """One sentence in each language; times are those of the site's zone."""
    at = (EPOCH + timedelta(milliseconds=evidence["at"])).astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")
    kind = CLASSES.get(str(evidence.get("class")), ("负荷突变", "a step of power"))
    source = SOURCES.get(str(evidence.get("source")), ("", ""))
    factor = evidence.get("step_pf_milli")
    before, after = _level(evidence.get("before", ())), _level(evidence.get("after", ()))
    step = evidence.get("step_w")
    zh = f"电表 {evidence['meter']} 于 {at} 功率突增 {step} W"
    en = f"meter {evidence['meter']} at {at}: a step of {step} W"
    if factor is not None:
        zh += f"，增量因子 {factor / 1000:.3f}"
        en += f", increment factor {factor / 1000:.3f}"
    if before is not None and after is not None:
        zh += f"（由 {before} W 升至 {after} W）"
        en += f" (from {before} W to {after} W)"
    return {"zh": f"{zh}，判定为{kind[0]}；{source[0]}。", "en": f"{en}: {kind[1]}; {source[1]}."}


def _level(samples: Sequence[Sequence[Any]]) -> int | None:
    powers = sorted(one[1] for one in samples if isinstance(one[1], int))
    return powers[len(powers) // 2] if powers else None

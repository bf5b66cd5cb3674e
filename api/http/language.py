"""Which of the two languages a caller wants, by its Accept-Language header (RFC 9110, 12.5.4)."""

from __future__ import annotations

from typing import Final

DEFAULT: Final = "zh"
KNOWN: Final = ("zh", "en")
MOST_RANGES: Final = 20


def preferred_language(header: str | None) -> str:
    """`zh` or `en`, whichever the header weighs more; Chinese when it names neither, or weighs them alike."""
    weights: dict[str, float] = {}
    for part in (header or "").split(",")[:MOST_RANGES]:
        tag, _, parameters = part.strip().partition(";")
        primary = tag.strip().lower().partition("-")[0]
        for language in KNOWN if primary == "*" else (primary,):
            if language in KNOWN and (primary != "*" or language not in weights):
                weights[language] = _weight(parameters)
    wanted = {language: weight for language, weight in weights.items() if weight > 0}
    if not wanted:
        return DEFAULT
    return max(wanted, key=lambda language: (wanted[language], language == DEFAULT))


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0

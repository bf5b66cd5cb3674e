"""Chinese or English: the language in which commands speak to the people who run a property."""

from __future__ import annotations

import os

_SUPPORTED = ("zh", "en")
_chosen: str | None = None


def choose(language: str | None) -> None:
    """Speak this language (`zh` or `en`) from now on; None leaves the choice to the environment."""
    global _chosen  # noqa: PLW0603 - one process speaks one language
    if language is not None:
        _chosen = language


def language() -> str:
    """`zh` or `en`: what was chosen, else what LC_ALL, LC_MESSAGES or LANG ask for, else English."""
    if _chosen is not None:
        return _chosen
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):
        wanted = os.environ.get(variable, "")
        if wanted:
            return "zh" if wanted.lower().startswith("zh") else "en"
    return "en"


def tell(zh: str, en: str) -> str:
    """The one of two texts that is in the language in use."""
    return zh if language() == "zh" else en


def is_supported(language: str) -> bool:
    """Whether there are texts in this language."""
    return language in _SUPPORTED


def name_in_use(name: dict[str, str], otherwise: str) -> str:
    """A name given in several languages, in the one in use, else in any."""
    return name.get(language()) or next(iter(name.values()), otherwise)

"""Power bands: which steps of a load are meant, written as text in a parameter.

A band is `FROM-TO` in watts, both ends included, and after `@` the share of real power in the step that goes with it,
in thousandths: `@980` means 980 to 1000, `@850-960` just those; without it any. Several bands stand apart by spaces or
commas: `300-799@985, 800-20000@950`. An empty text is no band at all.
"""

import re
from functools import lru_cache

import msgspec

MOST_BANDS = 12
MOST_W = 1_000_000
ALL_REAL = 1000
_BAND = re.compile(r"([0-9]{1,7})-([0-9]{1,7})(?:@([0-9]{1,4})(?:-([0-9]{1,4}))?)?")


class Band(msgspec.Struct, frozen=True):
    """Steps of `from_w` to `to_w` W whose share of real power is `from_milli` to `to_milli` thousandths."""

    from_w: int
    to_w: int
    from_milli: int = 0
    to_milli: int = ALL_REAL

    def holds(self, step_w: int, share_milli: int | None) -> bool:
        """Whether a step lies in it. One whose share nobody knows (None) lies only in bands that ask for none."""
        if not self.from_w <= step_w <= self.to_w:
            return False
        if share_milli is None:
            return self.from_milli == 0 and self.to_milli == ALL_REAL
        return self.from_milli <= share_milli <= self.to_milli


@lru_cache(maxsize=1024)
def read_bands(text: str) -> tuple[Band, ...]:
    """The bands of a text. Raises `ValueError` with a sentence that names the wrong one."""
    words = text.replace(",", " ").split()
    if len(words) > MOST_BANDS:
        raise ValueError(f"{len(words)} power bands: at most {MOST_BANDS} are allowed")
    return tuple(_band(word) for word in words)


def _band(word: str) -> Band:
    match = _BAND.fullmatch(word)
    if match is None:
        raise ValueError(f"{word!r} is not a power band: write FROM-TO in W, such as 300-799 or 300-799@985")
    least, most = int(match[1]), int(match[2])
    share = int(match[3]) if match[3] else 0
    share_most = int(match[4]) if match[4] else ALL_REAL
    if not 0 < least <= most <= MOST_W:
        raise ValueError(f"power band {word!r}: from 1 to {MOST_W} W, the lower end first")
    if not share <= share_most <= ALL_REAL:
        raise ValueError(f"power band {word!r}: the share after @ goes from 0 to {ALL_REAL}, the lower end first")
    return Band(least, most, share, share_most)

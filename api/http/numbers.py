"""How large a number may be that somebody sends: what SQL can hold and a calendar can name, and no more."""

from __future__ import annotations

from typing import Final

LAST_INSTANT: Final = 253_402_300_799_999
"""Unix ms of the last millisecond of the year 9999: later ones have no date."""
LARGEST: Final = 2**63 - 1
LARGEST_VERSION: Final = 2**31 - 1
FIRST_MONTH: Final = 190001
LAST_MONTH: Final = 999912

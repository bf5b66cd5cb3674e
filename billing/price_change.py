"""Comparing two documents of one tariff: from when on do prices differ?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from billing.price_version import PriceVersion
    from billing.tariff import Tariff


def prices_differ_from(old: Tariff, new: Tariff) -> int | None:
    """The first instant (Unix ms) at which anything that can be charged differs between two tariffs; None: nothing.

    Instants before the first version count: where there was no price, a price is a difference. How a version's start is
    written makes none.
    """
    starts = sorted({version.start_ms for tariff in (old, new) for version in tariff.versions})
    for start in starts:
        if _charges(_at(old, start)) != _charges(_at(new, start)):
            return start
    return None


def _at(tariff: Tariff, ts: int) -> PriceVersion | None:
    found = None
    for version in tariff.versions:
        if version.start_ms <= ts:
            found = version
    return found


def _charges(version: PriceVersion | None) -> PriceVersion | None:
    return None if version is None else msgspec.structs.replace(version, from_local="")

"""Who has a meter at an instant, from the supplies: the tenancies of a site, one after the other.

A supply that has not begun yet has its meter already, unless somebody rented the meter before: then it is vacant until
the new tenant comes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adapters.store.sites.site_state import SupplyRow


def current_payers(supplies: Iterable[SupplyRow], at: int) -> dict[str, SupplyRow]:
    """The supply that has each meter at an instant (Unix ms), in the order of the supplies. All supplies of a meter
    must be among them."""
    listed = list(supplies)
    former = rented(listed, at)
    first: dict[str, SupplyRow] = {}
    for supply in listed:
        if supply.in_force(at) and (supply.meter not in first or _start(supply) < _start(first[supply.meter])):
            first[supply.meter] = supply
    chosen = {meter: supply for meter, supply in first.items() if not (meter in former and _start(supply) > at)}
    return {supply.meter: supply for supply in listed if chosen.get(supply.meter) is supply}


def rented(supplies: Iterable[SupplyRow], at: int) -> set[str]:
    """Meters that somebody has rented and left by an instant."""
    return {supply.meter for supply in supplies if not supply.in_force(at)}


def _start(supply: SupplyRow) -> int:
    return -1 if supply.from_ts is None else supply.from_ts

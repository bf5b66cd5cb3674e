"""Cumulative registers of a simulated meter: exact, monotone, wrapped at their modulus when they are shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from simulators.profiles import UNITS_PER_WH, Load

DAY_MS = 86_400_000


class Register:
    """Counts a load from `start_ms` on while energy passes. Wh for electricity, litres for water.

    `share_milli` says how much of the load passes, for valves that can be limited. `settle(now_ms)` must be called
    before anything changes what passes; what has been counted is kept in `UNITS_PER_WH`-ths and never rounded.
    """

    __slots__ = ("at_ms", "load", "modulus", "opening", "passes", "share_milli", "units")

    def __init__(
        self,
        load: Load,
        opening: int,
        modulus: int,
        start_ms: int,
        passes: Callable[[], bool],
        share_milli: Callable[[], int] | None = None,
    ) -> None:
        if not 0 <= opening < modulus:
            raise ValueError(f"opening register {opening} does not fit below its modulus {modulus}")
        self.load = load
        self.opening = opening
        self.modulus = modulus
        self.at_ms = start_ms
        self.units = 0
        self.passes = passes
        self.share_milli = share_milli

    def settle(self, now_ms: int) -> int:
        """Count up to `now_ms` and return the units added; an instant already passed adds nothing."""
        if now_ms <= self.at_ms:
            return 0
        added = self.load.units_between(self.at_ms, now_ms) if self.passes() else 0
        if added and self.share_milli is not None:
            added = added * self.share_milli() // 1000
        self.units += added
        self.at_ms = now_ms
        return added

    @property
    def counted(self) -> int:
        """Whole Wh or litres counted since the opening, without wrapping."""
        return self.units // UNITS_PER_WH

    @property
    def shown(self) -> int:
        """What the display shows: opening plus counted, wrapped at the modulus."""
        return (self.opening + self.counted) % self.modulus

    def reset(self, opening: int = 0) -> None:
        """Lose everything and count on from `opening`, as a failed memory or a new meter in the same place does."""
        self.opening = opening % self.modulus
        self.units = 0


class RateRegisters:
    """Sub-registers by time-of-use rate beside a total register, switched by the meter's own daily table.

    `table` is `[(minute of the local day, rate), ...]`, ascending from minute 0. Each sub-register truncates on its
    own, as real meters do, so their sum may fall short of the total by less than one Wh a rate.
    """

    __slots__ = ("_day_begin_ms", "_table", "opening", "units")

    def __init__(self, table: Sequence[tuple[int, str]], day_begin_ms: int, opening: int = 0) -> None:
        if not table or table[0][0] != 0 or any(a[0] >= b[0] for a, b in pairwise(table)):
            raise ValueError("a rate table begins at minute 0 and ascends")
        self._table = tuple(table)
        self._day_begin_ms = day_begin_ms
        self.units: dict[str, int] = dict.fromkeys((name for _, name in table), 0)
        self.opening = dict.fromkeys(self.units, 0) | {table[0][1]: opening}

    def count(self, load: Load, from_ms: int, to_ms: int) -> None:
        """Add the energy of `[from_ms, to_ms)` to the rates in force during it."""
        at_ms = from_ms
        while at_ms < to_ms:
            name, until_ms = self._rate_at(at_ms)
            end_ms = min(until_ms, to_ms)
            self.units[name] += load.units_between(at_ms, end_ms)
            at_ms = end_ms

    def shown(self, modulus: int) -> dict[str, int]:
        """Register of each rate, wrapped like the total."""
        return {name: (self.opening[name] + units // UNITS_PER_WH) % modulus for name, units in self.units.items()}

    def reset(self) -> None:
        """Lose everything, together with the total."""
        for name in self.units:
            self.units[name] = 0
            self.opening[name] = 0

    def _rate_at(self, at_ms: int) -> tuple[str, int]:
        """The rate in force at an instant and the instant at which the next one begins."""
        day, within_ms = divmod(at_ms - self._day_begin_ms, DAY_MS)
        midnight_ms = self._day_begin_ms + day * DAY_MS
        for index, (minute, name) in enumerate(self._table):
            begin_ms = minute * 60_000
            end_ms = self._table[index + 1][0] * 60_000 if index + 1 < len(self._table) else DAY_MS
            if begin_ms <= within_ms < end_ms:
                return name, midnight_ms + end_ms
        raise AssertionError("a rate table covers the whole day")

"""Appliances: what a kettle, a computer or a compressor draws, second by second, from when it is switched on.

A *run* is one use of one appliance. Its figures (rated power, power factor, inrush) are drawn once by seed; power is
then constant within each second, so that energy is an exact sum. A second holds the rated power times, while it lasts,
the inrush or the slow start, times a little noise; appliances with a thermostat go off and on. Reactive power stands
for everything that is not active, distortion included. The ranges were chosen by hand from what nameplates say: they
are no recordings.
"""

from __future__ import annotations

from functools import lru_cache
from random import Random

import msgspec

from simulators.profiles import LEVEL_SCALE, reactive_var

SECOND_MS = 1_000
_NOISE_BITS = 12
_NOISE_MASK = (1 << _NOISE_BITS) - 1


class Kind(msgspec.Struct, frozen=True):
    """A kind of appliance; ranges are drawn from by seed, both ends included. Shares are thousandths.

    `inrush` is the first second in thousandths of the rated power, and it fades over `inrush_s`; `ramp_s` is how long a
    slow start takes. `on_s` and `off_s` are the turns of a thermostat or a compressor (none: it stays on).
    """

    name: str
    zh: str
    rated_w: tuple[int, int]
    pf_milli: tuple[int, int]
    lasts_s: tuple[int, int]
    noise_milli: int = 5
    inrush: tuple[int, int] = (1000, 1000)
    inrush_s: int = 1
    ramp_s: tuple[int, int] = (0, 0)
    on_s: tuple[int, int] = (0, 0)
    off_s: tuple[int, int] = (0, 0)
    forbidden: bool = False
    """Dormitories forbid it: a heater, or something that cooks."""


KINDS = {
    kind.name: kind
    for kind in (
        Kind("kettle", "电水壶", (1200, 2000), (998, 1000), (150, 400), 3, forbidden=True),
        Kind("heater", "电热器", (800, 2000), (996, 1000), (1200, 7200), 5, (1000, 1150), 4, (0, 0),
             (300, 900), (120, 600), forbidden=True),
        Kind("immersion_heater", "热得快", (800, 1500), (998, 1000), (300, 900), 3, forbidden=True),
        Kind("hair_dryer", "吹风机", (900, 1800), (985, 998), (60, 420), 12, (1050, 1250), 2, forbidden=True),
        Kind("rice_cooker", "电饭锅", (400, 900), (996, 1000), (900, 1800), 4, on_s=(600, 900), off_s=(60, 180),
             forbidden=True),
        Kind("induction_cooker", "电磁炉", (1000, 2100), (975, 995), (300, 1500), 10, (600, 900), 1,
             forbidden=True),
        Kind("electric_pot", "电火锅", (500, 1500), (997, 1000), (900, 3600), 4, on_s=(60, 240), off_s=(20, 120),
             forbidden=True),
        Kind("pc", "台式电脑", (60, 320), (580, 760), (1800, 14400), 60, (1000, 2500), 2),
        Kind("gaming_pc", "游戏电脑", (250, 550), (940, 980), (1800, 14400), 90, (300, 600), 3, (5, 30)),
        Kind("laptop", "笔记本电脑", (30, 110), (500, 650), (1800, 14400), 40),
        Kind("phone_charger", "手机充电器", (5, 45), (450, 620), (1800, 7200), 20),
        Kind("lamp", "台灯", (8, 60), (550, 950), (1800, 14400), 5),
        Kind("fan", "电风扇", (35, 70), (550, 800), (1800, 14400), 10, (1200, 2000), 2),
        Kind("fridge", "冰箱", (70, 160), (600, 800), (36000, 86400), 10, (4000, 9000), 2, (0, 0), (600, 1200),
             (1200, 2400)),
        Kind("air_conditioner", "定频空调", (650, 1300), (820, 930), (3600, 14400), 10, (2000, 4500), 2, (0, 0),
             (400, 900), (200, 600)),
        Kind("inverter_air_conditioner", "变频空调", (400, 1300), (950, 990), (3600, 14400), 15, (1000, 1000), 1,
             (40, 150)),
        Kind("motor", "电动机", (200, 900), (550, 850), (30, 600), 15, (3000, 7000), 2),
        Kind("washing_machine", "洗衣机", (180, 450), (500, 700), (1800, 3000), 30, (2000, 4000), 2, (0, 0), (8, 20),
             (5, 12)),
        Kind("vacuum_cleaner", "吸尘器", (600, 1200), (950, 985), (120, 900), 15, (1700, 2600), 4),
        Kind("microwave_oven", "微波炉", (1000, 1350), (880, 940), (60, 420), 10, (1000, 1400), 1),
        Kind("water_heater", "房间热水器", (1010, 1090), (999, 1000), (7200, 14400), 3, on_s=(600, 1200),
             off_s=(1200, 3000)),
    )
}  # fmt: skip
"""Every kind by its name in scenarios."""


class ApplianceRun(msgspec.Struct, frozen=True):
    """One appliance from `from_ms` until it is switched off at `to_ms`."""

    kind: str
    from_ms: int
    to_ms: int
    rated_w: int
    rated_var: int
    inrush_milli: int
    ramp_s: int
    on_s: int
    off_s: int
    noise: tuple[int, ...]
    noise_from: int

    def power_at(self, now_ms: int) -> tuple[int, int]:
        """Active power in W and the rest in var, at an instant."""
        if not self.from_ms <= now_ms < self.to_ms:
            return 0, 0
        second = (now_ms - self.from_ms) // SECOND_MS
        since_on = second % (self.on_s + self.off_s) if self.on_s else second
        if self.on_s and since_on >= self.on_s:
            return 0, 0
        share = 1000 + self.noise[(second * 2_654_435_761 + self.noise_from) & _NOISE_MASK]
        fades = KINDS[self.kind].inrush_s
        if since_on < fades and self.inrush_milli != 1000:
            share += (self.inrush_milli - 1000) * (fades - since_on) // fades
        if second < self.ramp_s:
            share = share * (150 + 850 * second // self.ramp_s) // 1000
        return self.rated_w * share // 1000, self.rated_var * share // 1000

    def units_between(self, from_ms: int, to_ms: int) -> int:
        """Energy of `[from_ms, to_ms)` in `UNITS_PER_WH`-ths of a Wh: exact, additive over adjoining spans."""
        now_ms, end_ms = max(from_ms, self.from_ms), min(to_ms, self.to_ms)
        total = 0
        while now_ms < end_ms:
            until_ms = min(end_ms, self.from_ms + ((now_ms - self.from_ms) // SECOND_MS + 1) * SECOND_MS)
            total += self.power_at(now_ms)[0] * (until_ms - now_ms)
            now_ms = until_ms
        return total * LEVEL_SCALE


def switch_on(
    name: str, rng: Random, from_ms: int, to_ms: int | None = None, *, power_w: int | None = None
) -> ApplianceRun:
    """One run of an appliance, its figures drawn by `rng`; it lasts as long as such a thing does where `to_ms` is
    None. Raises KeyError for an unknown kind."""
    kind = KINDS[name]
    drawn = rng.randint(*kind.rated_w)
    rated_w = drawn if power_w is None else power_w
    pf_milli = rng.randint(*kind.pf_milli)
    lasts_ms = rng.randint(*kind.lasts_s) * SECOND_MS
    return ApplianceRun(
        kind=name,
        from_ms=from_ms,
        to_ms=from_ms + lasts_ms if to_ms is None else to_ms,
        rated_w=rated_w,
        rated_var=reactive_var(rated_w, pf_milli),
        inrush_milli=rng.randint(*kind.inrush),
        ramp_s=rng.randint(*kind.ramp_s),
        on_s=rng.randint(*kind.on_s),
        off_s=rng.randint(*kind.off_s),
        noise=_noise(kind.noise_milli),
        noise_from=rng.randrange(1 << _NOISE_BITS),
    )


@lru_cache(maxsize=64)
def _noise(milli: int) -> tuple[int, ...]:
    """Normal noise of a spread in thousandths, the same table for everybody; a run enters it at its own place."""
    rng = Random(f"noise:{milli}")
    return tuple(round(rng.gauss(0, milli)) for _ in range(1 << _NOISE_BITS))

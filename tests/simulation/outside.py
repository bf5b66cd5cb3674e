"""What happens outside the platform: clocks, devices, the people who use them and those who serve them."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from tests.simulation.field import House
from tests.simulation.park import HOUR, MINUTE, SECOND, tenant_name
from tests.simulation.people import People

if TYPE_CHECKING:
    from tests.simulation.world import World

DAY = 24 * HOUR


class Outside:
    """Happenings of the world around the platform; each is named as in `plan.FAULTS`."""

    def __init__(self, world: World, people: People) -> None:
        self.world = world
        self.people = people
        self.clock_was_wrong = False
        self.handed: set[int] = set()
        """Numbers of the houses whose tenants take part in a hand-over."""
        self.price_changed = False

    # --- clocks

    def _device_clock(self, rng: Random) -> None:
        skews = (-HOUR, HOUR, -DAY, DAY, -1_767_000_000_000, 2_500_000_000_000, 30 * SECOND, -90 * SECOND)
        house = self._house(rng)
        house.clock_was_wrong = True
        house.device.skew_ms = rng.choice(skews)

    def _server_clock(self, rng: Random) -> None:
        self.clock_was_wrong = True
        self.world.clock_step_ms = rng.choice((-2 * HOUR, -5 * MINUTE, 5 * MINUTE, 40 * MINUTE))
        self.world.later(rng.randint(MINUTE, 8 * MINUTE), self._server_clock_right)

    def _server_clock_right(self) -> None:
        self.world.clock_step_ms = 0

    # --- devices

    def _house(self, rng: Random) -> House:
        return self.world.houses[rng.randrange(len(self.world.houses))]

    def _unlink(self, rng: Random) -> None:
        self._house(rng).unlink()

    def _link(self, rng: Random) -> None:
        house = self._house(rng)
        house.session_kept = rng.random() < 0.5
        house.link(restart=rng.random() < 0.4)

    def _reconnect_storm(self, _rng: Random) -> None:
        for house in self.world.houses:
            house.unlink()
        self.world.later(3 * MINUTE, lambda: [house.link() for house in self.world.houses])

    def _darken(self, rng: Random) -> None:
        self._house(rng).darken()

    def _reboot(self, rng: Random) -> None:
        house = self._house(rng)
        if house.device.powered:
            house.say(house.device.boot(self.world.loop.now_ms))

    def _spike(self, rng: Random) -> None:
        """One reading (or a few) with a register that nobody can have used."""
        house = self._house(rng)
        house.spike_wh = rng.choice((400_000, 1_000_000, 2**24, 500_000_000))
        for _ in range(rng.randint(1, 2)):
            house.say(house.device.report(self.world.loop.now_ms))
        house.spike_wh = 0

    def _dip(self, rng: Random) -> None:
        house = self._house(rng)
        if house.device.register.shown > 10:
            house.doubted |= not house.in_order
            house.spike_wh = -rng.randint(1, 10)
            house.say(house.device.report(self.world.loop.now_ms))
            house.spike_wh = 0

    def _reset(self, rng: Random) -> None:
        house = self._house(rng)
        house.changed_by_hand = True
        house.say(house.device.reset_register(self.world.loop.now_ms))

    def _swap(self, rng: Random) -> None:
        """Another register at the same point: both readings are told by a clerk; the old backlog comes afterwards."""
        house = self._house(rng)
        if not house.broken and not self.world.clock_step_ms and not house.swapped and self.world.dials.delayed == 0:
            final, opening = house.swap(5_000)
            house.replace_wish = self.people.replace(house.id, final, opening, self.world.platform_ms)

    def _stuck(self, rng: Random) -> None:
        self._house(rng).contactor.stuck = True

    def _repair(self, rng: Random) -> None:
        self._house(rng).contactor.repair(self.world.loop.now_ms)

    def _key(self, rng: Random) -> None:
        house = self._house(rng)
        if house.device.powered:
            house.by_hand = True
            house.say(house.device.press_key(self.world.loop.now_ms))

    def _draw(self, rng: Random) -> None:
        self._house(rng).draw(rng.choice((0, 500, 2_000, 4_000)))

    def _overload(self, rng: Random) -> None:
        self._house(rng).draw(rng.randint(6_500, 9_000))

    # --- people

    def _tenant(self, rng: Random) -> str:
        return tenant_name(rng.randint(1, self.world.plan.meters))

    def _top_up(self, rng: Random) -> None:
        self.people.top_up(self._tenant(rng), rng.choice((50, 200, 1_000, 20_000)) * 1_000_000)

    def _top_up_twice(self, rng: Random) -> None:
        wish = self.people.top_up(self._tenant(rng), rng.choice((100, 300)) * 1_000_000, at_once=2)
        if rng.random() < 0.5:
            self.people.top_up_otherwise(wish, 777_000_000)
        self.world.later(rng.randint(MINUTE, 9 * MINUTE), self.people.insist, wish, self.people.repeats[wish.key])

    def _notice_storm(self, rng: Random) -> None:
        self.people.top_up(self._tenant(rng), 250_000_000, at_once=15)

    def _lock(self, rng: Random) -> None:
        until = self.world.platform_ms + rng.randint(1, 10) * MINUTE if rng.random() < 0.4 else None
        house, kinds = self._house(rng), ["manual", "maintenance"]
        rng.shuffle(kinds)
        for kind in kinds[: rng.randint(1, 2)]:  # two people at once: whose act is delivered first?
            self.people.lock(house.id, kind, until, place=True)

    def _second_thoughts(self, rng: Random) -> None:
        """Two people lock a breaker at the same moment, and soon one of them takes the lock off again: acts whose
        deliveries may overtake each other, and two commands close together."""
        house, kinds = self._house(rng), ["manual", "maintenance"]
        rng.shuffle(kinds)
        for kind in kinds[: rng.randint(1, 2)]:
            self.people.lock(house.id, kind, None, place=True)
        self.world.later(rng.randint(1, 20) * SECOND, self._take_off, house, kinds[0])

    def _take_off(self, house: House, kind: str) -> None:
        self.people.lock(house.id, kind, None, place=False)

    def _unlock(self, rng: Random) -> None:
        house = self._house(rng)
        for kind in ("manual", "maintenance", "overload"):
            if rng.random() < 0.6:
                self.people.lock(house.id, kind, None, place=False)

    def _price(self, rng: Random) -> None:
        if not self.price_changed and not self.world.clock_step_ms and not self.handed:
            self.price_changed = True
            minutes = (self.world.platform_ms + 8 * HOUR) // MINUTE % (24 * 60) + rng.randint(4, 10)
            self.people.change_price(f"2026-01-12T{minutes // 60:02d}:{minutes % 60:02d}:00")

    def _import_again(self, _rng: Random) -> None:
        if not self.handed:
            self.people.import_again()

    def _hand_over(self, rng: Random) -> None:
        """A tenant moves out, the neighbour takes its meter on, at a reading that both have seen."""
        world, house = self.world, self._house(rng)
        fit = world.plan.meters > 1 and not self.handed and not house.broken and not house.swapped
        if fit and not world.clock_step_ms and not house.device.skew_ms and not self.people.waits_for("import"):
            neighbour = house.number % world.plan.meters + 1
            self.handed |= {house.number, neighbour}
            taker = tenant_name(neighbour)
            house.hand_over(tenant_name(house.number), taker)
            reading = house.device.register.shown
            house.hand_over_wish = self.people.hand_over(
                house.id, tenant_name(house.number), taker, reading, world.platform_ms
            )

    def _correct(self, rng: Random) -> None:
        paid = [wish for wish in self.people.wishes.values() if wish.kind == "topup" and wish.state == "done"]
        if paid:
            self.people.correct(rng.choice(paid))

    def _manual(self, rng: Random) -> None:
        self.people.manual(self._tenant(rng), rng.choice((-200, -50, 50, 300)) * 1_000_000)

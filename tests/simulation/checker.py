"""The checker: what must hold after every commit, and once all faults have ended and time has passed.

It looks at three things that do not know each other: the rows of the database by plain SQL (`ledger_model.py`), the
devices and what really flowed through them, and what people know to have paid. The twins are asked what they believe,
and held against all three.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from adapters.twins.store import RedisTwinStore
from billing.points import unpack
from tests.simulation.broker import Note
from tests.simulation.ledger_model import LedgerModel, ViolationError, demand
from tests.simulation.loop import OUTSIDE
from tests.simulation.park import FLAT_MICRO, PRICES, SECOND, SITE, TARIFF_OF, tenant_name
from tests.simulation.people import OTHERWISE
from tests.simulation.redis_client import SimRedis
from twin.core import samples

if TYPE_CHECKING:
    from tests.simulation.field import House
    from tests.simulation.nemesis import Nemesis
    from tests.simulation.people import People
    from tests.simulation.world import World
    from twin.core.model import Group

INGEST = "twinmeter-ingest-00"
PASSING_TROUBLE = {
    *("LedgerUnavailableError", "StoreUnavailableError", "PublishFailedError", "StoreFullError"),
    *("ConnectionResetError", "ConnectionRefusedError", "TimeoutError"),
}
"""What services may fail of: a server that is away or full. Anything else is a fault of theirs."""
TIMELY_MS = 45 * SECOND
"""A timer's consequence is in the books so long after its instant, once all is well."""
RECOVERED_MS = 90 * SECOND
LIFTED_NANO = 10_000_000
"""`reclose_min` of the rules: with so much on the account nobody is kept off for arrears."""


class Checker:
    """The invariants of one run."""

    def __init__(self, world: World, people: People, nemesis: Nemesis) -> None:
        self.world = world
        self.people = people
        self.nemesis = nemesis
        self.model = LedgerModel()
        self._epoch = world.sql.restores
        self._cutoffs_seen = 0
        self.steps = 0
        self.healed_ms = 0
        """When all faults ended; 0 while they go on."""
        self._acknowledged: list[Note] = []
        self._standing: dict[tuple[str, str], int | None] = {}
        self._released: dict[tuple[str, str, int], int] = {}
        """(breaker, lock, until) -> when its end was seen in SQL"""
        world.sql.committed = self.step
        world.broker.acknowledged = self._heard

    def _heard(self, client_id: str, note: Note) -> None:
        if client_id == INGEST and note.topic.endswith("/tele"):
            self._acknowledged.append(note)

    # --- after every commit

    def step(self) -> None:
        """Something was committed. A violation ends the run: the platform, in whose midst we are, must not catch it."""
        try:
            self._step()
        except ViolationError as violation:
            self.world.loop.broken = violation
            raise

    def _step(self) -> None:
        self.steps += 1
        db = self.world.sql.reader
        if self.world.sql.restores != self._epoch:
            self._epoch, self.model, self._cutoffs_seen = self.world.sql.restores, LedgerModel(), 0
        self.model.read(db)
        self._nothing_from_nowhere()
        self._no_unknown_errors()
        self._cutoffs(db)
        for house in self.world.houses:
            stale = house.overtaken and not self.nemesis.clock_was_wrong
            demand(not stale, "I6 fence", lambda: f"{house.id}: {house.overtaken}")

    def _no_unknown_errors(self) -> None:
        """Whoever asks for something is served, asked for patience, or refused for a reason that is declared."""
        for wish in self.people.failed():
            demand(False, "answers", f"{wish.kind} {wish.key} ended with {wish.why}")
        for failures in self.world.failures:
            for service, why in failures.items():
                demand(why.partition("(")[0] in PASSING_TROUBLE, "services", f"{service} failed with {why}")

    def _nothing_from_nowhere(self) -> None:
        """Nobody is billed for more than flowed, and nobody is credited what nobody paid."""
        for house in self.world.houses:
            if not house.broken:
                billed = self._billed(house)
                limit = house.past_wh + house.true_wh()
                demand(billed <= limit, "I2 energy", lambda: f"{house.id}: {billed} Wh billed, {limit} Wh flowed")
        for (tenant, key), amount in self.model.payments.items():
            asked = filter(None, map(self.people.wishes.get, (key, key + OTHERWISE)))
            fits = (tenant, amount) in [(wish.tenant, wish.amount_nano) for wish in asked]
            demand(fits, "I4 payments", lambda: f"{tenant} was credited {amount} for {key}, which nobody paid")

    def _cutoffs(self, db: Any) -> None:
        """Nobody is cut off for arrears who, by what the platform had heard, had money left for all that flowed."""
        sql = "SELECT id, breaker, lock, active, ts, rule, until FROM lock_change WHERE id > ? ORDER BY id"
        for number, breaker, lock, active, ts, rule, until in db.execute(sql, (self._cutoffs_seen,)).fetchall():
            self._cutoffs_seen = number
            if active:
                self._standing[breaker, lock] = until
            elif self._standing.get((breaker, lock)) is not None:
                until = self._standing.pop((breaker, lock))
                if self.healed_ms:  # before that a clock may have been wrong, and ended the lock by its own time
                    self._released[breaker, lock, until] = self.world.platform_ms
            if active and lock == "credit" and rule == "arrears-cutoff":
                self._justified(db, breaker, ts)

    def _justified(self, db: Any, breaker: str, ts: int) -> None:
        house = next(house for house in self.world.houses if house.id == breaker)
        if house.broken or house.number in self.nemesis.handed:
            return
        tenant = tenant_name(house.number)
        sql = "SELECT body FROM act WHERE site = ? AND group_id = ? AND delivered ORDER BY seq DESC"
        acts = (json.loads(body) for (body,) in db.execute(sql, (SITE, tenant)))
        credits = next((act["credits_nano"] for act in acts if act["t"] == "credits"), 0)
        fresh = [wish for wish in self.people.wishes.values() if wish.tenant == tenant and wish.kind != "lock"]
        costs = (house.past_wh + house.true_wh()) * max(PRICES[TARIFF_OF[(house.number - 1) % len(TARIFF_OF)]])
        quiet = not any(wish.state == "open" for wish in fresh) and not self.nemesis.sql_went_back
        unjust = quiet and self._settled_since(db, tenant, ts) and credits > costs
        demand(not unjust, "I6 cutoff", f"{breaker} was cut off with {credits} credited and at most {costs} used")

    def _settled_since(self, db: Any, tenant: str, ts: int) -> bool:
        """Whether no credit of the tenant was booked shortly before a cutoff or after it."""
        rows = db.execute("SELECT max(ts) FROM act WHERE site = ? AND group_id = ?", (SITE, tenant)).fetchall()
        return rows[0][0] is None or rows[0][0] < ts - 30 * SECOND

    # --- when all is calm

    def calm(self) -> None:
        """Everything has come to rest: nothing waits anywhere, and all three stories are one."""
        db = self.world.sql.reader
        self._nothing_waits(db)
        self.step()
        self._energy_is_billed()
        self._timers_were_in_time()
        self._samples_are_accounted_for(db)
        self._payments_are_credited()
        self._assignments(db)
        twins = self.twins()
        self._twins_agree(db, twins)
        for house in self.world.houses:
            self._relay_follows(house, twins, db)

    def _nothing_waits(self, db: Any) -> None:
        ((undelivered,),) = db.execute("SELECT count(*) FROM act WHERE NOT delivered").fetchall()
        demand(not undelivered, "I4 payments", f"{undelivered} acts never reached their twins")
        refused = db.execute("SELECT entry, reason FROM refused_effect").fetchall()
        # Of a database that went back the ledger refuses what does not follow, until the twins are made anew.
        demand(
            not refused or self.nemesis.sql_went_back, "I9 no loss",
            lambda: f"the ledger refused effects: {[tuple(row) for row in refused][:3]}",
        )  # fmt: skip
        session = self.world.broker.sessions.get(INGEST)
        left = len(session.queue) + len(session.in_flight) if session is not None else -1
        demand(left == 0, "I9 no loss", f"{left} messages wait for ingest")
        stream = self.world.redis.data.keys.get(f"{{{SITE}}}:fx")
        for name in ("ledger", "commands") if stream is not None else ():
            readers = stream.groups.get(name)
            behind = readers is None or len(readers.pending) or stream.after(readers.last, None)
            demand(
                not behind, "I9 no loss", lambda: f"{name} does not read what twins decided: {_told(readers, stream)}"
            )
        demand(self.people.waiting == 0, "I4 payments", f"{self.people.waiting} people still wait for an answer")

    def _energy_is_billed(self) -> None:
        for house in self.world.houses:
            if house.broken:
                continue
            billed = self._billed(house)
            flowed = house.past_wh + house.true_wh()
            demand(billed == flowed, "I2 energy", f"{house.id}: {billed} Wh billed, {flowed} Wh flowed")

    def _billed(self, house: House) -> int:
        return sum(self.model.billed(meter, epoch) for meter, epoch in self.model.heads if meter == house.id)

    def _timers_were_in_time(self) -> None:
        """A lock with an end ends then, once the platform is whole again."""
        now = self.world.platform_ms
        for (breaker, lock), until in self._standing.items():
            due = until is not None and self.healed_ms + RECOVERED_MS < until < now - TIMELY_MS
            demand(not due, "I6 timers", f"{lock} on {breaker} was to end {now - (until or 0)} ms ago")
        for (breaker, lock, until), seen in self._released.items():
            late = self.healed_ms + RECOVERED_MS < until and seen > until + TIMELY_MS
            demand(not late, "I6 timers", f"{lock} on {breaker} ended {seen - until} ms late")

    def _samples_are_accounted_for(self, db: Any) -> None:
        """What ingest acknowledged is billed, or late, or quarantined; what is quarantined was false."""
        if self.nemesis.redis_lost or self.nemesis.sql_went_back or self.nemesis.clock_was_wrong:
            return
        quarantined = {tuple(row) for row in db.execute("SELECT meter, sid, seq FROM quarantined_reading").fetchall()}
        twins = self.twins()
        for house in self.world.houses:
            if house.broken or house.swapped or house.clock_was_wrong:
                continue
            true = {(sample.sid, sample.seq): sample.raw for sample in house.sent if sample.epoch >= 0}
            for meter, sid, seq in quarantined:
                demand(
                    meter != house.id or house.doubted or (sid, seq) not in true, "I9 no loss",
                    f"{meter}: a true reading was not believed ({sid} {seq})",
                )  # fmt: skip
            known = self._known_registers(db, house, twins)
            for note in self._acknowledged:
                if note.topic.split("/")[-2] == house.id:
                    for sid, seq in _samples_in(note.payload):
                        raw = true.get((sid, seq))
                        aside = house.doubted and (house.id, sid, seq) in quarantined
                        demand(
                            raw is None or raw in known or aside, "I9 no loss",
                            f"{house.id}: {raw} Wh ({sid} {seq}) was acknowledged, and nobody knows of it",
                        )  # fmt: skip

    def _known_registers(self, db: Any, house: House, twins: dict[str, Group]) -> set[int]:
        """Every value of a meter's display that the books or the twin remember."""
        found: set[int] = set()
        for (points,) in db.execute("SELECT points FROM energy WHERE meter = ? AND points IS NOT NULL", (house.id,)):
            found.update(point.qty for point in unpack(bytes(points)))
        sql = "SELECT raw_qty FROM late_reading WHERE meter = ? AND source = 'device'"
        found.update(row[0] for row in db.execute(sql, (house.id,)))
        register = next(group.meters[house.id].register for group in twins.values() if house.id in group.meters)
        found.update(point.qty for point in samples.unpack(register.points))
        found.update((register.seen, register.opening, house.opening))
        return {qty % house.device.register.modulus for qty in found}

    def _payments_are_credited(self) -> None:
        for number in range(1, self.world.plan.meters + 1):
            tenant = tenant_name(number)
            wallet = f"tenant:{tenant}:wallet"
            for kind in ("topup", "manual"):
                told = self._confirmed(tenant, kind)
                booked = self.model.by_kind[kind, wallet]
                demand(booked == told, "I4 payments", f"{tenant}: {kind} {booked} is booked, {told} was confirmed")

    def _confirmed(self, tenant: str, kind: str) -> int:
        """The sum that was confirmed to a tenant; of two payments with one key (both were confirmed only where SQL went
        back in between) the one that is booked."""
        total, wishes = 0, self.people.wishes
        for key, wish in wishes.items():
            if (wish.tenant, wish.kind, wish.state) != (tenant, kind, "done"):
                continue
            first = key.removesuffix(OTHERWISE)
            both = all(name in wishes and wishes[name].state == "done" for name in (first, first + OTHERWISE))
            booked = self.model.payments.get((tenant, first), wishes[first].amount_nano)
            total += wish.amount_nano if not both or booked == wish.amount_nano else 0
        return total

    def _assignments(self, db: Any) -> None:
        """Of every Wh there is one payer and one price: posted rows, overlaid by adjustments. Money is their sum."""
        paid: dict[str, int] = {}
        for house in self.world.houses:
            pieces = _overlaid(db, house.id)
            for _, start, end, tenant, price, tariff in pieces:
                account = f"tenant:{tenant}:wallet" if tenant else "landlord:vacancy"
                paid[account] = paid.get(account, 0) + (end - start) * price
                priced = price in PRICES.get(tariff, ()) or (price == 0 and self._before_all(tenant, tariff))
                demand(priced, "I3 money", f"{house.id}: {price} is no price of {tariff!r}")
            self._cut_right(house, pieces)
        kinds = ("charge", "adjustment")
        for account in {*paid, *(name for kind, name in self.model.by_kind if kind in kinds)}:
            if account.startswith("revenue"):
                continue
            booked = -sum(self.model.by_kind[kind, account] for kind in kinds)
            demand(
                booked == paid.get(account, 0), "I3 money",
                f"{account}: {booked} was charged, its Wh at their prices are {paid.get(account, 0)}",
            )  # fmt: skip

    def _before_all(self, tenant: str, tariff: str) -> bool:
        """Of what a server's clock two hours back put before the first supply nobody is the payer, and at no price."""
        return not tenant and not tariff and self.nemesis.clock_was_wrong

    def _cut_right(self, house: House, pieces: list[tuple[int, int, int, str, int, str]]) -> None:
        """Before a hand-over the giver pays, after it the taker, to the Wh of the reading."""
        wish = house.hand_over_wish
        if house.broken or house.swapped or (wish is not None and wish.state != "done"):
            return
        for _, start, end, tenant, price, tariff in pieces:
            at = self.model.openings[house.id, 1]
            owner = tenant_name(house.number)
            for wh, _, taker in house.cuts:
                inside = start - at < wh < end - at
                demand(not inside, "I7 isolation", f"{house.id}: [{start}, {end}) crosses the hand-over at {at + wh}")
                owner = taker if start - at >= wh else owner
            paid = tenant == owner or self._before_all(tenant, tariff)
            demand(paid, "I7 isolation", f"{house.id} [{start}, {end}): {tenant} pays what {owner} used")
            if tariff == "flat" and not self.nemesis.price_changed:
                demand(price == FLAT_MICRO[0], "I3 money", f"{house.id}: {price} before the price has changed")

    # --- twins

    def twins(self) -> dict[str, Group]:
        """Every group as Redis has it."""
        store = RedisTwinStore(SimRedis(self.world.redis), cache_groups=0)  # type: ignore[arg-type]
        found: dict[str, Group] = {}

        async def read() -> None:
            found.update({group.id: group async for group in await store.groups(SITE)})

        self.world.loop.run_until_done(self.world.loop.spawn(OUTSIDE, read), 1)
        return found

    def _twins_agree(self, db: Any, twins: dict[str, Group]) -> None:
        """Credits, charges, heads and acts are the same in the twins and in SQL."""
        accounts = {
            row[0]: (row[1], row[2])
            for row in db.execute("SELECT account, credits_nano, charges_nano FROM account").fetchall()
        }
        for name, group in sorted(twins.items()):
            demand(group.acts_seq == self.model.acts[name], "I4 payments", f"{name} has acts to {group.acts_seq}")
            opened = 0
            for meter, twin in sorted(group.meters.items()):
                register = twin.register
                opened += register.row.amount_nano if register.row is not None else 0
                head = self.model.heads.get((meter, register.epoch))
                said = f"{meter}: posted {register.posted}, the ledger has {head}"
                demand(register.posted == head, "I2 energy", said)
            if group.tenant is not None:
                had = (group.tenant.credits_nano, group.tenant.charges_nano - opened)
                booked = accounts.get(f"tenant:{name}:wallet", (0, 0))
                demand(had == booked, "I5 twins", f"{name}: the twin has {had}, the books have {booked}")

    def _relay_follows(self, house: House, twins: dict[str, Group], db: Any) -> None:
        """The relay is where the locks want it, and the locks are those that money and people want."""
        owner = next((group for group in twins.values() if house.id in group.breakers), None)
        demand(owner is not None, "I5 twins", f"nobody has breaker {house.id}")
        assert owner is not None
        breaker = owner.breakers[house.id]
        shut = house.contactor.position == "open"
        if breaker.locks:
            demand(shut, "I6 cutoff", f"{house.id} is {house.contactor.position} under {sorted(breaker.locks)}")
        elif not house.by_hand:
            demand(not shut, "I6 cutoff", f"{house.id} is open, and nothing locks it")
        if owner.tenant is None or owner.contract is None or house.broken:
            return
        balance = self.model.balances[f"tenant:{owner.id}:wallet"]
        if balance <= 0:
            demand("credit" in breaker.locks, "I6 cutoff", f"{owner.id} owes {-balance} and is not cut off")
        elif balance >= LIFTED_NANO:
            demand("credit" not in breaker.locks, "I6 cutoff", f"{owner.id} has {balance} and is still cut off")
        wanted = _locks_of_people(db, house.id, self.world.platform_ms)
        had = {kind for kind, lock in breaker.locks.items() if not lock.rule}
        demand(had == wanted, "I6 cutoff", f"{house.id}: locks of people {sorted(had)}, they want {sorted(wanted)}")


def _locks_of_people(db: Any, breaker: str, now: int) -> set[str]:
    standing: dict[str, int | None] = {}
    for (body,) in db.execute("SELECT body FROM act ORDER BY id").fetchall():
        act = json.loads(body)
        if act["t"] == "lock" and act["breaker"] == breaker:
            ends, until = standing.get(act["lock"], 0), act.get("until")
            if ends is not None and (until is None or until > ends):  # of one kind the one that lasts longest stands
                standing[act["lock"]] = until
        elif act["t"] == "unlock" and act["breaker"] == breaker:
            standing.pop(act["lock"], None)
    return {kind for kind, until in standing.items() if until is None or until > now}


def _told(readers: Any, stream: Any) -> str:
    """How far a consumer group is."""
    if readers is None:
        return "there is no such group"
    return f"at {readers.last} of {stream.last}, pending {readers.pending}"


def _samples_in(payload: bytes) -> list[tuple[str, int]]:
    """(session, number) of every sample in a telemetry message; nothing for one that cannot be read."""
    try:
        read = json.loads(payload)
    except (ValueError, RecursionError):
        return []
    told = read if isinstance(read, list) else [read]
    return [(one["sid"], one["seq"]) for one in told if isinstance(one, dict) and {"sid", "seq"} <= one.keys()]


def _overlaid(db: Any, meter: str) -> list[tuple[int, int, int, str, int, str]]:
    """(epoch, from, to, tenant, price, tariff) of every Wh of a meter: the newest adjustment, or the posted row."""
    sql = (
        "SELECT e.epoch, e.from_qty, e.to_qty, e.tenant, r.price_micro, r.tariff FROM energy e JOIN rating r ON"
        " r.meter = e.meter AND r.epoch = e.epoch AND r.from_qty = e.from_qty WHERE e.meter = ? ORDER BY e.id"
    )
    pieces = [tuple(row) for row in db.execute(sql, (meter,)).fetchall()]
    sql = "SELECT epoch, from_qty, to_qty, tenant, price_micro, tariff FROM adjustment WHERE meter = ? ORDER BY number"
    for row in db.execute(sql, (meter,)).fetchall():
        over = tuple(row)
        kept = []
        for piece in pieces:
            epoch, start, end, *rest = piece
            if epoch != over[0] or end <= over[1] or start >= over[2]:
                kept.append(piece)
                continue
            if start < over[1]:
                kept.append((epoch, start, over[1], *rest))
            if end > over[2]:
                kept.append((epoch, over[2], end, *rest))
        pieces = [*kept, over]
    return sorted(pieces)

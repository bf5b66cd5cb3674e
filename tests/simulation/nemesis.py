"""Faults by name, and their end. `FAULTS` in `plan.py` says how often each is drawn; the numbers there are those of the
table of faults in the design (C1-C6 processes, S1-S7 servers, B1-B4 broker and links, T1 clocks, R1-R3 registers,
P1-P4 payments, X1-X3 commands).
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import orjson

from schemas.topics import device_topic
from tests.simulation.broker import Note
from tests.simulation.field import House
from tests.simulation.loop import Process
from tests.simulation.network import Fuse
from tests.simulation.outside import Outside
from tests.simulation.park import MINUTE, SECOND, SITE
from tests.simulation.people import People
from tests.simulation.plan import Dials, Happening

if TYPE_CHECKING:
    from tests.simulation.world import World

ZOMBIE_LIVES_MS = 20 * SECOND
POISON = (
    b"", b"{", b"[]", b'{"v":1}', b"NaN", b'{"v":1,"sid":"a","seq":1,"ts":1e308,"d":{}}', b"[" * 5_000,
    b'{"v":1,"sid":"a","seq":1,"ts":1768179600000,"d":{"import_wh":-5}}',
    b'{"v":1,"sid":"a","seq":1,"ts":1768179600000,"d":{"import_wh":1.5}}', b"\xff\xfe",
)  # fmt: skip


class Nemesis(Outside):
    """Carries out the happenings of a plan."""

    def __init__(self, world: World, people: People) -> None:
        super().__init__(world, people)
        self.redis_lost = False
        """Redis lost something it had: commands and alarms of that time may be missing in SQL."""
        self.sql_went_back = False
        self.broker_lost = False
        """The broker lost messages that it had taken."""
        self._copies: list[tuple[int, Any]] = []
        self._frozen: list[Process] = []

    def schedule(self, happenings: tuple[Happening, ...]) -> None:
        """Lay every happening on its instant, and take backups of the servers now and then."""
        for one in happenings:
            self.world.later(one.at, self._do, one)
        self._back_up()
        self.world.redis.written = self._remember_second
        self._second: tuple[int, Any] = (0, {})
        if any(one.what == "sql_second" for one in happenings):
            self._sql_copy: tuple[int, Any] = (self.world.loop.now_ms, self.world.sql.copy())
            self.world.sql.before_commit = self._remember_sql_second

    def _do(self, one: Happening) -> None:
        self.world.trace.note(self.world.loop.now_ms, "nemesis", f"{one.what} {one.number}")
        getattr(self, f"_{one.what}")(Random(one.number))

    def heal(self) -> None:
        """Every fault ends: servers are up, links are whole, devices are repaired, whoever was stopped goes on."""
        world = self.world
        world.network.heal()
        world.dials = Dials()
        world.redis.refuses_writes = ""
        world.sql.full = False
        world.clock_step_ms = 0
        if not world.broker.up:
            self._broker_back(keeps=True)
        world.broker.max_queued = 10_000
        for process in self._frozen:
            world.loop.continue_process(process)
            world.later(ZOMBIE_LIVES_MS, self._bury, process)
        self._frozen.clear()
        for house in world.houses:
            self._mend(house)
        if self.sql_went_back:
            self.people.again(without="import" if self.handed else "")

    def _mend(self, house: House) -> None:
        now = self.world.loop.now_ms
        house.spike_wh = 0
        house.device.skew_ms = 0
        defect = house.contactor.stuck or house.contactor.welded
        house.contactor.repair(now)
        house.draw(1_000)
        if defect and house.device.powered:
            house.say(house.device.boot(now))
        house.link(restart=not house.device.powered)

    # --- processes

    def _any(self, rng: Random) -> Process:
        names = [*self.world.workers, "api"]
        name = rng.choice(names)
        return self.world.api_process if name == "api" else self.world.workers[name].process

    def _kill(self, rng: Random) -> None:
        self.world.kill_and_restart(self._any(rng), rng.randint(500, 60_000))

    def _fuse(self, rng: Random) -> None:
        """Killed at one of its next calls, before its effect or after it."""
        process, delay = self._any(rng), rng.randint(500, 20_000)
        op = rng.choice(("", "", "", "commit", "evalsha", "xack", "insert", "publish", "xreadgroup", "update"))
        blow = lambda victim: self.world.kill_and_restart(victim, delay)  # noqa: E731
        self.world.network.light(process, Fuse(rng.randint(1, 6 if op else 40), rng.random() < 0.5, blow, op))

    def _freeze(self, rng: Random) -> None:
        """SIGSTOP at one of its next calls, SIGCONT later."""
        process, length = self._any(rng), rng.randint(2 * SECOND, 2 * MINUTE)
        self.world.network.light(
            process, Fuse(rng.randint(1, 10), rng.random() < 0.5, lambda it: self._stop(it, length))
        )

    def _stop(self, process: Process, length: int) -> None:
        self.world.loop.stop_process(process)
        self._frozen.append(process)
        self.world.later(length, self._go_on, process)

    def _go_on(self, process: Process) -> None:
        if process in self._frozen:
            self._frozen.remove(process)
            self.world.trace.note(self.world.loop.now_ms, str(process), "goes on")
            self.world.loop.continue_process(process)
            self.world.later(ZOMBIE_LIVES_MS, self._bury, process)

    def _bury(self, process: Process) -> None:
        """Whoever took another's place has it killed in the end."""
        worker = self.world.workers.get(process.name.partition("#")[0])
        if worker is not None and worker.process is not process:
            self.world.kill(process)

    def _zombie(self, rng: Random) -> None:
        """Stopped in the middle of a call; another one takes its place; then it goes on where it was."""
        name = rng.choice(list(self.world.workers))
        worker, length = self.world.workers[name], rng.randint(10 * SECOND, 4 * MINUTE)

        def blow(process: Process) -> None:
            self._stop(process, length)
            if self.world.workers[name] is worker:
                self.world.later(3 * SECOND, self._take_over, name, worker)

        self.world.network.light(worker.process, Fuse(rng.randint(1, 12), rng.random() < 0.5, blow))

    def _take_over(self, name: str, worker: Any) -> None:
        if self.world.workers[name] is worker:
            self.world.sql.time_out(worker.process)
            self.world.start(name)

    # --- links and servers

    def _link_fault(self, rng: Random, server: str, *, answers_only: bool) -> None:
        name = rng.choice([*self.world.workers, "api"])
        until = self.world.loop.now_ms + rng.randint(5 * SECOND, 6 * MINUTE)
        self.world.network.cut(name, server, until, answers_only=answers_only)

    def _cut_redis(self, rng: Random) -> None:
        self._link_fault(rng, "redis", answers_only=False)

    def _cut_sql(self, rng: Random) -> None:
        self._link_fault(rng, "sql", answers_only=False)

    def _cut_mqtt(self, rng: Random) -> None:
        self._link_fault(rng, "mqtt", answers_only=False)
        for client in list(self.world.broker.sessions):
            if client.startswith("twinmeter"):
                self.world.broker.disconnect(client, graceful=False)

    def _deaf_redis(self, rng: Random) -> None:
        self._link_fault(rng, "redis", answers_only=True)

    def _deaf_sql(self, rng: Random) -> None:
        self._link_fault(rng, "sql", answers_only=True)

    def _slow(self, rng: Random) -> None:
        self.world.network.slow = rng.uniform(0.02, 0.3)

    def _away(self, server: str, rng: Random) -> None:
        if server == "redis":
            self.world.redis.drop_connections()
        self.world.network.away[server] = self.world.loop.now_ms + rng.randint(2 * SECOND, 6 * MINUTE)

    def _redis_away(self, rng: Random) -> None:
        self._away("redis", rng)

    def _sql_away(self, rng: Random) -> None:
        self.world.sql.drop_connections()
        self._away("sql", rng)

    def _redis_wiped(self, _rng: Random) -> None:
        self.redis_lost = True
        self.world.redis.data.flushall()
        self.world.redis.announce()

    def _redis_older(self, rng: Random) -> None:
        """Restored from a backup."""
        self.redis_lost = True
        self.world.redis.data.restore(rng.choice(self._copies)[1][0])
        self.world.redis.drop_connections()

    def _redis_second(self, rng: Random) -> None:
        """Killed: the last second of writes is gone; it is back after a moment."""
        self.redis_lost = True
        self._away("redis", Random(1))
        self.world.network.away["redis"] = self.world.loop.now_ms + rng.randint(500, 8_000)
        self.world.redis.data.restore(self._second[1])
        self.world.redis.drop_connections()

    def _remember_second(self) -> None:
        now = self.world.loop.now_ms
        if now - self._second[0] >= SECOND:
            self._second = (now, self.world.redis.data.copy())

    def _redis_refuses(self, rng: Random) -> None:
        words = ("MISCONF Redis is configured to save snapshots", "OOM command not allowed", "READONLY You can't write")
        self.world.redis.refuses_writes = rng.choice(words)
        self.world.later(rng.randint(5 * SECOND, 5 * MINUTE), self._redis_writes)

    def _redis_writes(self) -> None:
        self.world.redis.refuses_writes = ""

    def _sql_full(self, rng: Random) -> None:
        self.world.sql.full = True
        self.world.later(rng.randint(5 * SECOND, 6 * MINUTE), self._sql_empty)

    def _sql_empty(self) -> None:
        self.world.sql.full = False

    def _sql_older(self, rng: Random) -> None:
        """Restored from a backup while Redis is up to date."""
        self.sql_went_back = True
        self.world.sql.restore(rng.choice(self._copies)[1][1])

    def _sql_second(self, _rng: Random) -> None:
        """A replica takes over that had not heard of the last second."""
        self.sql_went_back = True
        self.world.sql.restore(self._sql_copy[1])

    def _remember_sql_second(self) -> None:
        now = self.world.loop.now_ms
        if now - self._sql_copy[0] >= SECOND:
            self._sql_copy = (now, self.world.sql.copy())

    def _back_up(self) -> None:
        world = self.world
        if len(self._copies) < 6:
            self._copies.append((world.loop.now_ms, (world.redis.data.copy(), world.sql.copy())))
            world.later(4 * MINUTE, self._back_up)

    # --- broker

    def _broker_killed(self, rng: Random) -> None:
        self._broker_down(rng, keeps=True)

    def _broker_forgets(self, rng: Random) -> None:
        self.broker_lost = True
        self._broker_down(rng, keeps=False)

    def _broker_down(self, rng: Random, *, keeps: bool) -> None:
        if self.world.broker.up:
            self.world.broker.stop()
            self.world.later(rng.randint(SECOND, 2 * MINUTE), self._broker_back_then, keeps)

    def _broker_back_then(self, keeps: bool) -> None:
        if not self.world.broker.up:
            self._broker_back(keeps=keeps)

    def _broker_back(self, *, keeps: bool) -> None:
        self.world.broker.start(keeps=keeps)

    def _session_lost(self, _rng: Random) -> None:
        self.broker_lost = True
        broker = self.world.broker
        broker.disconnect("twinmeter-ingest-00", graceful=False)
        broker.lose_session("twinmeter-ingest-00")

    def _replay(self, rng: Random) -> None:
        """Somebody plays back what a device once sent."""
        house = self._house(rng)
        for message in rng.sample(house.said, min(len(house.said), rng.randint(1, 12))):
            self._publish(Note(device_topic(SITE, house.id, message.verb), orjson.dumps(message.body)))

    def _poison(self, rng: Random) -> None:
        house = self._house(rng)
        for _ in range(rng.randint(1, 4)):
            verb = rng.choice(("tele", "state", "ack", "conn", "birth", "event"))
            self._publish(Note(device_topic(SITE, house.id, verb), rng.choice(POISON)))
        self._publish(Note(device_topic(SITE, "nobody", "tele"), orjson.dumps({"v": 1})))

    def _publish(self, note: Note) -> None:
        if self.world.broker.up:
            self.world.broker.publish(note)

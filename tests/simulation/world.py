"""The simulated world: one park, one broker, one Redis, one database, the processes of the platform, people.

It knows no invariants; `run.py` puts a checker beside it.
"""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from contextvars import Context
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from adapters.store.engine.migrate import migrate
from api.bootstrap import Platform
from api.services import Services
from tests.simulation.broker import SimBroker
from tests.simulation.chance import stream
from tests.simulation.field import House
from tests.simulation.loop import Process, SimLoop
from tests.simulation.network import Network
from tests.simulation.park import SECOND, SITE, START_MS, site_document
from tests.simulation.plan import Dials, Plan
from tests.simulation.redis_client import SimRedisServer
from tests.simulation.sql import SimDatabase, SqlServer
from tests.simulation.trace import Trace
from tests.simulation.wiring import SETTINGS, SimClock, quiet_logs, wired
from twin.flows.import_site import import_site

LAYOUTS: dict[str, dict[str, tuple[str, ...]]] = {
    "one": {"up": ("ingest", "ledger", "commands", "scheduler")},
    "split": {"ingest": ("ingest",), "ledger": ("ledger",), "commands": ("commands",), "scheduler": ("scheduler",)},
}
RESTART_S = 2.0
FAST_TEMP = Path("/dev/shm")


class Worker:
    """One process of the platform with its services."""

    def __init__(self, process: Process, platform: Platform, services: tuple[str, ...]) -> None:
        self.process = process
        self.platform = platform
        self.services = services
        self.task: asyncio.Task[Any] | None = None


class World:
    """Everything of one run. Use as a context manager: its files are gone afterwards."""

    def __init__(self, plan: Plan, trace: Trace | None = None) -> None:
        quiet_logs()
        self.plan = plan
        self.seed = plan.seed
        self.trace = trace or Trace()
        self.loop = SimLoop(stream(plan.seed, "schedule"), START_MS)
        self.clock_step_ms = 0
        self.dials = plan.dials
        self.network = Network(self)
        self.broker = SimBroker(lambda: self.loop.now_ms, max_queued=plan.max_queued)
        self.redis = SimRedisServer(lambda: self.platform_ms)
        self.workers: dict[str, Worker] = {}
        self.houses: list[House] = []
        self.deaths = 0
        self.failures: list[dict[str, str]] = []
        """Why services of any process failed last, by service."""
        self._stack = ExitStack()

    def __enter__(self) -> World:
        gc.disable()
        folder = Path(self._stack.enter_context(_folder()))
        path = folder / "sim.sqlite3"
        path.write_bytes(_template())
        self.sql = SqlServer(path, self.network.reach)
        self._stack.callback(self.sql.close)
        self._stack.enter_context(wired(self))
        self.clock = SimClock(self)
        self.open_api()
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers.values():
            worker.process.alive = False
        self.loop.bury()
        self._stack.close()
        gc.enable()

    @property
    def platform_ms(self) -> int:
        """What the clock of the platform's machine says."""
        return self.loop.now_ms + self.clock_step_ms

    # --- time

    def later(self, delay_ms: float, what: Callable[..., object], *args: Any) -> None:
        """Do something of the outside world after a while."""
        self.loop.call_later(delay_ms / 1000, partial(what, *args), context=Context())

    def run_for(self, ms: float) -> None:
        """Let time pass."""
        self.loop.run_until(self.loop.time() + ms / 1000)

    # --- processes

    def open_api(self) -> None:
        """A process that serves people, in place of the one before."""
        self.deaths += 1
        self.api_process = Process(f"api#{self.deaths}")
        self.api = self.loop.inside(
            self.api_process,
            lambda: Platform(SETTINGS, self.clock, SimDatabase(self.sql), remember=False),  # type: ignore[arg-type]
        )

    def ask(self, work: Callable[[Platform], Coroutine[Any, Any, Any]]) -> asyncio.Task[Any]:
        """Somebody asks the API for something."""
        return self.loop.spawn(self.api_process, lambda: work(self.api))

    def start(self, name: str) -> None:
        """Start a process of the platform, or a second one of the same name."""
        services = LAYOUTS[self.plan.layout][name]
        self.deaths += 1
        process = Process(f"{name}#{self.deaths}")

        async def life() -> None:
            platform = Platform(SETTINGS, self.clock, SimDatabase(self.sql))  # type: ignore[arg-type]
            worker.platform = platform
            running = Services(platform, services)
            self.failures.append(running.failures)
            await running.run()

        worker = self.workers[name] = Worker(process, self.api, services)
        worker.task = self.loop.spawn(process, life)
        worker.task.add_done_callback(lambda task: self._ended(name, worker, task))
        self.trace.note(self.loop.now_ms, str(process), "started")

    def _ended(self, name: str, worker: Worker, task: asyncio.Task[Any]) -> None:
        error = task.exception() if not task.cancelled() else None
        self.trace.note(self.loop.now_ms, str(worker.process), f"ended: {error!r}"[:200])
        if self.workers.get(name) is worker and worker.process.alive:
            self.kill(worker.process)
            self.later(RESTART_S * SECOND, self._restart, name, worker)

    def kill(self, process: Process) -> None:
        """SIGKILL: its tasks vanish, its connections break."""
        if not process.alive:
            return
        self.trace.note(self.loop.now_ms, str(process), "killed")
        self.loop.kill(process)
        self.sql.forget(process)
        for session in list(self.broker.sessions.values()):
            owner = getattr(session.deliver, "__self__", None)
            if getattr(owner, "_process", None) is process:
                self.broker.disconnect(session.client_id, graceful=False)

    def kill_and_restart(self, process: Process, after_ms: float) -> None:
        """It dies; whoever looks after it starts it again."""
        name = process.name.partition("#")[0]
        worker = self.workers.get(name)
        self.kill(process)
        if process is self.api_process:
            self.open_api()
        if worker is not None and worker.process is process:
            self.later(after_ms, self._restart, name, worker)

    def _restart(self, name: str, dead: Worker) -> None:
        if self.workers.get(name) is dead:
            self.start(name)

    # --- the beginning

    def open(self) -> None:
        """The park is imported, the platform starts, devices come on."""
        rng = stream(self.seed, "park")
        openings = [rng.choice((0, 1_000, 120_000, 999_500)) for _ in range(self.plan.meters)]
        moduli = [1_000_000 if opening == 999_500 else 1_000_000_000 for opening in openings]
        credits = [rng.choice(("0.30", "1.00", "5.00", "50.00")) for _ in openings]
        self.document = site_document(openings, moduli, credits)
        self.opening_credits = credits
        self.loop.run_until_done(self.ask(lambda api: import_site(api, self.document, who="clerk")), 60)
        for name in LAYOUTS[self.plan.layout]:
            self.start(name)
        self.houses = [House(self, number, *pair) for number, pair in enumerate(zip(openings, moduli, strict=True), 1)]
        self.run_for(3 * SECOND)
        for house in self.houses:
            house.start()
        dials: Dials = self.plan.dials
        self.network.loss, self.network.answer_loss, self.network.slow = dials.call_loss, dials.answer_loss, dials.slow


def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="twinsim-", dir=FAST_TEMP if FAST_TEMP.is_dir() else None)


@lru_cache(maxsize=1)
def _template() -> bytes:
    """An empty database of the present schema, made once a process by the product's own migrations."""
    with _folder() as folder:
        path = Path(folder) / "template.sqlite3"
        asyncio.run(migrate(f"sqlite:///{path}"))
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.close()
        return path.read_bytes()


__all__ = ["SITE", "Worker", "World"]

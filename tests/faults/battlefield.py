"""A battlefield: a whole installation on servers of its own, everything that can be done to it, and what must hold
afterwards.

Every fault is a context manager: it begins, lasts as long as the block, and is taken back at its end, so faults overlap
by nesting. Meanwhile devices report, tenants run dry and people pay. `converge` waits for the policy's answer (a
breaker is open exactly where the money is used up), then holds the books against the outside by plain SQL
(`books.py`): what devices told, what people were told.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import paho.mqtt.client as paho
import redis
from paho.mqtt.enums import CallbackAPIVersion

from adapters.embedded import start_redis
from adapters.embedded.ports import free_port
from tests.faults.books import NANO, faults_of_the_books, posted_nano
from tests.faults.desk import Desk
from tests.faults.disks import MortalDisk, SmallDisk
from tests.faults.link import Way
from tests.faults.stage import PRICE_NANO, Stage, park, shops
from tests.integration.park import SITE
from tests.integration.servers import PostgresServer, freeze, kill9

COUNT = 10
METERS = shops(COUNT)
RICH = [one.device for one in METERS[COUNT // 2 :]]
POOR = [one.device for one in METERS[: COUNT // 2]]
RICH_NANO = 500 * NANO
LINKS = ("mqtt", "redis", "database")
HEALS_WITHIN_S = 120.0
LIFTED_NANO = 10_000_000
"""With so much on the account nobody is kept off (`reclose_min` of the rules)."""
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
INGEST_SESSION = "twinmeter-ingest-00"


def opening_nano(tenant: str) -> int:
    """Credit that a tenant begins with: the first half runs dry one after another."""
    number = int(tenant.removeprefix("t-"))
    return (30 + 45 * number) * NANO // 100 if number <= COUNT // 2 else RICH_NANO


def tenant_of(device: str) -> str:
    return f"t-{device.removeprefix('em-')}"


def copy_appended(here: Path, there: Path) -> None:
    """Copy what Redis appends to, in place of what is there: one file up to 6.2, a folder of them from 7 on."""
    for name in ("appendonly.aof", "appendonlydir"):
        if (there / name).is_dir():
            shutil.rmtree(there / name)
        if (here / name).is_dir():
            shutil.copytree(here / name, there / name)
        elif (here / name).exists():
            shutil.copy(here / name, there / name)


class CrowdedPostgres(PostgresServer):
    """PostgreSQL on a disk that can be filled."""

    def _initialise(self) -> None:
        self.disk = SmallDisk(self.folder, 256)
        super()._initialise()

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.disk.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Healed(msgspec.Struct, frozen=True):
    """What is wrong after the last fault has healed; empty everywhere when all held."""

    gaps: list[str] = []
    """Meters of which less is charged than they had told when the last fault ended."""
    breakers: list[str] = []
    """Breakers that are not where balances and locks want them."""
    money: list[str] = []
    """Tenants whose charges are not what their meter told, once, at its price."""
    books: list[str] = []
    """What plain SQL finds wrong in the ledger."""
    broken_promises: list[str] = []
    """Commands and fences with more than one meaning, without an expiry, or out of the broker's store."""
    switched: list[str] = []
    """Devices of tenants with money that were switched."""
    proof: str = ""
    """What `twinmeter verify` said, where it found anything."""


class Battlefield(Stage):
    """An installation on PostgreSQL behind links, on small disks where they can be mounted, with clocks to be set."""

    def __init__(self, folder: Path, seed: int, *, apart: bool = False, mortal: bool = False) -> None:
        credit = {tenant_of(one.device): f"{opening_nano(tenant_of(one.device)) / NANO:.2f}" for one in METERS}
        super().__init__(folder, park(METERS, credit_of=credit), through=LINKS, postgres=True, seed=seed)
        self.apart = apart
        self.rng = Random(seed)
        self.skewed: frozenset[str] = frozenset()
        self.doubted: frozenset[str] = frozenset()
        """Meters whose true readings may have been put aside, because the clock they were held against was wrong."""
        self.told: list[str] = []
        self.redis_disk: SmallDisk | MortalDisk | None = None
        self._mortal = mortal
        self._clock = folder / "clock-offset"
        self._took_back: Path | None = None

    def disk(self, name: str) -> Path:
        """Redis lies on a disk of its own: one that can be filled, or one that loses power."""
        if name != "redis":
            return super().disk(name)
        if self._mortal:
            self.redis_disk = self._stack.enter_context(MortalDisk(self.folder / "power"))
            return self.redis_disk.folder / "redis"
        self.redis_disk = SmallDisk(self.folder / "redis", 48)
        self._stack.callback(self.redis_disk.close)
        return self.folder / "redis"

    def new_postgres(self) -> PostgresServer:
        """On a disk that can be filled."""
        return CrowdedPostgres(durable=False)

    def __enter__(self) -> Battlefield:
        super().__enter__()
        if FAKETIME.exists():
            self._set_clock(0)
            self.place.set(
                LD_PRELOAD=str(FAKETIME), FAKETIME_TIMESTAMP_FILE=str(self._clock), FAKETIME_CACHE_DURATION="1",
                FAKETIME_DONT_FAKE_MONOTONIC="1", FAKETIME_DONT_RESET="1",
            )  # fmt: skip
        self.desk = Desk(self, [tenant_of(one) for one in POOR], Random(self.seed + 1))
        return self

    def begin(self, **scenario: Any) -> None:
        """Services, devices, people."""
        self.serve_all() if self.apart else self.up()
        self.start_fleet(METERS, **scenario)
        self.tap.wait(1, POOR[0], "tele")
        self.desk.open()

    def note(self, text: str) -> None:
        """A line of the schedule, for whoever has to replay it."""
        self.told.append(f"{self.now_ms()} {text}")

    # --- faults

    @contextmanager
    def killed(self, name: str) -> Iterator[None]:
        """kill -9 of a service (or of the one process that runs them all)."""
        if self.apart:
            self.kill(name)
        else:
            self.place.kill()
        yield
        if self.apart:
            self.serve(name, wait=False)
        else:
            self.place.start()

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """SIGSTOP and SIGCONT."""
        import signal

        process = self.services[name] if self.apart else self.place.up
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)
        yield
        os.kill(process.pid, signal.SIGCONT)

    @contextmanager
    def cut(self, name: str, *ways: Way) -> Iterator[None]:
        """A link passes nothing, one way or both."""
        self.links[name].partition(*ways)
        yield
        self.links[name].heal(reset=True)

    @contextmanager
    def half_open(self, name: str) -> Iterator[None]:
        """A link swallows everything."""
        self.links[name].swallow()
        yield
        self.links[name].heal()

    @contextmanager
    def slow(self, name: str) -> Iterator[None]:
        """A link is slow and uneven."""
        self.links[name].slow(0.05, jitter_s=0.1)
        yield
        self.links[name].heal()

    @contextmanager
    def redis_killed(self) -> Iterator[None]:
        """kill -9 of Redis."""
        kill9(self.redis)
        yield
        self.redis.respawn()
        self.redis.wait_ready()

    @contextmanager
    def redis_wiped(self) -> Iterator[None]:
        """Redis forgets everything."""
        self._redis().flushall()
        yield

    @contextmanager
    def redis_set_back(self) -> Iterator[None]:
        """Redis comes back from a copy that was made a while ago; meanwhile everything went on."""
        copy = self.folder / "backup"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        copy_appended(self.redis.data_dir, copy)
        yield
        kill9(self.redis)
        copy_appended(copy, self.redis.data_dir)
        self.redis.respawn()
        self.redis.wait_ready()

    @contextmanager
    def redis_without_power(self) -> Iterator[None]:
        """The machine of Redis loses its power: what it had not synchronised is gone. Once a battlefield."""
        assert isinstance(self.redis_disk, MortalDisk)
        freeze(self.redis)
        after = self.redis_disk.after_power_loss() / "redis"
        port = self.redis.port
        kill9(self.redis)
        (after / "redis.lock").unlink(missing_ok=True)
        yield
        self.redis = self._stack.enter_context(start_redis(after, port=port))
        assert self.redis.port == port

    @contextmanager
    def redis_full(self) -> Iterator[None]:
        """Redis has no more memory."""
        self._redis().config_set("maxmemory", "1mb")
        yield
        self._redis().config_set("maxmemory", "0")

    @contextmanager
    def redis_read_only(self) -> Iterator[None]:
        """Redis is made a replica of somebody who is not there."""
        self._redis().replicaof("127.0.0.1", free_port())
        yield
        self._redis().replicaof("NO", "ONE")

    @contextmanager
    def redis_disk_full(self) -> Iterator[None]:
        """The disk of Redis is full."""
        assert isinstance(self.redis_disk, SmallDisk)
        self.redis_disk.fill()
        yield
        self.redis_disk.tidy()

    @contextmanager
    def postgres_disk_full(self) -> Iterator[None]:
        """The disk of PostgreSQL is full. It may panic for want of a log segment; whoever runs it starts it again."""
        assert isinstance(self.postgres, CrowdedPostgres)
        self.postgres.disk.fill()
        yield
        self.postgres.disk.tidy()
        self._postgres_again()

    @contextmanager
    def postgres_stopped(self) -> Iterator[None]:
        """PostgreSQL is shut down, and started again."""
        self.postgres.stop()
        yield
        self._postgres_again()

    @contextmanager
    def postgres_killed(self) -> Iterator[None]:
        """kill -9 of PostgreSQL."""
        self.postgres.kill9()
        yield
        self._postgres_again()

    @contextmanager
    def broker_killed(self, *, forgets: bool = False) -> Iterator[None]:
        """kill -9 of the broker; one that forgets has lost its sessions, its queues and what it kept."""
        kill9(self.broker)
        yield
        if forgets:
            (self.broker.data_dir / "mosquitto.db").unlink(missing_ok=True)
        self.broker.respawn()
        self.broker.wait_ready()

    @contextmanager
    def session_taken_over(self) -> Iterator[None]:
        """Somebody else connects as ingest, with a new session: whatever waited for ingest is gone."""
        client = paho.Client(CallbackAPIVersion.VERSION2, INGEST_SESSION, protocol=paho.MQTTv5)
        client.connect("127.0.0.1", self.broker.port, clean_start=True)
        client.loop_start()
        yield
        client.disconnect()
        client.loop_stop()

    @contextmanager
    def server_clock_off(self, seconds: int) -> Iterator[None]:
        """The clock of the machine of the services is wrong (real seconds: the park's minutes).

        While it is behind what was accepted, no time has passed since the last reading, so a rise beyond the slack is
        put aside; the first reading after that carries it.
        """
        if seconds < 0:
            self.doubted = frozenset(one.device for one in METERS)
        self._set_clock(seconds)
        yield
        self._set_clock(0)

    def _set_clock(self, seconds: int) -> None:
        """In one step: whoever reads a file that is just being written takes an empty one for the truth."""
        fresh = self._clock.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}\n")
        fresh.replace(self._clock)

    def _redis(self) -> Any:
        return redis.Redis.from_url(self.redis.url)

    def _postgres_again(self) -> None:
        server = self.postgres
        if server._server is not None and not server._server.is_running:
            server.start(port=server.port)

    # --- afterwards

    def judged(self) -> Healed:
        """All is well again: the desk closes, breakers follow the money, devices go, and the books are held against
        the outside. Tells what is wrong after the time that healing may take."""
        self.desk.close()
        self.desk.pay(tenant_of(POOR[0]), 20_000, "after-all")
        told = self.told_wh()
        gaps = self._after_healing(lambda: self._wrong_gaps(told))
        breakers = self._after_healing(self._wrong_breakers)
        self.stop_fleet()
        money, books = self._after_healing(self._wrong_money), self._after_healing(self._wrong_books)
        switched = sorted(device for device in set(RICH) - self.skewed if self.tap.commands(device))
        proved = self.place.verify()
        proof = "" if proved.returncode == 0 else proved.stdout + proved.stderr
        return Healed(gaps, breakers, money, books, self.tap.broken_promises(), switched, proof)

    def converge(self) -> None:
        """As `judged`; raises where anything is wrong."""
        assert self.judged() == Healed()

    def _after_healing(self, wrong: Callable[[], list[str]]) -> list[str]:
        """What is still wrong when the time for healing is over; nothing as soon as nothing is."""
        deadline = time.monotonic() + HEALS_WITHIN_S
        while True:
            try:
                found = wrong()
            except (OSError, AssertionError) as error:
                found = [repr(error)[:300]]
            if not found or time.monotonic() >= deadline:
                return found[:5]
            time.sleep(0.3)

    def _wrong_gaps(self, told: dict[str, int]) -> list[str]:
        """Meters of which less is charged than they had told: what a broker forgot comes with the next reading only."""
        found = []
        for device, wh in told.items():
            charges = self.api().get(f"/sites/{SITE}/tenants/{tenant_of(device)}")["charges"]
            if int(Decimal(charges).scaleb(9)) < (wh - 1_000) * PRICE_NANO:
                found.append(f"{device} had told {wh} Wh, {charges} is charged")
        return found

    def _wrong_breakers(self) -> list[str]:
        found = []
        for device in (one.device for one in METERS):
            tenant = self.api().get(f"/sites/{SITE}/tenants/{tenant_of(device)}")
            balance = int(Decimal(tenant["balance"]).scaleb(9))
            relay = (self.tap.moves(device) or ["closed"])[-1]
            known = self.api().get(f"/sites/{SITE}/devices/{device}")["reported"]["relay"]
            wanted = "open" if balance <= 0 else "closed" if balance >= LIFTED_NANO else relay
            if (relay, known) != (wanted, wanted):
                found.append(f"{device} is {relay} (known as {known}) with {balance}")
        return found

    def _wrong_money(self) -> list[str]:
        credit = {
            one.device: opening_nano(tenant_of(one.device)) + sum(self.desk.confirmed[tenant_of(one.device)].values())
            for one in METERS
        }
        return [text for one in METERS if (text := self.uncharged(one.device, credit[one.device]))]

    def told_wh(self) -> dict[str, int]:
        """The highest register that each meter has told."""
        return {one.device: max(body["d"]["import_wh"] for body in self.samples(one.device)) for one in METERS}

    def _wrong_books(self) -> list[str]:
        url, doubted = self.direct["database"], self.skewed | self.doubted
        found = faults_of_the_books(url, told_wh=self.told_wh(), paid_nano=self.desk.confirmed, doubted=doubted)
        for tenant, nano in posted_nano(url).items():
            twin = self.api().get(f"/sites/{SITE}/tenants/{tenant}")
            if nano > int(Decimal(twin["charges"]).scaleb(9)):
                found.append(f"I5: {tenant} is charged {nano} in the books, {twin['charges']} in the twin")
        return found

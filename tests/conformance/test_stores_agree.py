"""Random histories, driven through the fake and through Redis at once: both must answer the same at every step.

Two processes work on one site, each with twins it loaded at some time, so many commits are stale. Beside the comparison
a plain count is kept of the charges that were accepted: an update that is lost or doubled shows there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from adapters.embedded import RunningServer
from tests.conformance.backends import MemoryBackend, RedisBackend, backend_of, redis_binaries
from tests.conformance.twin_values import a_group, charge, charged, notice, stream_of
from tests.integration.servers import fresh_name
from twin.core.model import Group
from twin.ports import Entry, GroupChange, StoreFullError, StoreLostError

NOW = 1_750_000_000_000
NAMES = ("t-0", "t-1", "t-2")
STREAM_MAX = 6
PROCESSES = st.integers(0, 1)
CACHES = (50, 0)


class Held(msgspec.Struct):
    """One process's idea of a group, as each backend handed it out."""

    fake: Group
    real: Group


class StoresAgree(RuleBasedStateMachine):
    """`server` and `loop` are given by the test."""

    server: str
    loop: asyncio.AbstractEventLoop
    held = Bundle("held")

    @initialize()
    def start(self) -> None:
        """Both backends with the same three groups."""
        self.site = fresh_name("agree")
        self.fake, self.real = MemoryBackend(), RedisBackend(self.server)
        self.fakes = [self.fake.store(stream_max=STREAM_MAX) for _ in CACHES]
        self.reals = [self.real.store(stream_max=STREAM_MAX, cache_groups=size, absent_s=0.0) for size in CACHES]
        self.fake_stream, self.real_stream = self.fake.stream(), self.real.stream()
        self.generation, self.now = 0, NOW
        self.written: dict[str, str] = {}
        self.rebuild(0)

    def teardown(self) -> None:
        """Leave nothing behind in Redis."""
        if hasattr(self, "real"):
            self.wait(self.real.wipe(self.site))
            self.wait(self.real.close())

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run one coroutine to its end."""
        return self.loop.run_until_complete(work)

    def both(self, process: int, ask: Any) -> tuple[Any, Any]:
        """Ask both backends the same; an error of the store is an answer, too."""
        answers = []
        for store in (self.fakes[process], self.reals[process]):
            try:
                answers.append(self.wait(ask(store)))
            except (StoreLostError, StoreFullError) as error:
                answers.append(type(error))
        return answers[0], answers[1]

    def same(self, process: int, ask: Any) -> Any:
        """Ask both backends; both must answer the same."""
        fake, real = self.both(process, ask)
        assert fake == real
        return fake

    @rule(process=PROCESSES, name=st.sampled_from([*NAMES, "t-9"]), target=held)
    def load(self, process: int, name: str) -> Held | None:
        """Read a group, from memory or from Redis: it may be stale only where a cache is allowed to be."""
        fake, real = self.both(process, lambda store: store.load(self.site, [name]))
        if isinstance(fake, type) or isinstance(real, type):
            # A process with the group in memory need not notice a rebuild before it commits.
            assert fake is StoreLostError
            return None
        if not CACHES[process]:
            assert fake == real
        return Held(fake[name], real[name]) if name in fake and name in real else None

    @rule(process=PROCESSES, pairs=st.lists(held, min_size=1, max_size=3), data=st.data())
    def commit(self, process: int, pairs: list[Held | None], data: st.DataObject) -> None:
        """Commit charges to some groups, most of them stale."""
        chosen = {pair.real.id: pair for pair in pairs if pair is not None and pair.fake.revision == pair.real.revision}
        if not chosen:
            return
        self.now += data.draw(st.integers(0, 50))
        more = {name: self._more(data) for name in chosen}
        asked = {
            "fake": [charge(pair.fake, 1, **more[name]) for name, pair in chosen.items()],
            "real": [charge(pair.real, 1, **more[name]) for name, pair in chosen.items()],
        }
        stores = {"fake": self.fakes[process], "real": self.reals[process]}
        answers = []
        for kind, changes in asked.items():
            try:
                answers.append(self.wait(stores[kind].commit(self.site, changes, now=self.now)))
            except (StoreLostError, StoreFullError) as error:
                answers.append(type(error))
        assert answers[0] == answers[1]
        if not isinstance(answers[0], type):
            for name in chosen.keys() - answers[0]:
                self.charges[name] += 1

    def _more(self, data: st.DataObject) -> dict[str, Any]:
        more: dict[str, Any] = {}
        if data.draw(st.booleans()):
            more["effects"] = (notice(self.now),)
        if data.draw(st.booleans()):
            more["wake"] = self.now + data.draw(st.integers(0, 100))
        elif data.draw(st.booleans()):
            more["drop_wake"] = True
        if data.draw(st.booleans()):
            more["guards"] = {"cutoff": data.draw(st.integers(1, 3))}
        return more

    @rule(process=PROCESSES, pair=held)
    def ask_for_revision(self, process: int, pair: Held | None) -> None:
        """A decision that changes nothing."""
        if pair is not None and pair.fake.revision == pair.real.revision:
            fake = self.both_idle(process, pair)
            assert fake in (frozenset(), {pair.real.id}, StoreLostError)

    def both_idle(self, process: int, pair: Held) -> Any:
        """Commit `before` as `after` on both."""
        answers = []
        for store, group in ((self.fakes[process], pair.fake), (self.reals[process], pair.real)):
            try:
                idle = GroupChange(before=group, after=group)
                answers.append(self.wait(store.commit(self.site, [idle], now=self.now)))
            except StoreLostError:
                answers.append(StoreLostError)
        assert answers[0] == answers[1]
        return answers[0]

    @rule(process=PROCESSES)
    def rebuild(self, process: int) -> None:
        """Make all twins anew; the other process does not know."""
        self.generation += 1
        groups = [a_group(self.site, name, gateway="gw-1") for name in NAMES]
        assert self.same(
            process,
            lambda store: store.replace_site(self.site, self.generation, stream_of(groups), wake=self.now),
        ) == len(NAMES)
        self.charges = dict.fromkeys(NAMES, 0)
        self.written = {}

    @rule(process=PROCESSES)
    def look_again(self, process: int) -> None:
        """Compare with SQL, as it were, and go on with what the store has."""
        fake, real = self.both(process, lambda store: store.generation(self.site))
        assert fake[0] == real[0] == self.generation

    @rule(process=PROCESSES, device=st.sampled_from(["em-t-0-0", "br-t-2-0", "em-new", "nobody"]))
    def find_device(self, process: int, device: str) -> None:
        """Look a device up; a process that knows the place by heart need not notice a rebuild."""
        fake, real = self.both(process, lambda store: store.group_of(self.site, device))
        assert fake == real or fake is StoreLostError

    @rule(process=PROCESSES)
    def add_device(self, process: int) -> None:
        """An import puts a new device into the first group's directory."""
        self.same(process, lambda store: store.add_groups(self.site, [a_group(self.site, "new")], wake=self.now))

    @rule(process=PROCESSES, ahead=st.integers(-100, 200), limit=st.integers(1, 4))
    def timers(self, process: int, ahead: int, limit: int) -> None:
        """Who is due, and when somebody will be."""
        self.same(process, lambda store: store.due(self.site, now=self.now + ahead, limit=limit))
        self.same(process, lambda store: store.next_due(self.site))

    @rule(process=PROCESSES, window=st.integers(1, 200))
    def guards(self, process: int, window: int) -> None:
        """How much of a guard is used up."""
        self.same(process, lambda store: store.guards_used(self.site, {"cutoff": window}, now=self.now))

    @rule(consumers=st.sampled_from(["ledger", "notify"]), count=st.integers(1, 4), keep=st.booleans())
    def consume(self, consumers: str, count: int, keep: bool) -> None:
        """Read, and mostly acknowledge."""
        fake, real = self._read(consumers, count, pending=False)
        if not keep:
            self._acknowledge(consumers, fake, real)

    @rule(consumers=st.sampled_from(["ledger", "notify"]), count=st.integers(1, 4))
    def consume_pending(self, consumers: str, count: int) -> None:
        """After a restart: what was handed out and not acknowledged."""
        self._acknowledge(consumers, *self._read(consumers, count, pending=True))

    def _read(self, consumers: str, count: int, *, pending: bool) -> tuple[list[Entry], list[Entry]]:
        fake, real = (
            self.wait(stream.read(self.site, consumers, "w", count=count, block_ms=0, pending=pending))
            for stream in (self.fake_stream, self.real_stream)
        )
        self.written.update(zip([entry.id for entry in real], [entry.id for entry in fake], strict=True))
        assert [(entry.group, entry.effects) for entry in fake] == [(entry.group, entry.effects) for entry in real]
        return fake, real

    def _acknowledge(self, consumers: str, fake: list[Entry], real: list[Entry]) -> None:
        self.wait(self.fake_stream.acknowledge(self.site, consumers, [entry.id for entry in fake]))
        self.wait(self.real_stream.acknowledge(self.site, consumers, [entry.id for entry in real]))

    @rule(which=st.integers(0, 20), keep=st.integers(0, 3))
    def trim(self, which: int, keep: int) -> None:
        """Trim up to some entry that was read before."""
        known = sorted(self.written, key=lambda entry: tuple(map(int, entry.split("-"))))
        real_id = known[which % len(known)] if known else "0-0"
        fake_id = self.written.get(real_id, "0-0")
        dropped = self.wait(self.fake_stream.trim(self.site, ledger_position=fake_id, keep=keep))
        assert dropped == self.wait(self.real_stream.trim(self.site, ledger_position=real_id, keep=keep))
        trimmed = self.wait(self.real_stream.trimmed_to(self.site))
        assert self.wait(self.fake_stream.trimmed_to(self.site)) == self.written.get(trimmed, "0-0")

    @rule(consumers=st.sampled_from(["ledger", "notify"]))
    def lag(self, consumers: str) -> None:
        """Entries still to be done."""
        fake, real = (self.wait(stream.lag(self.site, consumers)) for stream in (self.fake_stream, self.real_stream))
        assert fake == real

    @invariant()
    def nothing_lost(self) -> None:
        """What a newcomer reads: both alike, and every accepted charge in it."""
        if not hasattr(self, "charges"):
            return
        fake = self.wait(self.fake.store().load(self.site, NAMES))
        real = self.wait(self.reader().load(self.site, NAMES))
        assert fake == real
        assert {name: group.tenant.charges_nano for name, group in real.items() if group.tenant} == self.charges

    def reader(self) -> Any:
        """A store without any memory; made once, it connects once."""
        if not hasattr(self, "_reader") or self._reader_of != self.generation:
            self._reader, self._reader_of = self.real.store(cache_groups=0), self.generation
        return self._reader


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop of our own: hypothesis runs its steps outside of any."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.mark.parametrize("version", redis_binaries())
def test_fake_and_redis_agree(
    version: str,
    redis_servers: dict[str, RunningServer],
    tmp_path_factory: pytest.TempPathFactory,
    loop: asyncio.AbstractEventLoop,
) -> None:
    backend_of(version, redis_servers, tmp_path_factory)
    machine = type("Machine", (StoresAgree,), {"server": redis_servers[version].url, "loop": loop})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25, stateful_step_count=35, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_charged_shares_what_it_does_not_touch() -> None:
    group = a_group("s")
    after = charged(group)
    assert after.tenant is not group.tenant
    assert after.meters is group.meters

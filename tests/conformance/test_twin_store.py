"""What every twin store must do, on the fake and on every Redis of this machine."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from tests.conformance.backends import Backend
from tests.conformance.store_questions import NOW, built, charges, one
from tests.conformance.twin_values import (
    a_group,
    charge,
    charged,
    notice,
    plain,
    stream_of,
)
from twin.core.effects import MeterReleased
from twin.core.model import Group
from twin.ports import DeadLetter, GroupChange, HeldMessage, StoreFullError

# --- load and commit ----------------------------------------------------------------------------------------------


async def test_what_was_built_is_loaded_and_due(backend: Backend, site: str) -> None:
    groups = [a_group(site, f"t-{n}", meters=n) for n in range(4)]
    await built(backend, site, *groups)
    other = backend.store()
    loaded = await other.load(site, ["t-0", "t-3", "nobody", "t-1", "t-2"])
    assert {name: plain(group) for name, group in loaded.items()} == {group.id: group for group in groups}
    assert {group.wake for group in loaded.values()} == {NOW}
    assert await other.due(site, now=NOW, limit=10) == ["t-0", "t-1", "t-2", "t-3"]


async def test_commit_is_seen_by_other_processes(backend: Backend, site: str) -> None:
    store = await built(backend, site, a_group(site))
    group = await one(store, site)
    assert await store.commit(site, [charge(group, 5)], now=NOW) == frozenset()
    for reader in (store, backend.store(), backend.store(cache_groups=0)):
        after = await one(reader, site)
        assert after.revision == max(group.revision + 1, NOW)
        assert plain(after) == plain(charged(group, 5))


async def test_values_handed_out_never_change(backend: Backend, site: str) -> None:
    store = await built(backend, site, a_group(site))
    group = await one(store, site)
    copy = msgspec.convert(msgspec.to_builtins(group), Group)
    await store.commit(site, [charge(group, 5, wake=NOW + 1)], now=NOW)
    assert group == copy


async def test_stale_revision_is_refused_and_the_next_load_is_fresh(backend: Backend, site: str) -> None:
    mine = await built(backend, site, a_group(site))
    yours = backend.store()
    stale = await one(yours, site)
    await mine.commit(site, [charge(await one(mine, site), 5)], now=NOW)
    change = charge(stale, 100, effects=(notice(1),), wake=NOW + 1, guards={"cutoff": 1})
    assert await yours.commit(site, [change], now=NOW) == {"t-1"}
    assert await charges(yours, site) == 5
    assert (await yours.generation(site))[1] == "0-0"
    assert await yours.due(site, now=NOW, limit=1) == ["t-1"]
    assert await yours.guards_used(site, {"cutoff": 60_000}, now=NOW) == {"cutoff": 0}
    assert await yours.commit(site, [charge(await one(yours, site), 100)], now=NOW) == frozenset()
    assert await charges(backend.store(), site) == 105


async def test_refusal_is_per_group(backend: Backend, site: str) -> None:
    names = [f"t-{n}" for n in range(5)]
    mine = await built(backend, site, *(a_group(site, name) for name in names))
    yours = backend.store()
    stale = await yours.load(site, names)
    await mine.commit(site, [charge(await one(mine, site, name), 1) for name in ("t-1", "t-3")], now=NOW)
    changes = [charge(stale[name], 10, effects=(notice(n),)) for n, name in enumerate(names)]
    assert await yours.commit(site, changes, now=NOW) == {"t-1", "t-3"}
    assert [await charges(backend.store(), site, name) for name in names] == [10, 1, 10, 1, 10]
    entries = await backend.stream().read(site, "ledger", "w", count=10, block_ms=0)
    assert [entry.group for entry in entries] == ["t-0", "t-2", "t-4"]


async def test_unknown_group_is_refused_and_not_created(backend: Backend, site: str) -> None:
    store = await built(backend, site, a_group(site))
    assert await store.commit(site, [charge(a_group(site, "ghost"))], now=NOW) == {"ghost"}
    assert await store.load(site, ["ghost"]) == {}


async def test_group_twice_in_one_commit_is_an_error(backend: Backend, site: str) -> None:
    store = await built(backend, site, a_group(site))
    group = await one(store, site)
    with pytest.raises(ValueError, match="twice"):
        await store.commit(site, [charge(group), charge(group)], now=NOW)
    with pytest.raises(ValueError, match="cannot become"):
        await store.commit("elsewhere", [charge(group)], now=NOW)
    assert await charges(store, site) == 0


async def test_change_without_change_only_asks_for_the_revision(backend: Backend, site: str) -> None:
    mine = await built(backend, site, a_group(site))
    yours = backend.store()
    group = await one(yours, site)
    idle = GroupChange(before=group, after=group)
    assert await yours.commit(site, [idle], now=NOW) == frozenset()
    assert (await one(backend.store(), site)).revision == group.revision
    await mine.commit(site, [charge(await one(mine, site))], now=NOW)
    assert await yours.commit(site, [idle], now=NOW) == {"t-1"}
    assert (await one(yours, site)).revision == max(group.revision + 1, NOW)


async def test_everything_of_a_group_can_appear_and_disappear(backend: Backend, site: str) -> None:
    store = await built(backend, site, a_group(site, meters=2))
    full = await one(store, site)
    empty = Group(site=site, id="t-1", acts_seq=4)
    await store.commit(site, [GroupChange(before=full, after=empty)], now=NOW)
    read = await one(backend.store(), site)
    assert plain(read) == empty
    await store.commit(site, [GroupChange(before=await one(store, site), after=full)], now=NOW)
    assert plain(await one(backend.store(), site)) == plain(full)


async def test_large_group_fits_one_commit(backend: Backend, site: str) -> None:
    store = await built(backend, site, Group(site=site, id="mall"))
    after = a_group(site, "mall", meters=1_500)
    assert await store.commit(site, [GroupChange(before=await one(store, site, "mall"), after=after)], now=NOW) == set()
    assert plain(await one(backend.store(), site, "mall")) == after


async def test_many_concurrent_commits_lose_nothing(backend: Backend, site: str) -> None:
    names = [f"t-{n}" for n in range(4)]
    await built(backend, site, *(a_group(site, name) for name in names))

    async def worker(number: int) -> int:
        store, done = backend.store(), 0
        for turn in range(25):
            wanted = {names[(number + turn) % 4], names[(number + 2 * turn) % 4]}
            while wanted:
                groups = await store.load(site, sorted(wanted))
                changes = [charge(group, 1, effects=(notice(turn),)) for group in groups.values()]
                refused = await store.commit(site, changes, now=NOW)
                done += len(wanted) - len(refused)
                wanted = set(refused)
        return done

    done = sum(await asyncio.gather(*(worker(number) for number in range(4))))
    reader = backend.store()
    assert sum([await charges(reader, site, name) for name in names]) == done
    entries = await backend.stream().read(site, "ledger", "w", count=1_000, block_ms=0)
    assert len(entries) == done


# --- timers, guards, bounds ---------------------------------------------------------------------------------------


async def test_timers_are_set_moved_and_removed(backend: Backend, site: str) -> None:
    store = await built(backend, site, *(a_group(site, f"t-{n}") for n in range(3)))
    groups = await store.load(site, ["t-0", "t-1", "t-2"])
    await store.commit(
        site,
        [
            GroupChange(before=groups["t-0"], after=groups["t-0"], wake=NOW + 500),
            GroupChange(before=groups["t-1"], after=groups["t-1"], drop_wake=True),
            charge(groups["t-2"]),
        ],
        now=NOW,
    )
    assert await store.due(site, now=NOW + 499, limit=9) == ["t-2"]
    assert await store.due(site, now=NOW + 500, limit=9) == ["t-2", "t-0"]
    assert await store.due(site, now=NOW + 500, limit=1) == ["t-2"]
    assert await store.next_due(site) == NOW
    fresh = await backend.store().load(site, ["t-0", "t-1", "t-2"])
    assert [fresh[name].wake for name in ("t-0", "t-1", "t-2")] == [NOW + 500, None, NOW]


async def test_next_due_of_nothing(backend: Backend, site: str) -> None:
    store = await built(backend, site)
    assert await store.next_due(site) is None
    assert await store.due(site, now=NOW, limit=5) == []


async def test_guards_count_within_their_window(backend: Backend, site: str) -> None:
    store = await built(backend, site, a_group(site))
    for at, cutoffs in ((NOW, 2), (NOW + 30_000, 1), (NOW + 60_000, 4)):
        group = await one(store, site)
        await store.commit(site, [charge(group, guards={"cutoff": cutoffs, "other": 1})], now=at)
    windows = {"cutoff": 60_000, "other": 31_000, "never": 5}
    assert await store.guards_used(site, windows, now=NOW + 60_000) == {"cutoff": 5, "other": 2, "never": 0}
    assert await store.guards_used(site, {"cutoff": 60_001}, now=NOW + 60_000) == {"cutoff": 7}
    assert await store.guards_used(site, {"cutoff": 60_000}, now=NOW) == {"cutoff": 7}, "a clock set back opens nothing"
    assert await store.guards_used(site, {}, now=NOW) == {}
    with pytest.raises(ValueError, match="window"):
        await store.guards_used(site, {"cutoff": 32 * 86_400_000}, now=NOW)


async def test_guards_forget_what_no_window_can_reach(backend: Backend, site: str) -> None:
    store = await built(backend, site, a_group(site))
    for at in (NOW, NOW + 31 * 86_400_000, NOW + 31 * 86_400_000 + 1):
        await store.commit(site, [charge(await one(store, site), guards={"cutoff": 1})], now=at)
    used = await store.guards_used(site, {"cutoff": 31 * 86_400_000}, now=NOW + 31 * 86_400_000 - 1)
    assert used == {"cutoff": 2}, "the first is beyond every window and gone"


async def test_full_effect_stream_refuses_effects_and_writes_nothing(backend: Backend, site: str) -> None:
    store = await built(backend, site, *(a_group(site, f"t-{n}") for n in range(3)), stream_max=2)
    groups = await store.load(site, ["t-0", "t-1", "t-2"])
    await store.commit(site, [charge(groups[name], effects=(notice(1),)) for name in ("t-0", "t-1")], now=NOW)
    before = await backend.store().load(site, ["t-0", "t-2"])
    changes = [charge(before["t-2"], 9), charge(before["t-0"], 9, effects=(notice(2),), wake=NOW + 9)]
    with pytest.raises(StoreFullError, match=site):
        await store.commit(site, changes, now=NOW)
    assert await backend.store().load(site, ["t-0", "t-2"]) == before
    assert await store.due(site, now=NOW, limit=9) == ["t-0", "t-1", "t-2"]
    assert await store.commit(site, [charge(before["t-2"], 9)], now=NOW) == frozenset(), "no effects need no room"
    stream = backend.stream()
    entries = await stream.read(site, "ledger", "w", count=9, block_ms=0)
    await stream.acknowledge(site, "ledger", [entry.id for entry in entries])
    assert await stream.trim(site, ledger_position=entries[-1].id, keep=0) == 2
    assert await store.commit(site, [changes[1]], now=NOW) == frozenset()


# --- dead letters -------------------------------------------------------------------------------------------------


async def test_dead_letters_keep_reason_and_place(backend: Backend, site: str) -> None:
    store = backend.store()
    letters = [
        DeadLetter(
            topic=f"twinmeter/v1/{site}/em-1/tele", payload=b"\xff{" * n, reason="not JSON", path="$", at=NOW + n
        )
        for n in range(3)
    ]
    await store.dead_letter(site, letters)
    await store.dead_letter(site, [])
    assert await store.dead_letters(site, limit=2) == [letters[2], letters[1]]
    await store.dead_letter(site, [DeadLetter(topic="t", payload=b"x" * 10**7, reason="too large", path="", at=NOW)])
    (huge,) = await store.dead_letters(site, limit=1)
    assert huge.payload == b"x" * 16_384


# --- messages of devices on their way -----------------------------------------------------------------------------


async def test_a_device_on_its_way_leads_to_the_group_that_let_go_of_it(backend: Backend, site: str) -> None:
    giver, taker = a_group(site, "t-0", meters=2), Group(site, "t-1")
    store = await built(backend, site, giver, taker)
    loaded = await store.load(site, ["t-0", "t-1"])
    before, meter, breaker = loaded["t-0"], giver.meters["em-t-0-0"], giver.breakers["br-t-0-0"]
    keeps = {"em-t-0-1"}
    left = msgspec.structs.replace(
        before,
        meters={name: one for name, one in before.meters.items() if name in keeps},
        meter_contracts={name: one for name, one in before.meter_contracts.items() if name in keeps},
        breakers={"br-t-0-1": before.breakers["br-t-0-1"]},
        breaker_contracts={"br-t-0-1": before.breaker_contracts["br-t-0-1"]},
    )
    released = MeterReleased("H1", NOW, meter, breaker)
    assert not await store.commit(site, [GroupChange(before, left, (released,))], now=NOW)
    other = backend.store()
    for device in ("em-t-0-0", "br-t-0-0"):
        store.forget_holder(site, device)
        assert await store.group_of(site, device) == await other.group_of(site, device) == "t-0"
    has = msgspec.structs.replace(
        loaded["t-1"],
        meters={meter.id: meter},
        meter_contracts={meter.id: giver.meter_contracts[meter.id]},
        breakers={breaker.id: breaker},
        breaker_contracts={breaker.id: giver.breaker_contracts[breaker.id]},
    )
    assert not await store.commit(site, [GroupChange(loaded["t-1"], has)], now=NOW)
    for device in ("em-t-0-0", "br-t-0-0"):
        other.forget_holder(site, device)
        assert await store.group_of(site, device) == await other.group_of(site, device) == "t-1"


async def test_held_messages_wait_in_their_order_and_outlive_a_rebuild(backend: Backend, site: str) -> None:
    store = await built(backend, site, a_group(site))
    messages = [HeldMessage(f"twinmeter/v1/{site}/em-{n}/tele", b"\xff" * 20_000, NOW + n) for n in range(3)]
    assert await store.hold(site, messages[:2]) == 2
    assert await store.hold(site, []) == 0
    assert await store.hold(site, messages[2:]) == 1
    await store.replace_site(site, 9, stream_of([a_group(site)]), wake=NOW)
    first, *rest = await backend.store().held(site, limit=9)
    assert [msgspec.structs.replace(one, id="") for one in (first, *rest)] == messages
    assert await store.held(site, after=first.id, limit=1) == rest[:1]
    await store.pass_on(site, [])
    await store.pass_on(site, [first.id, rest[1].id])
    assert await store.held(site, limit=9) == rest[:1]

"""What every twin store must do, on the fake and on every Redis of this machine."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from tests.conformance.backends import Backend
from tests.conformance.twin_values import (
    a_gateway,
    a_group,
    charge,
    charged,
    notice,
    plain,
    stream_of,
)
from twin.core.model import BreakerContract, BreakerTwin, Group, MeterContract, MeterTwin
from twin.ports import DeadLetter, GroupChange, StoreFullError, StoreLostError

NOW = 1_750_000_000_000


async def built(backend: Backend, site: str, *groups: Group, **options: Any) -> Any:
    """A store with these groups under generation 1."""
    store = backend.store(**options)
    assert await store.replace_site(site, 1, stream_of(groups), wake=NOW) == len(groups)
    return store


async def one(store: Any, site: str, name: str = "t-1") -> Group:
    """One group that must be there."""
    return (await store.load(site, [name]))[name]


async def charges(store: Any, site: str, name: str = "t-1") -> int:
    """Charges of one tenant."""
    tenant = (await one(store, site, name)).tenant
    assert tenant is not None
    return tenant.charges_nano


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
        assert after.revision == group.revision + 1
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
    assert (await one(yours, site)).revision == group.revision + 1


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


# --- directory ----------------------------------------------------------------------------------------------------


async def test_directory_knows_every_device(backend: Backend, site: str) -> None:
    store = await built(
        backend, site, a_group(site, "t-1", meters=2, gateway="gw-1"), a_group(site, "t-2"), a_gateway(site, "gw-1")
    )
    for reader in (store, backend.store()):
        found = [await reader.group_of(site, device) for device in ("em-t-1-1", "br-t-1-0", "em-t-2-0", "gw-1", "x")]
        assert found == ["t-1", "t-1", "t-2", "gw-1", None]
    assert await store.devices_behind(site, "gw-1") == ["t-1"]
    assert await store.devices_behind(site, "gw-2") == []


async def test_commit_moves_devices_with_their_contracts(backend: Backend, site: str) -> None:
    store = await built(backend, site, a_group(site, "t-1", gateway="gw-1"), Group(site=site, id="t-2"))
    one_before, two_before = (await store.load(site, ["t-1", "t-2"])).values()
    assert await backend.store().group_of(site, "em-new") is None
    two_after = msgspec.structs.replace(
        two_before,
        meter_contracts={"em-new": MeterContract(id="em-new", gateway="gw-2"), **one_before.meter_contracts},
        meters={"em-new": MeterTwin(id="em-new"), **one_before.meters},
    )
    one_after = msgspec.structs.replace(
        one_before,
        meter_contracts={},
        meters={},
        breaker_contracts={"br-x": BreakerContract(id="br-x")},
        breakers={"br-x": BreakerTwin(id="br-x")},
    )
    # The new holder first, then the old one lets go: the device must stay with the new one.
    await store.commit(site, [GroupChange(before=two_before, after=two_after)], now=NOW)
    await store.commit(site, [GroupChange(before=one_before, after=one_after)], now=NOW)
    for reader in (store, backend.store()):
        assert [await reader.group_of(site, d) for d in ("em-new", "em-t-1-0", "br-t-1-0", "br-x")] == [
            "t-2", "t-2", None, "t-1"
        ]  # fmt: skip
    assert await store.devices_behind(site, "gw-1") == ["t-2"]
    assert await store.devices_behind(site, "gw-2") == ["t-2"]


async def test_refused_writer_looks_up_its_devices_again(backend: Backend, site: str) -> None:
    mine = await built(backend, site, a_group(site, "t-1"), Group(site=site, id="t-2"))
    yours = backend.store()
    assert await yours.group_of(site, "em-t-1-0") == "t-1"
    stale = await one(yours, site, "t-1")
    old, new = (await mine.load(site, ["t-1", "t-2"])).values()
    moved = GroupChange(before=new, after=msgspec.structs.replace(new, meters=old.meters))
    bared = GroupChange(before=old, after=msgspec.structs.replace(old, meters={}, meter_contracts={}))
    await mine.commit(site, [moved, bared], now=NOW)
    assert await yours.commit(site, [charge(stale)], now=NOW) == {"t-1"}
    assert await yours.group_of(site, "em-t-1-0") == "t-2"


async def test_add_groups_creates_and_refreshes(backend: Backend, site: str) -> None:
    store = await built(backend, site, a_group(site, "t-1"))
    first = await one(store, site, "t-1")
    await store.commit(site, [charge(first, 77)], now=NOW)
    grown = a_group(site, "t-1", meters=2, gateway="gw-9")
    await store.add_groups(site, [grown, a_group(site, "t-2", gateway="gw-9"), a_gateway(site, "gw-9")], wake=NOW + 5)
    for reader in (store, backend.store()):
        assert await charges(reader, site) == 77, "an existing group keeps its state"
        assert plain(await one(reader, site, "t-2")) == a_group(site, "t-2", gateway="gw-9")
        found = [await reader.group_of(site, device) for device in ("em-t-1-1", "em-t-2-0", "gw-9")]
        assert found == ["t-1", "t-2", "gw-9"]
    assert await store.devices_behind(site, "gw-9") == ["t-1", "t-2"]
    assert await store.due(site, now=NOW + 5, limit=9) == ["t-1", "gw-9", "t-2"]
    assert await store.commit(site, [charge(await one(store, site, "t-2"))], now=NOW) == frozenset()


async def test_add_groups_needs_a_generation(backend: Backend, site: str) -> None:
    with pytest.raises(StoreLostError):
        await backend.store().add_groups(site, [a_group(site)], wake=NOW)
    assert site not in await backend.store().sites()


async def test_groups_streams_all(backend: Backend, site: str) -> None:
    store = await built(backend, site, *(a_group(site, f"t-{n}", gateway=f"gw-{n % 7}") for n in range(1_203)))
    found = {group.id: plain(group) async for group in await store.groups(site)}
    assert found == {f"t-{n}": a_group(site, f"t-{n}", gateway=f"gw-{n % 7}") for n in range(1_203)}


# --- generations --------------------------------------------------------------------------------------------------


async def test_site_without_twins(backend: Backend, site: str) -> None:
    store = backend.store()
    assert await store.generation(site) is None
    assert await store.load(site, ["t-1"]) == {}
    assert await store.group_of(site, "em-1") is None
    assert await store.due(site, now=NOW, limit=1) == []
    with pytest.raises(StoreLostError):
        await store.commit(site, [charge(a_group(site))], now=NOW)


async def test_generation_tells_the_last_effect(backend: Backend, site: str) -> None:
    store = await built(backend, site, a_group(site))
    assert await store.generation(site) == (1, "0-0")
    await store.commit(site, [charge(await one(store, site), effects=(notice(1),))], now=NOW)
    (entry,) = await backend.stream().read(site, "ledger", "w", count=9, block_ms=0)
    assert await backend.store().generation(site) == (1, entry.id)
    assert site in await store.sites()


async def test_replace_site_starts_anew(backend: Backend, site: str) -> None:
    store = await built(backend, site, a_group(site, "t-1", gateway="gw-1"), a_group(site, "t-2"))
    stream = backend.stream()
    await stream.join(site, "ledger")
    group = await one(store, site)
    await store.commit(site, [charge(group, effects=(notice(1),), guards={"cutoff": 3})], now=NOW)
    (old,) = await stream.read(site, "ledger", "w", count=9, block_ms=0)
    position = f"{int(old.id.split('-')[0]) + 10_000_000}-3"
    assert await store.replace_site(site, 7, stream_of([a_group(site, "t-3")]), wake=NOW + 8, position=position) == 1
    assert await store.generation(site) == (7, position)
    assert await store.load(site, ["t-1", "t-2"]) == {}
    assert plain(await one(store, site, "t-3")) == a_group(site, "t-3")
    assert [await store.group_of(site, device) for device in ("em-t-1-0", "em-t-3-0")] == [None, "t-3"]
    assert await store.devices_behind(site, "gw-1") == []
    assert await store.due(site, now=NOW + 8, limit=9) == ["t-3"]
    assert {g.id async for g in await store.groups(site)} == {"t-3"}
    assert await store.guards_used(site, {"cutoff": 60_000}, now=NOW) == {"cutoff": 3}, "guards outlive a rebuild"
    assert await stream.lag(site, "ledger") == 0
    assert await stream.read(site, "ledger", "w", count=9, block_ms=0, pending=True) == []
    await store.commit(site, [charge(await one(store, site, "t-3"), effects=(notice(2),))], now=NOW)
    (new,) = await stream.read(site, "ledger", "w", count=9, block_ms=0)
    assert _order(new.id) > _order(position)


@pytest.mark.parametrize("newcomer", [False, True])
async def test_effect_ids_go_on_behind_the_old_ones(backend: Backend, site: str, newcomer: bool) -> None:
    store = await built(backend, site, a_group(site))
    stream = backend.stream()
    await store.commit(site, [charge(await one(store, site), effects=(notice(1),))], now=NOW)
    (old,) = await stream.read(site, "ledger", "w", count=9, block_ms=0)
    store = backend.store() if newcomer else store
    await store.replace_site(site, 2, stream_of([a_group(site)]), wake=NOW, position="5-0")
    assert await store.generation(site) == (2, old.id)
    await store.commit(site, [charge(await one(store, site), effects=(notice(2),))], now=1)
    (new,) = await stream.read(site, "ledger", "w", count=9, block_ms=0)
    assert _order(new.id) > _order(old.id)


@pytest.mark.parametrize("generation", [1, 2], ids=["same number", "next number"])
async def test_rebuild_by_somebody_else_is_noticed(backend: Backend, site: str, generation: int) -> None:
    mine = await built(backend, site, a_group(site))
    held = await one(mine, site)
    yours = backend.store()
    await yours.replace_site(site, generation, stream_of([a_group(site, charges=40)]), wake=NOW)
    with pytest.raises(StoreLostError, match=site):
        await mine.commit(site, [charge(held)], now=NOW)
    for question in (
        mine.load(site, ["t-1"]),
        mine.group_of(site, "em-other"),
        mine.due(site, now=NOW, limit=1),
        mine.add_groups(site, [a_group(site, "t-9")], wake=NOW),
    ):
        with pytest.raises(StoreLostError, match=site):
            await question
    assert await mine.generation(site) == (generation, "0-0")
    assert await charges(mine, site) == 40
    if generation == 2:
        assert await mine.commit(site, [charge(held)], now=NOW) == {"t-1"}, "revisions of an old generation never fit"


async def test_wiped_store_is_noticed(backend: Backend, site: str) -> None:
    store = await built(backend, site, a_group(site))
    group = await one(store, site)
    await backend.wipe(site)
    with pytest.raises(StoreLostError):
        await store.commit(site, [charge(group, effects=(notice(1),))], now=NOW)
    with pytest.raises(StoreLostError):
        await store.group_of(site, "em-unheard-of")
    with pytest.raises(StoreLostError):
        await store.load(site, ["t-1"])
    assert await store.generation(site) is None
    assert await store.replace_site(site, 2, stream_of([a_group(site, charges=3)]), wake=NOW) == 1
    assert await charges(store, site) == 3


async def test_rebuild_that_breaks_leaves_nothing_usable(backend: Backend, site: str) -> None:
    store = await built(backend, site, *(a_group(site, f"t-{n}") for n in range(5)))
    group = await one(store, site)

    async def broken() -> Any:
        for n in range(700):
            yield a_group(site, f"t-{n}")
        raise OSError("SQL went away")

    with pytest.raises(OSError, match="SQL went away"):
        await store.replace_site(site, 2, broken(), wake=NOW)
    assert await backend.store().generation(site) is None
    assert site not in await store.sites()
    with pytest.raises(StoreLostError):
        await store.commit(site, [charge(group)], now=NOW)
    assert await store.replace_site(site, 3, stream_of([a_group(site, "t-1")]), wake=NOW) == 1
    assert {g.id async for g in await store.groups(site)} == {"t-1"}, "no remains of the broken rebuild"
    assert await store.due(site, now=NOW, limit=9) == ["t-1"]


async def test_of_two_rebuilds_the_later_wins(backend: Backend, site: str) -> None:
    early, late = backend.store(), backend.store()

    async def overtaken() -> Any:
        yield a_group(site, "old-0")
        await late.replace_site(site, 3, stream_of([a_group(site, "new")]), wake=NOW)
        for n in range(1, 600):
            yield a_group(site, f"old-{n}")

    with pytest.raises(StoreLostError, match="another rebuild"):
        await early.replace_site(site, 2, overtaken(), wake=NOW)
    assert await backend.store().generation(site) == (3, "0-0")
    assert {g.id async for g in await late.groups(site)} == {"new"}


async def test_rebuild_refuses_groups_of_another_site(backend: Backend, site: str) -> None:
    with pytest.raises(ValueError, match="belongs to site"):
        await backend.store().replace_site(site, 1, stream_of([a_group("elsewhere")]), wake=NOW)


async def test_sites_are_apart(backend: Backend, site: str) -> None:
    store = await built(backend, site, a_group(site))
    other = site + "-b"
    assert await store.replace_site(other, 5, stream_of([a_group(other, charges=9)]), wake=NOW + 1) == 1
    await store.commit(site, [charge(await one(store, site), 2)], now=NOW)
    assert (await charges(store, site), await charges(store, other)) == (2, 9)
    assert {site, other} <= set(await store.sites())


@pytest.mark.parametrize("bad", ["", "a{b", "a}b"])
async def test_site_ids_that_cannot_be_a_hash_tag(backend: Backend, bad: str) -> None:
    with pytest.raises(ValueError, match="site id"):
        await backend.store().generation(bad)


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


def _order(entry_id: str) -> tuple[int, ...]:
    return tuple(map(int, entry_id.split("-")))

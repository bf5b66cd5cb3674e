"""A site as a whole: its directory, its generations, and what happens when the store loses it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from adapters.twins.codec import REVISION
from adapters.twins.keys import site_keys
from tests.conformance.backends import Backend
from tests.conformance.store_questions import NOW, built, charges, one
from tests.conformance.twin_values import a_gateway, a_group, charge, notice, plain, stream_of
from twin.core.model import BreakerContract, BreakerTwin, Group, MeterContract, MeterTwin
from twin.ports import GroupChange, StoreLostError

# --- directory ----------------------------------------------------------------------------------------------------


async def test_directory_knows_every_device(backend: Backend, site: str) -> None:
    store = await built(
        backend, site, a_group(site, "t-1", meters=2, gateway="gw-1"), a_group(site, "t-2"), a_gateway(site, "gw-1")
    )
    for reader in (store, backend.store()):
        found = [await reader.group_of(site, device) for device in ("em-t-1-1", "br-t-1-0", "em-t-2-0", "gw-1", "x")]
        assert found == ["t-1", "t-1", "t-2", "gw-1", None]
    for reader in (store, backend.store()):  # at once, known in part or not at all
        together = await reader.groups_of(site, ["em-t-1-1", "x", "em-t-2-0", "y"])
        assert together == {"em-t-1-1": "t-1", "em-t-2-0": "t-2"}
        assert await reader.groups_of(site, []) == {}
    assert await store.devices_behind(site, "gw-1") == ["t-1"]
    assert await store.devices_behind(site, "gw-2") == []


async def test_commit_moves_devices_with_their_contracts(backend: Backend, site: str) -> None:
    store = await built(backend, site, a_group(site, "t-1", gateway="gw-1"), Group(site=site, id="t-2"))
    one_before, two_before = (await store.load(site, ["t-1", "t-2"])).values()
    assert await backend.store().group_of(site, "em-new") is None
    assert [await store.group_of(site, device) for device in ("em-t-1-0", "br-t-1-0")] == ["t-1", "t-1"]
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


async def test_effects_that_are_lost_are_missed_also_where_another_process_wrote_on(
    backend: Backend, site: str
) -> None:
    if not hasattr(backend, "raw"):
        pytest.skip("memory does not go back in time")
    ours = await built(backend, site, a_group(site, "t-1"), a_group(site, "t-2"))
    await ours.commit(site, [charge(await one(ours, site, "t-1"), effects=(notice(1),))], now=NOW)
    before = await backend.store().generation(site)
    await ours.commit(site, [charge(await one(ours, site, "t-1"), effects=(notice(2),))], now=NOW)
    lost = await ours.generation(site)
    assert before is not None
    assert lost is not None
    keys = site_keys(site)
    await backend.raw.xdel(keys.effects, lost[1])
    await backend.raw.hset(keys.generation, "last", before[1])
    theirs = backend.store()
    await theirs.commit(site, [charge(await one(theirs, site, "t-2"), effects=(notice(3),))], now=NOW)
    with pytest.raises(StoreLostError, match="wrote on"):
        await ours.commit(site, [charge(await one(ours, site, "t-2"))], now=NOW)


async def test_a_change_that_is_lost_is_missed_also_where_another_one_took_its_place(
    backend: Backend, site: str
) -> None:
    if not hasattr(backend, "raw"):
        pytest.skip("memory does not go back in time")
    ours = await built(backend, site, a_group(site))
    born = await one(ours, site)
    await ours.commit(site, [charge(born)], now=NOW)
    await backend.raw.hset(site_keys(site).group(born.id), REVISION, born.revision)
    theirs = backend.store()
    assert await theirs.commit(site, [charge(await one(theirs, site))], now=NOW + 700) == frozenset()
    assert await ours.commit(site, [charge(await one(ours, site))], now=NOW + 800) == {born.id}


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


def _order(entry_id: str) -> tuple[int, ...]:
    return tuple(map(int, entry_id.split("-")))

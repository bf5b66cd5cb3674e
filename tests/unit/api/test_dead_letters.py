"""Messages of nobody: a letter where a person finds it, and no more letters or keys than a flood deserves."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from httpx import AsyncClient

from adapters.mqtt.reader import Delivery
from tests.unit.api.parks import SITE
from tests.unit.api.stage import ADMIN, START, Stage, bearer
from twin.flows.hear_strays import Strays
from twin.flows.ingest_batch import Ingest
from twin.flows.letter_gate import AT_ONCE, NO_SITE, LetterGate
from twin.flows.spread_shards import Layout, SiteDevices


def message(topic: str) -> Delivery:
    body = orjson.dumps({"v": 1, "sid": "s1", "seq": 1, "ts": START, "d": {"import_wh": 5}})
    return Delivery(f"twinmeter/v1/{topic}", body, False, False, 1)


class Ticking:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_the_gate_lets_a_burst_through_and_then_one_a_second() -> None:
    seconds = Ticking()
    gate = LetterGate(seconds)
    assert [gate.allows(SITE, "contract") for _ in range(AT_ONCE + 3)] == [True] * AT_ONCE + [False] * 3
    assert gate.allows(SITE, "unknown_device"), "one kind does not push out another"
    assert gate.allows("park-2", "contract"), "nor one site another"
    seconds.now_s = 2.5
    assert [gate.allows(SITE, "contract") for _ in range(4)] == [True, True, False, False]
    seconds.now_s = 1e6
    assert sum(gate.allows(SITE, "contract") for _ in range(2 * AT_ONCE)) == AT_ONCE


class Deaf:
    """Policies that nobody may ask."""

    async def policy(self, site: str) -> None:
        raise AssertionError(f"SQL was asked for site {site}")


async def test_a_flood_of_unknown_sites_fills_nothing_and_asks_sql_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage.applier, "_policies", Deaf())
    names = [f"site-{number}" for number in range(3 * AT_ONCE)]
    await stage.ingest.handle([message(f"{name}/em-1/tele") for name in names])
    counters = stage.ingest.counters
    assert counters.dead == counters.dead_by["unknown_site"] == len(names)
    assert counters.letters_not_kept == len(names) - AT_ONCE
    assert len(await stage.store.dead_letters(NO_SITE, limit=10_000)) == AT_ONCE
    assert not any([await stage.store.dead_letters(name, limit=1) for name in names])


async def test_a_flood_of_unknown_devices_is_counted_and_leaves_bounded_letters(stage: Stage) -> None:
    await stage.ingest.handle([message(f"{SITE}/nobody-{number}/tele") for number in range(AT_ONCE + 40)])
    assert stage.ingest.counters.dead_by["unknown_device"] == AT_ONCE + 40
    assert stage.ingest.counters.letters_not_kept == 40
    assert len(await stage.store.dead_letters(SITE, limit=10_000)) == AT_ONCE


async def test_letters_of_no_site_are_for_those_who_see_all_sites(stage: Stage, client: AsyncClient) -> None:
    await stage.ingest.handle([message("nowhere/em-1/tele")])
    answer = await client.get("/api/v1/sites/_/dead-letters", headers=ADMIN)
    assert answer.status_code == 200, answer.text
    assert [letter["reason"] for letter in answer.json()["items"]] == ["unknown site nowhere"]
    of_one_site = bearer(await stage.token("owner", name="local", site=SITE))
    assert (await client.get("/api/v1/sites/_/dead-letters", headers=of_one_site)).status_code == 404


# --- divided layouts ----------------------------------------------------------------------------------------------


class Listeners:
    """Strays over a census that is written here."""

    def __init__(self, stage: Stage, *, spread_above: int, groups: dict[str, str]) -> None:
        self.reads = 0
        self.groups = groups
        self.ingest = Ingest(stage.store, stage.applier, stage.clock, stage.vitals)
        layout = Layout(3, spread_above)
        self.strays = Strays(self.census, layout, stage.store, stage.applier, self.ingest, stage.clock)

    async def census(self) -> list[SiteDevices]:
        self.reads += 1
        return [SiteDevices(SITE, self.groups)]


async def test_strays_are_what_no_shard_hears(stage: Stage) -> None:
    listeners = Listeners(stage, spread_above=0, groups={"em-known": "g"})
    topics = ["em-known/tele", "nobody/tele", "nobody/cmd", "no body/tele"]
    await listeners.strays.hear([message(f"{SITE}/{topic}") for topic in topics] + [message("nowhere/em-1/tele")])
    reasons = [letter.reason for letter in await stage.store.dead_letters(SITE, limit=10)][::-1]
    assert reasons == ["unknown device nobody", "unknown device no body"]
    assert [one.reason for one in await stage.store.dead_letters(NO_SITE, limit=9)] == ["unknown site nowhere"]
    assert dict(listeners.ingest.counters.dead_by) == {"unknown_device": 2, "unknown_site": 1}


async def test_an_undivided_site_is_its_shards_own_concern(stage: Stage) -> None:
    listeners = Listeners(stage, spread_above=10, groups={})
    await listeners.strays.hear([message(f"{SITE}/nobody/tele")])
    assert await stage.store.dead_letters(SITE, limit=10) == []


async def test_a_device_that_was_imported_a_moment_ago_is_no_stray(stage: Stage) -> None:
    listeners = Listeners(stage, spread_above=0, groups={"another": "g"})
    assert await stage.store.group_of(SITE, "em-001") is not None
    await listeners.strays.hear([message(f"{SITE}/em-001/tele")])
    assert await stage.store.dead_letters(SITE, limit=10) == []


async def test_a_flood_of_strays_is_looked_up_once_and_bounded(stage: Stage) -> None:
    listeners = Listeners(stage, spread_above=0, groups={"another": "g"})
    for _ in range(5):
        await listeners.strays.hear([message(f"site-{number}/em/tele") for number in range(AT_ONCE)])
    assert listeners.reads == 1
    assert len(await stage.store.dead_letters(NO_SITE, limit=10_000)) == AT_ONCE
    assert listeners.ingest.counters.dead == 5 * AT_ONCE


@pytest.mark.parametrize("error", [ConnectionError("gone"), TimeoutError()])
async def test_letters_that_cannot_be_kept_hold_up_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(stage.store, "dead_letter", broken)
    listeners = Listeners(stage, spread_above=0, groups={})
    await asyncio.wait_for(listeners.strays.hear([message("elsewhere/em/tele")]), 60)
    monkeypatch.undo()
    assert await stage.store.dead_letters(NO_SITE, limit=10) == []
    await listeners.strays.hear([message("elsewhere/em/tele")])
    assert len(await stage.store.dead_letters(NO_SITE, limit=10)) == 1

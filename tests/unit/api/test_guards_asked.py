"""How far a guard is used up is asked for where a decision depends on it, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.unit.api.parks import SITE
from tests.unit.api.stage import Stage
from tests.unit.api.test_held_firings import only_a_guarded_rule
from twin.core.messages import DeviceEvent, Message


@pytest.fixture
async def asked(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, int]]:
    """A park with a guarded rule; the list grows by each question about guards."""
    await only_a_guarded_rule(stage)
    questions: list[Mapping[str, int]] = []
    ask = stage.store.guards_used

    async def noted(site: str, windows: Mapping[str, int], *, now: int) -> dict[str, int]:
        questions.append(windows)
        return await ask(site, windows, now=now)

    monkeypatch.setattr(stage.store, "guards_used", noted)
    return questions


def trips(stage: Stage) -> dict[str, list[Message]]:
    now = stage.clock.now()
    return {group: [DeviceEvent(device, "trip", now)] for group, device in (("t-001", "em-001"), ("t-002", "em-002"))}


async def locked(stage: Stage) -> list[str]:
    groups = await stage.store.load(SITE, ["t-001", "t-002"])
    return [name for name, group in sorted(groups.items()) if any(b.locks for b in group.breakers.values())]


async def test_readings_ask_nothing(stage: Stage, asked: list[Mapping[str, int]]) -> None:
    await stage.connect("t-001", "em-001")
    await stage.read("t-001", "em-001", 1, import_wh=120_000, power_w=900)
    assert asked == []


async def test_firings_of_one_batch_share_the_guard_and_ask_once(stage: Stage, asked: list[Mapping[str, int]]) -> None:
    await stage.applier.apply(SITE, trips(stage))
    assert await locked(stage) == ["t-001"]
    assert len(asked) == 1


async def test_firings_of_earlier_batches_count(stage: Stage, asked: list[Mapping[str, int]]) -> None:
    for group, messages in trips(stage).items():
        await stage.applier.apply(SITE, {group: messages})
    assert await locked(stage) == ["t-001"]
    assert len(asked) == 2


async def test_a_message_that_fails_is_told_once_though_its_group_is_decided_twice(
    stage: Stage, asked: list[Mapping[str, int]]
) -> None:
    now = stage.clock.now()
    messages: list[Message] = [DeviceEvent("em-404", "trip", now), DeviceEvent("em-001", "trip", now)]
    outcome = await stage.applier.apply(SITE, {"t-001": messages})
    assert [failure.message for failure in outcome.failures] == messages[:1]
    assert len(asked) == 1
    assert await locked(stage) == ["t-001"]

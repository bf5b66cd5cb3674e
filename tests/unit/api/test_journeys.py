"""Journeys: the same trace in every process, one root a message, links for the rest; off is nothing."""

from __future__ import annotations

import sys

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from structlog.testing import capture_logs

from adapters.journeys.follow import MissingPackagesError, open_journeys
from adapters.journeys.log_lines import LoggedJourneys, SeveralJourneys
from adapters.journeys.spans import TracedJourneys, root_of, trace_of
from tests.unit.api.parks import SITE
from tests.unit.api.stage import Stage
from twin.core.effects import Caused
from twin.core.messages import Telemetry, Tick
from twin.flows.apply_messages import Applier
from twin.journeys import ids_of, message_id, wanted_ids
from twin.ports import Entry

ID = "park-1/em-001/s1/42"


def traced(one_of: int = 1) -> tuple[TracedJourneys, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    return TracedJourneys(exporter, service="test", one_of=one_of), exporter


def test_an_id_is_what_the_sender_numbered_it_by() -> None:
    assert message_id("park-1", "t-001", Telemetry("em-001", "s1", 42, 5, {}), 9) == ID
    assert message_id("park-1", "t-001", Tick(), 9) == "park-1/tick/t-001/9"


def test_processes_meet_in_one_trace_without_telling_each_other() -> None:
    first, seen_first = traced()
    first.step("received", [ID], began_ns=10, ended_ns=20)
    first.step("committed", ["park-1/em-001/s1/41", ID], began_ns=20, ended_ns=30, group="t-001")
    second, seen_second = traced()
    second.step("posted", [ID], began_ns=40, ended_ns=50, journals="7")
    first.close()
    second.close()
    root, committed = seen_first.get_finished_spans()
    (posted,) = seen_second.get_finished_spans()
    assert {span.context.trace_id for span in (root, committed, posted)} == {trace_of(ID)}
    assert (root.context.span_id, root.parent) == (root_of(ID), None)
    assert committed.parent.span_id == posted.parent.span_id == root_of(ID)
    assert [link.context.trace_id for link in committed.links] == [trace_of("park-1/em-001/s1/41")]
    assert posted.attributes["twinmeter.journals"] == "7"
    assert (posted.start_time, posted.end_time) == (40, 50)


def test_one_of_so_many_and_every_process_chooses_the_same() -> None:
    first, _ = traced(one_of=10)
    second, _ = traced(one_of=10)
    names = [f"park-1/em-{number}/s/1" for number in range(2_000)]
    chosen = [name for name in names if first.wants(name)]
    assert 120 < len(chosen) < 280
    assert chosen == [name for name in names if second.wants(name)]


def test_several_are_told_what_each_wants() -> None:
    spans, seen = traced(one_of=10**9)
    both = SeveralJourneys([LoggedJourneys(), spans])
    assert both.wants(ID)
    with capture_logs() as lines:
        both.step("received", [ID], began_ns=0, ended_ns=5_000_000, topic="x")
    both.close()
    assert lines == [{"event": "received", "log_level": "info", "id": ID, "took_ms": 5, "topic": "x"}]
    assert seen.get_finished_spans() == ()


def test_off_is_nothing_at_all() -> None:
    assert open_journeys(logged=False, otlp_url="", service="x", one_of=1) is None


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "adapters.journeys.spans", None)
    with pytest.raises(MissingPackagesError, match=r"twinmeter\[otel\]"):
        open_journeys(logged=False, otlp_url="http://127.0.0.1:1", service="x", one_of=1)


async def test_effects_carry_their_cause_only_where_somebody_follows(stage: Stage) -> None:
    await stage.connect("t-001", "em-001")
    await stage.read("t-001", "em-001", 1, import_wh=120_000, power_w=0)
    assert all(not ids_of(entry) for entry in await stage.stream.peek(SITE, "0-0", 100))
    before = (await stage.store.generation(SITE))[1]
    stage.applier = Applier(stage.store, stage.policies, stage.clock, LoggedJourneys())
    stage.clock.at += 900_000
    with capture_logs() as lines:
        await stage.read("t-001", "em-001", 2, import_wh=121_000, power_w=0)
        stage.clock.at += 900_000
        await stage.read("t-001", "em-001", 3, import_wh=122_000, power_w=0)
    entries = await stage.stream.peek(SITE, before, 100)
    assert [ids_of(entry) for entry in entries] == [(f"{SITE}/em-001/s1/2",), (f"{SITE}/em-001/s1/3",)][-len(entries) :]
    assert {line["event"] for line in lines} >= {"decided", "committed"}
    await stage.post()
    assert (await stage.gauges.read(SITE)).effects_refused == 0


def test_many_messages_are_named_by_their_newest() -> None:
    timed = [(Telemetry("em-001", "s1", seq, 5, {}), 9) for seq in range(1_000)]
    ids = wanted_ids(LoggedJourneys(), "park-1", "t-001", timed)
    assert (len(ids), ids[-1]) == (200, "park-1/em-001/s1/999")
    assert ids_of(Entry("1-1", "t-001", (Caused(ids),))) == ids

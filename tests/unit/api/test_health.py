"""Health and metrics."""

from __future__ import annotations

from types import SimpleNamespace

from httpx import AsyncClient
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from adapters.mqtt.subscriber import SubscriberCounters
from api.http.lag import STUCK_S, LagWatch
from tests.unit.api.parks import SITE
from tests.unit.api.stage import ADMIN, Stage
from twin.ports import StoreLostError


async def numbers(client: AsyncClient) -> dict[tuple[str, ...], float]:
    """Every sample of one scrape by its name and labels."""
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_alive(client: AsyncClient) -> None:
    assert (await client.get("/health/live")).json() == {"ok": True, "checks": {}}


async def test_ready_says_what_is_missing(client: AsyncClient, stage: Stage) -> None:
    answer = await client.get("/health/ready")
    assert answer.status_code == 200, answer.text
    assert answer.json()["checks"].keys() == {"database", "twins", "broker", "ledger"}
    stage.subscriber = SimpleNamespace(counters=SubscriberCounters(connected=False))
    answer = await client.get("/health/ready")
    assert (answer.status_code, answer.json()["checks"]["broker"]["ok"]) == (503, False)
    stage.subscriber.counters.connected = True
    assert (await client.get("/health/ready")).status_code == 200
    await stage.database.close()
    stage.gauges = SimpleNamespace(ping=_fails)
    answer = await client.get("/health/ready")
    assert (answer.status_code, answer.json()["checks"]["database"]["ok"]) == (503, False)
    assert "insides" not in answer.text


async def _fails() -> None:
    raise StoreLostError("insides")


async def test_a_ledger_that_stands_still_with_work_to_do_is_stuck(stage: Stage) -> None:
    time_s = 0.0
    watch = LagWatch(lambda: time_s)
    await stage.connect("t-001", "em-001")
    before = await watch.look(stage, SITE)
    assert before.entries > 0
    assert not before.stuck
    time_s = STUCK_S + 1
    assert (await watch.look(stage, SITE)).stuck
    await stage.post()
    after = await watch.look(stage, SITE)
    assert (after.entries, after.stuck) == (0, False)
    time_s *= 3
    assert not (await watch.look(stage, SITE)).stuck


async def test_metrics_tell_what_the_platform_does(client: AsyncClient, stage: Stage) -> None:
    await stage.connect("t-001", "em-001")
    stage.ingest.counters.readings += 7
    stage.ingest.counters.dead_by["contract"] += 2
    stage.service_failures["ingest"] += 1
    keyed = {**ADMIN, "Idempotency-Key": "k"}
    url = f"/api/v1/sites/{SITE}/devices/em-001/commands"
    assert (await client.post(url, json={"target": "open", "reason": "x"}, headers=keyed)).status_code == 202
    before = await numbers(client)
    assert before["twinmeter_readings_total",] == 7
    assert before["twinmeter_dead_letters_total", "contract"] == 2
    assert before["twinmeter_service_failures_total", "ingest"] == 1
    assert before["twinmeter_ledger_lag_entries", SITE] > 0
    assert before["twinmeter_effect_stream_entries", SITE] == before["twinmeter_ledger_lag_entries", SITE]
    assert before["twinmeter_http_request_seconds_count", "commandDevice", "202"] == 1
    await stage.post()
    after = await numbers(client)
    assert after["twinmeter_ledger_lag_entries", SITE] == 0
    assert after["twinmeter_ledger_lag_seconds", SITE] == 0
    assert after["twinmeter_commands", SITE, "created"] == 1
    assert after["twinmeter_acts_undelivered", SITE] == 0
    assert not [family for family in REGISTRY.collect() if family.name.startswith("twinmeter")]


async def test_metrics_without_the_database_still_tell_the_rest(client: AsyncClient, stage: Stage) -> None:
    stage.gauges = SimpleNamespace(ping=_fails, read=_fails)
    assert ("twinmeter_readings_total",) in await numbers(client)

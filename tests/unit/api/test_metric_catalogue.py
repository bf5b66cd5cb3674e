"""The catalogue of metrics, and everything that names metrics: told, drawn, watched, explained; bounded; cheap."""

from __future__ import annotations

import ast
import json
import re
from importlib import import_module
from pathlib import Path

import pytest
from httpx import AsyncClient
from prometheus_client.parser import text_string_to_metric_families

from adapters.store.journals.refusals import INCIDENT
from api.http.metric_catalogue import CATALOGUE, family
from api.http.service_metrics import metrics_app
from api.http.site_metrics import INCIDENT_KINDS, WENT_BACK
from docs import dashboard, metrics_page
from tests.unit.api.parks import SITE
from tests.unit.api.stage import Stage
from twin.flows.vitals import BOUNDS_MS, LagHistogram

ROOT = Path(__file__).parents[3]
UNITS = {"s", "ops", "short", "none", "watth", "litre"}
ONLY_WHERE_IT_RUNS = {
    name for name in CATALOGUE if name.startswith(("twinmeter_recorder_", "twinmeter_ingest_"))
} - {"twinmeter_recorder_lag_seconds"}  # fmt: skip
"""Told by the process that has the session, and by no other."""


def panels() -> list[dict]:
    return json.loads((ROOT / "deploy/grafana/twinmeter.json").read_text(encoding="utf-8"))["panels"]


def queries() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel.get("targets", ())]


async def test_every_metric_is_told_and_none_besides(client: AsyncClient, stage: Stage) -> None:
    await stage.connect("t-001", "em-001")
    stage.service_failures["ingest"] += 1
    told = {
        found.name
        for found in text_string_to_metric_families((await client.get("/metrics")).text)
        if found.name.startswith("twinmeter_")
    }
    assert told - CATALOGUE.keys() == set()
    where_there_are_any = {f"twinmeter_{name}" for name in ("alarms_active", "incidents_open", "commands")}
    assert CATALOGUE.keys() - told <= ONLY_WHERE_IT_RUNS | where_there_are_any


async def test_a_process_without_the_api_asks_neither_redis_nor_sql(stage: Stage) -> None:
    await stage.database.close()
    sent: list[dict] = []

    async def send(message: dict) -> None:
        sent.append(message)

    await metrics_app(stage)({"type": "http", "path": "/metrics", "method": "GET"}, None, send)
    found = {family.name for family in text_string_to_metric_families(sent[1]["body"].decode())}
    ours = {name for name in found if name.startswith("twinmeter_")}
    assert {"twinmeter_readings", "twinmeter_stage_seconds", "twinmeter_service_runs"} <= ours
    assert all(CATALOGUE[name].by == "process" for name in ours)
    assert "process_cpu_seconds" in found


def test_dashboard_and_alerts_name_what_there_is_and_nothing_is_an_orphan() -> None:
    drawn = set().union(*map(metrics_page.metrics_in, queries()))
    watched = set().union(*(metrics_page.metrics_in(rule["expr"]) for rule in metrics_page.alerts()))
    assert (drawn | watched) - CATALOGUE.keys() == set()
    assert CATALOGUE.keys() - drawn == set(), "every metric has its panel"
    for text in (*queries(), *(rule["expr"] for rule in metrics_page.alerts())):
        for name in re.findall(r"\btwinmeter_[a-z0-9_]+\b", text):
            known = CATALOGUE[next(iter(metrics_page.metrics_in(name)))]
            assert name == known.sample(next(iter(metrics_page.metrics_in(name)))), (
                f"{name} is no sample of a {known.kind}"
            )
        assert text.count("(") == text.count(")")
        for labels in re.findall(r"\b(twinmeter_[a-z0-9_]+)\{([^}]*)\}", text):
            names = set(re.findall(r"(\w+)\s*[=!]", labels[1]))
            assert names <= {*CATALOGUE[next(iter(metrics_page.metrics_in(labels[0])))].labels, "job", "instance"}, text


def test_the_dashboard_is_a_dashboard() -> None:
    document = json.loads((ROOT / "deploy/grafana/twinmeter.json").read_text(encoding="utf-8"))
    assert document["uid"] == "twinmeter"
    numbers = [panel["id"] for panel in document["panels"]]
    assert len(set(numbers)) == len(numbers)
    for panel in document["panels"]:
        assert panel["type"] in ("row", "timeseries")
        if panel["type"] == "timeseries":
            assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
            assert panel["targets"]
    drawn = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in document["panels"]]
    assert len(set(drawn)) == len(drawn), "no panel lies on another"
    assert json.loads(dashboard.dashboard()) == document


def test_every_alert_says_how_bad_in_two_languages_and_where_to_read_on() -> None:
    rules = metrics_page.alerts()
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in ("warning", "major", "critical"), rule["alert"]
        assert re.search(r"[\u4e00-\u9fff].* / [A-Z]", rule["annotations"]["summary"]), rule["alert"]
        assert (ROOT / rule["annotations"]["runbook"]).is_file(), rule["alert"]
        assert re.fullmatch(r"\d+[smh]", rule["for"])


def test_labels_are_bounded() -> None:
    allowed = {
        "site", "stage", "reason", "client", "consumer", "service", "kind", "state", "severity", "operation", "status"
    }  # fmt: skip
    assert {label for metric in CATALOGUE.values() for label in metric.labels} <= allowed
    with pytest.raises(KeyError):
        family("twinmeter_invented")


async def test_an_incident_of_an_unknown_kind_is_counted_as_other(client: AsyncClient, stage: Stage) -> None:
    async with stage.database.write() as tx:
        for number in range(3):
            await tx.execute(
                "INSERT INTO incident (site, device, kind, since, count, detail) VALUES (?, ?, ?, ?, 1, '')",
                SITE, "em-001", f"made up {number}", 1,
            )  # fmt: skip
    text = (await client.get("/metrics")).text
    assert f'twinmeter_incidents_open{{kind="other",site="{SITE}"}} 3.0' in text or (
        f'twinmeter_incidents_open{{site="{SITE}",kind="other"}} 3.0' in text
    )


def test_kinds_of_incidents_are_those_that_code_opens() -> None:
    core = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "twin/core").glob("*.py"))
    opened = kinds_opened_in_the_core() | set(re.findall(r"\"quarantined\",\s*reason=\"([a-z_]+)\"", core))
    shares = (ROOT / "adapters/store/bills/shares.py").read_text(encoding="utf-8")
    opened |= set(re.findall(r"Trouble\([^,]+, [^,]+, \"([a-z_]+)\"", shares))
    assert opened | {INCIDENT, WENT_BACK} == INCIDENT_KINDS


def kinds_opened_in_the_core() -> set[str]:
    """What `open_incident` is called with, by its text or by the name of a constant."""
    found = set()
    for path in (ROOT / "twin/core").glob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "open_incident":
                kind = call.args[2]
                if isinstance(kind, ast.Constant):
                    found.add(kind.value)
                elif isinstance(kind, ast.Name):
                    found.add(getattr(import_module(f"twin.core.{path.stem}"), kind.id))
    return found


async def test_unposted_money_is_counted_to_the_nano_and_falls_when_it_is_posted(
    client: AsyncClient, stage: Stage
) -> None:
    await stage.connect("t-001", "em-001")
    await stage.read("t-001", "em-001", 1, import_wh=120_000, power_w=0)
    await stage.post()
    stage.clock.at += 900_000
    await stage.read("t-001", "em-001", 2, import_wh=121_000, power_w=0)
    stage.clock.at += 900_000
    await stage.read("t-001", "em-001", 3, import_wh=122_000, power_w=0)
    site = f'site="{SITE}"'
    before = await scraped(client)
    owed = before[f"twinmeter_unposted_money_nano{{{site}}}"]
    entries = await stage.stream.peek(SITE, await stage.ledger.position(SITE), 100)
    amounts = [effect.amount_nano for entry in entries for effect in entry.effects if hasattr(effect, "amount_nano")]
    assert owed == sum(amounts) > 0
    assert before[f"twinmeter_unposted_money_partial{{{site}}}"] == 0
    await stage.post()
    after = await scraped(client)
    assert after[f"twinmeter_unposted_money_nano{{{site}}}"] == 0
    assert after[f"twinmeter_unposted_money_seconds{{{site}}}"] == 0


async def test_readings_that_wait_for_review_and_what_they_claim(client: AsyncClient, stage: Stage) -> None:
    await stage.connect("t-001", "em-001")
    await stage.read("t-001", "em-001", 1, import_wh=120_000, power_w=0)
    stage.clock.at += 60_000
    await stage.read("t-001", "em-001", 2, import_wh=900_000_000, power_w=0)
    await stage.post()
    told = await scraped(client)
    assert told[f'twinmeter_quarantined_readings{{site="{SITE}"}}'] == 1
    assert told[f'twinmeter_quarantined_energy_wh{{site="{SITE}"}}'] == 900_000_000 - 120_000


async def scraped(client: AsyncClient) -> dict[str, float]:
    """Samples by their text without the value."""
    lines = (await client.get("/metrics")).text.splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def test_the_histogram_counts_each_span_once() -> None:
    lag = LagHistogram()
    for span_ms in (-3, 0, 5, 6, 3_600_000, 3_600_001):
        lag.observe(span_ms)
    lag.observe(40, times=4)
    buckets = dict(lag.buckets())
    assert (buckets["0.005"], buckets["0.01"], buckets["0.05"], buckets["3600"], buckets["+Inf"]) == (3, 4, 8, 9, 10)
    assert len(buckets) == len(BOUNDS_MS) + 1
    assert lag.total_ms == 5 + 6 + 3_600_000 + 3_600_001 + 160

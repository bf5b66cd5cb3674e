"""The Grafana dashboard, made from a table of panels: `deploy/grafana/twinmeter.json`.

A panel names its queries and its unit. A test holds the metrics in it to the catalogue, both ways.
"""

from __future__ import annotations

import json
from typing import Any, Final

SITE: Final = '{site=~"$site"}'
RATE: Final = "[$__rate_interval]"
Panel = tuple[str, str, tuple[tuple[str, str], ...]]
"""Title, unit of Grafana, and (query, legend) of each line."""


def _rate(name: str, by: str = "") -> str:
    return f"sum{f' by ({by})' if by else ''} (rate({name}{RATE}))"


def _quantile(stage: str) -> str:
    return f'histogram_quantile(0.99, sum by (le) (rate(twinmeter_stage_seconds_bucket{{stage="{stage}"}}{RATE})))'


ROWS: Final[dict[str, tuple[Panel, ...]]] = {
    "Money": (
        ("Unposted money", "none", (
            (f"twinmeter_unposted_money_nano{SITE} / 1e9", "{{site}}"),
            (f"twinmeter_unposted_money_partial{SITE}", "{{site}} counts on"),
        )),
        ("Oldest unposted charge, and the ledger's lag", "s", (
            (f"twinmeter_unposted_money_seconds{SITE}", "{{site}} charge"),
            (f"twinmeter_ledger_lag_seconds{SITE}", "{{site}} ledger"),
        )),
        ("Acts that no twin has", "short", ((f"twinmeter_acts_undelivered{SITE}", "{{site}}"),)),
        ("Oldest act that no twin has", "s", ((f"twinmeter_act_undelivered_seconds{SITE}", "{{site}}"),)),
        ("Refused by the ledger, lost by a restore", "short", (
            (f"twinmeter_effects_refused{SITE}", "{{site}} refused"),
            (f"twinmeter_ledger_went_back{SITE}", "{{site}} went back"),
        )),
        ("Meters to rate again", "short", (
            (f"twinmeter_rerate_marks{SITE}", "{{site}} waiting"),
            (f"twinmeter_rerate_troubles{SITE}", "{{site}} cannot be"),
        )),
    ),
    "Device to ledger": (
        ("99 % of readings within", "s", tuple((_quantile(stage), stage) for stage in ("receipt", "commit", "posted"))),
        ("Taken in", "ops", (
            (_rate("twinmeter_messages_total"), "messages"),
            (_rate("twinmeter_readings_total"), "readings"),
            (_rate("twinmeter_late_samples_total"), "of the past"),
            (_rate("twinmeter_ingest_acknowledged_total"), "acknowledged"),
        )),
        ("Not understood", "ops", (
            (_rate("twinmeter_dead_letters_total", "reason"), "{{reason}}"),
            (_rate("twinmeter_unknown_devices_total"), "unknown devices"),
            (_rate("twinmeter_undecided_messages_total"), "undecided"),
            (_rate("twinmeter_dead_letters_not_kept_total"), "no letter kept"),
        )),
        ("Batches", "ops", (
            (_rate("twinmeter_ingest_batches_total"), "decided"),
            (_rate("twinmeter_ingest_batch_failures_total"), "given back"),
            ("sum (twinmeter_ingest_in_flight)", "messages in flight"),
        )),
        ("Effect stream", "short", (
            (f"twinmeter_effect_stream_entries{SITE}", "{{site}} length"),
            (f"twinmeter_ledger_lag_entries{SITE}", "{{site}} not in the ledger"),
            (f"twinmeter_consumer_lag_entries{SITE}", "{{site}} {{consumer}} behind"),
        )),
        ("Entries dealt with", "ops", ((_rate("twinmeter_entries_consumed_total", "consumer"), "{{consumer}}"),)),
    ),
    "Switching and people": (
        ("Oldest command that is not verified", "s", (
            (f"twinmeter_command_oldest_seconds{SITE}", "{{site}} {{state}}"),
        )),
        ("Commands by state", "short", (
            ('twinmeter_commands{site=~"$site", state!="verified"}', "{{site}} {{state}}"),
        )),
        ("Alarms", "short", ((f"twinmeter_alarms_active{SITE}", "{{site}} {{severity}}"),)),
        ("Incidents", "short", ((f"twinmeter_incidents_open{SITE}", "{{site}} {{kind}}"),)),
        ("Readings that wait for review", "short", ((f"twinmeter_quarantined_readings{SITE}", "{{site}}"),)),
        ("Energy that waits for review", "watth", ((f"twinmeter_quarantined_energy_wh{SITE}", "{{site}}"),)),
        ("Water that waits for review", "litre", ((f"twinmeter_quarantined_water_litres{SITE}", "{{site}}"),)),
        ("Webhooks and notices", "short", (
            (f"twinmeter_webhooks_waiting{SITE}", "{{site}} webhooks waiting"),
            (f"twinmeter_notices_waiting{SITE}", "{{site}} notices waiting"),
            ("sum (increase(twinmeter_webhooks_failed_total[1h]))", "webhooks failed in an hour"),
            ("sum (increase(twinmeter_webhooks_delivered_total[1h]))", "webhooks had in an hour"),
            ("sum by (state) (increase(twinmeter_payment_calls_total[1h]))", "payments {{state}} in an hour"),
        )),
    ),
    "Processes": (
        ("Services that run", "short", (("sum by (service) (twinmeter_service_runs)", "{{service}}"),)),
        ("Failures and rebuilds in an hour", "short", (
            ("sum by (service) (increase(twinmeter_service_failures_total[1h]))", "{{service}} failed"),
            ("sum by (site) (increase(twinmeter_twins_rebuilt_total[1h]))", "{{site}} rebuilt"),
        )),
        ("Connections to the broker", "short", (
            ("sum (twinmeter_ingest_connected)", "ingest"),
            ("sum (twinmeter_publisher_connected)", "commands"),
            ("sum (twinmeter_recorder_connected)", "recorder"),
            ("sum by (client) (increase(twinmeter_broker_reconnects_total[1h]))", "{{client}} made anew in an hour"),
        )),
        ("Owners of shards", "short", (
            ("sum by (kind) (twinmeter_leases_held)", "{{kind}} owned"),
            ("sum by (kind) (increase(twinmeter_shard_owner_changes_total[1h]))", "{{kind}} changes in an hour"),
            ("sum by (kind) (increase(twinmeter_leases_lost_total[1h]))", "{{kind}} lost in an hour"),
            ("sum by (kind) (increase(twinmeter_commits_fenced_total[1h]))", "{{kind}} fenced in an hour"),
        )),
        ("Timers", "s", (
            (f"twinmeter_timer_overdue_seconds{SITE}", "{{site}} overdue"),
            ("max (twinmeter_timer_lateness_seconds)", "late when woken"),
        )),
        ("Woken, sent", "ops", (
            (_rate("twinmeter_timers_woken_total"), "groups woken"),
            (_rate("twinmeter_published_total"), "messages sent"),
        )),
        ("Recorder", "s", (
            (f"twinmeter_recorder_lag_seconds{SITE}", "{{site}} behind"),
            ("max (twinmeter_recorder_write_seconds)", "last write"),
        )),
        ("Recorded", "short", (
            (_rate("twinmeter_recorder_messages_total"), "messages a second"),
            (_rate("twinmeter_recorder_skipped_total"), "skipped a second"),
            ("sum (twinmeter_recorder_unacknowledged)", "not written yet"),
        )),
    ),
    "API": (
        ("99 % of answers within", "s", (
            (f"histogram_quantile(0.99, sum by (le) (rate(twinmeter_http_request_seconds_bucket{RATE})))", "all"),
        )),
        ("Live feeds", "short", (
            ("sum (twinmeter_live_feeds)", "open"),
            ("sum (increase(twinmeter_live_feeds_let_go_total[1h]))", "let go in an hour"),
        )),
    ),
}  # fmt: skip


def dashboard() -> str:
    """The dashboard as JSON text."""
    panels: list[dict[str, Any]] = []
    top = 0
    for row, drawn in ROWS.items():
        panels.append(_place({"type": "row", "title": row, "collapsed": False, "panels": []}, panels, 0, top, 24, 1))
        top += 1
        for index, panel in enumerate(drawn):
            panels.append(_place(_graph(panel), panels, 12 * (index % 2), top + 8 * (index // 2), 12, 8))
        top += 8 * ((len(drawn) + 1) // 2)
    document = {
        "uid": "twinmeter",
        "title": "twinmeter",
        "tags": ["twinmeter"],
        "timezone": "browser",
        "schemaVersion": 39,
        "version": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_datasource(), _site()]},
        "panels": panels,
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _place(
    panel: dict[str, Any], before: list[dict[str, Any]], x: int, y: int, width: int, height: int
) -> dict[str, Any]:
    return {"id": len(before) + 1, **panel, "gridPos": {"x": x, "y": y, "w": width, "h": height}}


def _graph(panel: Panel) -> dict[str, Any]:
    title, unit, lines = panel
    source = {"type": "prometheus", "uid": "${datasource}"}
    targets = [
        {"refId": chr(ord("A") + index), "datasource": source, "expr": expression, "legendFormat": legend}
        for index, (expression, legend) in enumerate(lines)
    ]
    defaults = {"unit": unit, "min": 0, "custom": {"drawStyle": "line", "fillOpacity": 8, "showPoints": "never"}}
    return {
        "type": "timeseries",
        "title": title,
        "datasource": source,
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
    }


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _site() -> dict[str, Any]:
    query = "label_values(twinmeter_ledger_lag_entries, site)"
    return {
        "name": "site",
        "label": "Site",
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": {"query": query, "refId": "site"},
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "refresh": 2,
    }

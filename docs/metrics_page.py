# ruff: noqa: E501 -- the prose of the pages is wrapped as Markdown, not as code
"""The page of metrics, made from their catalogue, and which alerts watch each of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

from ruamel.yaml import YAML

from api.http.metric_catalogue import CATALOGUE

ALERTS = Path(__file__).parents[1] / "deploy" / "prometheus" / "alerts.yml"


def page() -> str:
    """The page as Markdown."""
    watched = watching_alerts()
    lines = [
        "# Metrics",
        "",
        "Every process tells its own counts at `/metrics` of the address in `TWINMETER_METRICS`; under `twinmeter up` all of them",
        "are told by the API at `/metrics`, which adds what stands in Redis and SQL, site by site. Scrape each process, and the API.",
        "Nobody is asked for a token: keep these addresses on the machine or in a private network. Beside these, every process",
        "tells `process_cpu_seconds_total`, `process_resident_memory_bytes` and their neighbours.",
        "",
        "Labels are bounded: sites, services and words of our own; never a device, a tenant or free text. Counting one span of time",
        "costs less than a microsecond of CPU.",
        "",
        "[Grafana's dashboard](../../deploy/grafana/twinmeter.json) and [the alerts](../../deploy/prometheus/alerts.yml) use exactly",
        "these; `docker compose --profile observability up -d` starts both beside the platform.",
    ]
    titles = {"process": "Told by each process of itself", "api": "Told by the API: what stands in Redis and SQL"}
    for by, title in titles.items():
        lines += [
            "",
            f"## {title}",
            "",
            "| metric | type, unit | labels | answers | means | what to do | alerts |",
            "|---|---|---|---|---|---|---|",
        ]
        for name, metric in CATALOGUE.items():
            if metric.by != by:
                continue
            shown = f"{name}_total" if metric.kind == "counter" else name
            labels = ", ".join(f"`{label}`" for label in metric.labels)
            alerts = ", ".join(f"`{alert}`" for alert in watched.get(name, ()))
            lines.append(
                f"| `{shown}` | {metric.kind}, {metric.unit} | {labels} | {metric.question} | {metric.meaning} | {metric.act} | {alerts} |"
            )
    return "\n".join([*lines, ""])


def alerts() -> list[dict[str, Any]]:
    """The rules of the file of alerts."""
    document = cast("Any", YAML(typ="safe")).load(ALERTS)
    return [rule for group in document["groups"] for rule in group["rules"]]


def metrics_in(text: str) -> set[str]:
    """Names of the catalogue that a query uses, without the endings of their samples. Unknown names stay as they are."""
    return {_family(name) for name in re.findall(r"\btwinmeter_[a-z0-9_]+\b", text)}


def watching_alerts() -> dict[str, list[str]]:
    """Metric -> alerts that look at it."""
    found: dict[str, list[str]] = {}
    for rule in alerts():
        for name in sorted(metrics_in(rule["expr"])):
            found.setdefault(name, []).append(rule["alert"])
    return found


def _family(name: str) -> str:
    for ending in ("_total", "_bucket", "_count", "_sum"):
        known = CATALOGUE.get(name.removesuffix(ending))
        if name.endswith(ending) and known is not None:
            return name.removesuffix(ending)
    return name

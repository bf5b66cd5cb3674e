"""The catalogue of metrics: what each one counts, in which unit, the question it answers, and what to do about it.

Nothing is told that does not stand here: `family` refuses another name. The page `docs/operations/metrics.md`, the
dashboard `deploy/grafana/twinmeter.json` and the alerts are held to it by tests.

Labels are bounded: sites, services, and words of our own. No device, tenant or free text ever becomes a label.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from api.http.metric_row import Metric
from api.http.metrics_of_processes import OF_PROCESSES
from api.http.metrics_of_sites import OF_SITES

if TYPE_CHECKING:
    from prometheus_client import Metric as Family

CATALOGUE: Final[dict[str, Metric]] = OF_PROCESSES | OF_SITES


def family(name: str) -> Family:
    """An empty family of a metric of the catalogue. Raises KeyError for a name that does not stand there."""
    metric = CATALOGUE[name]
    text = metric.meaning.replace("`", "")
    if metric.kind == "counter":
        return CounterMetricFamily(name, text, labels=metric.labels)
    if metric.kind == "gauge":
        return GaugeMetricFamily(name, text, labels=metric.labels)
    return HistogramMetricFamily(name, text, labels=metric.labels)


def one(name: str, value: float) -> Family:
    """A family without labels and its value."""
    made = family(name)
    made.add_metric([], value)  # type: ignore[attr-defined]
    return made

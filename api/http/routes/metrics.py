"""Metrics over HTTP."""

from __future__ import annotations

from litestar import Response, get
from litestar.datastructures import State

from api.http.metrics import CONTENT_TYPE, Metrics


@get("/metrics", operation_id="readMetrics", summary="Metrics", tags=["health"], media_type="text/plain")
async def read_metrics(state: State) -> Response[bytes]:
    """Counters and gauges in the text format of Prometheus."""
    metrics: Metrics = state.metrics
    return Response(await metrics.text(), media_type=CONTENT_TYPE)

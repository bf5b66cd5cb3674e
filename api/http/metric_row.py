"""One metric: its type, unit and labels, the question it answers, and what to do about it."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Kind = Literal["counter", "gauge", "histogram"]
By = Literal["process", "api"]


class Metric(msgspec.Struct, frozen=True):
    """One row: `by` says who tells it, each process of itself or the API of what stands in Redis and SQL."""

    kind: Kind
    unit: str
    labels: tuple[str, ...]
    by: By
    meaning: str
    question: str
    act: str

    def sample(self, name: str) -> str:
        """The name under which it is asked for in a query."""
        return {"counter": f"{name}_total", "histogram": f"{name}_bucket", "gauge": name}[self.kind]


SITE: Final = ("site",)

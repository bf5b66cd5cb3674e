"""Journeys as OpenTelemetry traces, sent by OTLP over HTTP.

Theory of operation. The trace of a message is a digest of its id, and its root span too, so every process that meets
the id puts its span into the same trace without anything being handed on. The step that receives a message is the root;
what follows hangs below it. A step of many messages at once (a batch, a decision about several) belongs to the trace of
its newest one and links to the others. Which messages are followed, one of so many, follows from the id as well.

The packages are an extra (`pip install twinmeter[otel]`); without a URL nothing of this is imported.
"""

from __future__ import annotations

from hashlib import blake2s
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace.export import SpanExporter

MOST_LINKS: Final = 64
BATCH: Final = "batch"
ROOT: Final = "received"
OF_ITSELF: Final = ("act", "cmd", "tick")
"""Second words of ids of what no message from outside began: their first step is the decision."""


def trace_of(message: str) -> int:
    """The trace of a message, 128 bits."""
    return int.from_bytes(blake2s(message.encode(), digest_size=16, person=b"trace").digest(), "big")


def root_of(message: str) -> int:
    """The root span of a message, 64 bits."""
    return int.from_bytes(blake2s(message.encode(), digest_size=8, person=b"root").digest(), "big")


class ChosenIds(IdGenerator):
    """Ids as they were chosen for the next span, random ones otherwise."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()
        self.trace: int | None = None
        self.span: int | None = None

    def generate_trace_id(self) -> int:
        """128 bits."""
        return self.trace if self.trace is not None else self._random.generate_trace_id()

    def generate_span_id(self) -> int:
        """64 bits."""
        return self.span if self.span is not None else self._random.generate_span_id()


class TracedJourneys:
    """Spans of the messages that are followed, one of `one_of`."""

    def __init__(self, exporter: SpanExporter, *, service: str, one_of: int = 1) -> None:
        self._ids = ChosenIds()
        self._one_of = max(1, one_of)
        resource = Resource.create({"service.name": "twinmeter", "service.instance.id": service})
        self._provider = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("twinmeter")

    def wants(self, message: str) -> bool:
        """One of so many, by the id, so that every process follows the same ones."""
        return self._one_of == 1 or crc32(message.encode()) % self._one_of == 0

    def step(self, stage: str, ids: Sequence[str], *, began_ns: int, ended_ns: int, **facts: Any) -> None:
        """One span; a receipt is one for each message."""
        if stage == ROOT:
            for name in ids:
                self._root(stage, name, began_ns, ended_ns, facts)
        elif stage == BATCH:
            self._span(stage, None, ids[:MOST_LINKS], began_ns, ended_ns, facts)
        else:
            newest = ids[-1]
            if stage == "decided" and newest.split("/", 2)[1] in OF_ITSELF:
                self._root(stage, newest, began_ns, ended_ns, facts)
            else:
                self._span(stage, newest, ids[-MOST_LINKS:-1], began_ns, ended_ns, facts)

    def _root(self, stage: str, name: str, began_ns: int, ended_ns: int, facts: dict[str, Any]) -> None:
        self._ids.trace, self._ids.span = trace_of(name), root_of(name)
        try:
            self._span(stage, None, (), began_ns, ended_ns, {"id": name, **facts})
        finally:
            self._ids.trace = self._ids.span = None

    def _span(
        self,
        stage: str,
        name: str | None,
        linked: Sequence[str],
        began_ns: int,
        ended_ns: int,
        facts: dict[str, Any],
    ) -> None:
        parent = set_span_in_context(NonRecordingSpan(_context(name))) if name is not None else None
        told = {"id": name, **facts} if name is not None else facts
        span = self._tracer.start_span(
            stage,
            context=parent,
            attributes={f"twinmeter.{key}": _plain(value) for key, value in told.items()},
            links=[Link(_context(other)) for other in linked],
            start_time=began_ns,
        )
        span.end(end_time=max(began_ns, ended_ns))

    def close(self) -> None:
        """Send what waits; a receiver that is away is given up after a few seconds."""
        self._provider.shutdown()


def _context(name: str) -> SpanContext:
    return SpanContext(trace_of(name), root_of(name), is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | bool | int) else str(value)


def open_traces(url: str, *, service: str, one_of: int) -> TracedJourneys:
    """Traces to an OTLP receiver, such as `http://127.0.0.1:4318`."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    endpoint = url if url.rstrip("/").endswith("/v1/traces") else url.rstrip("/") + "/v1/traces"
    return TracedJourneys(OTLPSpanExporter(endpoint=endpoint, timeout=5), service=service, one_of=one_of)

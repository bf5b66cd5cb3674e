"""One id, from a message to its journal and its command: found in the logs of three processes, and as one trace.

The services are processes of their own on real servers; the device is played here, and so is the receiver of traces,
which decodes what arrives as any collector would.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import aiomqtt
import msgspec
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from adapters.embedded import start_broker, start_redis
from adapters.journeys.spans import root_of, trace_of
from schemas.clock_spec import parse_clock_spec, scaled_now
from simulators.replay import MeterSeries
from tests.e2e.cli import ENTRY, environment, twinmeter
from tests.integration.park import SITE, site_document

SID = "b00t"
WITHIN_S = 120.0
SERVICES = ("ledger", "ingest", "commands")
CLOCK = f"scaled:2026-01-12T10:00:00+08:00,1,{time.time_ns() // 1_000_000}"
"""A time of day at which people are cut, and no day ends between two readings."""


class Receiver:
    """An OTLP receiver: keeps every span."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        spans = self.spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        spans.extend(scope.spans)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """Every whole line of every service's log, each of which must be JSON (what people are told besides is not)."""
    found = []
    for name in SERVICES:
        lines, _, _half = (folder / f"{name}.log").read_text().rpartition("\n")  # it may just be writing the last one
        found += [{**json.loads(line), "process": name} for line in lines.splitlines() if line.startswith("{")]
    return found


async def until(what: str, holds: Callable[[], bool]) -> None:
    """Wait for something that the services do."""
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.1)


def steps_of(folder: Path, name: str) -> set[str]:
    """What the logs tell of a message."""
    return {line["event"] for line in lines_of(folder) if line.get("id") == name}


def start(name: str, folder: Path, urls: tuple[str, ...], otlp_url: str) -> subprocess.Popen[bytes]:
    told = environment(
        TWINMETER_LOG_FORMAT="json", TWINMETER_LOG_JOURNEYS="true", TWINMETER_OTLP_URL=otlp_url, TWINMETER_HOST=name,
        TWINMETER_CLOCK=CLOCK,
    )  # fmt: skip
    with (folder / f"{name}.log").open("wb") as sink:
        return subprocess.Popen(
            [sys.executable, "-c", ENTRY, name, *urls], cwd=folder, env=told, stdout=sink, stderr=sink
        )


def now() -> int:
    """What everybody takes the time to be (ms)."""
    return scaled_now(parse_clock_spec(CLOCK), time.time_ns() // 1_000_000)


async def play(url: str, folder: Path) -> None:
    """The device: reports, uses up the tenant's credit, and does what it is told."""
    for name in SERVICES:
        await until(name, lambda log=folder / f"{name}.log": ": running" in log.read_text())  # type: ignore[misc]
    await until("ingest hears", lambda: any(line["event"] == "mqtt.connected" for line in lines_of(folder)))
    host, port = url.removeprefix("mqtt://").split(":")
    topic = f"twinmeter/v1/{SITE}/em-001"
    async with aiomqtt.Client(host, int(port), protocol=aiomqtt.ProtocolVersion.V5) as client:
        await client.subscribe(f"{topic}/cmd", qos=1)

        async def say(verb: str, **body: Any) -> None:
            await client.publish(f"{topic}/{verb}", json.dumps({"v": 1, **body}), qos=1)

        async def read(seq: int, import_wh: int, power_w: int, relay: str, ago_ms: int = 0) -> None:
            body = {"import_wh": import_wh, "power_w": power_w, "relay": relay}
            await say("tele", sid=SID, seq=seq, ts=now() - ago_ms, d=body)

        gateway = f"twinmeter/v1/{SITE}/gw-01/conn"
        await client.publish(gateway, json.dumps({"v": 1, "s": "online", "sid": SID, "ts": now()}), qos=1)
        await say("conn", s="online", sid=SID, ts=now())
        born = {"kind": "electricity_meter", "model": "M1", "channels": ["import_wh"], "relay": "closed", "fence": 0}
        await say("birth", sid=SID, ts=now(), **born)
        await say("state", sid=SID, ts=now(), relay="closed", cause="boot")
        await read(1, 1_000, 3_000, "closed", ago_ms=1_800_000)
        await until(
            "the first reading", lambda: {"received", "committed"} <= steps_of(folder, f"{SITE}/em-001/{SID}/1")
        )
        await read(2, 3_000, 3_000, "closed")  # the reading that the whole test is about
        async with asyncio.timeout(WITHIN_S):
            message = await anext(aiter(client.messages))
        command = json.loads(message.payload)
        for state in ("received", "executed"):
            told = {"relay": "open"} if state == "executed" else {}
            await say("ack", cmd=command["cmd"], st=state, ts=now(), fence=command["fence"], **told)
        await say("state", sid=SID, ts=now(), relay="open", cause="cmd", fence=command["fence"])
        for seq in range(3, 240):
            await read(seq, 3_001, 0, "open")
            if any(line["event"] == "command verified" for line in lines_of(folder)):
                return
            await asyncio.sleep(0.5)


def park_file(folder: Path) -> Path:
    start_ms = now() - 86_400_000
    meter = MeterSeries("em-001", "constant", 6_000, 1_000)
    document = site_document([meter], {"em-001": "flat"}, start_ms, credit="0.50")
    document.site["tenants"][0]["params"] = {"grace": "0s", "low1": "0.40", "low2": "0.20", "conversion_grace": "0s"}
    inline = {"tariffs": list(document.tariffs.values()), "rulesets": list(document.rulesets.values())}
    file = folder / "site.json"
    file.write_bytes(msgspec.json.encode({**document.site, **inline}))
    return file


def test_one_id_finds_receipt_decision_posting_journal_and_command(tmp_path: Path, receiver: Receiver) -> None:
    with start_redis(tmp_path / "redis") as redis, start_broker(tmp_path / "broker") as broker:
        database = f"sqlite:///{tmp_path}/s.sqlite3"
        urls = ("--redis-url", redis.url, "--database-url", database, "--data", "data")
        imported = twinmeter("site", "import", park_file(tmp_path), *urls, cwd=tmp_path, TWINMETER_CLOCK=CLOCK)
        assert imported.returncode == 0, imported.stderr
        running = [start(name, tmp_path, (*urls, "--mqtt-url", broker.url), receiver.url) for name in SERVICES]
        try:
            asyncio.run(play(broker.url, tmp_path))
        finally:
            for process in running:
                os.kill(process.pid, signal.SIGTERM)
            for process in running:
                assert process.wait(60) == 0
        name = f"{SITE}/em-001/{SID}/2"
        steps = {(line["process"], line["event"]): line for line in lines_of(tmp_path) if line.get("id") == name}
        expected = {
            ("ingest", "received"), ("ingest", "decided"), ("ingest", "committed"), ("ledger", "posted"),
            ("commands", "command created"), ("commands", "command published"), ("commands", "command verified"),
        }  # fmt: skip
        assert expected <= steps.keys(), sorted(steps)
        journal = steps["ledger", "posted"]["journals"]
        assert journal.isdigit()
        command = steps["commands", "command published"]["cmd"]
        assert steps["commands", "command verified"]["cmd"] == command
        assert steps["ingest", "received"]["topic"].endswith("/em-001/tele")
        ours = [span for span in receiver.spans if int.from_bytes(span.trace_id, "big") == trace_of(name)]
        assert {span.name for span in ours} >= {event for _, event in expected}
        (root,) = [span for span in ours if span.name == "received"]
        assert int.from_bytes(root.span_id, "big") == root_of(name)
        assert all(span.parent_span_id == root.span_id for span in ours if span is not root)
        batches = [span for span in receiver.spans if span.name == "batch"]
        assert any(int.from_bytes(link.trace_id, "big") == trace_of(name) for span in batches for link in span.links)

"""Each single service tells its own counters where the settings say so."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from adapters.embedded import start_broker, start_redis
from adapters.mqtt.publisher import MqttPublisher
from tests.e2e.cli import start_twinmeter, twinmeter
from tests.e2e.test_cli_site import FLAT, SITE

WITHIN_S = 120.0


def wait_for(log: Path, pattern: str, process: subprocess.Popen[bytes]) -> str:
    """The first group of a pattern, once it stands in a log."""
    deadline = time.monotonic() + WITHIN_S
    while not (found := re.search(pattern, log.read_text())):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    return found[1]


def scrape(url: str) -> dict[str, float]:
    """Samples without labels, and with the consumer as theirs."""
    with urllib.request.urlopen(url, timeout=WITHIN_S) as answer:
        lines = answer.read().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def until(url: str, name: str) -> None:
    """Wait until a sample is 1."""
    deadline = time.monotonic() + WITHIN_S
    while scrape(url).get(name) != 1:
        assert time.monotonic() < deadline, scrape(url)
        time.sleep(0.1)


async def publish(url: str, topic: str, payload: bytes) -> None:
    """One message, confirmed by the broker."""
    publisher = MqttPublisher(url, "test")
    await publisher.start()
    try:
        await publisher.publish(topic, payload)
    finally:
        await publisher.stop()


def test_ingest_and_ledger_tell_what_they_counted(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(SITE, encoding="utf-8")
    (tmp_path / "flat.yaml").write_text(FLAT, encoding="utf-8")
    with start_redis(tmp_path / "redis") as redis, start_broker(tmp_path / "broker") as broker:
        urls = ("--redis-url", redis.url, "--database-url", f"sqlite:///{tmp_path}/s.sqlite3", "--data", "data")
        assert twinmeter("site", "import", "site.yaml", *urls, cwd=tmp_path).returncode == 0
        urls = (*urls, "--mqtt-url", broker.url, "--metrics", "127.0.0.1:0")
        log = tmp_path / "ingest.log"
        ingest = start_twinmeter("ingest", *urls, cwd=tmp_path, log=log)
        try:
            url = wait_for(log, r"metrics   (http://127\.0\.0\.1:\d+/metrics)", ingest)
            until(url, "twinmeter_ingest_connected")
            asyncio.run(publish(broker.url, "twinmeter/v1/small/em-1/tele", b"not JSON"))
            until(url, 'twinmeter_dead_letters_total{reason="contract"}')
            told = scrape(url)
            assert told["twinmeter_messages_total"] == 1
            assert told["twinmeter_ingest_connected"] == 1
            assert "twinmeter_ledger_lag_entries" not in told, "what stands in SQL is told by the API alone"
            with pytest.raises(urllib.error.HTTPError, match="404"):
                scrape(url.replace("/metrics", "/api/v1/sites"))
            taken = twinmeter("ledger", *urls[:-1], url.split("/")[2], cwd=tmp_path)
            assert taken.returncode == 1
            assert "metrics cannot be served" in taken.stderr
        finally:
            os.kill(ingest.pid, signal.SIGTERM)
            assert ingest.wait(60) == 0, log.read_text()

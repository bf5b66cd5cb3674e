"""`twinmeter up` whose own Redis and broker die: it starts them again where they were, and goes on with its work."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from tests.e2e.http_client import Client
from tests.e2e.installation import Installation
from tests.unit.api import parks

AGAIN_WITHIN_S = 120.0
REDIS = "redis-server|valkey-server"
BROKER = "mosquitto|iotcore"


def child_of(parent: int, program: str) -> int:
    """The pid of the child that runs a program."""
    listed = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(parent)], capture_output=True, text=True, check=True
    )
    found = re.search(rf"^\s*(\d+) .*(?:{program})", listed.stdout, re.MULTILINE)
    assert found, listed.stdout
    return int(found[1])


def wait_for(place: Installation, text: str, times: int) -> None:
    """Until the log says it so often, and the API is ready again."""
    deadline = time.monotonic() + AGAIN_WITHIN_S
    while place.log.read_text().count(text) < times or not is_ready(place.http_url):
        assert place.up is not None
        assert place.up.poll() is None, place.log.read_text()[-3000:]
        assert time.monotonic() < deadline, place.log.read_text()[-3000:]
        time.sleep(0.1)


def is_ready(url: str) -> bool:
    """Whether everything that the API needs answers."""
    try:
        with urllib.request.urlopen(f"{url}/health/ready", timeout=10) as answer:
            return bool(answer.status == 200)
    except (OSError, http.client.HTTPException):
        return False


@pytest.fixture
def place(tmp_path: Path):
    installation = Installation(tmp_path / "installation")
    installation.start()
    yield installation
    if installation.up is not None and installation.up.poll() is None:
        assert installation.stop() == 0


def test_up_starts_its_dead_servers_again_and_loses_no_payment(place: Installation):
    assert place.up is not None
    assert place.import_site(parks.document()).returncode == 0
    client = Client(place.http_url, place.environment["TWINMETER_ADMIN_TOKEN"])
    tenant = f"/sites/{parks.SITE}/tenants/t-001"
    for number, program in enumerate((REDIS, BROKER, REDIS), 1):
        payment = {"amount": "5.00", "channel": "cash", "reference": f"R-{number}"}
        status, body = client.call("POST", f"{tenant}/topups", payment, Idempotency_Key=f"k-{number}")
        assert status == 201, body
        os.kill(child_of(place.up.pid, program), signal.SIGKILL)
        wait_for(place, "an embedded server was started again", number)
    assert place.log.read_text().count("an embedded server was lost") == 3
    client.wait(tenant, lambda body: body["balance"] == "115.000000000")
    proved = place.verify()
    assert proved.returncode == 0, proved.stdout + proved.stderr

"""A tenant runs dry, is cut off, pays, and is supplied again: API, ledger, twin, command, simulated breaker, verified.

Everything is real: `twinmeter up` with its embedded servers, the simulators as a process of their own, HTTP from
outside.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

from simulators.replay import MeterSeries
from tests.e2e.http_client import Client
from tests.e2e.installation import Installation
from tests.integration.park import ZONE, site_document

CLOCK = "scaled:2026-01-12T10:00:00+08:00,30"
START_MS = int(datetime(2026, 1, 12, 10, tzinfo=ZONE).timestamp() * 1000)
METERS = [MeterSeries(f"em-{number:03d}", "constant", 6_000, 1_000 * number) for number in range(1, 5)]
TENANT = "/sites/park-1/tenants/t-001"
DEVICE = "/sites/park-1/devices/em-001"


def fleet_file(folder: Path) -> Path:
    file = folder / "fleet.json"
    groups = [
        {"name": "gateways", "kind": "gateway", "ids": ["gw-01"]},
        {
            "name": "shops",
            "kind": "electricity_meter",
            "ids": [meter.device for meter in METERS],
            "gateways": ["gw-01"],
            "profile": "constant",
            "peak_w": 6000,
            "opening_wh": 1000,
            "relay": True,
            "travel": "200ms",
        },
    ]
    fleet = {
        "apiVersion": "twinmeter.fleet/v1",
        "site": "park-1",
        "seed": 3,
        "timezone": "Asia/Shanghai",
        "start": "2026-01-12T10:00:00",
        "interval": "1m",
        "groups": groups,
    }
    file.write_text(json.dumps(fleet))
    return file


def park():
    meters = [MeterSeries(meter.device, meter.profile, meter.peak, 1_000) for meter in METERS]
    document = site_document(meters, dict.fromkeys((meter.device for meter in METERS), "flat"), START_MS, credit="0.50")
    for device in document.site["devices"]:
        device["interval"] = "1m"
    for tenant in document.site["tenants"]:
        tenant["params"] = {"grace": "2m", "low1": "0.40", "low2": "0.20"}
    for ruleset in document.rulesets.values():
        for rule in ruleset["rules"]:
            for action in rule["then"]:
                for name in ("breaker.lock", "breaker.unlock"):
                    if name in action:
                        action[name] |= {"expires": "15m", "verify_within": "10m"}
    return document


def test_a_recharge_reconnects_a_cut_tenant_and_a_manual_lock_survives_it(tmp_path: Path):
    place = Installation(tmp_path / "installation")
    place.set(TWINMETER_CLOCK=CLOCK)
    fleet = None
    try:
        imported = place.import_site(park())
        assert imported.returncode == 0, imported.stderr
        place.start()
        client = Client(place.http_url, place.environment["TWINMETER_ADMIN_TOKEN"])
        running = json.loads((place.folder / "data" / "running.json").read_text())
        arguments = [str(fleet_file(tmp_path)), "--mqtt-url", running["mqtt_url"], "--clock", running["clock"]]
        fleet = subprocess.Popen([sys.executable, "-m", "simulators.run", *arguments])

        client.wait(TENANT, lambda tenant: tenant["state"] == "OFF_ARREARS", 120)
        assert client.get(DEVICE)["reported"]["relay"] == "open"

        # the manual lock of em-002 must survive the payment of its tenant
        other = "/sites/park-1/tenants/t-002"
        client.wait(other, lambda tenant: tenant["state"] == "OFF_ARREARS", 120)
        command = {"target": "open", "reason": "line work"}
        status, body = client.call("POST", "/sites/park-1/devices/em-002/commands", command, Idempotency_Key="lock-2")
        assert status == 202, body

        before = client.get(TENANT)["balance"]
        payment = {"amount": "20.00", "channel": "cash", "reference": "R-1"}
        for _ in range(3):  # a nervous clerk
            status, body = client.call("POST", f"{TENANT}/topups", payment, Idempotency_Key="pay-1")
            assert status in (200, 201), body
        status, body = client.call("POST", f"{TENANT}/topups", {**payment, "amount": "21.00"}, Idempotency_Key="pay-1")
        assert status == 409, body
        assert body["code"] == "idempotency_conflict"
        status, body = client.call("POST", f"{other}/topups", {**payment, "reference": "R-2"}, Idempotency_Key="pay-2")
        assert status in (200, 201), body

        tenant = client.wait(TENANT, lambda tenant: tenant["state"] in ("NORMAL", "LOW1", "LOW2"), 120)
        assert float(tenant["balance"]) <= float(before) + 20.0
        client.wait(
            DEVICE,
            lambda device: (
                (device["commanded"]["target"], device["commanded"]["state"], device["reported"]["relay"])
                == ("closed", "verified", "closed")
            ),
            120,
        )

        client.wait(other, lambda tenant: tenant["locks"] == ["manual"], 120)  # the payment has reached its twin
        locked = client.get("/sites/park-1/devices/em-002")
        assert locked["reported"]["relay"] == "open"

        proved = place.verify()
        assert proved.returncode == 0, proved.stdout + proved.stderr
    finally:
        if fleet is not None:
            fleet.terminate()
            fleet.wait(60)
        if place.up is not None:
            place.stop()

"""Node-RED as a child server: the lesser job that the platform is held against.

`tests/bench/nodered` pins it (`npm ci` there installs it). Its flow reads QoS 1 over a persistent session, parses JSON,
keeps the last state of every meter in memory, looks at the overload threshold with its 30 s, and publishes the cutoff
at QoS 1. No tenants, no prices, no ledger, nothing written to disk: that is what makes it a rate to compare with.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from adapters.embedded.ports import free_port
from adapters.embedded.processes import tail

FOLDER = Path(__file__).parent / "nodered"
PROGRAM = FOLDER / "node_modules" / "node-red" / "red.js"
CLIENT = "bench-node-red"
READY, READY_WITHIN_S = "Connected to broker", 60.0
KNOWN, ASK = "bench/known", "bench/ask"


class NodeRedMissingError(RuntimeError):
    """Node.js or Node-RED is not installed; the text says what to do."""


class NodeRed:
    """A Node-RED with the flow of the measurement on a broker; leave the context to stop it."""

    def __init__(self, folder: Path, broker_url: str) -> None:
        node = shutil.which("node")
        if node is None or not PROGRAM.exists():
            raise NodeRedMissingError(f"no Node-RED: install Node.js 18.5 or newer, then `npm ci` in {FOLDER}")
        self._node = node
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        (folder / "flows.json").write_bytes(orjson.dumps(flows(broker_url)))
        shutil.copy(FOLDER / "settings.js", folder)

    def __enter__(self) -> NodeRed:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Process id."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it is subscribed. Raises RuntimeError with the end of its log."""
        log = self._folder / f"node-red-{time.monotonic_ns()}.log"
        environment = {**os.environ, "BENCH_UI_PORT": str(free_port()), "NODE_ENV": "production"}
        command = [self._node, str(PROGRAM), "--userDir", str(self._folder), "--settings"]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*command, str(self._folder / "settings.js")], stdout=output, stderr=output, env=environment
            )
        deadline = time.monotonic() + READY_WITHIN_S
        while READY not in log.read_text(errors="replace"):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"Node-RED did not connect:\n{tail(log, 20)}")
            time.sleep(0.05)
        time.sleep(0.5)  # its subscriptions follow the connection

    def kill9(self) -> None:
        """Kill it without any warning."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)

    def stop(self) -> None:
        """Stop it; its session at the broker stays."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill9()


def versions() -> dict[str, str]:
    """Of Node-RED and Node.js as they are installed; empty where they are not."""
    node = shutil.which("node")
    if node is None or not PROGRAM.exists():
        return {}
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    package = orjson.loads((PROGRAM.parent / "package.json").read_bytes())
    return {"Node-RED": package["version"], "Node.js": told.removeprefix("v")}


def flows(broker_url: str) -> list[dict[str, Any]]:
    """The flow file for a broker."""
    place = urlsplit(broker_url)
    broker = {
        "id": "broker", "type": "mqtt-broker", "broker": place.hostname, "port": str(place.port), "clientid": CLIENT,
        "autoConnect": True, "protocolVersion": "4", "keepalive": "60", "cleansession": False, "usetls": False,
    }  # fmt: skip
    return [
        {"id": "tab", "type": "tab", "label": "Meters"},
        broker,
        _mqtt_in("readings", "twinmeter/v1/+/+/tele", "decide"),
        _function("decide", [["cmd"], ["known"]]),
        {"id": "cmd", "type": "mqtt out", "z": "tab", "topic": "", "qos": "1", "retain": "false", "broker": "broker"},
        {"id": "known", "type": "mqtt out", "z": "tab", "topic": "", "qos": "0", "retain": "false", "broker": "broker"},
        _mqtt_in("asked", ASK, "tell"),
        _function("tell", [["known"]]),
    ]


def _mqtt_in(name: str, topic: str, wire: str) -> dict[str, Any]:
    """MQTT in at QoS 1, and the JSON node behind it."""
    return {
        "id": name, "type": "mqtt in", "z": "tab", "topic": topic, "qos": "1", "datatype": "json", "broker": "broker",
        "nl": False, "rap": True, "rh": 0, "inputs": 0, "wires": [[wire]],
    }  # fmt: skip


def _function(name: str, wires: list[list[str]]) -> dict[str, Any]:
    text = (FOLDER / f"{name}.js").read_text(encoding="utf-8")
    return {"id": name, "type": "function", "z": "tab", "func": text, "outputs": len(wires), "wires": wires}

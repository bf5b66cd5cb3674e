"""The real command line as child processes, on servers that the test owns."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from tests.e2e.cli import ROOT, forker
from twin.ports import SiteDocument

READY_WITHIN_S = 180.0
"""A start takes two seconds where the machine does nothing else."""
TWINMETER = str(Path(sys.executable).parent / "twinmeter")


class Installation:
    """One installation: its settings, and `twinmeter` processes that use them."""

    def __init__(self, folder: Path, **urls: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "up.log"
        names = {"redis": "TWINMETER_REDIS_URL", "mqtt": "TWINMETER_MQTT_URL", "database": "TWINMETER_DATABASE_URL"}
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("TWINMETER_")}
        self.environment |= {names[name]: url for name, url in urls.items()}
        self.environment |= {
            "TWINMETER_DATA": str(folder / "data"),
            "TWINMETER_HTTP": "127.0.0.1:0",
            "TWINMETER_ADMIN_TOKEN": "e2e-owner-secret-of-a-test",
        }
        self.up: subprocess.Popen[bytes] | None = None

    def take_over_soon(self) -> None:
        """Whoever comes after a kill -9 waits until the dead one's leases are over: for two seconds instead of ten."""
        self.set(TWINMETER_LEASE_S="2")

    def set(self, **more: str) -> None:
        """More environment, e.g. `TWINMETER_CLOCK`."""
        self.environment |= more

    def run(self, *arguments: str, within_s: float = 240.0) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        own_code = self.environment.get("PYTHONPATH", str(ROOT)) == str(ROOT)
        if own_code and "LD_PRELOAD" not in self.environment:
            return forker().run([*arguments], Path.cwd(), self.environment, within_s)
        return subprocess.run(
            [TWINMETER, *arguments],
            env=self.environment, capture_output=True, text=True, timeout=within_s, check=False,
        )  # fmt: skip

    def import_site(self, document: SiteDocument) -> subprocess.CompletedProcess[str]:
        """Write a site file with everything inline, and import it."""
        file = self.folder / "site.json"
        inline = {"tariffs": list(document.tariffs.values()), "rulesets": list(document.rulesets.values())}
        file.write_bytes(msgspec.json.encode({**document.site, **inline}))
        return self.run("site", "import", str(file))

    def start(self, *arguments: str) -> None:
        """Start `twinmeter up` and wait until it says that it is ready."""
        seen = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.up = subprocess.Popen([TWINMETER, "up", *arguments], env=self.environment, stdout=log, stderr=log)
        deadline = time.monotonic() + READY_WITHIN_S
        while b"ready; Ctrl-C stops" not in self.log.read_bytes()[seen:]:
            assert self.up.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.05)

    def kill(self) -> None:
        """kill -9, as a power loss would."""
        assert self.up is not None
        self.up.send_signal(signal.SIGKILL)
        self.up.wait(60)

    def stop(self) -> int:
        """Ask for a clean stop; returns the exit code."""
        assert self.up is not None
        if self.up.poll() is None:
            self.up.send_signal(signal.SIGINT)
        return self.up.wait(60)

    @property
    def http_url(self) -> str:
        """Where the API of the running `up` listens."""
        return json.loads((self.folder / "data" / "running.json").read_text())["http_url"]

    def verify(self) -> subprocess.CompletedProcess[str]:
        """`twinmeter verify` over all sites."""
        return self.run("verify")

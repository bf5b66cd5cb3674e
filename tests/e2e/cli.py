"""The real command line as a subprocess, as people run it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARK = ROOT / "simulators" / "parks" / "example"
ENTRY = "from api.cli.main import main; main()"


def environment(**more: str) -> dict[str, str]:
    """An environment without settings of ours, in English."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TWINMETER_")}
    return kept | {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "PYTHONPATH": str(ROOT), "COLUMNS": "200"} | more


def twinmeter(*arguments: object, cwd: Path, within_s: float = 120, **more: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    command = [sys.executable, "-c", ENTRY, *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=environment(**more), capture_output=True, text=True, timeout=within_s, check=False
    )


def start_twinmeter(*arguments: object, cwd: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start a command that runs until it is told to stop."""
    command = [sys.executable, "-c", ENTRY, *map(str, arguments)]
    with log.open("wb") as sink:
        return subprocess.Popen(command, cwd=cwd, env=environment(), stdout=sink, stderr=sink)

"""One part of a measurement in a process of its own, with a limit of time that it is held to.

At its limit a part is asked to end: it stops its servers, and what it has kept so far is used. One that does not end
then is killed with everything that it started. So a machine that is slower than expected costs figures, and no
measurement of the parts that follow.

`python -m tests.bench.apart NAME FOLDER [--quick]` is what is run; it leaves `FOLDER.json` behind.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

FULL, QUICK = "full", "quick"
END_WITHIN_S = 20.0


class NotFinishedError(Exception):
    """The limit of time came first."""


class Outcome(msgspec.Struct, frozen=True):
    """What a part left behind: `data`, in part or None where it did not finish, and `trouble`, empty where it did."""

    data: dict[str, Any] | None
    trouble: str
    took_s: float


class Keeper:
    """Writes what a part has so far, so that a limit of time does not take it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, data: dict[str, Any]) -> None:
        """Keep this instead of what was kept before."""
        spare = self._path.with_suffix(".new")
        spare.write_text(json.dumps(data), encoding="utf-8")
        spare.replace(self._path)


def run_apart(name: str, size: str, folder: Path, limit_s: float) -> Outcome:
    """Run one part; what it says goes where we write."""
    command = [sys.executable, "-m", "tests.bench.apart", name, str(folder), "--size", size, "--limit", str(limit_s)]
    began = time.monotonic()
    process = subprocess.Popen(command, start_new_session=True)
    trouble = ""
    try:
        code = process.wait(timeout=limit_s)
        trouble = "failed" if code else ""
    except subprocess.TimeoutExpired:
        trouble = f"not finished in {limit_s:.0f} s"
        _end(process)
    except BaseException:
        _end(process)
        raise
    took_s = time.monotonic() - began
    kept = _result_path(folder)
    data = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else None
    return Outcome(data, trouble, took_s)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, then kill it with all that it started."""
    others = _descendants(process.pid)
    process.terminate()
    try:
        process.wait(END_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in others:
        if Path(f"/proc/{pid}").exists():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *_descendants(child)]
    return found


def _result_path(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.json")


def _stop(_signal: int, _frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise NotFinishedError("told to end")


def main() -> int:
    """Measure one part; exit code 1 when it failed, 2 when it was told to end."""
    from tests.bench.parts import Desk, parts_of

    parser = argparse.ArgumentParser(prog="python -m tests.bench.apart", description=__doc__)
    parser.add_argument("name")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", choices=(FULL, QUICK), default=FULL)
    parser.add_argument("--limit", type=float, default=3_600.0, help="seconds it will be given")
    options = parser.parse_args()
    part = next(one for one in parts_of(options.size) if one.name == options.name)
    signal.signal(signal.SIGTERM, _stop)
    options.folder.mkdir(parents=True, exist_ok=True)
    keep = Keeper(_result_path(options.folder))
    try:
        keep(part.measure(Desk(options.folder, say, keep, options.limit)))
    except NotFinishedError:
        return 2
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def say(text: str) -> None:
    """Tell people how far it is."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


Keep = Callable[[dict[str, Any]], None]

if __name__ == "__main__":
    sys.exit(main())

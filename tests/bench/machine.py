"""What a measurement is made on and with: CPU time of processes from /proc, memory, versions, the machine.

CPU time is utime + stime of a process with all its threads, in microseconds; the kernel counts it in ticks of
1 / SC_CLK_TCK s (10 ms), so differences over several seconds are good to about one part in five hundred.
"""

from __future__ import annotations

import math
import os
import platform
import statistics
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec

TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")
LIBRARIES = ("mqtt5", "redis", "msgspec", "orjson", "jsonschema-rs", "uvloop", "tortoise-orm", "aiosqlite", "aiomqtt")


class Spread(msgspec.Struct, frozen=True):
    """Median of repeated runs with the lowest and the highest."""

    median: float
    low: float
    high: float
    runs: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values), len(values))


def cpu_us(pid: int) -> int:
    """CPU time that a process has used so far, all threads."""
    return _ticks(Path(f"/proc/{pid}/stat")) * TICK_US


def threads_us(pid: int) -> tuple[int, int]:
    """CPU time of a process's main thread and of all its other living threads."""
    main = other = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        ticks = _ticks(task / "stat")
        if int(task.name) == pid:
            main = ticks
        else:
            other += ticks
    return main * TICK_US, other * TICK_US


def resident_bytes(pid: int) -> int:
    """Memory of a process that is in RAM."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def cpu_of(processes: Iterable[tuple[str, int]]) -> dict[str, int]:
    """CPU time by name for (name, pid)."""
    return {name: cpu_us(pid) for name, pid in processes}


def describe() -> dict[str, object]:
    """The machine, its load at this moment, and the versions of what is measured."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "kernel": platform.release(),
        "python": sys.version.split()[0],
        "load_before": [round(value, 2) for value in os.getloadavg()],
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def _ticks(stat: Path) -> int:
    """utime + stime; the command name in front of them may hold blanks and brackets."""
    fields = stat.read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

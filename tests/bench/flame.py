"""Where the time of a reading goes: the real platform under load, seen by a sampling profiler from outside.

py-spy looks at the stacks of the platform's process some hundred times a second, without touching its code, and waiting
threads are left out. Each sample belongs to one stage, by the functions on its stack and not by the one on top: what
`msgspec` or `orjson` do for the commit is the commit's. A function's name stands for all its lines.

What is kept is the tree of all stacks in small, so that the picture (`flame_picture`) is made from the results alone.
It costs time to be looked at: rates of these runs are told beside one that was not, CPU a reading is hardly touched.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tests.bench.apart import Keep
from tests.bench.child import counter
from tests.bench.roles import PublisherRole
from tests.bench.runs import CONNECTIONS, Ours, Say, child, platform_child, stand

SITE = "flame"
RATE_HZ = 250
READY_S, WRITE_S = 15.0, 60.0
ROOT = Path(__file__).parents[2]
SMALLEST = 0.001
"""Stacks of a smaller share than this end in the function that called them."""

Frame = tuple[str, str]
"""File, as far as it is told apart, and function."""


class Stage(msgspec.Struct, frozen=True):
    """A part of the way of a reading: a sample is in the first stage that any of its frames fits. `functions` are all
    of these files' where none is named."""

    name: str
    files: tuple[str, ...]
    functions: tuple[str, ...] = ()


STAGES = (
    Stage("ledger", ("adapters/store/", "aiosqlite/", "tortoise/", "sqlite3/")),
    Stage("effect stream", ("adapters/twins/stream.py", "twin/flows/consume_effects.py", "twin/flows/dispatch")),
    Stage("timers", ("twin/flows/pump_timers.py", "twin/flows/deliver_acts.py", "twin/flows/settle_")),
    Stage("decide: money", ("twin/core/accrual.py", "billing/", "twin/core/samples.py")),
    Stage("decide: rules", ("rules/", "twin/core/reactions.py", "twin/core/sight.py", "twin/core/policy.py")),
    Stage("decide: the rest", ("twin/core/",)),
    Stage("encode", ("adapters/twins/codec.py", "adapters/twins/commit.py", "adapters/twins/change.py")),
    Stage(
        "Redis client",
        ("redis/", "adapters/twins/connection.py", "adapters/twins/swift.py", "adapters/twins/script.py"),
    ),
    Stage("memory of twins", ("adapters/twins/",)),
    Stage("decode", ("schemas/telemetry.py",), ("decode_telemetry: JSON",)),
    Stage("validate", ("schemas/",)),
    Stage("route", ("twin/flows/ingest_batch.py", "twin/flows/translate.py", "twin/flows/apply_messages.py")),
    Stage("broker client", ("adapters/mqtt/", "mqtt5/")),
)
REST = "event loop and the rest"
WAITING = re.compile(r"\.get\(|\.acquire\(|\.recv\(|_recv\(|\.wait\(|\.poll\(|\.select\(|read\(handle")
"""The line of a thread that has nothing to do. py-spy takes some of them for busy."""
_FRAME = re.compile(r"(?P<function>.*) \((?P<file>[^()]*?)(?::(?P<line>\d+))?\)$")


def measure_flame(meters: int, readings: int, runs: int, folder: Path, say: Say, keep: Keep) -> dict[str, Any]:
    """Runs that are not looked at, and then as many that are; raises RuntimeError where nobody may look."""
    raw, path = folder / "stacks.txt", spy_path()
    found: dict[str, Any] = {"meters": meters, "readings": readings, "rate_hz": RATE_HZ, "plain": [], "seen": []}
    with stand(folder / "flame", say, ("broker",)) as here:
        acked = counter()
        with platform_child(here, acked) as platform:
            platform.call("open")
            platform.call("import_directly", SITE, meters)
            platform.call("start")
            ours = Ours(here, SITE, meters, platform, acked)
            with child("publisher", PublisherRole, here.servers["broker"].url, CONNECTIONS, acked) as publisher:
                ours.warm_up(publisher)
                found["plain"] = [ours.run(publisher, readings) for _ in range(runs)]
                with Spy(path, platform.pid, raw):
                    found["seen"] = [ours.run(publisher, readings) for _ in range(runs)]
            platform.call("stop")
    found |= fold(raw.read_text(encoding="utf-8").splitlines())
    keep(found)
    say(f"{found['samples']:,} samples of the platform at work, {len(found['frames'])} functions")
    return found


def spy_path() -> str:
    """The program that looks; it is installed with the tools for development."""
    beside = Path(sys.executable).with_name("py-spy")
    found = str(beside) if beside.exists() else shutil.which("py-spy")
    if found is None:
        raise RuntimeError("py-spy is not installed: it is one of the tools for development (`make setup-dev`)")
    return found


class Spy:
    """`with Spy(...)`: looks at a process, and has written what it saw at the end."""

    def __init__(self, path: str, pid: int, output: Path) -> None:
        self._output = output
        options = ["--pid", str(pid), "--rate", str(RATE_HZ), "--duration", "3600", "--threads", "--full-filenames"]
        command = [path, "record", *options, "--format", "raw", "--output", str(output)]
        self._log = output.with_suffix(".log")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def __enter__(self) -> Spy:
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            return self
        raise RuntimeError(
            "py-spy may not look at another process: run as root, or set `kernel.yama.ptrace_scope` to 0, or give a"
            f" container the capability SYS_PTRACE\n{self._log.read_text(errors='replace').strip()}"
        )

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(WRITE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def fold(lines: Iterable[str]) -> dict[str, Any]:
    """Stacks as py-spy tells them (`thread;frame (file:line);... count`) as plain data: samples by stage, and the
    stacks by function, each a text of numbers (stage, samples, places in `frames`), those too small for a picture
    shortened."""
    counted: Counter[tuple[str, tuple[Frame, ...]]] = Counter()
    for text in lines:
        stack, _, count = text.rpartition(" ")
        frames = [_frame(part) for part in stack.split(";")[1:]]
        frames = [frame for frame in frames if frame is not None]
        if frames and not _waits(stack):
            named = tuple((file, function) for file, function in frames)
            counted[stage_of(named), _from_our_code(named)] += int(count)
    samples = counted.total()
    stages: Counter[str] = Counter()
    own: Counter[Frame] = Counter()
    for (stage, frames), count in counted.items():
        stages[stage] += count
        own[frames[-1]] += count
    shortened = _shortened(counted, samples * SMALLEST)
    names = sorted({frame for _, stack in shortened for frame in stack})
    places = {frame: place for place, frame in enumerate(names)}
    order = [stage.name for stage in STAGES] + [REST]
    return {
        "samples": samples,
        "stages": {name: stages[name] for name in order},
        "own": [[f"{file} {function}", count] for (file, function), count in own.most_common(25)],
        "frames": [" ".join(frame) for frame in names],
        "stacks": [
            " ".join(map(str, (order.index(stage), count, *(places[frame] for frame in stack))))
            for (stage, stack), count in sorted(shortened.items())
        ],
    }


def stage_of(frames: Sequence[Frame]) -> str:
    """The stage of a stack."""
    for stage in STAGES:
        if any(
            file.startswith(stage.files) and (not stage.functions or function in stage.functions)
            for file, function in frames
        ):
            return stage.name
    return REST


def _frame(text: str) -> Frame | None:
    """A frame of py-spy: files of the platform by their path, those of packages by theirs."""
    found = _FRAME.match(text)
    if found is None:
        return None
    path, function = found["file"], found["function"].replace(".<locals>", "")
    if function == "decode_telemetry" and "orjson.loads" in _line(path, found["line"]):
        function = "decode_telemetry: JSON"
    return _short(path), function


def _short(path: str) -> str:
    """`twin/core/decide.py`, `redis/asyncio/client.py`, `asyncio/runners.py`."""
    for head in (f"{ROOT}/", "/site-packages/", f"/python{sys.version_info[0]}.{sys.version_info[1]}/"):
        _, found, rest = path.partition(head)
        if found:
            return _short(rest) if "/site-packages/" in rest else rest
    return path


def _waits(stack: str) -> bool:
    """Whether the innermost line only waits for something to do."""
    found = _FRAME.match(stack.rpartition(";")[2])
    if found is None:
        return True
    file = found["file"]
    ours = file.startswith(f"{ROOT}/") and "/site-packages/" not in file
    return not ours and WAITING.search(_line(file, found["line"])) is not None


def _line(path: str, number: str | None) -> str:
    lines = _lines.get(path)
    if lines is None:
        known = Path(path)
        lines = _lines[path] = known.read_text(errors="replace").splitlines() if known.is_file() else []
    at = int(number or 0) - 1
    return lines[at] if 0 <= at < len(lines) else ""


_lines: dict[str, list[str]] = {}


def _from_our_code(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """A stack without what every one begins with: the interpreter, the process of the measurement, the event loop."""
    ours = [at for at, (file, _) in enumerate(frames) if file.startswith(("api/", "adapters/", "twin/", "aiosqlite/"))]
    return frames[ours[0] :] if ours else frames[-1:]


def _shortened(
    counted: Counter[tuple[str, tuple[Frame, ...]]], smallest: float
) -> Counter[tuple[str, tuple[Frame, ...]]]:
    """The same samples with stacks cut where less than `smallest` samples went."""
    through: defaultdict[tuple[str, tuple[Frame, ...]], int] = defaultdict(int)
    for (stage, frames), count in counted.items():
        for depth in range(1, len(frames) + 1):
            through[stage, frames[:depth]] += count
    found: Counter[tuple[str, tuple[Frame, ...]]] = Counter()
    for (stage, frames), count in counted.items():
        depth = next((at for at in range(len(frames), 0, -1) if through[stage, frames[:at]] >= smallest), 1)
        found[stage, frames[:depth]] += count
    return found

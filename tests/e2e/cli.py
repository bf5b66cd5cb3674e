"""The real command line as subprocesses, as people run it.

Most of the time of a short command goes into importing what every command imports. So commands that run to their end
are forked from one process that has done so, and has done nothing else: each is a process of its own, with a folder, an
environment and an output of its own. Services, `up` and `demo` are started from the very beginning.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARK = ROOT / "simulators" / "parks" / "example"
ENTRY = "from api.cli.main import main; main()"
READY_WITHIN_S = 120.0

_FORKER = """
import json, os, sys
import api.cli.main, api.bootstrap
print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if not child:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit(0)
asked = json.loads(line)
os.chdir(asked["cwd"])
os.environ.clear()
os.environ.update(asked["environment"])
for stream, place in enumerate((os.devnull, asked["out"], asked["err"])):
    os.dup2(os.open(place, os.O_RDWR), stream)
sys.argv = ["-c", *asked["arguments"]]
api.cli.main.main()
"""


class Forker:
    """The process that has imported what every command does."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="twinmeter-cli-")
        self._process = subprocess.Popen(
            [sys.executable, "-c", _FORKER],
            env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        atexit.register(self._end)
        assert self._answer(READY_WITHIN_S) == "ready"

    def run(
        self, arguments: list[str], cwd: Path, told: dict[str, str], within_s: float
    ) -> subprocess.CompletedProcess[str]:
        """Run one command to its end. Raises TimeoutExpired."""
        out, err = (Path(self._folder.name) / name for name in ("out", "err"))
        out.write_bytes(b"")
        err.write_bytes(b"")
        asked = {"cwd": str(cwd), "arguments": arguments, "environment": told, "out": str(out), "err": str(err)}
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(asked).encode() + b"\n")
            self._process.stdin.flush()
            code = int(self._answer(within_s))
        except BaseException as error:  # also the end of a test's time: what this one answers is not for the next
            told_so_far = out.read_bytes(), err.read_bytes()
            self._end()
            forker.cache_clear()
            if isinstance(error, TimeoutError):
                raise subprocess.TimeoutExpired(arguments, within_s, *told_so_far) from None
            raise
        return subprocess.CompletedProcess(arguments, code, out.read_text("utf-8"), err.read_text("utf-8"))

    def _answer(self, within_s: float) -> str:
        """One line, a byte at a time: a reader that looks ahead would hide the next one from `select`."""
        assert self._process.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            if not select.select([self._process.stdout], [], [], within_s)[0]:
                raise TimeoutError
            byte = os.read(self._process.stdout.fileno(), 1)
            assert byte, "whoever forks commands has ended"
            line += byte
        return line.decode().strip()

    def _end(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(60)
        self._folder.cleanup()


@functools.cache
def forker() -> Forker:
    """One for all tests of this process."""
    return Forker()


def environment(**more: str) -> dict[str, str]:
    """An environment without settings of ours, in English."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TWINMETER_")}
    return kept | {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "PYTHONPATH": str(ROOT), "COLUMNS": "200"} | more


def twinmeter(*arguments: object, cwd: Path, within_s: float = 120, **more: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return forker().run([*map(str, arguments)], cwd, environment(**more), within_s)


def twinmeter_alone(*arguments: object, cwd: Path, within_s: float = 120) -> subprocess.CompletedProcess[str]:
    """The same from the very beginning, as for whoever types it."""
    command = [sys.executable, "-c", ENTRY, *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=within_s, check=False
    )


def start_twinmeter(*arguments: object, cwd: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start a command that runs until it is told to stop."""
    command = [sys.executable, "-c", ENTRY, *map(str, arguments)]
    with log.open("wb") as sink:
        return subprocess.Popen(command, cwd=cwd, env=environment(), stdout=sink, stderr=sink)

"""Starting, watching and stopping one child server.

Theory of operation:

- The child gets SIGTERM from the kernel when the thread that started it ends (PR_SET_PDEATHSIG), so it saves its data
  and goes even after a kill -9 of ours. Start servers from the main thread, which lives as long as the process. The
  child has its own session, so Ctrl-C in a terminal reaches only us and we stop it when we are done with it.
- One data directory has one server. The lock is an flock on `NAME.lock` whose descriptor the child inherits and we
  close: it is held exactly as long as the child (or a child of the child) lives, so there are no stale lock or pid
  files to tidy up. A server of a dead parent is waited for, since it is saving its data; one of a living parent is an
  error.
- A port that was asked for and is taken is reported with its holder, and another one is used. A port lost between
  choosing and binding is tried again.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec

from adapters.embedded.ports import command_of, free_port, is_free, who_listens

Progress = Callable[[str], object]
DEPLOY: Final = Path(__file__).resolve().parents[2] / "deploy"
_ATTEMPTS: Final = 3
_DYING_S: Final = 1.0
_LOG_KEPT_BYTES: Final = 1 << 20
_PR_SET_PDEATHSIG: Final = 1


class EmbeddedServerError(RuntimeError):
    """A child server could not be started; the message says why and what to do."""


class Launch(msgspec.Struct, frozen=True):
    """What it takes to start one kind of server: its command for a port, and how to ask whether it serves."""

    name: str
    """Names the lock and log files: `redis` or `broker`."""
    program: str
    url: Callable[[int], str]
    command: Callable[[int], Sequence[str]]
    ready: Callable[[int], str | None]
    """Version text once the server on this port serves; None while it does not yet."""
    other_urls: Callable[[int], Mapping[str, str]] = lambda _: {}


class RunningServer:
    """A child server that answers on `url`. Stop it with `stop`, or use it as a context manager."""

    def __init__(
        self,
        launch: Launch,
        process: subprocess.Popen[bytes],
        port: int,
        version: str,
        data_dir: Path,
        notes: Sequence[str],
    ) -> None:
        self.name = launch.name
        self.program = launch.program
        self.url = launch.url(port)
        self.other_urls = dict(launch.other_urls(port))
        self.port = port
        self.pid = process.pid
        self.version = version
        self.data_dir = data_dir
        self.log_path = data_dir / f"{launch.name}.log"
        self.notes = tuple(notes)
        """What a person should know: a port that was taken, and by whom."""
        self._launch = launch
        self._process = process

    def __repr__(self) -> str:
        return f"RunningServer({self.program} {self.version} on {self.url}, pid {self.pid})"

    @property
    def is_running(self) -> bool:
        """Whether the process still lives."""
        return self._process.poll() is None

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of the server's log."""
        return tail(self.log_path, lines)

    def stop(self, within_s: float = 15.0) -> None:
        """Ask it to save and go; kill it after `within_s`. Safe to call twice."""
        if not self.is_running:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def respawn(self, within_s: float = 10.0) -> None:
        """Start the program anew where it was, after it died; `wait_ready` then says when it serves.

        Call it from the main thread; it does not wait. Raises EmbeddedServerError where its port or its data directory
        are in other hands by now: its clients know it by its URL alone.
        """
        if self.is_running:
            return
        if not is_free(self.port):
            raise EmbeddedServerError(f"port {self.port} of {self.program} is taken by {who_listens(self.port)}")
        lock = _lock_data_dir(self.data_dir / f"{self.name}.lock", self.program, within_s, lambda _: None)
        try:
            self._process = _spawn(self._launch, self.port, self.data_dir, lock)
        finally:
            os.close(lock)
        self.pid = self._process.pid

    def wait_ready(self, within_s: float = 60.0) -> None:
        """Returns once it serves. Raises EmbeddedServerError with the end of its log when it does not."""
        version = _wait_until_ready(self._launch, self._process, self.port, self.log_path, within_s, lambda _: None)
        if version is None:
            ended = f"{self.program} ended with code {self._process.returncode} before it served"
            raise EmbeddedServerError(f"{ended}; the end of {self.log_path}:\n{self.log_tail(15)}")
        self.version = version

    def __enter__(self) -> RunningServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def start_server(
    launch: Launch, data_dir: Path, *, port: int | None, within_s: float, progress: Progress | None
) -> RunningServer:
    """Start a server and wait until it serves. Raises EmbeddedServerError with the end of its log when it does not."""
    say = progress or (lambda _: None)
    data_dir.mkdir(parents=True, exist_ok=True)
    notes: list[str] = []
    if port is not None and not is_free(port):
        notes.append(f"port {port} is taken by {who_listens(port)}; using another for {launch.program}")
        say(notes[-1])
        port = None
    log = data_dir / f"{launch.name}.log"
    lock = _lock_data_dir(data_dir / f"{launch.name}.lock", launch.program, within_s, say)
    try:
        for attempt in range(_ATTEMPTS):
            chosen = port if port is not None and attempt == 0 else free_port()
            say(f"starting {launch.program} on 127.0.0.1:{chosen}")
            process = _spawn(launch, chosen, data_dir, lock)
            version = _wait_until_ready(launch, process, chosen, log, within_s, say)
            if version is not None:
                say(f"{launch.program} {version} serves on 127.0.0.1:{chosen}")
                return RunningServer(launch, process, chosen, version, data_dir, notes)
            if is_free(chosen):
                break
            notes.append(f"port {chosen} was taken by {who_listens(chosen)} meanwhile")
    finally:
        os.close(lock)
    raise EmbeddedServerError(
        f"{launch.program} ended with code {process.returncode} before it served; the end of {log}:\n{tail(log, 15)}"
    )


def tail(path: Path, lines: int) -> str:
    """The last lines of a text file, or a note that there is none."""
    try:
        return "\n".join(path.read_text("utf-8", "replace").splitlines()[-lines:]) or "(the log is empty)"
    except OSError as error:
        return f"(no log: {error})"


def _spawn(launch: Launch, port: int, data_dir: Path, lock: int) -> subprocess.Popen[bytes]:
    log_path = data_dir / f"{launch.name}.log"
    if log_path.exists() and log_path.stat().st_size > _LOG_KEPT_BYTES:
        log_path.replace(log_path.with_suffix(".log.1"))
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            list(launch.command(port)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=data_dir,
            pass_fds=(lock,),
            start_new_session=True,
            preexec_fn=_dies_with(os.getpid()) if sys.platform == "linux" else None,  # noqa: PLW1509 - no lock is taken
        )
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{process.pid} {os.getpid()}".encode(), 0)
    return process


def _dies_with(parent: int) -> Callable[[], None]:
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def arrange() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return arrange


def _wait_until_ready(
    launch: Launch, process: subprocess.Popen[bytes], port: int, log: Path, within_s: float, say: Progress
) -> str | None:
    began = told = time.monotonic()
    while process.poll() is None:
        version = launch.ready(port)
        if version is not None:
            return version
        now = time.monotonic()
        if now - began > within_s:
            process.kill()
            process.wait()
            raise EmbeddedServerError(
                f"{launch.program} does not serve on port {port} after {within_s:g} s; the end of {log}:\n"
                f"{tail(log, 15)}"
            )
        if now - told >= 1.0:
            told = now
            say(f"waiting for {launch.program} to load its data ({now - began:.0f} s)")
        time.sleep(0.02)
    return None


def _lock_data_dir(path: Path, program: str, within_s: float, say: Progress) -> int:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    began, told = time.monotonic(), False
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        holder, parent = _holder(lock)
        waited_s = time.monotonic() - began
        # One that was killed a moment ago still holds the lock until the kernel is done with it.
        in_use = command_of(holder) and command_of(parent) and waited_s > _DYING_S
        if in_use or waited_s > within_s:
            os.close(lock)
            raise EmbeddedServerError(
                f"{path.parent} is in use by {program} pid {holder} ({command_of(holder) or 'ending'}), started by "
                f"pid {parent} ({command_of(parent) or 'gone'}); stop that, or name another data directory"
            )
        if not told:
            told = True
            say(f"waiting for {program} pid {holder} of an earlier run to save its data and end")
        time.sleep(0.05)


def _holder(lock: int) -> tuple[int, int]:
    words = os.pread(lock, 100, 0).split()
    return (int(words[0]), int(words[1])) if len(words) == 2 else (0, 0)

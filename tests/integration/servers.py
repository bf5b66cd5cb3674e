"""Real servers for the integration tests, on free ports of 127.0.0.1, each in its own data directory.

The fixtures are there for every test (`tests/conftest.py`) and shared by all tests of a worker, so tests use keys,
topics and databases of their own (`fresh_name`). A test that kills or freezes a server starts one for itself with the
`*_at` functions.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adapters.embedded import EmbeddedServerError, RunningServer, start_broker, start_redis
from adapters.embedded.broker import find_mosquitto
from adapters.embedded.ports import free_port
from adapters.embedded.processes import DEPLOY, Launch, start_server

BROKER_KINDS = ("mosquitto", "iotcore")


def fresh_name(prefix: str = "t") -> str:
    """An id no other test uses."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def broker_at(folder: Path, kind: str = "mosquitto", port: int | None = None) -> RunningServer:
    """A broker of one kind, or a skipped test where it is not installed."""
    try:
        return start_broker(folder, kind=kind, port=port)  # type: ignore[arg-type]
    except EmbeddedServerError as error:
        if "found" in str(error):
            pytest.skip(str(error))
        raise


@pytest.fixture(scope="session", params=BROKER_KINDS)
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A broker: the test runs once on Mosquitto and once on iotcore."""
    with broker_at(tmp_path_factory.mktemp("broker"), request.param) as server:
        yield server


@pytest.fixture(scope="session")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One Mosquitto."""
    with broker_at(tmp_path_factory.mktemp("mosquitto"), "mosquitto") as server:
        yield server


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One Redis with its append-only file on, as the product starts it."""
    with start_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL; `fresh_database()` gives each test its own database."""
    with PostgresServer(durable=False) as server:
        yield server


class PostgresServer:
    """Debian's PostgreSQL, run by an unprivileged user, without a password on 127.0.0.1.

    Only a machine that loses its power sees the difference between one that is `durable` (fsync on, as in production)
    and one that is not, and no test takes away the power of PostgreSQL; its own kill -9 loses nothing either way. But a
    database of its own for every test is five times as quick where nobody waits for the disk.

    `url` is `asyncpg://postgres@127.0.0.1:PORT/postgres`. Skips the test where PostgreSQL is not installed. The
    data lies in a directory of its own under /tmp and is removed at the end: pytest closes its directories to
    other users again and again, and PostgreSQL must be run by another user than root.
    """

    def __init__(self, *, durable: bool = True) -> None:
        self._durable = durable
        self._bin = _postgres_bin()
        self._user = _unprivileged_user()
        self.folder = Path(tempfile.mkdtemp(prefix="twinmeter-postgres-"))
        self.data_dir = self.folder / "data"
        self.log_path = self.folder / "postgres.log"
        self._server: RunningServer | None = None
        self._initialise()

    def __enter__(self) -> PostgresServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._running.port

    @property
    def pid(self) -> int:
        """The postmaster."""
        return int((self.data_dir / "postmaster.pid").read_text().split()[0])

    @property
    def url(self) -> str:
        """The maintenance database."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """URL of one database."""
        return f"asyncpg://postgres@127.0.0.1:{self.port}/{database}"

    def fresh_database(self, prefix: str = "tm") -> str:
        """Create an empty database and return its URL."""
        name = fresh_name(prefix).replace("-", "_")
        self.sql(f'CREATE DATABASE "{name}"')
        return self.url_of(name)

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run SQL by psql; returns its rows, one a line."""
        command = [self._bin / "psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-d", database]
        options = ["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement]
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"psql failed: {done.stderr}")
        return done.stdout.strip()

    def start(self, port: int | None = None) -> None:
        """Start it (again) on the same data."""
        launch = Launch(
            name="postgres",
            program="postgres",
            url=lambda chosen: f"asyncpg://postgres@127.0.0.1:{chosen}/postgres",
            command=self._command,
            ready=self._ready,
        )
        self._server = start_server(launch, self.folder, port=port, within_s=60, progress=None)

    def stop(self) -> None:
        """Fast shutdown: clients are dropped, data is written."""
        if self._server is not None and self._server.is_running:
            with contextlib.suppress(OSError, ValueError):
                os.kill(self.pid, signal.SIGINT)
            self._server.stop(30)

    def kill9(self) -> None:
        """Kill the postmaster as a power loss would; its children notice and go."""
        os.kill(self.pid, signal.SIGKILL)
        self._running.stop(30)

    @property
    def _running(self) -> RunningServer:
        assert self._server is not None, "PostgreSQL is not started"
        return self._server

    def _initialise(self) -> None:
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        subprocess.run(
            [
                *self._as_user(), self._bin / "initdb", "-D", self.data_dir, "-U", "postgres", "-A", "trust",
                "-E", "UTF8", "--locale=C", "--no-instructions", *([] if self._durable else ["--no-sync"]),
            ],
            check=True, capture_output=True,
        )  # fmt: skip

    def _command(self, port: int) -> list[str]:
        settings = {
            "port": port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "fsync": "on" if self._durable else "off",
            "max_connections": 100,
            "shared_buffers": "64MB",
        }
        flags = [flag for name, value in settings.items() for flag in ("-c", f"{name}={value}")]
        return [*self._as_user(), str(self._bin / "postgres"), "-D", str(self.data_dir), *flags]

    def _ready(self, port: int) -> str | None:
        probe = [self._bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        if subprocess.run(probe, check=False).returncode:
            return None
        return (self.data_dir / "PG_VERSION").read_text().strip()

    def _as_user(self) -> list[str]:
        if self._user is None:
            return []
        return ["setpriv", f"--reuid={self._user}", f"--regid={pwd.getpwnam(self._user).pw_gid}", "--clear-groups",
                "--pdeathsig", "TERM"]  # fmt: skip


def _postgres_bin() -> Path:
    found = sorted(path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    path = shutil.which("initdb")
    if path:
        found.insert(0, Path(path).parent)
    whole = [folder for folder in found if all((folder / name).exists() for name in ("postgres", "psql", "pg_isready"))]
    if not whole:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    return whole[-1]


def _unprivileged_user() -> str | None:
    """Who runs PostgreSQL: nobody else when we are not root, which it refuses."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    pytest.skip("running as root and no user postgres or nobody to run PostgreSQL")


def production_mosquitto(
    folder: Path, passwords: dict[str, str], *, acl: Path | None = None, extra: str = ""
) -> RunningServer:
    """Mosquitto with the production files of deploy/mosquitto, paths and port put in, and these users."""
    program = find_mosquitto()
    if program is None or shutil.which("mosquitto_passwd") is None:
        pytest.skip("mosquitto and mosquitto_passwd are not installed")
    secrets = folder / "passwords"
    secrets.touch(mode=0o600)
    for user, password in passwords.items():
        subprocess.run(["mosquitto_passwd", "-b", secrets, user, password], check=True, capture_output=True)
    text = (DEPLOY / "mosquitto" / "mosquitto.conf").read_text()
    replaced = {
        "/run/secrets/mosquitto_passwords": str(secrets),
        "/mosquitto/config/acl\n": f"{acl or DEPLOY / 'mosquitto' / 'acl'}\n",
        "/mosquitto/config/": f"{DEPLOY / 'mosquitto'}/",
        "/mosquitto/data/": f"{folder}/",
        "log_dest stdout": "log_dest stderr",
    }
    for old, new in replaced.items():
        assert old in text, f"deploy/mosquitto/mosquitto.conf no longer names {old}"
        text = text.replace(old, new)

    def command(port: int) -> list[str]:
        config = folder / "mosquitto.conf"
        assert "\nlistener 1883\n" in text
        placed = text.replace("\nlistener 1883\n", f"\nlistener {port} 127.0.0.1\n")
        config.write_text(placed + ("user root\n" if os.geteuid() == 0 else "") + extra)
        return [program, "-c", str(config)]

    launch = Launch(
        name="broker", program="mosquitto", url=lambda port: f"mqtt://127.0.0.1:{port}", command=command, ready=_accepts
    )
    return start_server(launch, folder, port=None, within_s=60, progress=None)


def _accepts(port: int) -> str | None:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return "production"
    return None


def kill9(server: RunningServer) -> None:
    """Kill a server without any warning, and wait until it is gone."""
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not server.is_running)


def freeze(server: RunningServer) -> None:
    """Stop a server in its tracks; its sockets stay open and silent."""
    os.kill(server.pid, signal.SIGSTOP)


def thaw(server: RunningServer) -> None:
    """Let a frozen server go on."""
    os.kill(server.pid, signal.SIGCONT)


async def saved(server: RunningServer) -> None:
    """Wait until a Mosquitto with the settings of the product, which saves once a second, has saved what it has now.

    It does one thing at a time: the first save whose end is seen from here on began after its last answer to us.
    """
    database = server.data_dir / "mosquitto.db"

    def state() -> tuple[int, int] | None:
        with contextlib.suppress(FileNotFoundError):
            found = database.stat()
            return found.st_ino, found.st_mtime_ns
        return None

    before, deadline = state(), time.monotonic() + 60
    while state() in (before, None):
        assert time.monotonic() < deadline, f"{database} was not saved within a minute"
        await asyncio.sleep(0.05)


def wait_until(holds: Callable[[], bool], within_s: float = 60.0) -> None:
    """Poll until a condition holds; fails the test when it does not in time."""
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail(f"did not happen within {within_s:g} s")
        time.sleep(0.01)


__all__ = [
    "BROKER_KINDS", "PostgresServer", "broker", "broker_at", "free_port", "freeze", "fresh_name", "kill9", "mosquitto",
    "postgres_server", "production_mosquitto", "redis_server", "saved", "thaw", "wait_until",
]  # fmt: skip

"""An installation as docker-compose.yml describes it, without containers: Debian's servers on the files of deploy/ with
the secrets of make-secrets.sh, and one process of the real command line for each service."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import mqtt5
import pytest

from adapters.embedded import RunningServer
from adapters.embedded.processes import DEPLOY, Launch, start_server
from tests.integration.servers import PostgresServer, free_port, production_mosquitto

ROOT = DEPLOY.parent
TWINMETER = Path(sys.executable).parent / "twinmeter"
SERVICES = ("ledger", "ingest", "commands", "scheduler", "api")


def script(name: str, *arguments: object, **environment: str) -> str:
    """Run a script of deploy/; returns its output, raises with its error."""
    done = subprocess.run(
        [DEPLOY / name, *map(str, arguments)], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr}")
    return done.stdout


def make_secrets(folder: Path, **places: str) -> dict[str, str]:
    """The secrets of an installation by file name. `places` are TWINMETER_REDIS_AT and the like."""
    script("make-secrets.sh", folder, **places)
    return {file.name: file.read_text().strip() for file in folder.iterdir()}


def production_redis(folder: Path, acl: Path, port: int | None = None) -> RunningServer:
    """redis-server with deploy/redis/redis.conf and the users of an installation, as the compose file starts it."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed")
    config = str(DEPLOY / "redis" / "redis.conf")

    def command(chosen: int) -> list[str]:
        own = ["--dir", str(folder), "--aclfile", str(acl), "--maxmemory", "256mb"]
        return [program, config, *own, "--port", str(chosen), "--bind", "127.0.0.1"]

    launch = Launch(
        name="redis", program="redis-server", url=lambda chosen: f"redis://127.0.0.1:{chosen}/0", command=command,
        ready=_refuses_strangers,
    )  # fmt: skip
    return start_server(launch, folder, port=port, within_s=60, progress=None)


def _refuses_strangers(port: int) -> str | None:
    """Serving: it answers, and asks who we are."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        connection.sendall(b"PING\r\n")
        if connection.recv(100).startswith(b"-NOAUTH"):
            return "production"
    return None


class ProductionPostgres(PostgresServer):
    """PostgreSQL with deploy/postgres/postgresql.conf, and passwords asked of everybody but the tests themselves."""

    def _command(self, port: int) -> list[str]:
        config, hba = self.folder / "postgresql.conf", self.folder / "pg_hba.conf"
        shutil.copy(DEPLOY / "postgres" / "postgresql.conf", config)
        hba.write_text("host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        for file in (config, hba):
            file.chmod(0o644)
        return [*super()._command(port), "-c", f"config_file={config}", "-c", f"hba_file={hba}"]


class Service:
    """One process of the platform."""

    def __init__(self, name: str, environment: dict[str, str], log: Path) -> None:
        self.name = name
        self._environment = environment
        self._log = log
        self.start()

    def start(self) -> None:
        """Start it (again)."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([TWINMETER, self.name], env=self._environment, stdout=log, stderr=log)

    def kill9(self) -> None:
        """Kill it without any warning."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(60)

    def stop(self) -> int:
        """Ask it to stop; returns its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait(90)

    @property
    def log(self) -> str:
        """What it wrote."""
        return self._log.read_text(errors="replace")

    def health(self) -> str:
        """What the health check of its container says. Its verdict on ingest is of this host's connections, not a
        container's."""
        done = subprocess.run(
            [sys.executable, DEPLOY / "healthcheck.py", self.name],
            env=self._environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.stdout.strip() + done.stderr.strip()

    def wait_healthy(self, within_s: float = 150) -> None:
        """Wait until the health check passes; fails the test with the log when it does not."""
        deadline = time.monotonic() + within_s
        while not (seen := self.health()).startswith("healthy"):
            if time.monotonic() > deadline or self._process.poll() is not None:
                pytest.fail(f"{self.name} is not healthy: {seen}\n{self.log[-3000:]}")
            time.sleep(0.2)


class Installation:
    """Servers, secrets and services in one folder; use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secrets_dir = folder / "secrets"
        self._stack = contextlib.ExitStack()
        self.services: dict[str, Service] = {}

    def __enter__(self) -> Installation:
        with contextlib.ExitStack() as stack:
            self._start_servers(stack)
            self._start_services(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start_servers(self, stack: contextlib.ExitStack) -> None:
        ports = {name: free_port() for name in ("redis", "postgres")}
        places = {f"TWINMETER_{name.upper()}_AT": f"127.0.0.1:{port}" for name, port in ports.items()}
        for name in ("redis", "broker"):
            (self.folder / name).mkdir()
        make_secrets(self.secrets_dir, **places)
        self.redis = stack.enter_context(
            production_redis(self.folder / "redis", self.secrets_dir / "redis_users.acl", ports["redis"])
        )
        self.acl = self.folder / "acl"
        shutil.copy(DEPLOY / "mosquitto" / "acl", self.acl)
        self.mosquitto = stack.enter_context(production_mosquitto(self.folder / "broker", {}, acl=self.acl))
        self.passwords = self.folder / "broker" / "passwords"
        shutil.copy(self.secrets_dir / "mosquitto_passwords", self.passwords)
        self.tell_broker()
        password = (self.secrets_dir / "mqtt_password").read_text().strip()
        (self.secrets_dir / "mqtt_url").write_text(f"mqtt://twinmeter:{password}@127.0.0.1:{self.mosquitto.port}\n")
        self.postgres = stack.push(ProductionPostgres())
        self.postgres.start(ports["postgres"])
        word = (self.secrets_dir / "postgres_password").read_text().strip()
        self.postgres.sql(f"CREATE ROLE twinmeter LOGIN PASSWORD '{word}'")
        self.postgres.sql("CREATE DATABASE twinmeter OWNER twinmeter")

    def _start_services(self, stack: contextlib.ExitStack) -> None:
        http = free_port()
        self.http_url = f"http://127.0.0.1:{http}"
        for name in SERVICES:
            environment = self.environment | {"TWINMETER_HOST": f"test-{name}", "TWINMETER_HTTP": f"127.0.0.1:{http}"}
            if name == "api":
                environment["TWINMETER_ADMIN_TOKEN_FILE"] = str(self.secrets_dir / "admin_token")
            service = self.services[name] = Service(name, environment, self.folder / f"{name}.log")
            stack.callback(service.stop)
            if name == "ledger":
                service.wait_healthy()
        for service in self.services.values():
            service.wait_healthy()

    @property
    def environment(self) -> dict[str, str]:
        """What every service of the compose file gets: places of secrets, no secrets."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TWINMETER_")}
        files = {name: str(self.secrets_dir / name) for name in ("database_url", "redis_url", "mqtt_url")}
        return kept | {f"TWINMETER_{name.upper()}_FILE": file for name, file in files.items()} | {
            "TWINMETER_DATA": str(self.folder / "data")
        }  # fmt: skip

    def tell_broker(self) -> None:
        """SIGHUP, as after every change of the passwords or the ACL."""
        os.kill(self.mosquitto.pid, signal.SIGHUP)
        # It reads them before it reads what comes after the signal: a stranger, who is refused.
        with socket.create_connection(("127.0.0.1", self.mosquitto.port), timeout=60) as connection:
            connection.sendall(mqtt5.ConnectPacket("stranger", clean_start=True, keep_alive=10).write())
            connection.recv(1)

    def add_user(self, name: str, *arguments: str) -> str:
        """A user of the broker by add-device.sh; returns the password."""
        files = ("--passwords", self.passwords, "--acl", self.acl)
        said = script("mosquitto/add-device.sh", name, *arguments, *files)
        self.tell_broker()
        return said.split("password")[1].strip()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of twinmeter on this installation."""
        return subprocess.run(
            [TWINMETER, *arguments], env=self.environment, capture_output=True, text=True, check=False, timeout=240
        )

    def call(self, method: str, path: str, body: dict[str, Any] | None = None, key: str = "") -> dict[str, Any]:
        """A call of the HTTP API as the first administrator. Raises urllib.error.HTTPError."""
        request = urllib.request.Request(f"{self.http_url}/api/v1{path}", method=method)
        request.add_header("Authorization", f"Bearer {(self.secrets_dir / 'admin_token').read_text().strip()}")
        if key:
            request.add_header("Idempotency-Key", key)
        if body is not None:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(body).encode()
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

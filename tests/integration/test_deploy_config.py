"""The files of deploy/ and the compose file: they start, they agree with each other, and a whole installation of them
meters, charges, switches and survives the death of its parts."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time

import aiomqtt
import pytest
import redis
from ruamel.yaml import YAML

from adapters.embedded.processes import DEPLOY
from api.services import ALL
from api.settings import ENVIRONMENT
from tests.integration.installation import (
    ROOT,
    Installation,
    ProductionPostgres,
    make_secrets,
    production_redis,
    script,
)

pytestmark = pytest.mark.timeout(900)
"""The first test pays for the start of five processes, one after another, on whatever is left of the machine."""
WATCHING = {"prometheus", "grafana"}
COMPOSE = YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text())
PRICE_MICRO = 852_300
OPENING_WH = 120_000
SITE = f"""
apiVersion: twinmeter.site/v1
site: park-1
timezone: Asia/Shanghai
currency: CNY
interval: 15m
tariffs:
- apiVersion: twinmeter.tariff/v1
  tariff: shop
  utility: electricity
  versions: [{{from: "2020-01-01T00:00:00", mode: flat, price: "0.8523"}}]
rulesets: [{DEPLOY.parent}/rules/packs/residential-prepaid.yaml]
devices:
- {{id: em-001, kind: electricity_meter, relay: true, remote_close: true, opening_wh: {OPENING_WH}, imax_a: 60}}
- {{id: em-002, kind: electricity_meter, relay: true, remote_close: true, opening_wh: 0, imax_a: 60}}
tenants:
- id: t-001
  name: 老王面馆
  mode: prepaid
  opening_credit: "1000.00"
  supplies: [{{meter: em-001, breaker: em-001, tariff: shop}}]
- id: t-002
  name: 小李水果
  mode: prepaid
  opening_credit: "1000.00"
  supplies: [{{meter: em-002, breaker: em-002, tariff: shop}}]
"""


# --- the files by themselves --------------------------------------------------------------------------------------


def test_secrets_are_made_once_and_closed_to_others(tmp_path):
    first = make_secrets(tmp_path / "secrets")
    assert make_secrets(tmp_path / "secrets") == first
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
    words = [first[name] for name in ("redis_password", "postgres_password", "mqtt_password", "admin_token")]
    assert len(set(words)) == 4
    assert all(len(word) >= 32 for word in words)
    assert first["redis_password"] not in first["redis_users.acl"], "Redis needs the hash only"
    assert first["mqtt_password"] not in first["mosquitto_passwords"], "so does Mosquitto"


def test_redis_takes_its_file_and_lets_only_the_platform_in(tmp_path):
    words = make_secrets(tmp_path / "secrets")
    with production_redis(tmp_path, tmp_path / "secrets" / "redis_users.acl") as server:
        with pytest.raises(redis.AuthenticationError), redis.Redis(port=server.port) as stranger:
            stranger.ping()
        user = {"port": server.port, "username": "twinmeter", "password": words["redis_password"]}
        with redis.Redis(**user, decode_responses=True) as platform:
            wanted = {"appendonly": "yes", "maxmemory-policy": "noeviction", "appendfsync": "everysec"}
            assert {name: platform.config_get(name)[name] for name in wanted} == wanted
            assert platform.eval("return redis.call('SET', KEYS[1], ARGV[1])", 1, "{a}:k", "1")
            for forbidden in ("FLUSHALL", "FLUSHDB", "SHUTDOWN"):
                with pytest.raises(redis.exceptions.NoPermissionError):
                    platform.execute_command(forbidden)
            healthcheck = COMPOSE["services"]["redis"]["healthcheck"]["test"][1].replace("$$", "$")
        said = healthcheck.replace("/run/secrets", str(tmp_path / "secrets"))
        assert "redis-cli --user" in said
        said = said.replace("redis-cli", f"redis-cli -p {server.port}")
        assert subprocess.run(["sh", "-c", said], check=False, capture_output=True).returncode == 0
        wrong = said.replace("redis_password", "mqtt_password")
        assert subprocess.run(["sh", "-c", wrong], check=False, capture_output=True).returncode == 1


def test_postgres_takes_every_line_of_its_file():
    with ProductionPostgres() as server:
        refused = server.sql("SELECT name FROM pg_file_settings WHERE error IS NOT NULL").split()
        assert set(refused) <= {"listen_addresses", "port", "shared_buffers"}, "only what the test itself overrides"
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            assert server.sql(f"SHOW {name}") == "on"
        assert server.sql("SHOW password_encryption") == "scram-sha-256"
        assert server.sql("SHOW config_file").endswith("postgresql.conf")


def test_a_gateway_gets_its_lines_once_and_in_its_own_section(tmp_path):
    acl, passwords = tmp_path / "acl", tmp_path / "passwords"
    acl.write_text("user twinmeter\ntopic readwrite twinmeter/v1/#\n\nuser gw-00\ntopic read x\n")

    def add(name: str, devices: str) -> None:
        files = ("--acl", acl, "--passwords", passwords)
        script("mosquitto/add-device.sh", name, "--site", "park-1", "--for", devices, *files)

    add("gw-01", "em-001,em-002")
    add("gw-00", "em-009")
    add("gw-01", "em-002,em-003")
    sections = {part.splitlines()[0]: part.splitlines()[1:] for part in acl.read_text().split("user ")[1:]}
    assert sections["twinmeter"] == ["topic readwrite twinmeter/v1/#", ""]
    lines = [line for line in sections["gw-01"] if line]
    assert len(lines) == len(set(lines)) == 24
    assert {line.split("/")[3] for line in lines} == {"em-001", "em-002", "em-003"}
    assert not [line for line in lines if re.search(r"write .*/(cmd|cfg)$", line)]
    assert len([line for line in sections["gw-00"] if "em-009" in line]) == 8
    assert [line.split(":")[0] for line in passwords.read_text().splitlines()] == ["gw-00", "gw-01"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a/b"], "letters, digits"),
        (["em-001", "--for", "em-002"], "--for needs --site"),
        (["gw-01", "--site", "park-1", "--for", "em-001,#"], "device '#'"),
        (["twinmeter"], "is the platform itself"),
        ([], "add-device.sh em-001"),
    ],
)
def test_a_user_that_the_broker_would_misunderstand_is_refused(tmp_path, arguments, words):
    (tmp_path / "acl").write_text("user x\n")
    with pytest.raises(RuntimeError, match=re.escape(words)):
        script("mosquitto/add-device.sh", *arguments, "--acl", tmp_path / "acl", "--passwords", tmp_path / "passwords")
    assert not (tmp_path / "passwords").exists()
    assert (tmp_path / "acl").read_text() == "user x\n"


# --- the compose file ---------------------------------------------------------------------------------------------


def test_every_service_of_the_platform_has_a_container_with_a_health_check():
    services = COMPOSE["services"]
    assert set(services) == {*ALL, "mosquitto", "redis", "postgres", *WATCHING}
    assert {name for name, service in services.items() if service.get("profiles") == ["observability"]} == WATCHING
    for name, service in services.items():
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"], name
        assert service["deploy"]["resources"]["limits"]["memory"], name
    for name in ALL:
        assert services[name]["command"][0] == name
        assert services[name]["healthcheck"]["test"] == ["CMD", "python", "deploy/healthcheck.py", name]


def test_only_mqtt_and_http_are_published_and_only_here():
    published = {name: service["ports"] for name, service in COMPOSE["services"].items() if service.get("ports")}
    assert set(published) == {"mosquitto", "api", *WATCHING}
    assert all(port.startswith("${TWINMETER_BIND:-127.0.0.1}:") for ports in published.values() for port in ports)
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    for name in ("redis", "postgres", "ledger", "ingest", "commands", "scheduler"):
        assert COMPOSE["services"][name]["networks"] == ["inside"]


def test_settings_secrets_and_mounts_of_the_compose_file_exist(tmp_path):
    made = set(make_secrets(tmp_path / "secrets"))
    assert {secret["file"].rpartition("/")[2] for secret in COMPOSE["secrets"].values()} <= made
    known = {*ENVIRONMENT.values(), *(f"{variable}_FILE" for variable in ENVIRONMENT.values())}
    hosts = []
    for name, service in COMPOSE["services"].items():
        assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"]), name
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / source).exists(), mount
        if name in ALL:
            assert set(service["environment"]) <= known, name
            for variable, value in service["environment"].items():
                if variable.endswith("_FILE"):
                    assert value.removeprefix("/run/secrets/") in service["secrets"], (name, variable)
            hosts.append(service["environment"]["TWINMETER_HOST"])
    assert len(set(hosts)) == len(hosts), "two processes with one name would take each other's MQTT session"


def test_the_image_copies_what_exists_and_nothing_secret():
    sources = [
        source
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    ]
    ignore = (ROOT / ".dockerignore").read_text().split()
    assert {"schemas", "billing", "rules", "twin", "adapters", "simulators", "api", "deploy"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignore, f"{source} is copied and ignored"
    assert ignore.index("deploy/secrets") > ignore.index("!deploy")
    assert "USER twinmeter" in (ROOT / "Dockerfile").read_text()
    assert "--require-hashes" in (ROOT / "Dockerfile").read_text()


# --- the whole installation ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    with Installation(tmp_path_factory.mktemp("installation")) as whole:
        site = whole.folder / "site.yaml"
        site.write_text(SITE)
        imported = whole.run("site", "import", str(site))
        assert imported.returncode == 0, imported.stderr
        yield whole


class Meter:
    """A meter with a user of its own: it reports, and obeys commands by the contract."""

    def __init__(self, installation: Installation, name: str) -> None:
        self._name, self._prefix = name, f"twinmeter/v1/park-1/{name}"
        self._password = installation.add_user(name)
        self._port = installation.mosquitto.port
        self._sid, self._seq = f"s{time.time_ns()}", 0
        self.relay, self.heard = "closed", []

    async def __aenter__(self) -> Meter:
        self._client = aiomqtt.Client(
            "127.0.0.1", self._port, username=self._name, password=self._password, identifier=self._name,
            protocol=aiomqtt.ProtocolVersion.V311,
        )  # fmt: skip
        await self._client.__aenter__()
        await self._client.subscribe("twinmeter/v1/+/+/cmd", qos=1)
        await self.say("conn", {"v": 1, "s": "online", "sid": self._sid}, retain=True)
        await self.say("state", {"v": 1, "sid": self._sid, "ts": now_ms(), "relay": self.relay}, retain=True)
        self._obeying = asyncio.create_task(self._obey())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._obeying.cancel()
        await self._client.__aexit__(None, None, None)

    async def say(self, verb: str, body: dict, *, device: str = "", retain: bool = False) -> None:
        topic = f"twinmeter/v1/park-1/{device}/{verb}" if device else f"{self._prefix}/{verb}"
        await self._client.publish(topic, json.dumps(body), qos=1, retain=retain)

    async def read(self, wh: int, power_w: int, *, minutes_ago: int = 0, device: str = "") -> None:
        self._seq += 1
        ts = now_ms() - minutes_ago * 60_000
        channels = {"import_wh": wh, "power_w": power_w, "relay": self.relay}
        body = {"v": 1, "sid": self._sid, "seq": self._seq, "ts": ts, "d": channels}
        await self.say("tele", body, device=device)

    async def _obey(self) -> None:
        async for message in self._client.messages:
            command = json.loads(message.payload)
            self.heard.append((str(message.topic), command["target"]))
            self.relay = command["target"]
            ack = {"v": 1, "cmd": command["cmd"], "st": "executed", "relay": self.relay, "ts": now_ms()}
            await self.say("ack", ack)
            await self.say("state", {"v": 1, "sid": self._sid, "ts": now_ms(), "relay": self.relay}, retain=True)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def balance_nano(installation: Installation, tenant: str) -> int:
    whole, fraction = installation.call("GET", f"/sites/park-1/tenants/{tenant}")["balance"].split(".")
    return int(whole + fraction)


async def until(holds, within_s: float = 90):
    deadline = time.monotonic() + within_s
    while not (found := await asyncio.to_thread(holds)):
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.1)
    return found


async def test_a_reading_becomes_a_charge_that_the_api_of_another_process_shows(installation):
    async with Meter(installation, "em-001") as meter:
        for wh, ago in ((OPENING_WH, 60), (OPENING_WH + 400, 30), (OPENING_WH + 1_000, 0)):
            await meter.read(wh, 800, minutes_ago=ago)
            wanted = 1000 * 10**9 - (wh - OPENING_WH) * PRICE_MICRO
            await until(lambda wanted=wanted: balance_nano(installation, "t-001") == wanted)
            assert balance_nano(installation, "t-001") == wanted


async def test_one_device_can_neither_report_for_another_nor_hear_its_commands(installation):
    async with Meter(installation, "em-001") as impostor, Meter(installation, "em-002") as meter:
        await meter.read(100, 0, minutes_ago=30)
        await until(lambda: balance_nano(installation, "t-002") == 1000 * 10**9 - 100 * PRICE_MICRO)
        await impostor.read(1_000, 0, device="em-002")
        order = {"target": "open", "reason": "test of the ACL"}
        answer = await asyncio.to_thread(
            installation.call, "POST", "/sites/park-1/devices/em-002/commands", order, "acl-1"
        )
        assert answer["target"] == "open"
        await until(lambda: meter.heard)
        assert meter.heard == [("twinmeter/v1/park-1/em-002/cmd", "open")]
        assert impostor.heard == []
        assert balance_nano(installation, "t-002") == 1000 * 10**9 - 100 * PRICE_MICRO


async def test_a_command_goes_through_four_processes_and_ends_verified(installation):
    path = "/sites/park-1/devices/em-001/commands"

    def states() -> list[str]:
        return [command["state"] for command in installation.call("GET", path)["items"]]

    async with Meter(installation, "em-001") as meter:
        await meter.read(OPENING_WH + 1_000, 800)
        await asyncio.to_thread(installation.call, "POST", path, {"target": "open", "reason": "test"}, "four-1")
        await until(lambda: meter.relay == "open")
        await asyncio.sleep(2.1)  # power measured right after the contact moved proves nothing
        await meter.read(OPENING_WH + 1_000, 0)
        await until(lambda: states()[0] == "verified")
        await asyncio.to_thread(installation.call, "POST", path, {"target": "closed", "reason": "test"}, "four-2")
        await until(lambda: meter.relay == "closed" and states()[:2] == ["verified", "verified"])
        assert list(dict.fromkeys(target for _, target in meter.heard)) == ["open", "closed"]


async def test_killed_services_are_found_unhealthy_and_lose_nothing_when_they_return(installation):
    ledger, ingest = installation.services["ledger"], installation.services["ingest"]
    before = balance_nano(installation, "t-002")
    ledger.kill9()
    ingest.kill9()
    await asyncio.sleep(1)
    probe = "import healthcheck as h; h.IDLE_MS = 500; print(h.main())"
    path = {"PYTHONPATH": str(DEPLOY)}
    said = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", probe, "ledger"],
        env=installation.environment | path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.stdout.startswith("unhealthy: ledger last asked for entries of park-1"), said
    async with Meter(installation, "em-002") as meter:
        await meter.read(1_100, 0)  # nobody listens: the broker keeps it for the session of ingest
        ingest.start()
        ledger.start()
        await until(lambda: balance_nano(installation, "t-002") == before - 1_000 * PRICE_MICRO)
    ledger.wait_healthy()


def test_the_books_of_the_installation_agree(installation):
    proof = installation.run("verify", "--json")
    assert proof.returncode == 0, proof.stdout + proof.stderr
    assert json.loads(proof.stdout)["ok"] is True
    for service in installation.services.values():
        assert "Traceback" not in service.log, service.log[-3000:]


def test_services_stop_when_they_are_asked_to(installation):
    for name, service in installation.services.items():
        assert service.stop() == 0, f"{name}: {service.log[-2000:]}"

"""The API on a real server: addresses, the live feed over a socket, a clean stop, and all of it over real Redis."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from structlog.testing import capture_logs

from adapters.embedded.ports import free_port
from api.http.routes import events
from api.http.serve import serve_http
from api.stream.feed import QUEUE_MAX
from tests.integration.park import import_document, running_platform, settled
from tests.integration.servers import fresh_name
from tests.unit.api import parks
from tests.unit.api.parks import SITE
from tests.unit.api.stage import ADMIN, ADMIN_SECRET, Stage, bearer, migrated_database, open_stage
from twin.core.effects import NotificationWanted
from twin.ports import Entry

EVENTS = f"/api/v1/sites/{SITE}/events"
BURST = 200
TOPUPS = f"/api/v1/sites/{SITE}/tenants/{{}}/topups"


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database in the present schema."""
    return migrated_database(tmp_path_factory.mktemp("migrated"))


@contextlib.asynccontextmanager
async def served(platform: Any, within_s: float = 60.0) -> AsyncIterator[tuple[httpx.AsyncClient, asyncio.Event]]:
    """The API of a platform on a socket, with a client and the event that stops it."""
    stop = asyncio.Event()
    serving = asyncio.create_task(serve_http(platform, stop))
    try:
        async with asyncio.timeout(within_s):
            while not platform.http_url and not serving.done():  # noqa: ASYNC110 -- seen from outside only
                await asyncio.sleep(0.01)
        if serving.done():
            serving.result()
        async with httpx.AsyncClient(base_url=platform.http_url, timeout=60) as client:
            yield client, stop
    finally:
        stop.set()
        await asyncio.wait_for(serving, within_s)


@pytest.fixture
async def stage(tmp_path: Path, migrated: Path) -> AsyncIterator[Stage]:
    """A platform with twins in memory, to be served on a free port."""
    async with open_stage(tmp_path, migrated) as opened:
        opened.settings = msgspec.structs.replace(opened.settings, http="127.0.0.1:0")
        yield opened


class Feed:
    """A client of the live feed that takes events off the socket one by one."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def block(self) -> dict[str, str]:
        """The next block of lines by field; a heartbeat comes as {"": text}."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(60):
            async for line in self._lines:
                if not line:
                    return fields
                name, _, value = line.partition(":")
                fields[name] = value.strip()
        raise EOFError

    async def rest(self) -> None:
        """Read until the feed ends, which is told by an error."""
        while True:
            await self.block()

    async def event(self) -> dict[str, str]:
        """The next event that is no heartbeat."""
        while True:
            block = await self.block()
            if "event" in block:
                return block


@contextlib.asynccontextmanager
async def following(client: httpx.AsyncClient, headers: dict[str, str], **query: str) -> AsyncIterator[Feed]:
    """An open feed; its first heartbeat has been seen, so whatever happens now is on it."""
    async with client.stream("GET", EVENTS, headers=headers, params=query) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        feed = Feed(response)
        assert "" in await feed.block()
        yield feed


async def top_up(client: httpx.AsyncClient, key: str, tenant: str = "t-001") -> None:
    body = {"amount": "5.00", "channel": "cash", "reference": key}
    answer = await client.post(TOPUPS.format(tenant), json=body, headers={**ADMIN, "Idempotency-Key": key})
    assert answer.status_code == 201, answer.text


async def lock(client: httpx.AsyncClient, device: str, key: str) -> None:
    body = {"kind": "maintenance", "reason": "test"}
    url = f"/api/v1/sites/{SITE}/devices/{device}/locks"
    answer = await client.post(url, json=body, headers={**ADMIN, "Idempotency-Key": key})
    assert answer.status_code == 202, answer.text


async def test_events_come_live_and_resume(stage: Stage) -> None:
    async with served(stage) as (client, _):
        async with following(client, ADMIN, types="lock") as feed:
            await lock(client, "em-001", "l-1")
            await lock(client, "br-001", "l-2")
            first, second = await feed.event(), await feed.event()
        assert [json.loads(event["data"])["breaker"] for event in (first, second)] == ["em-001", "br-001"]
        assert json.loads(first["data"])["who"] == "admin"
        await lock(client, "wm-001", "l-3")
        async with following(client, {**ADMIN, "Last-Event-ID": first["id"]}, types="lock") as feed:
            again, third = await feed.event(), await feed.event()
        assert again == second
        assert json.loads(third["data"])["breaker"] == "wm-001"


async def test_what_cannot_be_resumed_says_so(stage: Stage) -> None:
    late = {**ADMIN, "Last-Event-ID": "99999999999999-0"}
    async with served(stage) as (client, _), following(client, late) as feed:
        assert (await feed.event())["event"] == "reset"
        await lock(client, "em-001", "l-1")
        assert (await feed.event())["event"] == "lock"


async def test_a_tenant_follows_its_own_only(stage: Stage) -> None:
    mine = bearer(await stage.token("tenant", site=SITE, tenant="t-002"))
    async with served(stage) as (client, _), following(client, mine) as feed:
        await lock(client, "em-001", "l-1")
        await lock(client, "br-001", "l-2")
        event = json.loads((await feed.event())["data"])
        assert (event["group"], event["breaker"], event["who"]) == ("t-002", "br-001", "staff")


async def test_a_revoked_token_follows_no_longer(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(events, "LOOK_AGAIN_S", 0.1)
    secret = bearer(await stage.token("om", name="gone"))
    async with served(stage) as (client, _), following(client, ADMIN) as staying, following(client, secret) as feed:
        for _ in range(6):
            assert "" in await feed.block(), "looked at and found good"
        token = next(token for token in await stage.tokens.tokens() if token.name == "gone")
        await stage.tokens.revoke(token.id, who="test", now=stage.clock.now())
        with pytest.raises(EOFError):
            await feed.rest()
        await lock(client, "em-001", "l-1")
        assert (await staying.event())["event"] == "lock"


async def test_a_client_that_does_not_read_holds_up_nobody(stage: Stage) -> None:
    """One follower never reads; far more than its socket and its queue hold is sent; the other one sees it all."""
    async with served(stage) as (client, _):
        host, port = stage.http_url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            head = f"GET {EVENTS} HTTP/1.1\r\nHost: x\r\nAuthorization: {ADMIN['Authorization']}\r\n\r\n"
            deaf.sendall(head.encode())
            async with following(client, ADMIN, types="notify") as feed:
                while (await metric(client, "twinmeter_live_feeds")) < 2:  # noqa: ASYNC110 -- seen from outside only
                    await asyncio.sleep(0.01)
                total = 0
                while total < QUEUE_MAX * 8:
                    sent = [say(stage, total + number) for number in range(BURST)]
                    stage.store.redis.site(SITE).announce()
                    assert [(await feed.event())["id"] for _ in sent] == sent
                    total += BURST
            assert await metric(client, "twinmeter_live_feeds_let_go_total") == 1


def say(stage: Stage, number: int) -> str:
    """A large notice on the effect stream; returns its id."""
    entry_id = f"{stage.clock.now() + 1 + number}-0"
    notice = NotificationWanted("t-001", "test", number, {"text": "x" * 2_000})
    state = stage.store.redis.site(SITE)
    state.effects.append(Entry(entry_id, "t-001", (notice,)))
    state.last = entry_id
    return entry_id


async def metric(client: httpx.AsyncClient, name: str) -> float:
    """A metric without labels."""
    lines = (await client.get("/metrics")).text.splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


async def test_a_start_without_a_database_is_a_failure_of_the_api_and_not_the_end_of_the_process(stage: Stage) -> None:
    """Partitions, seed 1: the link to the database broke just then, and uvicorn ended the process, ingest included."""
    await stage.database.close()
    with pytest.raises(RuntimeError, match="could not start"):
        await asyncio.wait_for(serve_http(stage, asyncio.Event()), 60)
    assert stage.http_url == ""


async def test_an_api_that_is_started_again_is_found_where_it_was(stage: Stage) -> None:
    async with served(stage):
        before = stage.http_url
    async with served(stage) as (client, _):
        assert stage.http_url == before
        assert (await client.get("/health/live")).status_code == 200


async def test_a_taken_port_is_told_and_another_used(stage: Stage) -> None:
    port = free_port()
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", port))
        holder.listen()
        stage.settings = msgspec.structs.replace(stage.settings, http=f"127.0.0.1:{port}")
        with capture_logs() as logs:
            async with served(stage) as (client, _):
                assert stage.http_url != f"http://127.0.0.1:{port}"
                assert (await client.get("/health/live")).status_code == 200
    told = next(entry for entry in logs if "taken" in entry["event"])
    assert told["port"] == port
    assert f"pid {os.getpid()}" in told["by"]
    assert any(entry.get("url", "").startswith("http://127.0.0.1:") for entry in logs)


async def test_stopping_ends_feeds_and_leaves_signals_alone(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 3_600)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    async with served(stage) as (client, stop):
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
        async with following(client, ADMIN) as feed:
            started = asyncio.get_running_loop().time()
            stop.set()
            with pytest.raises((EOFError, httpx.RemoteProtocolError)):
                await feed.rest()
            assert asyncio.get_running_loop().time() - started < 30, "it does not wait for a heartbeat that never comes"
    assert stage.http_url == ""


async def test_a_hundred_equal_top_ups_over_sockets_are_one(stage: Stage) -> None:
    async with served(stage) as (client, _):
        await asyncio.gather(*(top_up(client, "storm") for _ in range(100)))
        tenant = (await client.get(f"/api/v1/sites/{SITE}/tenants/t-001", headers=ADMIN)).json()
        assert tenant["balance"] == "105.000000000"


async def test_the_whole_platform(tmp_path: Path, broker: Any, redis_server: Any) -> None:
    """Redis, a broker, SQLite and all services: a top-up and a lock reach the twin, the ledger and the feed."""
    site = fresh_name("park")
    database_url = f"sqlite:///{tmp_path / 'platform.sqlite3'}"
    running = running_platform(
        tmp_path, redis_url=redis_server.url, mqtt_url=broker.url, database_url=database_url, clock="real"
    )
    async with running as (platform, services):
        platform.settings = msgspec.structs.replace(platform.settings, admin_token=ADMIN_SECRET)
        await import_document(platform, parks.document(site))
        async with served(platform) as (client, _):
            base = f"/api/v1/sites/{site}"
            keyed = {**ADMIN, "Idempotency-Key": "k-1"}
            async with client.stream("GET", f"{base}/events", headers=ADMIN, params={"types": "lock"}) as response:
                feed = Feed(response)
                await feed.block()
                body = {"amount": "50.00", "channel": "cash", "reference": "R-1"}
                assert (await client.post(f"{base}/tenants/t-001/topups", json=body, headers=keyed)).status_code == 201
                wish = {"target": "open", "reason": "works"}
                sent = await client.post(f"{base}/devices/em-001/commands", json=wish, headers=keyed)
                assert (sent.status_code, sent.json()["target"]) == (202, "open")
                assert json.loads((await feed.event())["data"])["lock"] == "manual"
            tenant = (await client.get(f"{base}/tenants/t-001", headers=ADMIN)).json()
            assert (tenant["balance"], tenant["locks"]) == ("150.000000000", ["manual"])
            async with asyncio.timeout(90):
                while (await client.get("/health/ready")).status_code != 200:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            await settled(platform, 0, site=site)
            listed = (await client.get(f"{base}/devices/em-001/commands", headers=ADMIN)).json()["items"]
            assert [row["id"] for row in listed] == [sent.json()["id"]]
            metrics = (await client.get("/metrics")).text
            assert f'twinmeter_ledger_lag_entries{{site="{site}"}} 0.0' in metrics
            assert "twinmeter_ingest_connected 1.0" in metrics
        assert services.failures == {}

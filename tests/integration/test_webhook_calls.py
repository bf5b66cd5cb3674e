"""Webhooks from SQL to a real HTTP server: signed, repeated with pauses, given up; only where the settings allow."""

from __future__ import annotations

import hmac
import json
import threading
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from adapters.notify.webhook_sender import WebhookSender
from adapters.store.watching.webhook_book import SqlWebhookBook
from api.settings import Settings, SettingsError, load_settings
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from twin.core.effects import ParamChanged, WebhookWanted
from twin.flows.call_webhooks import PAUSES_MS, WebhookCalls
from twin.ports import Entry, WebhookTarget

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adapters.store.engine.database import Database
    from adapters.store.posting.ledger import SqlLedger

START = 1_767_900_000_000
SECRET = "a secret of the receiver"


class Receiver(ThreadingHTTPServer):
    """Answers as it is told, and remembers what came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.came: list[tuple[dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.came.append((dict(self.headers), body))
        status, headers = server.answers.pop(0) if server.answers else (204, {})
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args: Any) -> None:
        """Quiet."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


class Hand:
    """A clock moved by hand."""

    at = START

    def now(self) -> int:
        return self.at

    def observe(self, _ts: int) -> None:
        """Nothing moves it."""

    async def sleep(self, _seconds: float) -> None:
        """Nobody sleeps by it."""


async def wanted(ledger: SqlLedger, *effects: Any) -> None:
    await ledger.post("park-1", [Entry(f"{START}-{len(effects)}", "t-001", effects)])


CALL = WebhookWanted("hot", "em-001", START, "duty", {"power": 6500})


def calls_of(database: Database, clock: Hand, **targets: WebhookTarget) -> tuple[WebhookCalls, WebhookSender]:
    sender = WebhookSender(targets, clock.now)
    return WebhookCalls(SqlWebhookBook(database), sender, clock), sender


async def state(database: Database) -> tuple[Any, ...]:
    return tuple((await database.fetch("SELECT state, attempts, answer FROM webhook_call"))[0])


@pytest.mark.usefixtures("park")
async def test_a_call_is_signed_repeated_until_had_and_made_once(
    database: Database, ledger: SqlLedger, receiver: Receiver
) -> None:
    await wanted(ledger, CALL, CALL)
    clock = Hand()
    calls, sender = calls_of(database, clock, duty=WebhookTarget(receiver.url, SECRET))
    receiver.answers = [(500, {}), (503, {"Retry-After": "600"})]
    assert await calls.sweep() == 1
    assert await calls.sweep() == 0, "it is not due again at once"
    assert await state(database) == ("wanted", 1, "500")
    clock.at += PAUSES_MS[0]
    assert await calls.sweep() == 1
    clock.at += PAUSES_MS[1]
    assert await calls.sweep() == 0, "the receiver asked for ten minutes"
    clock.at += 600_000
    assert await calls.sweep() == 1
    assert await state(database) == ("delivered", 3, "204")
    assert (calls.delivered, calls.failed) == (1, 0)
    assert len({headers["Twinmeter-Delivery"] for headers, _ in receiver.came}) == 1
    for headers, body in receiver.came:
        said = dict(part.split("=") for part in headers["Twinmeter-Signature"].split(","))
        mac = hmac.new(SECRET.encode(), said["t"].encode() + b"." + body, sha256).hexdigest()
        assert said["v1"] == mac
        assert headers["Idempotency-Key"] == headers["Twinmeter-Delivery"]
        told = json.loads(body)
        assert (told["site"], told["rule"], told["twin"], told["ts"]) == ("park-1", "hot", "em-001", START)
        assert told["data"] == {"power": 6500}
    await sender.close()


@pytest.mark.usefixtures("park")
@pytest.mark.parametrize("status", [400, 410, 301])
async def test_a_refusal_for_good_is_not_repeated_nor_a_redirect_followed(
    database: Database, ledger: SqlLedger, receiver: Receiver, status: int
) -> None:
    await wanted(ledger, CALL)
    clock = Hand()
    calls, sender = calls_of(database, clock, duty=WebhookTarget(receiver.url))
    receiver.answers = [(status, {"Location": receiver.url + "/elsewhere"})]
    await calls.sweep()
    assert (await state(database))[:2] == ("failed", 1)
    assert len(receiver.came) == 1
    assert "Twinmeter-Signature" not in receiver.came[0][0], "without a secret nothing is signed"
    await sender.close()


@pytest.mark.usefixtures("park")
async def test_a_receiver_that_is_never_there_is_given_up_and_a_crash_loses_nothing(
    database: Database, ledger: SqlLedger
) -> None:
    await wanted(ledger, CALL)
    clock = Hand()
    for pause in (*PAUSES_MS, 0):
        calls, sender = calls_of(database, clock, duty=WebhookTarget("http://127.0.0.1:9/"))  # as after a restart
        assert await calls.sweep() == 1
        await sender.close()
        clock.at += pause
    assert (await state(database))[:2] == ("failed", len(PAUSES_MS) + 1)
    assert "Connect" in (await state(database))[2]


@pytest.mark.usefixtures("park")
@pytest.mark.parametrize("targets", [{}, {"duty": WebhookTarget("http://127.0.0.1:9/", sites=("park-2",))}])
async def test_only_what_the_settings_allow_is_called(database: Database, ledger: SqlLedger, targets: Any) -> None:
    await wanted(ledger, CALL)
    calls, _ = calls_of(database, Hand(), **targets)
    await calls.sweep()
    found = await state(database)
    assert found[:2] == ("failed", 0)
    assert "settings" in found[2]


@pytest.mark.usefixtures("park")
async def test_a_parameter_set_by_a_rule_is_kept_audited_and_gives_way(database: Database, ledger: SqlLedger) -> None:
    await wanted(ledger, ParamChanged("meter", "em-001", "limit_w", START, 3000, None, "hot", 7, "hot"))
    rows = await database.fetch("SELECT scope, twin, name, value, rule FROM rule_param")
    assert [tuple(row) for row in rows] == [("meter", "em-001", "limit_w", "3000", "hot")]
    gone = ParamChanged("meter", "em-001", "limit_w", START + 1, None, 3000, who="import")
    older = ParamChanged("meter", "em-001", "limit_w", START - 1, 1, None, "hot", 7, "hot")
    await wanted(ledger, gone, gone)
    await ledger.post("park-1", [Entry(f"{START}-9", "t-001", (older,))])
    assert [tuple(row) for row in await database.fetch("SELECT value FROM rule_param")] == [(None,)]
    said = await database.fetch(
        "SELECT who, what, subject, state_after FROM audit WHERE what LIKE 'param.%' ORDER BY id"
    )
    assert tuple(said[0]) == ("rule hot version 7", "param.set", "meter em-001 limit_w", "3000")
    assert tuple(said[1])[:2] == ("import", "param.give_way")


def test_targets_come_from_the_settings_file_and_secrets_from_elsewhere(tmp_path: Any, monkeypatch: Any) -> None:
    (tmp_path / "secret").write_text("from a file\n")
    config = tmp_path / "twinmeter.toml"
    text = '[webhooks.duty-room]\nurl = "https://duty.example/hook"\nsecret_file = "{}"\nsites = ["park-1"]\n'
    config.write_text(text.format(tmp_path / "secret"))
    target = load_settings(config=str(config)).webhook_targets()["duty-room"]
    assert target == WebhookTarget("https://duty.example/hook", "from a file", 10.0, ("park-1",))
    monkeypatch.setenv("TWINMETER_WEBHOOK_DUTY_ROOM_SECRET", "from the environment")
    settings = load_settings(config=str(config))
    assert settings.webhook_targets()["duty-room"].secret == "from the environment"
    assert "from the environment" not in str(settings.shown())
    config.write_text('[webhooks.x]\nurl = "ftp://x"\n')
    with pytest.raises(SettingsError, match="is no http"):
        load_settings(config=str(config)).webhook_targets()
    config.write_text('[webhooks.x]\nurl = "http://x"\nsecret = "no"\n')
    with pytest.raises(SettingsError, match="secret"):
        load_settings(config=str(config))
    assert Settings().webhook_targets() == {}

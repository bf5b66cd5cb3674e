"""Tenants who recharge: when they decide to, and that a payment without an answer is the same payment again."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any

import pytest

from schemas.clock_spec import ClockSpec
from simulators.faults import DelayRange
from simulators.people import PAUSE_AFTER_PAYMENT_MS, PaymentPlan, People
from simulators.scenario import Recharge, Scenario


def _rule(**changes: Any) -> Recharge:
    values: dict[str, Any] = {"tenant": "t-1", "when_below": "5.00", "amount": "50.00", "after": DelayRange(1000, 1000)}
    return Recharge(**(values | {"times": None, "channel": "wechat"} | changes))


def test_a_tenant_pays_after_hesitating_and_only_while_the_balance_is_low() -> None:
    plan = PaymentPlan(_rule(), Random(1))
    assert not plan.wants_to_pay(Decimal("5.00"), 0)
    assert not plan.wants_to_pay(Decimal("4.999999999"), 10)
    assert not plan.wants_to_pay(Decimal("4"), 1009)
    assert plan.wants_to_pay(Decimal("4"), 1010)
    assert not plan.wants_to_pay(Decimal("6"), 1011)
    assert not plan.wants_to_pay(Decimal("4"), 1012)


def test_a_tenant_waits_for_the_payment_to_show_and_pays_at_most_so_often() -> None:
    plan = PaymentPlan(_rule(after=DelayRange(0, 0), times=2), Random(1))
    assert plan.wants_to_pay(Decimal(1), 0)
    plan.has_paid(0)
    assert not plan.wants_to_pay(Decimal(1), PAUSE_AFTER_PAYMENT_MS - 1)
    assert plan.wants_to_pay(Decimal(1), PAUSE_AFTER_PAYMENT_MS)
    plan.has_paid(PAUSE_AFTER_PAYMENT_MS)
    assert plan.finished
    assert not plan.wants_to_pay(Decimal(1), 10**9)


class _Api:
    """The two endpoints a tenant uses, with idempotency keys, failing every third payment after it was booked."""

    def __init__(self) -> None:
        self.balance = Decimal(1)
        self.keys: dict[str, bytes] = {}
        self.seen: list[tuple[str, str, str | None]] = []
        self.posts = 0
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                api.seen.append(("GET", self.path, self.headers.get("Authorization")))
                self._answer(200, {"id": "t-1", "balance": f"{api.balance:.9f}"})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                api.seen.append(("POST", self.path, self.headers.get("Authorization")))
                key = self.headers["Idempotency-Key"]
                if key not in api.keys:
                    api.keys[key] = body
                    api.balance += Decimal(json.loads(body)["amount"])
                assert api.keys[key] == body
                api.posts += 1
                if api.posts == 1:
                    self.close_connection = True
                    self.connection.close()
                    return
                self._answer(201, {"status": "booked"})

            def _answer(self, status: int, document: dict[str, Any]) -> None:
                content = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def api() -> Iterator[_Api]:
    found = _Api()
    thread = threading.Thread(target=found.server.serve_forever, daemon=True)
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join(5)


async def test_a_payment_that_got_no_answer_is_sent_again_and_counts_once(api: _Api) -> None:
    # The balance stays low on purpose: the booked but unanswered payment must not be mistaken for a missing one.
    rule = _rule(when_below="1000.00", amount="10.00", after=DelayRange(0, 0), times=1)
    scenario = Scenario("park-t", 3, "Asia/Shanghai", 0, 60_000, [], recharges=[rule])
    people = People(api.url, "secret", run_id="r1")
    await asyncio.wait_for(people.run(scenario, ClockSpec("real"), asyncio.Event()), 60)
    assert people.topups == 1
    assert people.failures == 1
    assert api.posts == 2
    assert list(api.keys) == ["sim-r1-t-1-1"]
    assert api.balance == Decimal(11)
    assert json.loads(api.keys["sim-r1-t-1-1"]) == {
        "amount": "10.00",
        "channel": "wechat",
        "reference": "sim-r1-t-1-1",
    }
    assert {path for _, path, _ in api.seen} == {
        "/api/v1/sites/park-t/tenants/t-1",
        "/api/v1/sites/park-t/tenants/t-1/topups",
    }
    assert {token for _, _, token in api.seen} == {"Bearer secret"}


async def test_people_stop_when_told_even_if_nobody_answers() -> None:
    scenario = Scenario("park-t", 3, "Asia/Shanghai", 0, 60_000, [], recharges=[_rule()])
    stop = asyncio.Event()
    people = People("http://127.0.0.1:1", "t", run_id="r")
    running = asyncio.create_task(people.run(scenario, ClockSpec("real"), stop))
    async with asyncio.timeout(60):
        while not people.failures:  # noqa: ASYNC110 - a counter has no event
            await asyncio.sleep(0.01)
    stop.set()
    await asyncio.wait_for(running, 60)
    assert people.topups == 0


@pytest.mark.parametrize("url", ["", "127.0.0.1:80", "ftp://x"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="API address"):
        People(url, "t", run_id="r")

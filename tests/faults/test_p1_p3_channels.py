"""P1, P3 on real processes: a channel's call a hundred times at once while `up` is killed between the credit and its
answer; whoever does not hear of success calls again. One credit, whatever was heard."""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.request
from pathlib import Path
from random import Random

import pytest

from tests.faults.books import faults_of_the_books
from tests.faults.stage import Stage, park, shops
from tests.integration.park import SITE
from twin.payments import signature_of

METERS = shops(4)
SECRET = "a secret that the channel and we share"
CALLERS, NUMBERS = 25, 4
NANO = 10**9
HEARD_WITHIN_S = 120.0


def notice(number: int) -> bytes:
    told = {"merchant": "m-1", "transaction": f"42{number:05d}", "state": "paid", "tenant": f"t-{number:03d}"}
    return json.dumps({**told, "amount_fen": 1_000 + number, "currency": "CNY"}).encode()


class Channel:
    """Calls until it hears of success, from many threads, as a provider that retries at once would."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.heard: list[str] = []
        self.failed = 0
        self._lock = threading.Lock()

    def tell(self, number: int) -> None:
        deadline = time.monotonic() + HEARD_WITHIN_S
        while time.monotonic() < deadline:
            verdict = self._once(notice(number))
            with self._lock:
                if verdict:
                    self.heard.append(verdict)
                    return
                self.failed += 1
            time.sleep(0.2)

    def await_success(self, before: int) -> None:
        """Return once one more call than before has heard of success: the others are in the platform's hands now."""
        deadline = time.monotonic() + HEARD_WITHIN_S
        while len(self.heard) <= before:
            assert time.monotonic() < deadline, "nobody hears of success"
            time.sleep(0.005)

    def await_failure(self, before: int) -> None:
        """Return once one more call than before has failed: whoever begins while the platform is away cannot get
        through, however fast the machine is."""
        deadline = time.monotonic() + HEARD_WITHIN_S
        while self.failed <= before:
            assert time.monotonic() < deadline, "nobody notices that the platform is away"
            time.sleep(0.005)

    def _once(self, body: bytes) -> str:
        signed = signature_of(SECRET, "wechat", int(time.time()), body)
        try:
            request = urllib.request.Request(
                f"{self.stage.place.http_url}/api/v1/payments/wechat", body,
                {"Content-Type": "application/json", "Twinmeter-Signature": signed},
            )  # fmt: skip
            with urllib.request.urlopen(request, timeout=60) as answer:
                return str(json.load(answer)["message"])
        except (OSError, ValueError, http.client.HTTPException):
            return ""


def start_all(calls: list[threading.Thread]) -> None:
    for call in calls:
        call.start()


@pytest.mark.parametrize("postgres", [False, pytest.param(True, marks=pytest.mark.soak)])
def test_a_hundred_calls_at_once_while_the_platform_dies(tmp_path: Path, postgres: bool) -> None:
    settings = tmp_path / "twinmeter.toml"
    settings.write_text(f'[payments.wechat]\nsite = "{SITE}"\nmerchant = "m-1"\n')
    document = park(METERS, credit_of=dict.fromkeys((f"t-{n:03d}" for n in range(1, NUMBERS + 1)), "5.00"))
    with Stage(tmp_path, document, postgres=postgres) as stage:
        stage.place.set(TWINMETER_CONFIG=str(settings), TWINMETER_PAYMENT_WECHAT_SECRET=SECRET)
        stage.up()
        channel, rng = Channel(stage), Random(5)
        calls = [threading.Thread(target=channel.tell, args=(1 + n % NUMBERS,)) for n in range(CALLERS * NUMBERS)]
        kills = 3 if postgres else 1
        shares = [calls[share :: kills + 1] for share in range(kills + 1)]
        start_all(shares[0])
        heard = 0
        for share in shares[1:]:
            channel.await_success(heard)
            time.sleep(rng.uniform(0, 0.1))
            stage.place.kill()
            heard = len(channel.heard)
            failed = channel.failed
            start_all(share)
            channel.await_failure(failed)
            stage.up()
        for call in calls:
            call.join(HEARD_WITHIN_S)
        assert len(channel.heard) == len(calls), "every call heard of success at last"
        assert channel.failed, "a share of the calls began while the platform was away"
        paid = {f"t-{n:03d}": {f"channel:wechat:42{n:05d}": (1_000 + n) * NANO // 100} for n in range(1, NUMBERS + 1)}
        for tenant, payments in paid.items():
            deadline = time.monotonic() + HEARD_WITHIN_S
            wanted = f"{(5 * NANO + sum(payments.values())) / NANO:.9f}"
            while (found := stage.api().get(f"/sites/{SITE}/tenants/{tenant}")["credits"]) != wanted:
                assert time.monotonic() < deadline, (tenant, found, wanted)
                time.sleep(0.2)
            booked = stage.api().get(f"/sites/{SITE}/tenants/{tenant}/payments")["items"]
            assert [f"channel:wechat:{one['reference']}" for one in booked] == list(payments)
        if postgres:
            url = stage.direct["database"]
            assert faults_of_the_books(url, told_wh={}, paid_nano=paid, doubted=frozenset()) == []
        assert stage.place.verify().returncode == 0

"""The desk: people who pay while everything around them breaks, again with the same key until it is confirmed."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from random import Random

from tests.faults.books import NANO
from tests.faults.stage import Stage
from tests.integration.park import SITE

CARRIES_ON_S = 120.0
"""So long somebody waits for an answer when all is well again."""


class Desk:
    """People who pay: each payment is repeated with its key until somebody says that it was booked."""

    def __init__(self, stage: Stage, tenants: Sequence[str], rng: Random) -> None:
        self._tenants = tenants
        self.confirmed: defaultdict[str, dict[str, int]] = defaultdict(dict)
        self.refused: list[str] = []
        self._stage = stage
        self._rng = rng
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="desk", daemon=True)

    def open(self) -> None:
        """Let them come."""
        self._thread.start()

    def close(self) -> None:
        """Nobody new comes; whoever waits is served."""
        self._closing.set()
        self._thread.join(CARRIES_ON_S)
        assert not self._thread.is_alive(), "somebody still waits for an answer to a payment"
        assert self.refused == [], self.refused

    def pay(self, tenant: str, cents: int, key: str) -> None:
        """One payment, until it is confirmed."""
        body = {"amount": f"{cents / 100:.2f}", "channel": "cash", "reference": key}
        while True:
            with contextlib.suppress(OSError, ValueError, KeyError):
                path = f"/sites/{SITE}/tenants/{tenant}/topups"
                status, answer = self._stage.api().call("POST", path, body, Idempotency_Key=key)
                if status in (200, 201):
                    self.confirmed[tenant][key] = cents * NANO // 100
                    return
                if status < 500:
                    self.refused.append(f"{tenant} {key}: {status} {answer}")
                    return
            time.sleep(0.3)

    def _work(self) -> None:
        number = 0
        while not self._closing.wait(self._rng.uniform(0.5, 2.5)):
            number += 1
            self.pay(self._rng.choice(self._tenants), self._rng.randint(5, 80), f"desk-{number}")

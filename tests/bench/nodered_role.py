"""The ear beside Node-RED: hears how many readings its flow has seen, and asks what it knows."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import mqtt5
import orjson

from tests.bench.child import Counter
from tests.bench.gateway import Gateway, connect
from tests.bench.load import frame
from tests.bench.nodered_server import ASK, KNOWN

ANSWER_WITHIN_S = 60.0


class NodeRedRole:
    """Follows Node-RED's own count, which it tells every 250 readings and when it is asked."""

    def __init__(self, url: str, acked: Counter) -> None:
        self._url = url
        self._acked = acked
        self._gateway: Gateway | None = None
        self._told_ns = 0
        self._asked = 0
        self._answers: dict[int, dict[str, Any]] = {}

    async def start(self) -> None:
        """Connect."""
        self._gateway = await connect(self._url, "node-red-ear", filters=[KNOWN], on_message=self._hear)

    async def wait_acked(self, total: int) -> int:
        """Wait until its flow has seen so many readings (a multiple of 250); the instant it said so, monotonic ns."""
        while self._acked.value < total:  # noqa: ASYNC110 - a counter has no event
            await asyncio.sleep(0.002)
        return self._told_ns

    async def known(self) -> dict[str, Any]:
        """Readings, meters and energy that its memory holds behind everything that was published before this call."""
        assert self._gateway is not None
        self._asked += 1
        body = orjson.dumps({"ask": self._asked})
        self._gateway.publish([frame(ASK, body, self._asked)])
        async with asyncio.timeout(ANSWER_WITHIN_S):
            while self._asked not in self._answers:  # noqa: ASYNC110 - a dictionary has no event
                await asyncio.sleep(0.005)
        return self._answers[self._asked]

    def _hear(self, packet: mqtt5.PublishPacket) -> None:
        told = orjson.loads(packet.payload)
        self._told_ns = time.monotonic_ns()
        self._acked.value = told["readings"]
        if "ask" in told:
            self._answers[told["ask"]] = told

    async def close(self) -> None:
        """Say goodbye to the broker."""
        if self._gateway is not None:
            self._gateway.close()

"""A look at a broker: whether it speaks MQTT 5 and keeps a session between two connections."""

from __future__ import annotations

import asyncio

from adapters.mqtt.errors import MqttError
from adapters.mqtt.subscriber import MqttSubscriber


async def probe_session(url: str, client_id: str) -> bool:
    """Connect to a broker twice as ingest does; whether it kept the MQTT 5 session in between.

    The session of the probe ends by itself a few seconds later. Raises MqttError, or ValueError for a URL that is none.
    """
    present = False
    for _ in range(2):
        stop = asyncio.Event()
        probe = MqttSubscriber(url, client_id, [f"twinmeter/v1/$probe/{client_id}"], session_expiry_s=5)
        running = asyncio.create_task(probe.run(_ignore, stop))
        try:
            async with asyncio.timeout(8):
                while not probe.counters.connected and not running.done():  # noqa: ASYNC110 - a counter has no event
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise MqttError(probe.counters.last_failure or f"no answer from {probe.address}") from None
        finally:
            stop.set()
            await running
        present = probe.counters.session_present
    return present


async def _ignore(_batch: object) -> None:
    """Nothing is expected by a probe."""

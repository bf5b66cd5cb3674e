"""The load: sites made in code, and readings encoded before the clock starts.

Every tenant has one electricity meter with a relay; a third each pay a flat, a time-of-use and a tiered price. In
round `r` every meter is read once. Its registers grow by its power; its sample time is `START + r minutes`, less a lag
of 0 to 14 minutes that is the meter's own. A posting interval ends every 15 minutes of sample time for all meters
alike, so with the lags every round holds one posting in fifteen readings, as a long run of minute readings does. Time
is the greatest sample time (TWINMETER_CLOCK=telemetry), so the rules' timers run with the load, however fast it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import mqtt5
import orjson
from ruamel.yaml import YAML

from twin.ports import SiteDocument

ZONE = ZoneInfo("Asia/Shanghai")
START_MS = 1_767_924_000_000
"""2026-01-09 10:00 in Shanghai, a working Friday."""
MINUTE_MS = 60_000
LAGS = 15
PACK = Path(__file__).parents[2] / "rules" / "packs" / "residential-prepaid.yaml"
SINCE = "2020-01-01T00:00:00"
_SLOTS = {
    "00:00-08:00": "valley",
    "08:00-12:00": "peak",
    "12:00-18:00": "flat",
    "18:00-22:00": "peak",
    "22:00-24:00": "valley",
}
_PERIODS = {"peak": "1.2034", "flat": "0.8012", "valley": "0.3921"}
_PRICES = {
    "flat": {"from": SINCE, "mode": "flat", "price": "0.8523"},
    "tou": {
        "from": SINCE,
        "mode": "tou",
        "periods": _PERIODS,
        "calendar": [{"months": "all", "days": "all", "slots": _SLOTS}],
    },
    "tiers": {
        "from": SINCE,
        "mode": "tiers",
        "tiers": [{"upto": "20", "price": "0.50"}, {"upto": "60", "price": "0.55"}, {"price": "0.80"}],
    },
}


def device_id(number: int) -> str:
    """Id of a meter."""
    return f"em-{number:06d}"


def opening_wh(number: int) -> int:
    """Register of a meter before the first reading."""
    return number * 7_919 % 900_000_000


def site_document(site: str, meters: int, gateways: int = 50) -> SiteDocument:
    """A site of so many meters with a tenant each, and the contract's seven rules."""
    since = datetime.fromtimestamp((START_MS - 3_600_000) / 1000, ZONE).strftime("%Y-%m-%dT%H:%M:%S")
    document = {
        "apiVersion": "twinmeter.site/v1",
        "site": site,
        "name": {"zh": "压测园区", "en": "Measured park"},
        "timezone": "Asia/Shanghai",
        "currency": "CNY",
        "interval": "15m",
        "gateways": [{"id": f"gw-{number:02d}", "name": f"gateway {number}"} for number in range(gateways)],
        "devices": [_device(number, gateways) for number in range(meters)],
        "tenants": [_tenant(number, since) for number in range(meters)],
    }
    ruleset = YAML(typ="safe").load(PACK.read_text(encoding="utf-8"))
    return SiteDocument(document, _tariffs(), {ruleset["ruleset"]: ruleset})


def _tariffs() -> dict[str, dict]:
    head = {"apiVersion": "twinmeter.tariff/v1", "utility": "electricity"}
    return {name: {**head, "tariff": name, "versions": [version]} for name, version in _PRICES.items()}


def _device(number: int, gateways: int) -> dict:
    return {
        "id": device_id(number),
        "kind": "electricity_meter",
        "gateway": f"gw-{number % gateways:02d}",
        "relay": True,
        "remote_close": True,
        "opening_wh": opening_wh(number),
        "imax_a": 60,
        "register_digits_wh": 1_000_000_000,
    }


def _tenant(number: int, since: str) -> dict:
    device = device_id(number)
    tariff = ("flat", "tou", "tiers")[number % 3]
    supply = {"meter": device, "breaker": device, "tariff": tariff, "from": since}
    return {
        "id": f"t-{number:06d}",
        "name": f"商户{number}",
        "mode": "prepaid",
        "opening_credit": "100000.00",
        "supplies": [supply],
    }


def topic(site: str, number: int) -> str:
    """Where a meter's readings go."""
    return f"twinmeter/v1/{site}/{device_id(number)}/tele"


def payload(number: int, seq: int, ts: int, import_wh: int, power_w: int, relay: str = "closed") -> bytes:
    """One reading as a device sends it: the envelope of the contract, some 190 bytes."""
    return orjson.dumps(
        {
            "v": 1,
            "sid": "b7f2",
            "seq": seq,
            "ts": ts,
            "hist": False,
            "q": "good",
            "d": {
                "import_wh": import_wh,
                "power_w": power_w,
                "voltage_mv": [229_000 + number % 2000],
                "current_ma": [power_w * 1000 // 230],
                "pf_milli": 987,
                "relay": relay,
            },
        }
    )


def reading(number: int, round_number: int) -> bytes:
    """The reading of a meter in a round: 300 to 5 000 W, below the limit of the overload rule."""
    wh_a_minute = 5 + number % 78
    ts = START_MS + (round_number - number % LAGS) * MINUTE_MS
    power_w = wh_a_minute * 60 + round_number % 7
    return payload(number, round_number + 1, ts, opening_wh(number) + (round_number + 1) * wh_a_minute, power_w)


def frame(message_topic: str, body: bytes, packet_id: int) -> bytes:
    """One QoS 1 PUBLISH of MQTT 5 as bytes."""
    return mqtt5.PublishPacket(message_topic, body, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=packet_id).write()


def frames(site: str, meters: int, rounds: Iterable[int], connections: int) -> list[list[bytes]]:
    """Readings of all meters over the rounds, as PUBLISH packets by connection; a meter keeps to one connection."""
    by_connection: list[list[bytes]] = [[] for _ in range(connections)]
    topics = [topic(site, number) for number in range(meters)]
    for round_number in rounds:
        for number in range(meters):
            queue = by_connection[number % connections]
            queue.append(frame(topics[number], reading(number, round_number), len(queue) % 65_535 + 1))
    return by_connection


def portion(site: str, meters: int, first: int, count: int, connections: int) -> list[list[bytes]]:
    """So many readings from a place of the load on, as PUBLISH packets by connection. Places run through all meters of
    one round, then of the next, so a portion of a large site has the same mix as whole rounds of a small one."""
    by_connection: list[list[bytes]] = [[] for _ in range(connections)]
    for place in range(first, first + count):
        round_number, number = divmod(place, meters)
        queue = by_connection[number % connections]
        queue.append(frame(topic(site, number), reading(number, round_number), len(queue) % 65_535 + 1))
    return by_connection

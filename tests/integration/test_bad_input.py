"""Bad input at the running door: put aside with a reason and a place; the next good message is charged."""

from __future__ import annotations

from pathlib import Path

import aiomqtt
import orjson

from adapters.embedded import start_redis
from simulators.replay import MeterSeries
from tests.integration.park import SITE, import_document, running_platform, settled, site_document
from tests.integration.servers import broker_at
from tests.integration.test_oracle import START_MS
from twin.flows.letter_gate import NO_SITE
from twin.flows.verify_site import verify_site

METER = MeterSeries("em-001", "constant", 5_000, 1_000)
GOOD = {"v": 1, "sid": "s1", "seq": 1, "ts": START_MS, "d": {"import_wh": 1_000}}
CMD = "0193a5b2-7c1e-7d20-9a41-5e0c6f1b2a33"


def telemetry(**changes) -> bytes:
    """The good sample with some fields changed; a value of ... removes the field."""
    body = {**GOOD, **changes}
    return orjson.dumps({name: value for name, value in body.items() if value is not ...})


def channels(**changes) -> bytes:
    return telemetry(d={**GOOD["d"], **changes})


# Each row: verb, payload, what the reason or the path must name.
BAD = [
    ("tele", b"", "empty"),
    ("tele", b"not json", "JSON"),
    ("tele", b'{"v":1,', "JSON"),
    ("tele", b"\xff\xfe", "UTF-8"),
    ("tele", b"null", "null"),
    ("tele", b"[]", "at least"),
    ("tele", b"42", "42"),
    ("tele", telemetry(v=2), "v"),
    ("tele", telemetry(v=...), "v"),
    ("tele", telemetry(sid=...), "sid"),
    ("tele", telemetry(sid="a b"), "sid"),
    ("tele", telemetry(sid="x" * 65), "sid"),
    ("tele", telemetry(seq=-1), "seq"),
    ("tele", telemetry(seq="7"), "seq"),
    ("tele", telemetry(ts=1.5), "ts"),
    ("tele", telemetry(ts=None), "ts"),
    ("tele", telemetry(d=...), "d"),
    ("tele", telemetry(d=[]), "d"),
    ("tele", telemetry(hist="yes"), "hist"),
    ("tele", telemetry(q="great"), "q"),
    ("tele", telemetry(extra=1), "extra"),
    ("tele", channels(import_wh=1000.0), "import_wh"),
    ("tele", channels(import_wh=-1), "import_wh"),
    ("tele", channels(import_wh="1000"), "import_wh"),
    ("tele", channels(import_wh=2**60), "import_wh"),
    ("tele", channels(relay="ajar"), "relay"),
    ("tele", channels(voltage_mv="230"), "voltage_mv"),
    ("tele", channels(temp=21.5), "temp"),
    ("tele", b'{"v":1,"sid":"s1","seq":1,"ts":1,"d":{"import_wh":NaN}}', "JSON"),
    ("tele", b'{"v":1,"sid":"s1","seq":1,"ts":1,"d":{"import_wh":1,"import_wh":2}}', "import_wh"),
    ("tele", b"[" * 2_000 + b"]" * 2_000, ""),
    ("tele", b'"' + b"x" * 300_000 + b'"', "bytes"),
    ("ack", orjson.dumps({"v": 1, "cmd": "7", "st": "executed", "ts": 1}), "cmd"),
    ("ack", orjson.dumps({"v": 1, "cmd": CMD, "st": "done", "ts": 1}), "st"),
    ("conn", orjson.dumps({"v": 1, "s": "asleep", "sid": "s1"}), "s"),
    ("birth", orjson.dumps({"v": 1, "sid": "s1", "ts": 1}), "kind"),
    ("state", orjson.dumps({"v": 1, "sid": "s1", "ts": 1, "relay": "half"}), "relay"),
    ("event", orjson.dumps({"v": 1, "sid": "s1", "ts": 1, "kind": "trip", "d": {}}), "seq"),
]
FOREIGN = [
    ("twinmeter/v1/no-such-site/em-001/tele", "em-001"),
    (f"twinmeter/v1/{SITE}/nobody/tele", "nobody"),
]


async def test_bad_messages_are_put_aside_and_never_stop_the_next_good_one(tmp_path: Path):
    redis = start_redis(tmp_path / "redis")
    broker = broker_at(tmp_path / "broker")
    try:
        urls = {
            "redis_url": redis.url,
            "mqtt_url": broker.url,
            "database_url": f"sqlite:///{tmp_path / 'ledger.sqlite3'}",
        }
        async with running_platform(tmp_path / "data", **urls) as (platform, services):
            await import_document(platform, site_document([METER], {"em-001": "flat"}, START_MS))
            port = int(broker.url.rsplit(":", 1)[-1])
            async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5) as client:
                for number, (verb, payload, _) in enumerate(BAD, start=1):
                    await client.publish(f"twinmeter/v1/{SITE}/em-001/{verb}", payload, qos=1)
                    good = telemetry(seq=number, ts=START_MS + number * 60_000, d={"import_wh": 1_000 + number})
                    await client.publish(f"twinmeter/v1/{SITE}/em-001/tele", good, qos=1)
                for topic, _ in FOREIGN:
                    await client.publish(topic, telemetry(), qos=1)
            await settled(platform, len(BAD) + 1)  # of a site that nobody knows not even the readings are looked at
            group = (await platform.store.load(SITE, ["t-001"]))["t-001"]
            assert group.tenant.charges_nano == len(BAD) * 852_300, "every good reading was charged, and nothing else"
            letters = (await platform.store.dead_letters(SITE, limit=200))[::-1]
            ours = [letter for letter in letters if "/em-001/" in letter.topic]
            assert len(ours) == len(BAD)
            by_payload = {letter.payload: letter for letter in ours}
            for verb, payload, named in BAD:
                letter = by_payload[payload[:2_048]]
                assert letter.topic.endswith(verb)
                assert letter.reason, payload[:80]
                assert named in f"{letter.path} {letter.reason}", (payload[:80], letter.path, letter.reason)
            assert any("nobody" in letter.reason for letter in letters)
            assert ["no-such-site" in one.reason for one in await platform.store.dead_letters(NO_SITE, limit=9)] == [
                True
            ]
            assert await platform.store.dead_letters("no-such-site", limit=9) == [], "no key by a stranger's name"
            assert services.failures == {}
            proof = await verify_site(platform, SITE)
            assert proof.ok, proof.findings[:5]
    finally:
        broker.stop()
        redis.stop()

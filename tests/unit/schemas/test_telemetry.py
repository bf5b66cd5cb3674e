"""The telemetry door accepts exactly what the reference accepts, and says why it refuses."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas import registry
from schemas.telemetry import PAYLOAD_BYTES_MAX, ContractError, decode_message, decode_telemetry
from tests.unit.schemas import payloads

SAMPLE = (
    b'{"v":1,"sid":"b7f2","seq":1042,"ts":1763778000000,"hist":false,"q":"good",'
    b'"d":{"import_wh":1834220,"power_w":412,"voltage_mv":[229800],"current_ma":[1830],"pf_milli":987,"relay":"closed"}}'
)


class RepeatedFieldError(Exception):
    """Two pairs of one object have the same name."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise RepeatedFieldError
    return dict(pairs)


def reference_accepts(kind: str, payload: bytes) -> bool:
    """The contract in its slow words: bounded, JSON, no field twice, and right by jsonschema."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        return False
    try:
        orjson.loads(payload)
        document = json.loads(payload.decode(), object_pairs_hook=_unique)
    except (ValueError, RepeatedFieldError):
        return False
    return registry.is_valid(kind, document)


def door_accepts(payload: bytes) -> bool:
    try:
        envelopes = decode_telemetry(payload)
    except ContractError:
        return False
    document = json.loads(payload)
    assert envelopes == (document if isinstance(document, list) else [document])
    return True


@given(payloads.DOCUMENTS)
@settings(max_examples=150)
def test_generated_samples_are_accepted_unchanged(document: Any) -> None:
    payload = orjson.dumps(document)
    assert reference_accepts("tele", payload)
    assert door_accepts(payload)


@given(payloads.broken_documents())
@settings(max_examples=500)
@example({"v": 1, "sid": "a", "seq": 1.0, "ts": 1, "d": {"x": 1}})
@example({"v": 1, "sid": "a", "seq": 1, "ts": 1, "d": {"x": [1.0]}})
@example({"v": 1, "sid": "a", "seq": 1, "ts": 1, "d": {"rates_wh": {"peak": 1.0}}})
@example({"v": 1, "sid": "a\n", "seq": 1, "ts": 1, "d": {"x": 1}})
@example({"v": True, "sid": "a", "seq": 1, "ts": 1, "d": {"x": 1}})
def test_the_door_equals_the_reference_on_broken_documents(document: Any) -> None:
    payload = orjson.dumps(document)
    assert door_accepts(payload) == reference_accepts("tele", payload)


@given(payloads.broken_bytes())
@settings(max_examples=300)
def test_the_door_equals_the_reference_on_broken_bytes(payload: bytes) -> None:
    assert door_accepts(payload) == reference_accepts("tele", payload)


@given(payloads.doubled_fields())
@settings(max_examples=100)
def test_a_field_written_twice_is_refused(payload: bytes) -> None:
    assert not reference_accepts("tele", payload)
    with pytest.raises(ContractError, match="twice"):
        decode_telemetry(payload)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_with_a_reason(payload: bytes) -> None:
    assert door_accepts(payload) == reference_accepts("tele", payload)


def _with(old: bytes, new: bytes) -> bytes:
    assert SAMPLE.count(old) == 1
    return SAMPLE.replace(old, new)


BAD = [
    (b"", "", "not JSON"),
    (b"{", "", "not JSON"),
    (b"null", "", "null"),
    (b"[]", "", "at least 1"),
    (b"[" + b",".join([b"1"] * 5001) + b"]", "", "at most 5000"),
    (SAMPLE + b"x", "", "not JSON"),
    (b"\xef\xbb\xbf" + SAMPLE, "", "not JSON"),
    (b"[" * 5000 + b"]" * 5000, "", "not JSON"),
    (b" " * (PAYLOAD_BYTES_MAX + 1), "", "at most 262144"),
    (b"x" * 10_000_000, "", "10000000 bytes"),
    (_with(b'"b7f2"', b'"\xff"'), "", "not JSON"),
    (_with(b'"b7f2"', b'"\\ud800"'), "", "not JSON"),
    (_with(b"1834220", b"NaN"), "", "not JSON"),
    (_with(b"1834220", b"1E400"), "", "not JSON"),
    (_with(b"1834220", b"1834220.0"), "d.import_wh", "float"),
    (_with(b"1834220", b"1e308"), "d.import_wh", "float"),
    (_with(b"1834220", b"18446744073709551616"), "d.import_wh", "float"),
    (_with(b"1834220", b"9007199254740993"), "d.import_wh", "too large"),
    (_with(b"1834220", b"-1"), "d.import_wh", "too small"),
    (_with(b"1834220", b'"1834220"'), "d.import_wh", "not"),
    (_with(b"1834220", b"true"), "d.import_wh", "true"),
    (_with(b"412", b"412.5"), "d.power_w", "float"),
    (_with(b"[1830]", b"1830"), "d.current_ma", "list"),
    (_with(b"[229800]", b"[229800,1.5]"), "d.voltage_mv[1]", "float"),
    (_with(b"[229800]", b"[]"), "d.voltage_mv", "at least 1"),
    (_with(b'"closed"', b'"clsed"'), "d.relay", "did you mean 'closed'"),
    (_with(b'"seq":1042', b'"seq":"1042"'), "seq", "without quotes"),
    (_with(b'"seq":1042,', b""), "", "'seq' is missing"),
    (_with(b'"seq":1042,', b'"seq":1042,"sq":1,'), "sq", "did you mean 'seq'"),
    (_with(b'"seq":1042,', b'"seq":1042,"seq":1043,'), "seq", "twice"),
    (_with(b'"seq":1042,', b'"seq":1042,"\\u0073eq":1043,'), "seq", "twice"),
    (_with(b'"v":1,', b'"v":2,'), "v", "is not 1"),
    (_with(b'"v":1,', b'"v":1.0,'), "v", "float"),
    (_with(b'"b7f2"', b'"b7 f2"'), "sid", "an id of 1 to 64"),
    (_with(b'"good"', b'"fine"'), "q", '"good", "suspect", "bad"'),
    (_with(b"false", b"0"), "hist", "true or false"),
    (_with(b'"pf_milli":987', b'"pf_milli":1001'), "d.pf_milli", "between -1000 and 1000"),
    (_with(b'"pf_milli":987', b'"door":{"open":true}'), "d.door", "an object is not an extra channel"),
    (_with(b'"pf_milli":987', b'"two words":1'), 'd["two words"]', "channel name"),
    (_with(b'"pf_milli":987', b'"spare_wh":"12"'), "d.spare_wh", "a quantity with its unit"),
    (b"[" + SAMPLE + b"," + _with(b"1834220", b"0.5") + b"]", "[1].d.import_wh", "float"),
]


@pytest.mark.parametrize(("payload", "path", "reason"), BAD)
def test_bad_payloads_are_refused_at_their_place(payload: bytes, path: str, reason: str) -> None:
    with pytest.raises(ContractError) as caught:
        decode_telemetry(payload)
    assert (caught.value.path, reason in caught.value.reason) == (path, True), str(caught.value)
    assert len(caught.value.reason) <= 500
    assert not reference_accepts("tele", payload)


def test_extra_channels_are_kept_and_colons_inside_texts_are_no_trouble() -> None:
    payload = _with(b'"pf_milli":987', b'"note":"12:30","spare":null,"list":[1,"a",true]')
    [envelope] = decode_telemetry(payload)
    assert envelope["d"]["note"] == "12:30"
    assert envelope["d"]["list"] == [1, "a", True]


MESSAGES = ("birth", "conn", "event", "state", "cfg", "cmd", "ack", "host")


@pytest.mark.parametrize("kind", MESSAGES)
def test_messages_decode_and_each_single_breakage_is_refused(kind: Any) -> None:
    document = registry.schema(kind)["examples"][0]
    assert decode_message(kind, orjson.dumps(document)) == document
    for name in document:
        for odd in (1.5, 1.0, "", [1.0], {"a": 1.0}, -1):
            payload = orjson.dumps({**document, name: odd})
            assert not reference_accepts(kind, payload)
            with pytest.raises(ContractError):
                decode_message(kind, payload)
        doubled = orjson.dumps(document)[:-1] + b"," + orjson.dumps({name: document[name]})[1:]
        with pytest.raises(ContractError, match="twice"):
            decode_message(kind, doubled)


@pytest.mark.parametrize(
    ("kind", "change", "path", "reason"),
    [
        ("cmd", {"exp": None}, "exp", "null"),
        ("cmd", {"target": "toggle"}, "target", '"open", "armed", "closed"'),
        ("cmd", {"op": "valve.set", "target": "armed"}, "target", '"open", "closed"'),
        ("cmd", {"cmd": "0193a5b2-7c1e-4d20-9a41-5e0c6f1b2a33"}, "cmd", "version 7"),
        ("ack", {"st": "done"}, "st", '"received"'),
        ("conn", {"s": "away"}, "s", '"online"'),
        ("event", {"d": {}}, "d", "'step_w' is missing"),
        ("birth", {"channels": ["power_w", "power_w"]}, "channels", "twice"),
        ("state", {"locks": ["Credit"]}, "locks[0]", "a lock name"),
    ],
)
def test_messages_name_the_place(kind: Any, change: dict[str, Any], path: str, reason: str) -> None:
    with pytest.raises(ContractError) as caught:
        decode_message(kind, orjson.dumps({**registry.schema(kind)["examples"][0], **change}))
    assert (caught.value.path, reason in caught.value.reason) == (path, True), str(caught.value)


def test_a_command_without_expiry_is_refused() -> None:
    document = registry.schema("cmd")["examples"][0]
    del document["exp"]
    with pytest.raises(ContractError, match="'exp' is missing"):
        decode_message("cmd", orjson.dumps(document))


@pytest.mark.parametrize("depth", [17, 200, 1000, 1023])
@pytest.mark.parametrize(("head", "tail"), [(b"[", b"]"), (b'{"a":', b"}")])
@pytest.mark.parametrize(
    "frame", [b"%s", b'{"v":1,"sid":"a","seq":1,"ts":1,"d":{"x":%s}}', b'{"v":1,"s":"online","sid":%s}']
)
def test_deep_nesting_is_refused_and_harms_nobody(depth: int, head: bytes, tail: bytes, frame: bytes) -> None:
    payload = frame % (head * depth + b"1" + tail * depth)
    with pytest.raises(ContractError, match=r"nested deeper|not JSON"):
        decode_telemetry(payload)
    with pytest.raises(ContractError, match=r"nested deeper|not JSON"):
        decode_message("conn", payload)


def test_the_deepest_nesting_that_is_looked_into() -> None:
    with pytest.raises(ContractError, match=r"at least 1|is not|missing"):
        decode_telemetry(b"[" * 16 + b"]" * 16)


@pytest.mark.parametrize("payload", [b"[]", b"null", b"1", b"\xff", b"x" * (PAYLOAD_BYTES_MAX + 1)])
@pytest.mark.parametrize("kind", MESSAGES)
def test_a_message_is_one_object(kind: Any, payload: bytes) -> None:
    with pytest.raises(ContractError):
        decode_message(kind, payload)

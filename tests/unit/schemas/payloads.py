"""Hypothesis strategies for telemetry payloads: valid ones, and broken mutations of their bytes and values."""

import copy
from typing import Any

import orjson
from hypothesis import strategies as st

REGISTERS = st.integers(0, 2**53)
NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,12}", fullmatch=True)
SCALARS = st.one_of(st.integers(-(2**53), 2**53), st.text(max_size=12), st.booleans(), st.none())
UNIT_NAMES = st.builds("{}{}".format, NAMES, st.sampled_from(["_wh", "_w", "_l", "_mv", "_milli", "_ms"]))
EXTRAS = st.one_of(SCALARS, st.lists(SCALARS, max_size=3))
KNOWN: dict[str, st.SearchStrategy[Any]] = {
    "import_wh": REGISTERS,
    "volume_l": REGISTERS,
    "power_w": st.integers(-10_000, 10_000),
    "voltage_mv": st.lists(st.integers(0, 300_000), min_size=1, max_size=3),
    "pf_milli": st.integers(-1000, 1000),
    "relay": st.sampled_from(["open", "armed", "closed"]),
    "valve": st.sampled_from(["open", "closed", "opening", "closing"]),
    "rates_wh": st.dictionaries(st.sampled_from(["sharp", "peak", "flat", "valley", "deep"]), REGISTERS, min_size=1),
}
RESERVED = {*KNOWN, "export_wh", "demand_w", "frequency_mhz"}
UNIT_VALUES = st.one_of(st.integers(-(2**53), 2**53), st.lists(st.integers(0, 9), max_size=3))


def _is_free(name: str) -> bool:
    return name not in RESERVED and not name.endswith(
        ("_wh", "_w", "_var", "_va", "_mv", "_ma", "_milli", "_mhz", "_l", "_dc", "_nano", "_micro", "_ms")
    )


def _merged(known: dict[str, Any], extra: dict[str, Any], units: dict[str, Any]) -> dict[str, Any]:
    merged = {**extra, **{name: value for name, value in units.items() if name not in RESERVED}, **known}
    return merged or {"import_wh": 0}


CHANNELS = st.builds(
    _merged,
    st.fixed_dictionaries({}, optional=KNOWN),
    st.dictionaries(NAMES.filter(_is_free), EXTRAS, max_size=2),
    st.dictionaries(UNIT_NAMES, UNIT_VALUES, max_size=2),
)
ENVELOPES = st.fixed_dictionaries(
    {
        "v": st.just(1),
        "sid": st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True),
        "seq": REGISTERS,
        "ts": REGISTERS,
        "d": CHANNELS,
    },
    optional={"hist": st.booleans(), "q": st.sampled_from(["good", "suspect", "bad"])},
)
DOCUMENTS = st.one_of(ENVELOPES, st.lists(ENVELOPES, min_size=1, max_size=3))

ODD_VALUES = st.one_of(
    st.sampled_from(
        [
            1.0,
            0.5,
            -0.0,
            1e308,
            2**53 + 1,
            -1,
            2**63,
            2**64 - 1,
            True,
            False,
            None,
            "",
            "1",
            "a\n",
            [],
            {},
            [1.0],
            [[1]],
        ]
    ),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
)
ODD_KEYS = st.sampled_from(
    ["v", "sid", "seq", "ts", "d", "hist", "q", "import_wh", "relay", "rates_wh", "x", "a b", ""]
)


def _containers(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    own = [value] if isinstance(value, dict | list) and value else []
    return own + [container for member in inner for container in _containers(member)]


@st.composite
def broken_documents(draw: st.DrawFn) -> Any:
    """A valid document with one value replaced, removed or added somewhere; now and then still valid."""
    document = copy.deepcopy(draw(DOCUMENTS))
    target = draw(st.sampled_from(_containers(document)))
    if isinstance(target, list):
        target[draw(st.integers(0, len(target) - 1))] = draw(ODD_VALUES)
        return document
    act = draw(st.sampled_from(["replace", "remove", "add"]))
    key = draw(ODD_KEYS if act == "add" else st.sampled_from(sorted(target)))
    if act == "remove":
        del target[key]
    else:
        target[key] = draw(ODD_VALUES)
    return document


@st.composite
def broken_bytes(draw: st.DrawFn) -> bytes:
    """A valid payload with a few bytes cut, repeated or replaced by signs that mean something to JSON."""
    payload = orjson.dumps(draw(DOCUMENTS))
    at = draw(st.integers(0, len(payload)))
    until = draw(st.integers(at, min(len(payload), at + 12)))
    piece = draw(
        st.sampled_from(
            [
                b"",
                b".0",
                b"e1",
                b"1",
                b",",
                b'"',
                b"NaN",
                b"-",
                b"\xff",
                b"\\u0061",
                b'"v":1,',
                b'"d":{},',
                b"[",
                b"}",
                b" ",
            ]
        )
    )
    return payload[:at] + piece + payload[at:until] * draw(st.integers(0, 2)) + payload[until:]


@st.composite
def doubled_fields(draw: st.DrawFn) -> bytes:
    """A valid payload in which one field of the envelope or its channels is written a second time."""
    envelope = draw(ENVELOPES)
    inner = draw(st.booleans())
    fields = envelope["d"] if inner else envelope
    name = draw(st.sampled_from(sorted(fields)))
    pair = orjson.dumps({name: fields[name]})[1:-1]
    space = draw(st.sampled_from([b"", b" ", b"\n"]))
    text = orjson.dumps(envelope)
    head = text.index(b'"d":{') + 5 if inner else 1
    return text[:head] + space + pair + b"," + text[head:]

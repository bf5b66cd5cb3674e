"""The door for what devices send: bytes in, checked plain data out.

Every message passes four gates, the cheap ones first: size, JSON (orjson, which refuses NaN, bad UTF-8, lone
surrogates and deep nesting), the compiled schema (jsonschema-rs), and two points that the compiled validator does
not see: a float that happens to be whole (`1.0` is an integer to JSON Schema, never to us), and a field written
twice (JSON parsers keep the last, silently). The second has an exact and cheap proof: a text has at least one colon
for each key it writes, so if the number of colons equals the number of keys that came out, no key was lost. Only a
text with more colons (one inside a string, say) is parsed again with its pairs in sight.

What is accepted here is exactly what the reference implementation in `registry` accepts, held by a property test.
Only a refused message pays for a readable reason.

How the validator was chosen: on a 190-byte electricity sample, taking orjson's decoding as one unit of cost,
jsonschema-rs adds two units, fastjsonschema four (and it knows only older drafts), jsonschema some four hundred. A
msgspec typed decoder would replace both steps at four fifths of a unit, but it takes `1.0` for an integer, needs the
contract written a second time as types, and cannot both refuse unknown fields of the envelope and keep those in `d`.
The whole door costs about five units; in arrays of samples, under four a sample.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any, Final, Literal

import jsonschema_rs
import orjson

from schemas.registry import Problem, path_text, problems, schema

PAYLOAD_BYTES_MAX: Final = 256 * 1024
DEPTH_MAX: Final = 16
"""No message of the contract is nested deeper; what is would exhaust the stack of the code that explains errors."""

MessageKind = Literal["birth", "conn", "tele", "event", "state", "cfg", "cmd", "ack", "host"]

_REASON_CHARS_MAX: Final = 500


class ContractError(Exception):
    """A payload outside the contract: the reason in words, and the path inside the payload ("" for the whole)."""

    def __init__(self, reason: str, path: str = "") -> None:
        """Keep the reason, at most 500 characters, and the path for the dead letter."""
        self.reason = reason[:_REASON_CHARS_MAX]
        self.path = path
        super().__init__(f"{path}: {self.reason}" if path else self.reason)


def decode_telemetry(payload: bytes) -> list[dict[str, Any]]:
    """The telemetry envelopes of a payload, always as a list. Raises ContractError; there is nothing to repair."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise _too_large(payload)
    try:
        document = orjson.loads(payload)
    except orjson.JSONDecodeError:
        raise _refusal("tele", payload) from None
    if not _is_valid_tele(document):
        raise _refusal("tele", payload)
    envelopes = document if type(document) is list else [document]
    fields = 0
    for envelope in envelopes:
        counted = _count_fields(envelope)
        if not counted:
            raise _refusal("tele", payload)
        fields += counted
    if payload.count(b":") != fields and _repeated_field(payload) is not None:
        raise _refusal("tele", payload)
    return envelopes


def decode_message(kind: MessageKind, payload: bytes) -> dict[str, Any]:
    """The document of one message that is a single object (every kind but `tele`). Raises ContractError."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise _too_large(payload)
    try:
        document: dict[str, Any] = orjson.loads(payload)
    except orjson.JSONDecodeError:
        raise _refusal(kind, payload) from None
    if not _compiled(kind)(document) or _float_path(document, ()) is not None or _repeated_field(payload) is not None:
        raise _refusal(kind, payload)
    return document


def _count_fields(envelope: dict[str, Any]) -> int:
    """Number of fields of a schema-valid envelope, nested ones included; 0 when one of its numbers is a float."""
    if type(envelope["seq"]) is not int or type(envelope["ts"]) is not int or type(envelope["v"]) is not int:
        return 0
    channels = envelope["d"]
    fields = len(envelope) + len(channels)
    for value in channels.values():
        kind = type(value)
        if kind is int or kind is str:
            continue
        if kind is float:
            return 0
        if kind is list:
            if float in map(type, value):
                return 0
        elif kind is dict:
            if float in map(type, value.values()):
                return 0
            fields += len(value)
    return fields


@cache
def _compiled(name: str) -> Callable[[Any], bool]:
    is_valid: Callable[[Any], bool] = jsonschema_rs.validator_for(schema(name)).is_valid
    return is_valid


_is_valid_tele = _compiled("tele")


def _repeated_field(payload: bytes) -> str | None:
    """A field that is written twice within one object of a payload that orjson accepts; None when there is none."""
    repeated: list[str] = []

    def keep(pairs: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in pairs]
        if len(set(names)) != len(names):
            repeated.append(next(name for index, name in enumerate(names) if name in names[:index]))

    json.loads(payload.decode(), object_pairs_hook=keep)
    return repeated[0] if repeated else None


def _float_path(value: Any, path: tuple[str | int, ...]) -> tuple[str | int, ...] | None:
    """Path of the first float inside a value; no message of the contract may hold one."""
    if isinstance(value, float):
        return path
    if isinstance(value, dict):
        members: Any = value.items()
    elif isinstance(value, list):
        members = enumerate(value)
    else:
        return None
    for step, member in members:
        found = _float_path(member, (*path, step))
        if found is not None:
            return found
    return None


def _too_large(payload: bytes) -> ContractError:
    return ContractError(f"the payload has {len(payload)} bytes, at most {PAYLOAD_BYTES_MAX} are allowed")


def _refusal(kind: str, payload: bytes) -> ContractError:
    """Why a payload is refused, in words. Slow, and only reached for payloads that are."""
    try:
        document = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        return ContractError(f"the payload is not JSON: {error.msg} at character {error.pos}")
    if _is_deeper(document, DEPTH_MAX):
        return ContractError(f"the payload is nested deeper than {DEPTH_MAX} levels")
    found = problems(kind, document)
    if found:
        return _worded(found)
    repeated = _repeated_field(payload)
    if repeated is not None:
        return ContractError(f"the field {repeated!r} is written twice in one object", repeated)
    path = _float_path(document, ()) or ()
    return ContractError("a float stands where the contract has integers only", path_text(path))


def _is_deeper(document: Any, depth: int) -> bool:
    """Whether lists and objects are nested deeper than `depth`; walks level by level, so it needs no stack."""
    level = [document]
    for _ in range(depth + 1):
        containers = [value for value in level if isinstance(value, dict | list)]
        if not containers:
            return False
        level = [member for value in containers for member in (value.values() if isinstance(value, dict) else value)]
    return True


def _worded(found: list[Problem]) -> ContractError:
    """The first problem as the error, and how many more there are."""
    first = found[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return ContractError(first.message[: _REASON_CHARS_MAX - len(more)] + more, first.path)

"""Register series in CSV files: `ts`, one register column, and for electricity the meter's sub-registers if it has
them (`sharp_wh`, `peak_wh`, `flat_wh`, `valley_wh`, `deep_wh`; an empty cell is one it did not tell). Every refusal
names the line.

`ts` is Unix ms or ISO 8601 with an offset; the register is a whole number (Wh or litres), never a float, because a
float that was rounded somewhere upstream can no longer prove anything. Rows may stand in any order and identical rows
may repeat; two different registers at one instant, or a register that falls, are errors.
"""

from __future__ import annotations

import csv
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from api.cli.errors import CommandError
from billing.points import RATE_NAMES, rates_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from billing.points import Rates

RATE_COLUMNS = {f"{name}_wh": name for name in RATE_NAMES}
COLUMNS = {"electricity": "import_wh", "water": "volume_l"}
UNITS = {"electricity": "Wh", "water": "litres"}
REGISTER_MAX = 2**53
_WHOLE = re.compile(r"[0-9]{1,16}")
_UNIX_MS = re.compile(r"[0-9]{11,15}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Reading(msgspec.Struct, frozen=True):
    """One sample of a series: the line it stands in, Unix ms, the register in Wh or litres, and its sub-registers."""

    line: int
    ts: int
    quantity: int
    rates: Rates | None = None


class ReadingsError(CommandError):
    """A CSV file that is no register series; the text is `file:line: message`."""


def read_instant(text: str) -> int:
    """Unix ms of an instant written as Unix ms or as ISO 8601 with an offset; ValueError says what is right."""
    text = text.strip()
    if _UNIX_MS.fullmatch(text):
        return int(text)
    right = "write Unix ms or ISO 8601 with an offset, such as 2026-07-01T10:00:00+08:00"
    if text.isdigit():
        raise ValueError(f"{text} is no Unix time in milliseconds (seconds must be multiplied by 1000); {right}")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no instant; {right}") from None
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no offset; {right}")
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def read_series(path: Path, utility: str) -> list[Reading]:
    """The samples of a file, in order of time, repeated rows dropped. Raises ReadingsError with the line."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            readings = list(_read_rows(path, csv.reader(file, strict=True), utility))
    except UnicodeDecodeError:
        raise ReadingsError(f"{path}: the file is not UTF-8 text") from None
    except OSError as error:
        raise ReadingsError(f"{path}: cannot be read: {error.strerror}") from None
    return _in_order(path, readings, UNITS[utility])


def _read_rows(path: Path, rows: Any, utility: str) -> Iterator[Reading]:
    column, unit = COLUMNS[utility], UNITS[utility]
    try:
        header = [name.strip() for name in next(rows, [])]
        at_ts, at_register = _columns(path, header, column)
        at_rates = _rate_columns(path, header) if utility == "electricity" else {}
        for row in rows:
            if not row or row == [""]:
                continue
            if len(row) != len(header):
                raise ReadingsError(f"{path}:{rows.line_num}: has {len(row)} fields, the header {len(header)}")
            reading = _read_row(path, rows.line_num, row[at_ts], row[at_register], column, unit)
            told = {name: row[place] for name, place in at_rates.items() if row[place].strip()}
            yield _with_rates(path, reading, told) if told else reading
    except csv.Error as error:
        raise ReadingsError(f"{path}:{rows.line_num}: {error}") from None


def _columns(path: Path, header: list[str], column: str) -> tuple[int, int]:
    for name in ("ts", column):
        if header.count(name) != 1:
            found = ", ".join(header) or "nothing"
            fault = "is missing" if name not in header else "is there twice"
            raise ReadingsError(
                f"{path}:1: column {name} {fault}; the header must be ts,{column}, found: {found[:200]}"
            )
    return header.index("ts"), header.index(column)


def _rate_columns(path: Path, header: list[str]) -> dict[str, int]:
    """Sub-register -> its column."""
    for name in RATE_COLUMNS:
        if header.count(name) > 1:
            raise ReadingsError(f"{path}:1: column {name} is there twice")
    return {RATE_COLUMNS[name]: header.index(name) for name in RATE_COLUMNS if name in header}


def _with_rates(path: Path, reading: Reading, told: dict[str, str]) -> Reading:
    for name, text in told.items():
        if not _WHOLE.fullmatch(text.strip()) or int(text) > REGISTER_MAX:
            wrong = f"{text.strip()[:40]!r} is not a whole number of Wh from 0 to {REGISTER_MAX}"
            raise ReadingsError(f"{path}:{reading.line}: {name}_wh: {wrong}")
    rates = rates_of({name: int(text) for name, text in told.items()})
    return msgspec.structs.replace(reading, rates=rates)


def _read_row(path: Path, line: int, ts: str, register: str, column: str, unit: str) -> Reading:
    try:
        instant = read_instant(ts)
    except ValueError as error:
        raise ReadingsError(f"{path}:{line}: ts: {error}") from None
    register = register.strip()
    if not _WHOLE.fullmatch(register) or int(register) > REGISTER_MAX:
        raise ReadingsError(
            f"{path}:{line}: {column}: {register[:40]!r} is not a whole number of {unit} from 0 to {REGISTER_MAX}"
        )
    return Reading(line, instant, int(register))


def _in_order(path: Path, readings: list[Reading], unit: str) -> list[Reading]:
    ordered: list[Reading] = []
    for reading in sorted(readings, key=lambda item: (item.ts, item.line)):
        before = ordered[-1] if ordered else None
        if before is not None and before.ts == reading.ts:
            if before.quantity == reading.quantity:
                continue
            raise ReadingsError(
                f"{path}:{reading.line}: says {reading.quantity} {unit} at the instant for which line {before.line} "
                f"says {before.quantity}; keep the right one"
            )
        if before is not None and reading.quantity < before.quantity:
            raise ReadingsError(
                f"{path}:{reading.line}: the register falls from {before.quantity} (line {before.line}) to "
                f"{reading.quantity} {unit}; a reset or rollover starts a new series"
            )
        ordered.append(reading)
    return ordered

"""CSV: no text becomes a formula, numbers stay numbers; the package defusedcsv is the reference."""

from __future__ import annotations

import csv
import io
from zoneinfo import ZoneInfo

import pytest
from defusedcsv import csv as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.documents.csv_text import CsvWriter, defused
from billing.tables import Column, Table

ZONE = ZoneInfo("Asia/Shanghai")
TABLE = Table(
    "names",
    "名称",
    "Names",
    (Column("name", "名称", "Name"), Column("amount", "金额", "Amount", "money"), Column("n", "数", "N", "count")),
)
CORPUS = (
    "=1+1", "=cmd|' /C calc'!A0", "+1+1", "-1+1", "-5", "@SUM(A1:A9)", "\t=1", "\r=1", "\0=1", "\n=1", "|x", "%x",
    " =1", "\u3000=1", "＝1+1", "－2", "＋3", "＠x", "老王面馆", "Tea house", "", "'quoted", "a=b", "5", "=", "-",
    "-5.00", '=HYPERLINK("http://example.com","x")', "ß=", "\ufeff=1",
)  # fmt: skip


def written(*rows: tuple[object, ...]) -> list[list[str]]:
    """The rows as a reader of the file finds them."""
    writer = CsvWriter(TABLE, ZONE, "zh")
    data = writer.head() + writer.rows(rows)
    text = data.decode("utf-8-sig").replace("\0", "␀")
    return list(csv.reader(io.StringIO(text, newline="")))[1:]


@pytest.mark.parametrize("text", CORPUS)
def test_what_the_reference_defuses_we_defuse(text: str) -> None:
    buffer = io.StringIO()
    if "\0" not in text:  # the reference cannot write it
        reference.writer(buffer).writerow([text])
        theirs = next(iter(csv.reader(io.StringIO(buffer.getvalue(), newline=""))), [""])[0]
        if theirs.startswith("'") and not text.startswith("'"):
            assert defused(text).startswith("'")
            assert theirs.replace("\\|", "|") == defused(text)
    assert defused(text) in (text, f"'{text}")


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\0", "＝", "＋", "－", "＠"])
def test_each_dangerous_beginning_becomes_text(first: str) -> None:
    assert written((f"{first}1", 0, 0))[0][0] == f"'{first}1".replace("\0", "␀")


def test_numbers_stay_numbers() -> None:
    row = written(("x", -5_000_000_000, -7))[0]
    assert row == ["x", "-5.00", "-7"]
    assert written(("x", -1, None))[0] == ["x", "-0.000000001", ""]


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=12))
def test_any_text_survives_and_is_never_run(text: str) -> None:
    clean = text.encode("utf-8", "replace").decode()
    found = written((text, 1, 2))[0][0].replace("␀", "\0")
    assert found in (clean, f"'{clean}")
    assert not found.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\0"))


def test_excel_knows_it_is_utf8() -> None:
    writer = CsvWriter(TABLE, ZONE, "both")
    head = writer.head()
    assert head == "\ufeff名称 Name,金额 Amount,数 N\r\n".encode()

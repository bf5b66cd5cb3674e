"""Excel in, reports out, through the command line."""

from __future__ import annotations

import csv
import io
import time
from functools import partial

import openpyxl

from tests.e2e import cli
from tests.e2e.test_cli_site import FLAT, SITE
from twin.workbook import DEVICES, TENANTS


def test_excel_in_and_reports_out(tmp_path):
    (tmp_path / "site.yaml").write_text(SITE, encoding="utf-8")
    (tmp_path / "flat.yaml").write_text(FLAT, encoding="utf-8")
    data = ("--data", "data")
    clock = f"scaled:2026-01-12T10:00:00+08:00,1,{time.time_ns() // 1_000_000}"  # a report is of the month that it is
    twinmeter = partial(cli.twinmeter, TWINMETER_CLOCK=clock)
    made = twinmeter("site", "import", "site.yaml", *data, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    made = twinmeter("site", "template", "small", "-o", "park.xlsx", "--filled", *data, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    same = twinmeter("site", "import", "park.xlsx", *data, cwd=tmp_path)
    assert (same.returncode, same.stdout.strip()) == (0, "no change"), same.stderr

    book = openpyxl.load_workbook(tmp_path / "park.xlsx")
    book[TENANTS.title].append(["t-2", "茶馆", None, "预付费", 20])
    book[DEVICES.title].append(["em 9", "电表"])
    book.save(tmp_path / "park.xlsx")
    wrong = twinmeter("--lang", "zh", "site", "import", "park.xlsx", *data, cwd=tmp_path)
    assert wrong.returncode == 1
    assert f"park.xlsx:{DEVICES.title}!A4: 编号 'em 9'" in wrong.stderr
    book[DEVICES.title]["A4"] = "em-9"
    book.save(tmp_path / "park.xlsx")
    done = twinmeter("site", "import", "park.xlsx", *data, cwd=tmp_path)
    assert "imported: 2 changes" in done.stdout, done.stderr
    dry = twinmeter("site", "import", "park.xlsx", "--dry-run", *data, cwd=tmp_path)
    assert dry.stdout.strip() == "no change"

    shown = twinmeter("report", "export", "statement", "--tenant", "t-2", *data, cwd=tmp_path)
    rows = list(csv.reader(io.StringIO(shown.stdout.removeprefix("\ufeff"))))
    assert rows[1][4] == "20.00"
    printed = twinmeter("report", "export", "statement", "--tenant", "t-2", "-o", "t-2.pdf", *data, cwd=tmp_path)
    assert printed.returncode == 0, printed.stderr
    assert (tmp_path / "t-2.pdf").read_bytes().startswith(b"%PDF")
    seen = twinmeter("report", "overview", *data, cwd=tmp_path)
    assert "prepaid: 120.00" in seen.stdout
    assert twinmeter("report", "export", "revenue", "--from", "May", *data, cwd=tmp_path).returncode == 2

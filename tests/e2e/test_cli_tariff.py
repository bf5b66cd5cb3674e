"""`tariff check|rate` and `rules check|test` through the real command line: golden output, and clear refusals."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.e2e.cli import PARK, ROOT, twinmeter, twinmeter_alone

CONTRACT = ROOT / "tests" / "golden" / "contract"
FLAT = """\
apiVersion: twinmeter.tariff/v1
tariff: flat
utility: electricity
versions:
- {from: "2026-01-01T00:00:00", mode: flat, price: "0.8523"}
"""
DAY = """\
ts,import_wh
2026-01-12T07:30:00+08:00,1000
2026-01-12T08:30:00+08:00,2001
1768181400000,2501
"""
SLICES = [
    # [07:30, 08:00) valley and [08:00, 08:30) flat share 1001 Wh by time, ties to the earlier; then 500 Wh flat.
    ("valley", 501, 392_100 + 15_000, True),
    ("flat", 500, 801_200 + 15_000, True),
    ("flat", 500, 801_200 + 15_000, False),
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "flat.yaml").write_text(FLAT, encoding="utf-8")
    shutil.copy(CONTRACT / "tariff.yaml", tmp_path / "shop-tou.yaml")
    (tmp_path / "day.csv").write_text(DAY, encoding="utf-8")
    return tmp_path


def test_rates_the_tariff_of_the_contract_exactly(folder):
    done = twinmeter("tariff", "rate", "shop-tou.yaml", "day.csv", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    *charges, total = map(json.loads, done.stdout.splitlines())
    found = [(item["period"], item["quantity"], item["price_micro"], item["estimated"]) for item in charges]
    assert found == SLICES
    assert [item["amount_nano"] for item in charges] == [quantity * price for _, quantity, price, _ in SLICES]
    assert total == {"total_nano": sum(quantity * price for _, quantity, price, _ in SLICES), "quantity": 1501}


def test_rates_as_columns_in_local_time(folder):
    done = twinmeter("tariff", "rate", "shop-tou.yaml", "day.csv", cwd=folder)
    header, first, *_, total = [line.split() for line in done.stdout.splitlines()]
    assert " ".join(header) == "from_ts to_ts from to quantity period tier price amount estimated"
    span = "2026-01-12T07:30:00+08:00 2026-01-12T08:00:00+08:00"
    assert " ".join(first) == f"{span} 1000 1501 501 valley 0 0.407100 0.203957100 true"
    assert " ".join(total) == "total 1.020157100 quantity 1501"


def test_order_and_repeated_rows_do_not_matter(folder):
    rows = DAY.splitlines()
    (folder / "mixed.csv").write_text("\n".join([rows[0], rows[3], rows[1], rows[2], rows[1]]) + "\n", encoding="utf-8")
    straight, mixed = (
        twinmeter("tariff", "rate", "flat.yaml", name, "--json", cwd=folder) for name in ("day.csv", "mixed.csv")
    )
    assert straight.returncode == mixed.returncode == 0
    assert straight.stdout == mixed.stdout


def test_from_and_to_restrict_what_is_charged(folder):
    options = ("--from", "2026-01-12T08:00:00+08:00", "--to", "1768176900000", "--json")
    done = twinmeter("tariff", "rate", "flat.yaml", "day.csv", *options, cwd=folder)
    # A quarter of an hour of the 1001 Wh between the first two samples.
    assert json.loads(done.stdout.splitlines()[-1]) == {"total_nano": 250 * 852_300, "quantity": 250}


METERED = """\
apiVersion: twinmeter.tariff/v1
tariff: metered
utility: electricity
versions:
- from: "2026-01-01T00:00:00"
  mode: tou
  periods_from: meter
  free: {quantity: "0.1"}
  periods: {peak: "1.00", valley: "0.40"}
  calendar: [{months: all, days: all, slots: {"00:00-24:00": peak}}]
"""
RATES = """\
ts,import_wh,peak_wh,valley_wh
2026-01-12T07:30:00+08:00,1000,600,400
2026-01-12T08:30:00+08:00,2007,1200,800
2026-01-12T09:30:00+08:00,2100,1290,
"""


def test_periods_by_the_meter_and_free_units(folder):
    (folder / "metered.yaml").write_text(METERED, encoding="utf-8")
    (folder / "rates.csv").write_text(RATES, encoding="utf-8")
    done = twinmeter("tariff", "rate", "metered.yaml", "rates.csv", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    *charges, total = map(json.loads, done.stdout.splitlines())
    found = [(item["period"], item["tier"], item["quantity"], item["price_micro"]) for item in charges]
    assert found == [
        ("peak", -1, 100, 0),
        ("peak", None, 507, 1_000_000),
        ("valley", None, 400, 400_000),
        ("peak", None, 93, 1_000_000),
    ]
    assert total == {"total_nano": 760_000_000, "quantity": 1100}
    assert done.stderr == ("rates.csv:4: sub-registers that have a price are not told: valley; the calendar divides\n")


@pytest.mark.parametrize(
    ("csv", "said"),
    [
        ("time,import_wh\n1,2\n", "bad.csv:1: column ts is missing"),
        ("ts,volume_l\n1768174200000,2\n", "bad.csv:1: column import_wh is missing"),
        ("", "bad.csv:1: column ts is missing"),
        ("ts,import_wh\n1768174200000,12.5\n", "bad.csv:2: import_wh: '12.5' is not a whole number of Wh"),
        ("ts,import_wh\n1768174200000,-3\n", "bad.csv:2: import_wh: '-3' is not a whole number"),
        ("ts,import_wh\n2026-01-12T09:00:00,5\n", "bad.csv:2: ts: '2026-01-12T09:00:00' has no offset"),
        ("ts,import_wh\nyesterday,5\n", "bad.csv:2: ts: 'yesterday' is no instant"),
        ("ts,import_wh\n1768174200,5\n", "bad.csv:2: ts: 1768174200 is no Unix time in milliseconds"),
        ("ts,import_wh\n1768174200000,5\n1768174300000,4\n", "bad.csv:3: the register falls from 5 (line 2) to 4"),
        ("ts,import_wh\n1768174200000,5\n1768174200000,6\n", "bad.csv:3: says 6 Wh at the instant for which line 2"),
        ("ts,import_wh,peak_wh\n1768174200000,5,x\n", "bad.csv:2: peak_wh: 'x' is not a whole number of Wh"),
        ("ts,import_wh,peak_wh,peak_wh\n1768174200000,5,1,1\n", "bad.csv:1: column peak_wh is there twice"),
        ("ts,import_wh\n1768174200000\n", "bad.csv:2: has 1 fields, the header 2"),
        ('ts,import_wh\n"1768174200000,5\n', "bad.csv:2: unexpected end of data"),
        ("ts,import_wh\n1000000000000,5\n1000000900000,6\n", "before the first version"),
    ],
)
def test_a_bad_series_is_refused_at_its_line(folder, csv, said):
    (folder / "bad.csv").write_text(csv, encoding="utf-8")
    done = twinmeter("tariff", "rate", "flat.yaml", "bad.csv", "--json", cwd=folder)
    assert (done.returncode, said in done.stderr, "Traceback" in done.stderr) == (1, True, False), done.stderr


def test_check_tells_every_mistake_of_every_file_at_its_place(folder):
    shutil.copy(PARK / "tariffs" / "water-tiers.yaml", folder)
    (folder / "float.yaml").write_text(FLAT.replace('"0.8523"', "0.8523"), encoding="utf-8")
    holed = 'mode: tou, periods: {day: "1"}, calendar: [{months: all, days: weekday, slots: {"00:00-24:00": day}}]'
    (folder / "hole.yaml").write_text(FLAT.replace('mode: flat, price: "0.8523"', holed), encoding="utf-8")
    done = twinmeter("tariff", "check", "water-tiers.yaml", "float.yaml", "hole.yaml", cwd=folder)
    assert done.returncode == 1
    assert "water-tiers.yaml: ok: tariff water-tiers (water, 1 version)" in done.stdout
    assert "float.yaml:5:" in done.stderr
    assert "versions[0].price: " in done.stderr
    assert "hole.yaml:5:" in done.stderr


def test_rules_are_checked_and_their_tests_run(folder):
    shutil.copy(CONTRACT / "ruleset.yaml", folder / "prepaid.yaml")
    assert twinmeter("rules", "check", "prepaid.yaml", cwd=folder).returncode == 0
    done = twinmeter("rules", "test", "prepaid.yaml", cwd=folder)
    assert (done.returncode, "1 of 1 tests passed" in done.stdout) == (0, True)
    text = (folder / "prepaid.yaml").read_text(encoding="utf-8")
    late = text.replace("{at: 50s, rule: overload, state: fired}", "{at: 50s, rule: overload, state: normal}")
    (folder / "late.yaml").write_text(late, encoding="utf-8")
    done = twinmeter("rules", "test", "late.yaml", cwd=folder)
    assert done.returncode == 1
    assert "FAILED overload holds through one lost sample" in done.stdout
    assert "expected state normal, found fired" in done.stdout


def test_a_bad_rule_is_told_for_machines_with_its_line(folder):
    text = (CONTRACT / "ruleset.yaml").read_text(encoding="utf-8")
    (folder / "bad.yaml").write_text(
        text.replace("reading.power_w > p.limit_w\n", "reading.powr_w > p.limit_w\n"), encoding="utf-8"
    )
    done = twinmeter("rules", "check", "bad.yaml", "--format", "json", cwd=folder)
    assert done.returncode == 1
    (file,) = json.loads(done.stdout)["files"]
    (problem,) = file["problems"]
    lines = text.splitlines()
    assert problem["line"] == 1 + next(i for i, line in enumerate(lines) if "reading.power_w > p.limit_w" in line)
    assert "reading.power_w" in problem["message"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tariff", "rate", "missing.yaml", "day.csv"), "missing.yaml"),
        (("tariff", "rate", "flat.yaml", "day.csv", "--timezone", "Mars/Olympus"), "Mars/Olympus"),
        (("tariff", "rate", "flat.yaml", "day.csv", "--from", "soon"), "--from: 'soon' is no instant"),
        (
            ("tariff", "rate", "flat.yaml", "day.csv", "--from", "1768178700000", "--to", "1768178700000"),
            "is not before",
        ),
        (("tariff", "burn"), "burn"),
        (("--lang", "fr", "doctor"), "fr"),
        (("verify", "--data", ".", "--wait", "soon"), "--wait"),
        (("ingest", "--redis-url", "redis://127.0.0.1:1/0"), "--mqtt-url or TWINMETER_MQTT_URL"),
        (("up", "--clock", "sundial"), "is not a clock"),
        (("up", "--http", "here"), "is not HOST:PORT"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(folder, arguments, said):
    done = twinmeter(*arguments, cwd=folder)
    assert (done.returncode, said in done.stderr, "Traceback" in done.stderr) == (2, True, False), done.stderr


def test_an_unreadable_setting_is_wrong_usage(folder):
    (folder / "twinmeter.toml").write_text('htp = "127.0.0.1:1"\n', encoding="utf-8")
    done = twinmeter("verify", "--config", "twinmeter.toml", cwd=folder)
    assert (done.returncode, "unknown setting 'htp'" in done.stderr) == (2, True)


def test_help_is_quick_and_names_every_command(folder):
    done = twinmeter_alone("--help", cwd=folder, within_s=20)
    assert done.returncode == 0
    for command in ("demo", "up", "ingest", "ledger", "commands", "scheduler", "api", "site", "rules", "tariff",
                    "simulate", "verify", "rebuild", "doctor"):  # fmt: skip
        assert command in done.stdout

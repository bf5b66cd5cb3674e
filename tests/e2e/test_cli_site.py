"""A site through the command line: imported, imported again, refused, exported, verified, broken, rebuilt."""

from __future__ import annotations

import json
import signal
import sqlite3
import time

import pytest

from tests.e2e.cli import start_twinmeter, twinmeter, twinmeter_alone

SITE = """\
apiVersion: twinmeter.site/v1
site: small
name: {zh: 小园区, en: Small park}
timezone: Asia/Shanghai
currency: CNY
tariffs: [flat.yaml]
devices:
- {id: em-1, kind: electricity_meter, relay: true, opening_wh: 1000}
- {id: em-2, kind: electricity_meter}
tenants:
- id: t-1
  name: 老王面馆
  mode: prepaid
  opening_credit: "100.00"
  supplies: [{meter: em-1, breaker: em-1, tariff: flat}]
"""
FLAT = """\
apiVersion: twinmeter.tariff/v1
tariff: flat
utility: electricity
versions: [{from: "2020-01-01T00:00:00", mode: flat, price: "1.00"}]
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "site.yaml").write_text(SITE, encoding="utf-8")
    (tmp_path / "flat.yaml").write_text(FLAT, encoding="utf-8")
    return tmp_path


def test_a_site_from_the_first_import_to_a_breach_and_back(folder):
    data = ("--data", "data")
    dry = twinmeter("site", "import", "site.yaml", "--dry-run", *data, cwd=folder)
    assert dry.returncode == 0, dry.stderr
    assert "+ tenant t-1" in dry.stdout
    assert "nothing was changed" in dry.stdout

    first = twinmeter_alone("site", "import", "site.yaml", *data, cwd=folder)
    assert first.returncode == 0, first.stderr
    assert "+ device em-1" in first.stdout
    assert "2 twins built" in first.stdout

    again = twinmeter("site", "import", "site.yaml", *data, cwd=folder)
    assert (again.returncode, again.stdout) == (0, "no change\n")

    exported = twinmeter("site", "export", "small", "-o", "out.yaml", *data, cwd=folder)
    assert exported.returncode == 0, exported.stderr
    back = twinmeter("site", "import", "out.yaml", *data, cwd=folder)
    assert (back.returncode, back.stdout) == (0, "no change\n")

    proved = twinmeter("verify", "--json", *data, cwd=folder)
    (site,) = json.loads(proved.stdout)["sites"]
    assert (proved.returncode, site["ok"], site["twins_agreeing"], site["totals"]["credits_nano"]) == (
        0,
        True,
        2,
        10**11,
    )

    with sqlite3.connect(folder / "data" / "twinmeter.sqlite3") as database:
        database.execute("UPDATE account SET charges_nano = charges_nano + 1")
    broken = twinmeter("verify", *data, cwd=folder)
    assert (broken.returncode, "BREACH" in broken.stdout, "charges" in broken.stdout) == (1, True, True)
    with sqlite3.connect(folder / "data" / "twinmeter.sqlite3") as database:
        database.execute("UPDATE account SET charges_nano = charges_nano - 1")
    assert twinmeter("verify", *data, cwd=folder).returncode == 0


def test_lost_twins_are_a_breach_until_they_are_rebuilt(folder):
    data = ("--data", "data")
    assert twinmeter("site", "import", "site.yaml", *data, cwd=folder).returncode == 0
    for file in (folder / "data" / "redis").rglob("*"):
        if file.is_file():
            file.unlink()
    lost = twinmeter("verify", *data, cwd=folder)
    assert (lost.returncode, "twinmeter rebuild" in lost.stdout) == (1, True), lost.stdout + lost.stderr
    rebuilt = twinmeter("rebuild", *data, cwd=folder)
    assert (rebuilt.returncode, rebuilt.stdout) == (0, "small: 2 groups rebuilt from SQL\n"), rebuilt.stderr
    assert twinmeter("verify", *data, cwd=folder).returncode == 0


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        (
            "site.yaml",
            "tariff: flat}",
            "tariff: flta}",
            "site.yaml:15:51: tenants[0].supplies[0].tariff: unknown tariff 'flta'",
        ),
        ("site.yaml", "meter: em-1,", "meter: em-9,", "tenants[0].supplies[0].meter: unknown device 'em-9'"),
        ("site.yaml", "Asia/Shanghai", "Asia/Shanghia", "site.yaml:4:11: timezone: "),
        ("site.yaml", "id: em-2", "id: em-1", "devices[1].id: 'em-1' is used twice"),
        ("site.yaml", '"100.00"', "100.00", "site.yaml:14:"),
        ("site.yaml", "[flat.yaml]", "[none.yaml]", "site.yaml:6:11: tariffs[0]: names the file"),
        (
            "site.yaml",
            "[flat.yaml]",
            "[flat.yaml, flat.yaml]",
            "site.yaml:6:22: tariffs[1]: tariff 'flat' is given twice",
        ),
        ("flat.yaml", '"1.00"', '"-1.00"', "flat.yaml:4:"),
        ("flat.yaml", "mode: flat", "mode: tou", "flat.yaml:4:"),
    ],
)
def test_a_mistake_is_told_at_its_place_and_changes_nothing(folder, file, old, new, said):
    text = (folder / file).read_text(encoding="utf-8")
    assert old in text
    (folder / file).write_text(text.replace(old, new), encoding="utf-8")
    done = twinmeter("site", "import", "site.yaml", "--data", "data", cwd=folder)
    assert (done.returncode, said in done.stderr, "Traceback" in done.stderr) == (1, True, False), done.stderr
    if (folder / "data" / "twinmeter.sqlite3").exists():
        with sqlite3.connect(folder / "data" / "twinmeter.sqlite3") as database:
            assert database.execute("SELECT count(*) FROM site").fetchone() == (0,)


def test_an_import_while_up_is_running_reaches_its_twins(folder):
    log = folder / "up.log"
    running = start_twinmeter("up", "--data", "data", "--http", "127.0.0.1:0", cwd=folder, log=log)
    try:
        _wait_for(lambda: "ready; Ctrl-C stops" in log.read_text(encoding="utf-8"), running, log)
        imported = twinmeter("site", "import", "site.yaml", "--data", "data", cwd=folder)
        assert (imported.returncode, "imported: " in imported.stdout) == (0, True), imported.stderr
        assert "starting" not in imported.stderr, "it must use the servers that are there"
        proved = twinmeter("verify", "--data", "data", cwd=folder)
        assert proved.returncode == 0, proved.stdout
        second = twinmeter("up", "--data", "data", cwd=folder)
        assert (second.returncode, f"in use by pid {running.pid}" in second.stderr) == (1, True)
    finally:
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0, log.read_text(encoding="utf-8")
    assert not (folder / "data" / "running.json").exists()
    assert log.read_text(encoding="utf-8").rstrip().endswith("stopped")


def test_doctor_finds_a_sound_machine_sound_and_says_what_to_do_about_another(folder):
    sound = twinmeter("doctor", "--json", "--data", "data", cwd=folder)
    checks = {check["name"]: check for check in json.loads(sound.stdout)}
    assert sound.returncode == 0, sound.stdout
    assert checks["Redis"]["state"] == checks["MQTT broker"]["state"] == checks["database"]["state"] == "ok"
    sick = twinmeter(
        "doctor", "--data", "data", "--redis-url", "redis://127.0.0.1:1/0", "--mqtt-url", "mqtt://127.0.0.1:1",
        "--database-url", "mysql://x", "--lang", "zh", cwd=folder,
    )  # fmt: skip
    assert sick.returncode == 1
    assert "启动 Redis，检查 TWINMETER_REDIS_URL" in sick.stdout
    assert "3 项需要处理" in sick.stdout


def _wait_for(condition, process, log, within_s=120):
    deadline = time.monotonic() + within_s
    while not condition():
        assert process.poll() is None, log.read_text(encoding="utf-8")
        assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
        time.sleep(0.1)

"""`twinmeter explain` and `twinmeter tariff whatif` on a real ledger, in both languages, and their refusals."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.e2e.cli import twinmeter
from tests.e2e.test_cli_rerate import charge, write
from tests.unit.adapters.store.park import SITE
from tests.unit.adapters.store.recorded import TENANT, park_document

FLAT = {
    "apiVersion": "twinmeter.tariff/v1",
    "tariff": "shop-tou",
    "utility": "electricity",
    "versions": [{"from": "2026-01-01T00:00:00", "mode": "flat", "price": "9"}],
}


def test_a_line_is_explained_and_a_month_lived_through_by_another_tariff(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    where = ("--site", SITE, "--data", "data", "--database-url", url)
    write(tmp_path, park_document())
    assert (
        twinmeter("site", "import", "site.json", "--data", "data", "--database-url", url, cwd=tmp_path).returncode == 0
    )
    asyncio.run(charge(url))

    told = json.loads(twinmeter("explain", "1", "--json", *where, cwd=tmp_path).stdout)
    seq = told["seq"]
    chinese = twinmeter("explain", str(seq), "--lang", "zh", *where, cwd=tmp_path)
    assert chinese.returncode == 0, chinese.stderr
    assert "账目 1" in chinese.stdout
    assert "不一致" not in chinese.stdout
    missing = twinmeter("explain", "99999", *where, cwd=tmp_path)
    assert (missing.returncode, "has no ledger line 99999" in missing.stderr) == (1, True)

    (tmp_path / "new.json").write_text(json.dumps(FLAT))
    ask = ("tariff", "whatif", "--tariff", "new.json")
    answer = twinmeter(*ask, "--month", "2026-03", "--json", *where, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    outcome = json.loads(answer.stdout)
    assert [one["tenant"] for one in outcome["tenants"]] == [TENANT]
    one = outcome["tenants"][0]
    assert one["then"]["energy_nano"] == one["then"]["quantity"] * 9_000_000 > one["now"]["energy_nano"]
    assert outcome["revenue_then_nano"] - outcome["revenue_now_nano"] == one["difference_nano"]
    spoken = twinmeter(*ask, "--month", "2026-03", "--lang", "zh", *where, cwd=tmp_path)
    assert "多付 1 户" in spoken.stdout
    assert twinmeter(*ask, "--month", "2026-13", *where, cwd=tmp_path).returncode == 2
    (tmp_path / "new.json").write_text(json.dumps({**FLAT, "tariff": "unheard-of"}))
    unknown = twinmeter(*ask, "--month", "2026-03", *where, cwd=tmp_path)
    assert (unknown.returncode, "no tariff 'unheard-of'" in unknown.stderr) == (1, True)

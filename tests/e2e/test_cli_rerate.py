"""`twinmeter rerate` and `site import --reprice` on a real ledger: trial, posting, proof, and clear refusals."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec

from adapters.store.engine.database import open_database
from adapters.store.posting.ledger import SqlLedger
from tests.e2e.cli import twinmeter
from tests.unit.adapters.store.park import SITE, entry
from tests.unit.adapters.store.recorded import METER, TENANT, chain, park_document
from tests.unit.adapters.store.test_repricing import KNOWN, dearer
from tests.unit.adapters.store.test_rerating import WHO

WALLET = f"tenant:{TENANT}:wallet"


def write(folder: Path, document) -> None:
    """The site file with its tariffs and rules inside."""
    whole = {
        **document.site,
        "tariffs": list(document.tariffs.values()),
        "rulesets": list(document.rulesets.values()),
    }
    (folder / "site.json").write_bytes(msgspec.json.encode(whole))


async def charge(url: str) -> None:
    database = await open_database(url)
    await SqlLedger(database).post(SITE, [entry(1, *chain(KNOWN, WHO), group=TENANT)])
    await database.close()


def test_a_price_for_the_past_is_asked_for_tried_and_posted(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    where = ("--data", "data", "--database-url", url)
    write(tmp_path, park_document())
    assert twinmeter("site", "import", "site.json", *where, cwd=tmp_path).returncode == 0
    asyncio.run(charge(url))

    write(tmp_path, park_document(dearer()))
    done = twinmeter("site", "import", "site.json", "--reprice", *where, cwd=tmp_path)
    assert (done.returncode, "1 meter will be charged again" in done.stdout) == (0, True), done.stderr

    trial = twinmeter("rerate", "--site", SITE, "--dry-run", "--json", *where, cwd=tmp_path)
    told = json.loads(trial.stdout)
    assert [(one["meter"], one["batch"], one["adjustments"] > 0) for one in told] == [(METER, 0, True)]
    posted = twinmeter("rerate", "--site", SITE, *where, cwd=tmp_path)
    assert posted.returncode == 0, posted.stderr
    assert f"{METER}: {told[0]['adjustments']} adjustments" in posted.stdout
    assert WALLET in posted.stdout
    again = twinmeter(
        "rerate", "--site", SITE, "--meter", METER, "--from", "2026-01-01T00:00:00+08:00", *where, cwd=tmp_path
    )
    assert again.stdout == "1 meter, 0 adjustments: nothing to adjust\n"


def test_wrong_wishes_are_refused_in_a_sentence(tmp_path: Path) -> None:
    nowhere = ("--data", "data")
    assert twinmeter("rerate", cwd=tmp_path).returncode == 2
    bad = twinmeter("rerate", "--site", "x", "--from", "yesterday", *nowhere, cwd=tmp_path)
    assert (bad.returncode, "'yesterday' is no instant" in bad.stderr) == (2, True)
    bad = twinmeter("verify", "--deep", "few", *nowhere, cwd=tmp_path)
    assert (bad.returncode, "neither `all` nor a number of meters" in bad.stderr) == (2, True)

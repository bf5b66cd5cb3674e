"""Anchors, export and trial balance over ledgers with adjustments and with a settled month: sound, and forged."""

from __future__ import annotations

import json

from adapters.store.engine.database import Database
from adapters.store.proofs.anchors import anchors, check_kept_anchors, take_anchor
from adapters.store.proofs.ledger_export import export_ledger
from adapters.store.proofs.trial_balance import trial_balance
from adapters.store.proofs.verify import verify_sql
from billing.ledger_proof import Fault, LedgerProof, kept_hashes
from tests.integration.test_sql_verify import tamper
from tests.unit.adapters.store import settling
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.park import SITE
from tests.unit.adapters.store.test_rerating import LATER
from tests.unit.adapters.store.test_verify_adjustments import adjusted

__all__ = ["adjusted"]


async def exported(database: Database, site: str) -> list[bytes]:
    return [line async for line in export_ledger(database, site, LATER)]


def faults_of(lines: list[bytes]) -> list[Fault]:
    proof = LedgerProof()
    return [*(fault for line in lines for fault in proof.line(line)), *proof.close()]


async def codes(database: Database, site: str) -> set[str]:
    return {finding.code async for finding in verify_sql(database, site)}


async def test_adjustments_are_exported_sealed_and_proved(adjusted: Database, url: str) -> None:
    lines = await exported(adjusted, SITE)
    assert faults_of(lines) == []
    assert (await trial_balance(adjusted, SITE)).off_nano == 0
    kept = [await take_anchor(adjusted, SITE, LATER)]
    place = next(number for number, line in enumerate(lines) if b'"t":"adjustments"' in line)
    entry = json.loads(lines[place])
    entry["rows"][0][-2] = "another reason"
    forged = [*lines[:place], json.dumps(entry).encode() + b"\n", *lines[place + 1 :]]
    assert "adjustment_digest" in {fault.code for fault in faults_of(forged)}
    gone = [*lines[:place], *lines[place + 1 :]]
    assert {"adjustment_digest", "file_edited"} <= {fault.code for fault in faults_of(gone)}
    await tamper(url, "UPDATE adjustment SET ts = ts + 1 WHERE number = 1")
    findings = [finding async for finding in check_kept_anchors(adjusted, SITE, kept)]
    assert {finding.where for finding in findings} == {f"site {SITE} anchor {kept[0].day} table adjustment"}


async def test_a_settled_month_is_exported_sealed_and_proved(database: Database, url: str) -> None:
    park = settling.Park(database)
    await park.import_site()
    await park.month(202601)
    await park.pay("t-1", 500, "jan", park.start_of(202601) + 5 * settling.DAY)
    park.clock.at = park.start_of(202602) + settling.DAY
    assert (await park.settle(202601)).state == "done"
    lines = await exported(database, settling.SITE)
    assert faults_of(lines) == []
    fees = [number for number, line in enumerate(lines) if b'"fees":[' in line]
    assert len(fees) >= 4
    entry = json.loads(lines[fees[0]])
    entry["fees"][0][3] = "another name"
    forged = [*lines[: fees[0]], json.dumps(entry).encode() + b"\n", *lines[fees[0] + 1 :]]
    assert {"fee_digest", "file_edited"} <= {fault.code for fault in faults_of(forged)}
    await take_anchor(database, settling.SITE, park.clock.at)
    assert await codes(database, settling.SITE) == set()
    balance = await trial_balance(database, settling.SITE)
    assert balance.off_nano == 0
    assert {"landlord:vacancy", "revenue:electricity", "revenue:water", "wallets"} <= {
        row.account for row in balance.rows
    }
    await tamper(url, "UPDATE fee_line SET facts = '{}' WHERE id = (SELECT min(id) FROM fee_line)")
    assert "anchor_seal" in await codes(database, settling.SITE)


async def test_an_anchor_of_an_empty_ledger_and_of_a_ledger_that_grows(park: Database) -> None:
    first = await take_anchor(park, SITE, LATER)
    assert (await take_anchor(park, SITE, LATER + 1)) == first
    second = await take_anchor(park, SITE, LATER + 86_400_000)
    assert [anchor.day for anchor in await anchors(park, SITE)] == [first.day, second.day]
    assert second.journal_seq == first.journal_seq
    assert kept_hashes(["", '{"journal_seq":0,"journal_hash":"00"}']) == {}
    assert await codes(park, SITE) == set()

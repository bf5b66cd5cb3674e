"""Attacks on the ledger by somebody with all rights: each is found, and named by its place, on both engines.

Some attacks repair everything that the ledger itself could be checked by; those only an anchor kept elsewhere finds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
import pytest

from adapters.store.engine.database import Database
from adapters.store.posting.ledger import SqlLedger
from adapters.store.proofs.anchors import (
    AnchorError,
    anchor_line,
    anchors,
    check_kept_anchors,
    read_anchor,
    take_anchor,
)
from adapters.store.proofs.ledger_export import export_ledger
from adapters.store.proofs.trial_balance import trial_balance
from adapters.store.proofs.verify import verify_sql
from billing.ledger_proof import LedgerProof
from tests.integration.test_sql_verify import tamper
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.money import YUAN, Till
from tests.unit.adapters.store.park import NOW, SITE, charge, entry

DAY_MS = 86_400_000
T = "t-002"


@pytest.fixture
async def books(park: Database) -> Database:
    """Charges, payments, a refund, a debt with an instalment and a correction; anchored, and then a second day."""
    till = Till(park)
    ledger = SqlLedger(park)
    await ledger.post(SITE, [entry(1, charge(0, 100), charge(100, 200)), entry(2, charge(200, 300, price_micro=0))])
    first = (await till.pay(T, 50, key="k-1")).payment
    wish = {"tenant": T, "amount_nano": 30 * YUAN, "kind": "instalment", "origin": "other", "share_percent": 20}
    await till.desk.create_debt(SITE, {**wish, "cap_nano": 20 * YUAN}, till.caller())
    payment = (await till.pay(T, 100, key="k-2")).payment
    await till.desk.correct(SITE, T, first, 5 * YUAN, till.caller())
    refund = {"tenant": T, "payment": payment, "amount_nano": 7 * YUAN, "channel": ""}
    asked = await till.desk.refund(SITE, refund, till.caller())
    await till.agree(asked)
    await till.desk.pay_refund(SITE, T, asked.body["refund"], "W-1", till.caller())
    await take_anchor(park, SITE, NOW)
    await ledger.post(SITE, [entry(3, charge(300, 400))])
    await till.pay(T, 1, key="k-3")
    await take_anchor(park, SITE, NOW + DAY_MS)
    return park


async def found(database: Database) -> list[str]:
    return [f"{finding.code} {finding.where}" async for finding in verify_sql(database, SITE)]


async def test_sound_books_have_no_finding(books: Database) -> None:
    assert await found(books) == []
    assert (await trial_balance(books, SITE)).off_nano == 0
    kept = [read_anchor(anchor_line(anchor)) for anchor in await anchors(books, SITE)]
    assert [anchor.day for anchor in kept] == [20251231, 20260101]
    assert [finding async for finding in check_kept_anchors(books, SITE, kept)] == []
    assert [finding async for finding in check_kept_anchors(books, SITE, kept[1:])] == []
    assert await take_anchor(books, SITE, NOW + DAY_MS) == kept[1]


ATTACKS = {
    "an edited payment": ("UPDATE payment SET channel = 'gold' WHERE payment = 'P3'", "payment_edited payment P3"),
    "an edited amount": ("UPDATE payment SET amount_nano = 1 WHERE payment = 'P3'", "payment payment P3"),
    "an edited payer": ("UPDATE payment SET tenant = 't-001' WHERE payment = 'P3'", "payment_edited payment P3"),
    "a payment's time": ("UPDATE payment SET ts = ts + 1 WHERE payment = 'P3'", "payment_edited payment P3"),
    "a deleted payment": ("DELETE FROM payment WHERE payment = 'P3'", "topup_without_payment journal 3"),
    "exchanged payments": (
        "UPDATE payment SET payment = 'x' WHERE payment = 'P3'; UPDATE payment SET payment = 'P3' WHERE payment = 'P5';"
        "UPDATE payment SET payment = 'P5' WHERE payment = 'x'",
        "payment_edited payment P5",
    ),
    "an edited journal": ("UPDATE journal SET memo = 'x' WHERE seq = 4", "journal_edited journal 4"),
    "a deleted journal": ("DELETE FROM journal WHERE seq = 4", "missing_journal journal 5"),
    "exchanged journals": (
        "UPDATE journal SET seq = 99 WHERE seq = 4; UPDATE journal SET seq = 4 WHERE seq = 5;"
        "UPDATE journal SET seq = 5 WHERE seq = 99",
        "journal_edited journal 4",
    ),
    "a deleted leg": ("DELETE FROM leg WHERE seq = 4 AND place = 1", "unbalanced journal 4"),
    "an edited leg": ("UPDATE leg SET amount_nano = amount_nano + 1 WHERE seq = 4", "journal_edited journal 4"),
    "exchanged legs": ("UPDATE leg SET place = 9 WHERE seq = 4 AND place = 1", "journal_edited journal 4"),
    "an edited interval": ("UPDATE energy SET from_ts = 0 WHERE from_qty = 100", "charge_digest journal 2"),
    "a deleted interval": ("DELETE FROM energy WHERE from_qty = 100", "gap meter em-002 epoch 1"),
    "an edited price": ("UPDATE rating SET tariff = 'x' WHERE from_qty = 100", "charge_digest journal 2"),
    "a deleted price": ("DELETE FROM rating WHERE from_qty = 100", "active_ratings meter em-002 epoch 1 interval 100"),
    "an edited interval that cost nothing": (
        "UPDATE energy SET estimated = TRUE WHERE from_qty = 200",
        "anchor_seal site park-1 anchor 20251231 table energy",
    ),
    "an edited price of nothing": (
        "UPDATE rating SET tariff = 'x' WHERE from_qty = 200",
        "anchor_seal site park-1 anchor 20251231 table rating",
    ),
    "an edited opening": (
        "UPDATE energy SET to_ts = 5 WHERE from_qty IS NULL AND meter = 'em-002'",
        "anchor_seal site park-1 anchor 20251231 table energy",
    ),
    "an edited correction": ("UPDATE correction SET amount_nano = 1", "correction_edited correction 7"),
    "a deleted correction": ("DELETE FROM correction", "correction_missing journal 7"),
    "another original": ("UPDATE correction SET original_seq = 5", "correction_edited correction 7"),
    "an edited refund": ("UPDATE refund SET amount_nano = 1", "refund_edited refund R8"),
    "a refund paid out under another number": ("UPDATE refund SET reference = 'W-2'", "refund_edited refund R8 paid"),
    "a deleted refund": ("DELETE FROM refund", "refund_missing journal 8"),
    "an edited debt": ("UPDATE debt SET remaining_nano = 1", "debt_edited debt D4"),
    "a smaller debt": (
        "UPDATE debt SET remaining_nano = remaining_nano - 1, principal_nano = principal_nano - 1",
        "debt_edited debt D4",
    ),
    "an edited instalment": ("UPDATE debt_recovery SET amount_nano = 1", "debt_recovery_edited recovery of debt D4"),
    "a deleted instalment": ("DELETE FROM debt_recovery", "debt_recovery_missing journal 6"),
    "an edited audit": (
        "UPDATE audit SET who = 'nobody' WHERE what = 'correction'",
        "anchor_seal site park-1 anchor 20251231 table audit",
    ),
    "a deleted audit": (
        "DELETE FROM audit WHERE what = 'correction'",
        "anchor_seal site park-1 anchor 20251231 table audit",
    ),
    "an own approval": ("UPDATE approval SET decided_by = asked_by", "own_approval approval A1"),
    "an edited anchor": ("UPDATE anchor SET payments = 9 WHERE day = 20251231", "anchor_payments site park-1"),
}


ROUNDS = {
    "edits": [name for name in ATTACKS if "deleted" not in name and "exchanged" not in name][::2],
    "more edits": [name for name in ATTACKS if "deleted" not in name and "exchanged" not in name][1::2],
    "deletions": ["a deleted payment", "a deleted correction", "a deleted refund", "a deleted instalment"],
    "more deletions": ["a deleted journal", "a deleted interval", "a deleted audit"],
    "reordered rows": ["exchanged payments", "exchanged legs"],
    "reordered journals": ["exchanged journals", "a deleted price"],
    "a leg": ["a deleted leg"],
}


def test_every_attack_has_its_round() -> None:
    assert {name for names in ROUNDS.values() for name in names} == set(ATTACKS)


@pytest.mark.parametrize("name", ROUNDS)
async def test_attacks_are_found_and_named(books: Database, url: str, name: str) -> None:
    """Several at once, that do not hide each other: a database is dear."""
    attacks = [ATTACKS[one] for one in ROUNDS[name]]
    await tamper(url, ";".join(statements for statements, _ in attacks))
    lines = await found(books)
    missing = [expected for _, expected in attacks if not any(line.startswith(expected) for line in lines)]
    assert missing == [], lines


TRUNCATED = """
DELETE FROM payment WHERE journal_seq > 10;
DELETE FROM act WHERE group_id = 't-002' AND seq = (SELECT seq FROM act_head WHERE group_id = 't-002');
UPDATE act_head SET seq = seq - 1 WHERE group_id = 't-002';
UPDATE account SET credits_seq = credits_seq - 1 WHERE tenant = 't-002';
UPDATE account SET credits_nano = credits_nano - 1000000000 WHERE tenant = 't-002';
DELETE FROM leg WHERE seq > 10;
DELETE FROM journal WHERE seq > 10;
DELETE FROM anchor_seal WHERE day = 20260101;
DELETE FROM anchor WHERE day = 20260101;
UPDATE site SET journal_seq = 10, journal_hash = (SELECT hash FROM journal WHERE seq = 10)
"""


async def test_a_tail_cut_off_with_all_its_traces_is_found_by_the_anchor_kept_elsewhere(
    books: Database, url: str
) -> None:
    kept = await anchors(books, SITE)
    await tamper(url, TRUNCATED)
    assert await found(books) == [], "nothing inside the database can tell"
    findings = [finding async for finding in check_kept_anchors(books, SITE, kept[1:])]
    codes = {finding.code for finding in findings}
    assert {"anchor_missing", "anchor_payments", "anchor_turnover", "anchor_seal"} <= codes
    gone = next(finding for finding in findings if "cut short" in finding.detail)
    assert gone.detail.startswith("journal 11 is gone")
    tables = {finding.where.rpartition(" ")[2] for finding in findings if finding.code == "anchor_seal"}
    assert tables == {"payment"}


async def test_an_anchor_of_another_ledger_is_told(books: Database) -> None:
    [_, last] = await anchors(books, SITE)
    forged = msgspec.structs.replace(last, journal_hash=bytes(32), turnover_nano=1, site="park-2")
    codes = {finding.code async for finding in check_kept_anchors(books, SITE, [forged])}
    assert codes == {"anchor_differs", "anchor_chain", "anchor_turnover", "anchor_site"}


@pytest.mark.parametrize("line", ["", "{}", "[]", '{"format":"x"}', '{"format":"twinmeter.anchor/v1","seals":{}}'])
def test_a_line_that_is_no_anchor_is_refused(line: str) -> None:
    with pytest.raises(AnchorError, match="is not an anchor as `ledger anchor` writes it"):
        read_anchor(line)


def proved(lines: Sequence[bytes], kept: dict[int, str] | None = None) -> set[str]:
    """What the auditor's side finds in an export, codes with places."""
    proof = LedgerProof(kept)
    faults = [fault for line in lines for fault in proof.line(line)]
    return {f"{fault.code} {fault.where}" for fault in [*faults, *proof.close()]}


def edited(lines: Sequence[bytes], kind: bytes, old: bytes, new: bytes) -> list[bytes]:
    """The export with the first line of a kind that has a text changed, and its end made to fit again."""
    place = next(number for number, line in enumerate(lines) if b'"t":"%b"' % kind in line and old in line)
    return sealed([*lines[:place], lines[place].replace(old, new, 1), *lines[place + 1 : -1]])


def sealed(lines: Sequence[bytes]) -> list[bytes]:
    """Lines with an end that fits them, as a forger would write it."""
    digest = hashlib.sha256(b"".join(lines)).hexdigest()
    return [*lines, msgspec.json.encode({"t": "end", "lines": len(lines), "sha256": digest}) + b"\n"]


async def test_an_export_is_proved_without_the_database(books: Database) -> None:
    lines = [line async for line in export_ledger(books, SITE, NOW)]
    kept = {anchor.journal_seq: anchor.journal_hash.hex() for anchor in await anchors(books, SITE)}
    assert proved(lines, kept) == set()
    assert proved(lines[:-1]) == {f"no_end line {len(lines) - 1}"}
    assert f"file_edited line {len(lines) - 1}" in proved([*lines[:9], *lines[10:]])
    attacks = {
        "journal_edited journal 4 (debt:D4)": edited(lines, b"journal", b'"memo":"test"', b'"memo":"tost"'),
        "unbalanced journal 1 (opening:t-001)": edited(lines, b"journal", b"100000000000", b"100000000001"),
        "payment_edited journal 3 (topup:t-002:k-1)": edited(lines, b"journal", b'"key":"k-1"', b'"key":"k-9"'),
        "charge_digest journal 2 (charge:em-002:1:0)": edited(lines, b"journal", b'"shop-flat"', b'"shop-rate"'),
        "not_tiled meter em-002 epoch 1": edited(lines, b"interval", b"200,300", b"200,290"),
        "credits tenant:t-001:wallet": edited(lines, b"account", b'"credits_nano":1', b'"credits_nano":2'),
    }
    for expected, forged in attacks.items():
        assert expected in proved(forged), proved(forged)
    journals = [number for number, line in enumerate(lines) if b'"t":"journal"' in line]
    third, fourth = journals[2], journals[3]
    swapped = [*lines[:third], lines[fourth], lines[third], *lines[fourth + 1 : -1]]
    assert {"missing_journal journal 4 (debt:D4)", "missing_journal journal 3 (topup:t-002:k-1)"} <= proved(
        sealed(swapped)
    )
    assert any(
        line.startswith("missing_journal journal 4") for line in proved(sealed(lines[:third] + lines[fourth:-1]))
    )
    cut = sealed([lines[0], *lines[1 : journals[-1]], *lines[journals[-1] + 1 : -1]])
    assert f"journal_tail site {SITE}" in proved(cut)
    head = msgspec.json.decode(lines[journals[-2]])
    forged_head = msgspec.json.encode(
        {**msgspec.json.decode(lines[0]), "journal_seq": head["seq"], "journal_hash": head["hash"]}
    )
    forged_cut = sealed([forged_head + b"\n", *cut[1:-1]])
    assert f"journal_tail site {SITE}" not in proved(forged_cut)
    assert "anchor_missing journal 11" in proved(forged_cut, kept)
    assert "anchor_chain journal 9 (refund_paid:R8)" in proved(lines, {9: "00"})
    assert proved([b"no json", b"[]"]) >= {"unreadable line 1", "unreadable line 2", "no_end line 2"}


async def test_the_trial_balance_by_control_account(books: Database) -> None:
    balance = await trial_balance(books, SITE)
    lines = {row.account: row.net_nano for row in balance.rows}
    assert lines["clearing:cash"] == -139 * YUAN
    assert lines["debts"] == -10 * YUAN
    assert lines["opening:equity"] == -100 * YUAN
    assert lines["revenue:electricity"] == 300 * 850_000
    assert sum(lines.values()) == balance.off_nano == 0
    assert {row.account for row in (await trial_balance(books, SITE, detailed=True)).rows} >= {f"tenant:{T}:wallet"}
    assert (await trial_balance(books, SITE, until=1)).rows == ()
    with pytest.raises(LookupError):
        await trial_balance(books, "nowhere")

"""A bill as data: it adds up, it survives being stored, and what does not add up is named."""

from __future__ import annotations

import msgspec

from billing.bill import check_bill, decode_bill, encode_bill
from tests.unit.billing.bills import example_bill


def test_example_adds_up() -> None:
    bill = example_bill()
    assert check_bill(bill) == []
    assert bill.closing_nano == bill.opening_nano + bill.credits_nano - bill.charges_nano


def test_stored_bill_is_the_same() -> None:
    bill = example_bill()
    assert decode_bill(encode_bill(bill)) == bill
    assert encode_bill(decode_bill(encode_bill(bill))) == encode_bill(bill)


def test_a_wrong_closing_balance_is_named() -> None:
    bill = example_bill()
    wallet = msgspec.structs.replace(bill.wallets[0], closing_nano=bill.wallets[0].closing_nano + 1)
    problems = check_bill(msgspec.structs.replace(bill, wallets=(wallet, *bill.wallets[1:])))
    assert "wallet t-001" in problems[0]


def test_a_line_that_is_not_quantity_times_price_is_named() -> None:
    bill = example_bill()
    wallet = bill.wallets[1]
    line = msgspec.structs.replace(wallet.meters[0].lines[0], quantity=12_341)
    section = msgspec.structs.replace(wallet.meters[0], lines=(line,))
    problems = check_bill(msgspec.structs.replace(bill, wallets=(msgspec.structs.replace(wallet, meters=(section,)),)))
    assert any("is not" in problem for problem in problems)
    assert any("its readings say" in problem for problem in problems)

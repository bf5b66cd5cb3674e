from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.money import INT64_MAX, MoneyError, cents_half_up, format_nano, parse_money, parse_price

INT64 = st.integers(-INT64_MAX, INT64_MAX)


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("50.00", 50_000_000_000),
        ("0", 0),
        ("-0.5", -500_000_000),
        ("0.000000001", 1),
        ("007", 7_000_000_000),
        ("9223372036.854775807", INT64_MAX),
        ("-9223372036.854775807", -INT64_MAX),
    ],
)
def test_money_is_read_exactly(text, nano):
    assert parse_money(text) == nano


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("9223372036.854775808", "64-bit"),
        ("1" * 41, "plain decimal"),
        ("0.0000000001", "at most 9"),
        ("1e3", "plain decimal"),
        ("+1", "plain decimal"),
        (" 1", "plain decimal"),
        ("1\n", "plain decimal"),
        ("1.", "plain decimal"),
        (".5", "plain decimal"),
        ("1,5", "plain decimal"),
        ("1_000", "plain decimal"),
        ("١", "plain decimal"),
        ("", "plain decimal"),
        ("NaN", "plain decimal"),
        (50.0, "quoted"),
        (50, "quoted"),
        (None, "quoted"),
    ],
)
def test_what_is_no_exact_money_is_refused_with_the_reason(text, reason):
    with pytest.raises(MoneyError, match=reason):
        parse_money(text)


def test_prices_hold_six_decimals():
    assert parse_price("0.8523") == 852_300
    assert parse_price("-0.05") == -50_000
    with pytest.raises(MoneyError, match="at most 6"):
        parse_price("0.1234567")


@given(INT64)
def test_printing_and_reading_are_inverse(amount_nano):
    printed = format_nano(amount_nano)
    assert parse_money(printed) == amount_nano
    assert Decimal(printed) == Decimal(amount_nano).scaleb(-9)
    assert len(printed.split(".")[1]) == 9


def test_the_contract_prints_nine_decimals():
    assert format_nano(12_340_000_000) == "12.340000000"
    assert format_nano(-1) == "-0.000000001"
    assert format_nano(0) == "0.000000000"


@given(INT64)
def test_cents_round_half_away_from_zero(amount_nano):
    exact = Decimal(amount_nano).scaleb(-7)
    assert cents_half_up(amount_nano) == int(exact.quantize(Decimal(1), ROUND_HALF_UP))


def test_a_half_cent_of_debt_mirrors_a_half_cent_of_credit():
    assert cents_half_up(5_000_000) == 1
    assert cents_half_up(4_999_999) == 0
    assert cents_half_up(-5_000_000) == -1

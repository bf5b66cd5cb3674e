"""A bill as an Excel workbook: a sheet to read, a sheet of typed lines, a sheet of payments, and a check.

Every charge has two amounts: in cents, rounded half up, and the exact one of the ledger. Totals are values that equal
the ledger; beside them a formula adds the lines again and says whether they agree, so that an edit shows.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from xlsxwriter.utility import xl_rowcol_to_cell

from adapters.documents.bill_rows import (
    credit_name,
    credit_source,
    line_row,
    period_text,
    reading_note,
    subtotals,
    wallet_name,
    zone_of,
)
from adapters.documents.words import METERS, STATES, UNITS, both, currency_words, named, people_call_it
from adapters.documents.workbook import Book, cents_number, exact_number
from billing.bill import check_bill

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xlsxwriter.worksheet import Worksheet

    from billing.bill import Bill
    from billing.tables import Kind

OVERVIEW, LINES, READINGS, CREDITS = "账单 Statement", "明细 Lines", "读数 Readings", "入账 Payments"
AGREES, DIFFERS = "一致 OK", "不符 MISMATCH"
_SHADE = "#EEF2F7"
_LINES: tuple[tuple[str, Kind, int], ...] = (
    ("账户 Account", "text", 14),
    ("表号 Meter", "text", 14),
    ("项目 Item", "text", 24),
    ("说明 Details", "text", 34),
    ("时段 Period", "text", 11),
    ("阶梯 Tier", "text", 11),
    ("数量 Quantity", "quantity", 14),
    ("单位 Unit", "text", 8),
    ("单价 Unit price", "price", 12),
    ("金额 Amount", "money", 14),
    ("精确金额 Exact amount", "exact", 22),
    ("月份 Month", "month", 10),
)
_READINGS: tuple[tuple[str, Kind, int], ...] = (
    ("账户 Account", "text", 14),
    ("表号 Meter", "text", 14),
    ("类型 Kind", "text", 22),
    ("起码时间 Opening at", "instant", 20),
    ("起码 Opening", "quantity", 14),
    ("止码时间 Closing at", "instant", 20),
    ("止码 Closing", "quantity", 14),
    ("用量 Used", "quantity", 14),
    ("单位 Unit", "text", 8),
    ("备注 Remarks", "text", 36),
)
_CREDITS: tuple[tuple[str, Kind, int], ...] = (
    ("账户 Account", "text", 14),
    ("时间 Time", "instant", 20),
    ("类别 Kind", "text", 20),
    ("来源 Source", "text", 36),
    ("流水号 Reference", "text", 30),
    ("金额 Amount", "money", 14),
    ("精确金额 Exact amount", "exact", 22),
)


def bill_xlsx(bill: Bill) -> bytes:
    """The bill as an Excel file."""
    out = io.BytesIO()
    book = Book(out, zone_of(bill))
    overview = book.sheet(OVERVIEW)
    lines_check = _lines(book, bill)
    _readings(book, bill)
    credits_check = _credits(book, bill)
    _overview(book, overview, bill, lines_check, credits_check)
    book.close()
    return out.getvalue()


def _overview(book: Book, sheet: Worksheet, bill: Bill, lines: str, credit_lines: str) -> None:
    sheet.set_column(0, 0, 30)
    sheet.set_column(1, 1, 26)
    sheet.set_column(2, 3, 22)
    letterhead = bill.issuer.letterhead or bill.issuer.name
    book.text(sheet, 0, 0, people_call_it(letterhead, bill.issuer.site), book.format(bold=True, font_size=14))
    title = "结清账单 Final statement" if bill.kind == "final" else "账单 Statement"
    book.text(sheet, 1, 0, title, book.format(bold=True, font_size=12))
    row = 3
    for name, kind, value in _particulars(bill):
        book.text(sheet, row, 0, name, book.format(font_color="#5B6470"))
        book.put(sheet, row, 1, kind, value, book.format(kind, align="left"))
        row += 1
    row = _balances(book, sheet, row + 1, bill)
    row = _subtotals(book, sheet, row + 1, bill)
    checks = (
        ("核对：明细之和 = 费用 Check: lines = charges", lines),
        ("核对：入账之和 = 入账 Check: payments = paid in", credit_lines),
        ("核对：期初 + 入账 - 费用 = 期末 Check: balances", AGREES if not check_bill(bill) else DIFFERS),
    )
    for place, (name, check) in enumerate(checks, row + 1):
        book.text(sheet, place, 0, name, book.format(bold=True))
        _check_cell(book, sheet, place, 1, check)
    for place, words in enumerate(bill.warnings):
        book.text(sheet, row + 5 + place, 0, f"! {people_call_it(words)}", book.format(font_color="#B71C1C"))


def _particulars(bill: Bill) -> list[tuple[str, Kind, Any]]:
    entries: list[tuple[str, Kind, Any]] = [
        ("账单编号 Number", "text", bill.number or "-"),
        ("状态 State", "text", both(STATES[bill.state])),
        ("客户 Customer", "text", people_call_it(bill.holder.name, bill.holder.id)),
        ("客户编号 Id", "text", bill.holder.id),
        ("账期 Period", "text", period_text(bill)),
        ("出账 Issued", "instant", bill.issued_ts),
        ("币种 Currency", "text", currency_words(bill.issuer.currency)),
        ("总账序号 Ledger entry", "count", bill.journal_seq),
        ("总账哈希 Ledger hash", "text", bill.anchor),
    ]
    if bill.corrects:
        entries.append(("更正 Corrects", "text", bill.corrects))
    if bill.replaced_by:
        entries.append(("已被更正为 Replaced by", "text", bill.replaced_by))
    return entries


def _balances(book: Book, sheet: Worksheet, row: int, bill: Bill) -> int:
    """Each wallet and the whole; returns the next row."""
    names = (
        "账户 Account",
        "期初余额 Opening",
        "入账 Paid in",
        "费用 Charges",
        "期末余额 Closing",
        "精确期末 Exact closing",
    )
    sheet.set_column(4, 5, 22)
    _headings(book, sheet, row, names)
    rows = [
        (f"{wallet_name(wallet)} ({wallet.tenant})", wallet.opening_nano, wallet.credits_nano, wallet.charges_nano,
         wallet.closing_nano)
        for wallet in bill.wallets
    ]  # fmt: skip
    rows.append(("合计 Total", bill.opening_nano, bill.credits_nano, bill.charges_nano, bill.closing_nano))
    for place, (name, *amounts) in enumerate(rows, row + 1):
        last = place == row + len(rows)
        shade = _SHADE if last else ""
        book.text(sheet, place, 0, name, book.format(bold=last, shade=shade))
        for column, nano in enumerate(amounts, 1):
            sheet.write_number(place, column, cents_number(nano), book.format("money", bold=last, shade=shade))
        book.put(sheet, place, 5, "exact", amounts[-1], book.format("exact", bold=last, shade=shade))
    return row + len(rows) + 1


def _subtotals(book: Book, sheet: Worksheet, row: int, bill: Bill) -> int:
    """Charges by kind; returns the next row."""
    _headings(
        book, sheet, row, ("费用小计 Charges by kind", "数量 Quantity", "单位 Unit", "金额 Amount", "精确金额 Exact")
    )
    for entry in subtotals(bill):
        row += 1
        book.text(sheet, row, 0, entry.name)
        book.put(sheet, row, 1, "quantity", entry.quantity)
        book.text(sheet, row, 2, entry.unit)
        sheet.write_number(row, 3, cents_number(entry.amount_nano), book.format("money"))
        book.put(sheet, row, 4, "exact", entry.amount_nano)
    row += 1
    for column, text in ((0, "合计 Total"), (1, ""), (2, "")):
        book.text(sheet, row, column, text, book.format(bold=True, shade=_SHADE))
    sheet.write_number(row, 3, cents_number(bill.charges_nano), book.format("money", bold=True, shade=_SHADE))
    book.put(sheet, row, 4, "exact", bill.charges_nano, book.format("exact", bold=True, shade=_SHADE))
    return row + 1


def _lines(book: Book, bill: Bill) -> str:
    """All charge lines; returns the formula that checks their sum."""
    sheet = _sheet(book, LINES, _LINES)
    row = 0
    for wallet in bill.wallets:
        for line in wallet.lines:
            row += 1
            shown = line_row(line, bill)
            values = (
                wallet.tenant, line.meter, shown.item.replace("\n", " "), shown.details.replace("\n", "; "),
                shown.period, shown.tier.replace("\n", " "), shown.quantity, shown.unit, shown.price_micro,
            )  # fmt: skip
            _put_all(book, sheet, row, _LINES[:9], values)
            sheet.write_number(row, 9, cents_number(line.amount_nano), book.format("money"))
            book.put(sheet, row, 10, "exact", line.amount_nano)
            book.put(sheet, row, 11, "month", line.month)
    amounts = [line.amount_nano for wallet in bill.wallets for line in wallet.lines]
    return _total(book, sheet, LINES, 9, amounts, bill.charges_nano)


def _readings(book: Book, bill: Bill) -> None:
    sheet = _sheet(book, READINGS, _READINGS)
    row = 0
    for wallet in bill.wallets:
        for section in wallet.meters:
            for reading in section.readings:
                row += 1
                values = (
                    wallet.tenant, section.meter, named(METERS, section.utility), reading.opening_ts,
                    reading.opening_qty, reading.closing_ts, reading.closing_qty, reading.quantity,
                    UNITS[section.unit], reading_note(reading),
                )  # fmt: skip
                _put_all(book, sheet, row, _READINGS, values)


def _credits(book: Book, bill: Bill) -> str:
    """All payments and other credits; returns the formula that checks their sum."""
    sheet = _sheet(book, CREDITS, _CREDITS)
    row = 0
    for wallet in bill.wallets:
        for credit in wallet.credits:
            row += 1
            values = (wallet.tenant, credit.ts, credit_name(credit), credit_source(credit), credit.reference)
            _put_all(book, sheet, row, _CREDITS[:5], values)
            sheet.write_number(row, 5, cents_number(credit.amount_nano), book.format("money"))
            book.put(sheet, row, 6, "exact", credit.amount_nano)
    amounts = [credit.amount_nano for wallet in bill.wallets for credit in wallet.credits]
    return _total(book, sheet, CREDITS, 5, amounts, bill.credits_nano)


def _sheet(book: Book, name: str, columns: Sequence[tuple[str, Kind, int]]) -> Worksheet:
    sheet = book.sheet(name)
    for place, (_, _, width) in enumerate(columns):
        sheet.set_column(place, place, width)
    _headings(book, sheet, 0, [heading for heading, _, _ in columns])
    sheet.freeze_panes(1, 0)
    return sheet


def _headings(book: Book, sheet: Worksheet, row: int, names: Sequence[str]) -> None:
    for place, name in enumerate(names):
        book.text(sheet, row, place, name, book.format(bold=True, shade="#DCE6F1", text_wrap=True))


def _put_all(
    book: Book, sheet: Worksheet, row: int, columns: Sequence[tuple[str, Kind, int]], values: Sequence[Any]
) -> None:
    for place, ((_, kind, _), value) in enumerate(zip(columns, values, strict=True)):
        book.put(sheet, row, place, kind, value)


def _total(book: Book, sheet: Worksheet, name: str, column: int, amounts: Sequence[int], total_nano: int) -> str:
    """The row of totals as values, below one row for each amount; returns the check of it, a formula where possible."""
    row = len(amounts) + 1
    book.text(sheet, row, 0, "合计 Total", book.format(bold=True, shade=_SHADE))
    sheet.write_number(row, column, cents_number(total_nano), book.format("money", bold=True, shade=_SHADE))
    book.put(sheet, row, column + 1, "exact", total_nano, book.format("exact", bold=True, shade=_SHADE))
    check = AGREES if sum(amounts) == total_nano else DIFFERS
    # An amount that Excel cannot hold stands as text, which its SUM would pass over.
    if amounts and all(exact_number("exact", nano) is not None for nano in (*amounts, total_nano)):
        first, last = xl_rowcol_to_cell(1, column + 1), xl_rowcol_to_cell(row - 1, column + 1)
        total = xl_rowcol_to_cell(row, column + 1)
        summed = f"SUM('{name}'!{first}:{last})-'{name}'!{total}"
        check = f'=IF(ABS({summed})<0.000001,"{AGREES}","{DIFFERS}")'
    _check_cell(book, sheet, row, column + 2, check)
    return check


def _check_cell(book: Book, sheet: Worksheet, row: int, column: int, check: str) -> None:
    form = book.format(bold=True)
    if check.startswith("="):
        sheet.write_formula(row, column, check, form, AGREES)
    else:
        book.text(sheet, row, column, check, form)

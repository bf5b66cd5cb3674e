"""A bill as PDF: letterhead, what is to pay, how every amount came about, and the hash that anchors it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

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
from adapters.documents.fonts import open_font
from adapters.documents.pages import ACCENT, ALERT, GREY, INK, LINE, PALE, Field, Pages
from adapters.documents.values import shown_text, with_thousands
from adapters.documents.words import METERS, STATES, UNITS, both, currency_words, named, people_call_it
from billing.money import format_nano
from billing.tables import trimmed

if TYPE_CHECKING:
    from billing.bill import Bill, Line, MeterSection, WalletSection

_LINES = (
    Field("项目\nItem", 15),
    Field("说明\nDetails", 23, small=True),
    Field("时段\nPeriod", 10),
    Field("阶梯\nTier", 9),
    Field("数量\nQuantity", 14, "right"),
    Field("单价\nUnit price", 10, "right"),
    Field("金额\nAmount", 12, "right"),
    Field("精确金额\nExact", 16, "right", small=True),
)
_READINGS = (
    Field("起码时间\nOpening at", 16),
    Field("起码\nOpening", 14, "right"),
    Field("止码时间\nClosing at", 16),
    Field("止码\nClosing", 14, "right"),
    Field("用量\nUsed", 14, "right"),
    Field("备注\nRemarks", 20, small=True),
)
_CREDITS = (
    Field("时间\nTime", 17),
    Field("类别\nKind", 20),
    Field("来源\nSource", 30, small=True),
    Field("流水号\nReference", 22, small=True),
    Field("金额\nAmount", 13, "right"),
)
_SUMS = (
    Field("费用小计\nCharges by kind", 46),
    Field("数量\nQuantity", 24, "right"),
    Field("金额\nAmount", 18, "right"),
    Field("精确金额\nExact", 22, "right", small=True),
)


def bill_pdf(bill: Bill) -> bytes:
    """The bill as a PDF file; the same bill gives the same bytes. Raises FontMissingError."""
    out = io.BytesIO()
    title = f"账单 Statement {bill.number or bill.id}"
    pages = Pages(out, open_font(), _Edge(bill), title)
    _first_page_head(pages, bill)
    _overview(pages, bill)
    _warnings(pages, bill)
    for wallet in bill.wallets:
        _wallet(pages, bill, wallet)
    _sums(pages, bill)
    _proof(pages, bill)
    pages.close()
    return out.getvalue()


class _Edge:
    """What stands on every page of a bill."""

    def __init__(self, bill: Bill) -> None:
        self.bill = bill

    def head(self, pages: Pages) -> None:
        """From the second page on: whose bill this is."""
        if pages.number == 1:
            return
        y = pages.height - 34
        pages.write(pages.left, y, people_call_it(self.bill.issuer.name, self.bill.issuer.site), 8, colour=GREY)
        text = f"{people_call_it(self.bill.holder.name, self.bill.holder.id)} · {_number(self.bill)}"
        pages.write(pages.right, y, text, 8, colour=GREY, align="right")
        pages.y = y - 8
        pages.rule()
        pages.down(10)

    def foot(self, pages: Pages) -> None:
        """Number, hash, page."""
        y = pages.bottom - 18
        pages.write(pages.left, y, f"账单编号 No. {_number(self.bill)}", 7, colour=GREY)
        pages.page_number(pages.right, y, 7)
        if self.bill.anchor:
            pages.write(pages.left, y - 10, f"SHA-256 {self.bill.anchor}", 6, colour=GREY)


def _number(bill: Bill) -> str:
    return bill.number or f"{both(STATES['draft'])} {bill.id}"


def _first_page_head(pages: Pages, bill: Bill) -> None:
    letterhead = bill.issuer.letterhead or bill.issuer.name
    zh, en = letterhead.get("zh") or people_call_it(letterhead, bill.issuer.site), letterhead.get("en", "")
    pages.box(pages.left, pages.y - 3, pages.inner, 3, ACCENT)
    pages.down(12)
    pages.paragraph(zh, 16, colour=ACCENT, bold=True, width=pages.inner * 0.62)
    if en and en != zh:
        pages.paragraph(en, 9, colour=GREY, width=pages.inner * 0.62)
    top = pages.height - 42
    pages.write(pages.right, top - 30, _title(bill), 16, bold=True, align="right")
    if bill.state != "issued":
        words = both(STATES[bill.state])
        if bill.replaced_by:
            words = f"{words} → {bill.replaced_by}"
        pages.write(pages.right, top - 46, words, 9, colour=ALERT, bold=True, align="right")
    pages.y = min(pages.y, top - 54) - 6
    _particulars(pages, bill)


def _title(bill: Bill) -> str:
    return "结清账单 Final statement" if bill.kind == "final" else "账单 Statement"


def _particulars(pages: Pages, bill: Bill) -> None:
    """Customer on the left, number and dates on the right."""
    zone = zone_of(bill)
    left = [("客户 Customer", people_call_it(bill.holder.name, bill.holder.id)), ("编号 Id", bill.holder.id)]
    left += [(_contact(key), value) for key, value in bill.holder.contact.items()]
    right = [
        ("账单编号 Number", _number(bill)),
        ("账期 Period", period_text(bill)),
        ("出账 Issued", shown_text("instant", bill.issued_ts, zone) or "-"),
        ("币种 Currency", currency_words(bill.issuer.currency)),
    ]
    if bill.corrects:
        right.append(("更正 Corrects", bill.corrects))
    top, half = pages.y, pages.inner / 2
    ends = []
    for x, entries in ((pages.left, left), (pages.left + half + 8, right)):
        pages.y = top
        for name, value in entries:
            start = pages.y
            pages.write(x, start - 9.5, name, 7.5, colour=GREY)
            pages.paragraph(value, 9, x=x + 78, width=half - 90, bold=name.startswith("客户"))
            pages.down(2)
        ends.append(pages.y)
    pages.y = min(ends) - 8


def _contact(key: str) -> str:
    return {"person": "联系人 Contact", "phone": "电话 Phone", "email": "邮箱 Email"}.get(key, key)


def _overview(pages: Pages, bill: Bill) -> None:
    """Four numbers and what they mean."""
    entries = [
        ("期初余额", "Opening balance", bill.opening_nano),
        ("本期入账", "Paid in", bill.credits_nano),
        ("本期费用", "Charges", bill.charges_nano),
        ("期末余额", "Closing balance", bill.closing_nano),
    ]
    width, height = pages.inner / len(entries), 52.0
    pages.room(height + 30)
    pages.box(pages.left, pages.y - height, pages.inner, height, PALE)
    zone = zone_of(bill)
    for place, (zh, en, nano) in enumerate(entries):
        x = pages.left + place * width + 10
        last = place == len(entries) - 1
        colour = ALERT if last and nano < 0 else ACCENT if last else INK
        pages.write(x, pages.y - 14, f"{zh} {en}", 7.5, colour=GREY)
        pages.write(x, pages.y - 32, shown_text("money", nano, zone), 14, colour=colour, bold=True)
        pages.write(x, pages.y - 44, format_nano(nano), 6.5, colour=GREY)
        if place:
            pages.write(x - 17, pages.y - 31, " +-="[place], 11, colour=GREY)
    pages.down(height + 4)
    if bill.closing_nano < 0:
        due = shown_text("money", -bill.closing_nano, zone)
        pages.paragraph(f"应付 Amount due: {due} {currency_words(bill.issuer.currency)}", 11, colour=ALERT, bold=True)
    pages.down(4)


def _warnings(pages: Pages, bill: Bill) -> None:
    for words in bill.warnings:
        pages.paragraph(f"! {people_call_it(words)}", 8, colour=ALERT)
    if bill.warnings:
        pages.down(4)


def _heading(pages: Pages, text: str, size: float = 10.5) -> None:
    # A heading stays with the head of its table and a row of three lines.
    pages.room(120)
    pages.down(8)
    pages.paragraph(text, size, colour=ACCENT, bold=True)
    pages.down(3)


def _wallet(pages: Pages, bill: Bill, wallet: WalletSection) -> None:
    zone = zone_of(bill)
    if len(bill.wallets) > 1:
        _heading(pages, f"账户 Account: {wallet_name(wallet)} ({wallet.tenant})", 12)
    for section in wallet.meters:
        _meter(pages, bill, section)
    for title, lines in (
        ("公摊与其他费用 Shared use and other fees", wallet.fees),
        ("往期调整 Adjustments of earlier months", wallet.adjustments),
    ):
        if lines:
            _heading(pages, title)
            _lines(pages, bill, lines)
    _heading(pages, "入账明细 Payments and other credits")
    rows = [
        (
            shown_text("instant", credit.ts, zone),
            credit_name(credit),
            credit_source(credit),
            credit.reference,
            shown_text("money", credit.amount_nano, zone),
        )
        for credit in wallet.credits
    ]
    if not rows:
        pages.paragraph("本期无入账 None in this period", 8, colour=GREY)
    else:
        total = ("合计 Total", "", "", "", shown_text("money", wallet.credits_nano, zone))
        pages.table(_CREDITS, rows, totals=[total])
    if len(bill.wallets) > 1:
        _wallet_balance(pages, bill, wallet)


def _wallet_balance(pages: Pages, bill: Bill, wallet: WalletSection) -> None:
    zone = zone_of(bill)
    parts = (
        ("期初 Opening", wallet.opening_nano),
        ("入账 Paid in", wallet.credits_nano),
        ("费用 Charges", -wallet.charges_nano),
        ("期末 Closing", wallet.closing_nano),
    )
    pages.down(4)
    text = "   ".join(f"{name} {shown_text('money', nano, zone)}" for name, nano in parts)
    pages.paragraph(text, 8.5, bold=True)


def _meter(pages: Pages, bill: Bill, section: MeterSection) -> None:
    zone = zone_of(bill)
    name = people_call_it(section.name)
    title = (
        f"{named(METERS, section.utility)} {section.meter}{f' · {name}' if name else ''} · 电价 Tariff {section.tariff}"
    )
    if section.utility == "water":
        title = title.replace("电价", "水价")
    _heading(pages, title)
    unit = UNITS[section.unit]
    rows = [
        (
            shown_text("instant", reading.opening_ts, zone) or "-",
            _quantity(reading.opening_qty, unit),
            shown_text("instant", reading.closing_ts, zone) or "-",
            _quantity(reading.closing_qty, unit),
            _quantity(reading.quantity, unit),
            reading_note(reading),
        )
        for reading in section.readings
    ]
    pages.table(_READINGS, rows)
    if not section.complete:
        pages.paragraph(
            "账期末尚无读数，余量计入下期 No reading at the end yet; the rest follows on the next bill",
            7.5,
            colour=ALERT,
        )
    pages.down(6)
    _lines(pages, bill, section.lines)


def _lines(pages: Pages, bill: Bill, lines: tuple[Line, ...]) -> None:
    zone = zone_of(bill)
    rows = []
    for line in lines:
        row = line_row(line, bill)
        rows.append((
            row.item,
            row.details,
            row.period,
            row.tier,
            _quantity(row.quantity, row.unit),
            "" if row.price_micro is None else trimmed(row.price_micro, 6, 4),
            shown_text("money", row.amount_nano, zone),
            format_nano(row.amount_nano),
        ))  # fmt: skip
    total_nano = sum(line.amount_nano for line in lines)
    total = ("小计 Sum", "", "", "", "", "", shown_text("money", total_nano, zone), format_nano(total_nano))
    pages.table(_LINES, rows, totals=[total])


def _sums(pages: Pages, bill: Bill) -> None:
    zone = zone_of(bill)
    _heading(pages, "费用汇总 Summary of charges", 12)
    rows = [
        (
            entry.name,
            _quantity(entry.quantity, entry.unit),
            shown_text("money", entry.amount_nano, zone),
            format_nano(entry.amount_nano),
        )
        for entry in subtotals(bill)
    ]
    total = ("合计 Total", "", shown_text("money", bill.charges_nano, zone), format_nano(bill.charges_nano))
    pages.table(_SUMS, rows, totals=[total])


def _proof(pages: Pages, bill: Bill) -> None:
    notes = [
        "金额按精确值计算，显示时四舍五入到分；合计按精确值相加后再取整。"
        " Amounts are exact; they are rounded half up to cents where shown, and totals are rounded after adding.",
    ]
    if bill.anchor:
        notes.append(
            f"本账单依据总账第 {bill.journal_seq} 笔及以前的分录，其哈希见页脚；`twinmeter verify` 可核对。"
            f" This bill rests on the ledger up to entry {bill.journal_seq}; its hash is in the footer, and"
            " `twinmeter verify` proves it."
        )
    pages.room(len(notes) * 3 * 7.5 * LINE)
    pages.down(8)
    for note in notes:
        pages.paragraph(note, 7.5, colour=GREY)


def _quantity(value: int | None, unit: str) -> str:
    return "" if value is None else f"{with_thousands(trimmed(value, 3, 2))} {unit}".rstrip()

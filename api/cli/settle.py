"""`twinmeter settle` and `twinmeter bills`: settle a month, see how far it is, look at bills, correct and push them."""

from __future__ import annotations

import json as json_text
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.errors import FAILED, CommandError, WrongUsageError
from api.cli.installation import quiet, say
from api.cli.language import language, name_in_use, tell
from api.cli.on_site import Place, on_data

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from api.bootstrap import Platform
    from billing.bill import Bill
    from twin.flows.settle_month import Settled

MonthOption = Annotated[str, typer.Option("--month", help="The month, such as 2026-01.")]
Who = Annotated[str, typer.Option("--who", help="Who does it; stands in the audit.")]
_MONTH = re.compile(r"([0-9]{4})-?(0[1-9]|1[0-2])")

app = typer.Typer(name="bills", help="Bills: list, show, correct, finish, push.", no_args_is_help=True)


@on_data
def settle(
    place: Place,
    month: MonthOption,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the bills, change nothing.")] = False,
    tenant: Annotated[list[str] | None, typer.Option("--tenant", help="Only the bills of these tenants now.")] = None,
    missing: Annotated[
        str | None,
        typer.Option("--missing", help="wait, estimate or settle, where meters lack a reading after the month."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Drop the drafts and compute everything anew.")] = False,
    issue: Annotated[
        bool | None, typer.Option("--issue/--no-issue", help="Issue the bills, or leave them as drafts.")
    ] = None,
    status: Annotated[bool, typer.Option("--status", help="Only tell how far it is.")] = False,
    who: Who = "command line",
) -> None:
    """Settle a month: fees, shares and bills. Started again it goes on where it was stopped. Exit 1 while it waits."""
    from twin.flows.settle_month import SettleOptions

    number = month_number(month)
    if missing not in (None, "wait", "estimate", "settle"):
        raise WrongUsageError(f"--missing {missing!r} is none of wait, estimate, settle")
    if status:
        _print_status(_run(place, lambda platform, name: _status(platform, name, number)), json=place.json)
        return
    if dry_run:
        bills = _run(place, lambda platform, name: _preview(platform, name, number, tuple(tenant or ())))
        show_bills(bills, json=place.json)
        return
    options = SettleOptions(who, missing, again, tuple(tenant or ()), issue)
    progress = quiet if place.json else say
    outcome = _run(place, lambda platform, name: _settle(platform, name, number, options, progress))
    _print_outcome(outcome, json=place.json)
    if outcome.state == "waiting":
        raise typer.Exit(FAILED)


@app.command("list")
@on_data
def list_bills(
    place: Place,
    month: Annotated[str | None, typer.Option("--month", help="Only of this month.")] = None,
    holder: Annotated[str | None, typer.Option("--holder", help="Only of this customer.")] = None,
) -> None:
    """Bills, newest first."""
    number = month_number(month) if month else None

    async def work(platform: Platform, name: str) -> list[Any]:
        found: list[Any] = []
        cursor = None
        while True:
            page = await platform.bills.bills(name, month=number, holder=holder, cursor=cursor, limit=1_000)
            found += page.items
            cursor = page.next
            if cursor is None:
                return found

    for entry in _run(place, work):
        if place.json:
            print(json_text.dumps(_plain(entry), ensure_ascii=False))
        else:
            print(f"{entry.id}\t{entry.number or '-'}\t{entry.state}\t{entry.holder}\t{_money(entry.charges_nano)}"
                  f"\t{_money(entry.closing_nano)}")  # fmt: skip


@app.command("show")
@on_data
def show(
    place: Place,
    bill: Annotated[str, typer.Argument(help="Id or number of the bill.")],
) -> None:
    """One bill with its lines."""

    async def work(platform: Platform, name: str) -> Bill:
        found = await platform.bills.bill(name, bill)
        if found is None:
            raise CommandError(f"site {name!r} has no bill {bill!r}; `twinmeter bills list` shows them")
        return found

    show_bills([_run(place, work)], json=place.json)


@app.command("correct")
@on_data
def correct(
    place: Place,
    bill: Annotated[str, typer.Argument(help="Id of the issued bill.")],
    why: Annotated[str, typer.Option("--why", help="The reason; stands in the audit.")],
    who: Who = "command line",
) -> None:
    """Replace an issued bill by a new revision that holds what was posted for its months since."""

    async def work(platform: Platform, name: str) -> Bill:
        now = platform.clock.now()
        made: Bill = await platform.settlement.book.correct(name, bill, who=who, why=why, now=now)
        return made

    show_bills([_run(place, work)], json=place.json)


@app.command("price")
@on_data
def price(
    place: Place,
    month: MonthOption,
    value: Annotated[str, typer.Argument(help="Price of a kWh or m3, such as 0.83; none takes it back.")],
    tariff: Annotated[str | None, typer.Option("--tariff", help="For this tariff.")] = None,
    utility: Annotated[str | None, typer.Option("--utility", help="For electricity or water.")] = None,
    why: Annotated[str, typer.Option("--why", help="The reason; stands in the audit.")] = "",
    who: Who = "command line",
) -> None:
    """Enter the settlement price of a month (结算单价); the difference becomes a line of its own."""
    from billing.money import MoneyError, parse_price

    if (tariff is None) == (utility is None):
        raise WrongUsageError("name either --tariff or --utility")
    scope = f"tariff:{tariff}" if tariff else f"utility:{utility}"
    try:
        price_micro = None if value == "none" else parse_price(value)
    except MoneyError as problem:
        raise WrongUsageError(str(problem)) from None
    number = month_number(month)

    async def work(platform: Platform, name: str) -> int:
        now = platform.clock.now()
        made: int = await platform.settlement.book.enter_price(
            name, number, scope, price_micro, who=who, why=why, now=now
        )
        return made

    revision = _run(place, work)
    if place.json:
        print(json_text.dumps({"scope": scope, "month": number, "price": value, "revision": revision}))
    else:
        print(f"{scope} {month}: {value} (revision {revision})")


@app.command("push")
@on_data
def push(
    place: Place,
    month: MonthOption,
    bill: Annotated[list[str] | None, typer.Option("--bill", help="Only these bills.")] = None,
    who: Who = "command line",
) -> None:
    """Tell every holder that the bill is there; who was told is not told again. Exit 1 where somebody was not."""
    number = month_number(month)

    async def work(platform: Platform, name: str) -> Any:
        tell_progress = (lambda _done, _all: None) if place.json else (lambda done, whole: say(f"{done}/{whole}"))
        return await platform.settlement.push(name, number, who=who, bills=bill or (), progress=tell_progress)

    pushed = _run(place, work)
    print(json_text.dumps(_plain(pushed)) if place.json else tell(
        f"已送达 {pushed.delivered}，失败 {pushed.failed}", f"{pushed.delivered} told, {pushed.failed} failed"
    ))  # fmt: skip
    if pushed.failed:
        raise typer.Exit(FAILED)


def month_number(text: str) -> int:
    """202601 for `2026-01`. Raises WrongUsageError."""
    match = _MONTH.fullmatch(text)
    if match is None:
        raise WrongUsageError(f"{text!r} is not a month; write one such as 2026-01")
    return int(match[1] + match[2])


def _run(place: Place, work: Callable[[Platform, str], Coroutine[Any, Any, Any]]) -> Any:
    return place.near(lambda platform, name: _told(work(platform, name)))


async def _told(work: Coroutine[Any, Any, Any]) -> Any:
    """What does not exist as an error for people; what is refused becomes one by itself."""
    try:
        return await work
    except LookupError as error:
        raise CommandError(str(error)) from None


async def _settle(
    platform: Platform, site: str, month: int, options: Any, progress: Callable[[str], object]
) -> Settled:
    def tell_progress(step: str, done: int, whole: int) -> None:
        progress(f"{step}: {done}/{whole}")

    outcome: Settled = await platform.settlement.settlement.settle(site, month, options, tell_progress)
    return outcome


async def _preview(platform: Platform, site: str, month: int, tenants: tuple[str, ...]) -> list[Bill]:
    bills: list[Bill] = await platform.settlement.book.preview(site, month, tenants, now=platform.clock.now())
    return bills


async def _status(platform: Platform, site: str, month: int) -> tuple[Any, dict[str, int]]:
    run = await platform.settlement.book.run(site, month)
    if run is None:
        raise CommandError(f"{month} of site {site!r} has not been settled")
    return run, await platform.settlement.book.counts(run)


def _print_status(found: tuple[Any, dict[str, int]], *, json: bool) -> None:
    run, counts = found
    if json:
        print(json_text.dumps({**_plain(run), "steps": counts}, ensure_ascii=False))
        return
    print(f"{run.month}: {run.state}")
    for step, count in sorted(counts.items()):
        print(f"  {step}: {count}")
    for entry in run.report.get("missing", ()):
        print("  " + tell(f"缺少读数：{entry['meter']}", f"no reading: {entry['meter']}"))
    for trouble in run.report.get("troubles", ()):
        print(f"  ! {trouble}")


def _print_outcome(outcome: Settled, *, json: bool) -> None:
    if json:
        print(json_text.dumps(_plain(outcome), ensure_ascii=False))
        return
    print(f"{outcome.site} {outcome.month}: {outcome.state}")
    for entry in outcome.missing:
        print(tell(f"缺少月末后读数：{entry.meter}（{entry.tenant}）",
                   f"no reading after the month: {entry.meter} of {entry.tenant}"))  # fmt: skip
    for trouble in outcome.troubles:
        print(f"! {trouble}")
    if outcome.state == "waiting":
        print(tell("等读数到齐后再结算，或用 --missing settle 先行结算。",
                   "Settle again when they are there, or bill without them by --missing settle."))  # fmt: skip


def show_bills(bills: list[Bill], *, json: bool) -> None:
    """Bills as text for people, or one JSON object a line."""
    from billing.bill import encode_bill
    from billing.bill_terms import line_name, period_name, term

    tongue = language()
    for bill in bills:
        if json:
            print(encode_bill(bill).decode())
            continue
        print(f"{bill.number or bill.id}  {name_in_use(bill.holder.name, bill.holder.id)}  {bill.month}  {bill.state}")
        for wallet in bill.wallets:
            print(f"  {wallet.tenant}: {term('opening_balance', tongue)} {_money(wallet.opening_nano)}")
            for line in wallet.lines:
                period = period_name(line.period, tongue) if line.period else ""
                used = "" if line.quantity is None else f"{line.quantity} {line.unit}"
                name = line_name(line, tongue)
                print(f"    {line.meter or '-':12} {name} {period} {used} {_money(line.amount_nano)}")
            print(f"    {term('payments', tongue)} {_money(wallet.credits_nano)}")
            print(f"  {wallet.tenant}: {term('closing_balance', tongue)} {_money(wallet.closing_nano)}")


def _money(amount_nano: int) -> str:
    from billing.money import format_nano

    return format_nano(amount_nano)


def _plain(value: Any) -> Any:
    import msgspec

    return msgspec.to_builtins(value)

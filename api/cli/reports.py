"""`twinmeter report ...`: reports, statements and bills as files, the same ones that the API gives."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from api.cli.errors import CommandError, WrongUsageError
from api.cli.installation import run_on_platform, set_up_logs
from api.cli.language import language, tell
from api.cli.options import Clock, Config, Data, DatabaseUrl, RedisUrl, Site, settings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from api.bootstrap import Platform
    from api.settings import Settings

app = typer.Typer(help="Reports, statements and bills as CSV, Excel and PDF.", no_args_is_help=True)

From = Annotated[str | None, typer.Option("--from", help="First local month or day: 2026-01 or 2026-01-31.")]
To = Annotated[str | None, typer.Option("--to", help="Last one, included.")]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="File; its ending says the format. Else CSV.")]
Tenant = Annotated[str | None, typer.Option("--tenant", help="Only this tenant.")]


@app.command("export")
def export(
    name: Annotated[str, typer.Argument(help="revenue, energy, recharge, arrears, ranking, ledger or statement.")],
    site: Site = None,
    from_: From = None,
    to: To = None,
    at: Annotated[str | None, typer.Option("--at", help="Arrears at the end of this day.")] = None,
    by: Annotated[
        str | None, typer.Option("--by", help="energy: month, day. ranking: amount, electricity, water.")
    ] = None,
    tenant: Tenant = None,
    output: Output = None,
    config: Config = None,
    data: Data = None,
    redis_url: RedisUrl = None,
    database_url: DatabaseUrl = None,
    clock: Clock = None,
) -> None:
    """Write one report: to a file (.csv, .xlsx, .pdf), or as CSV to the terminal."""
    from api.report_files import FORMATS, ORDERS, REPORTS

    known = (*REPORTS, "ledger", "statement")
    if name not in known:
        raise WrongUsageError(f"{name!r} is no report; known: {', '.join(known)}")
    orders = {"energy": ("month", "day"), "ranking": ORDERS}.get(name, ())
    if by is not None and by not in orders:
        raise WrongUsageError(f"--by {by!r}: write one of {', '.join(orders) or 'none for this report'}")
    if name == "statement" and tenant is None:
        raise WrongUsageError("a statement is of one tenant: name it with --tenant")
    form = output.suffix.removeprefix(".").lower() if output is not None else "csv"
    if form not in FORMATS:
        raise WrongUsageError(f"--output {output}: end it in one of .{', .'.join(FORMATS)}")
    wanted = {"from": from_, "to": to, "at": at, "by": by or (orders[0] if orders else ""), "tenant": tenant}

    async def work(platform: Platform) -> int:
        return await _write(platform, await _site(platform, site), name, form, wanted, output)

    size = _run(settings_of(config, data=data, redis_url=redis_url, database_url=database_url, clock=clock), work)
    if output is not None:
        print(tell(f"{output}：{size} 字节", f"{output}: {size} bytes"))


@app.command("overview")
def overview(
    site: Site = None,
    config: Config = None,
    data: Data = None,
    redis_url: RedisUrl = None,
    database_url: DatabaseUrl = None,
    clock: Clock = None,
) -> None:
    """The site in a few numbers: revenue, use, recharges, balances."""
    from billing.tables import trimmed

    async def work(platform: Platform) -> Any:
        return await platform.reports.overview(await _site(platform, site), platform.clock.now())

    seen = _run(settings_of(config, data=data, redis_url=redis_url, database_url=database_url, clock=clock), work)
    for zh, en, value in (
        ("租户", "tenants", str(seen.tenants)),
        ("设备", "devices", str(seen.devices)),
        ("累计收入", "revenue", trimmed(seen.revenue_nano, 9, 2)),
        ("累计充值", "recharges", trimmed(seen.recharge_nano, 9, 2)),
        ("余额合计", "prepaid", trimmed(seen.prepaid_nano, 9, 2)),
        ("欠费合计", "arrears", trimmed(seen.arrears_nano, 9, 2)),
        ("欠费租户", "tenants in arrears", str(seen.in_arrears)),
    ):
        print(f"{tell(zh, en)}: {value}")
    print(
        tell(
            "月份      用电 kWh        用水 m³        收入          充值",
            "month     kWh            m3            revenue       recharges",
        )
    )
    for month in seen.months:
        values = (month.electricity_wh, month.water_l)
        money = (month.revenue_nano, month.recharge_nano)
        print(
            f"{month.month // 100}-{month.month % 100:02d}"
            + "".join(f"{trimmed(value, 3, 2):>14}" for value in values)
            + "".join(f"{trimmed(value // 10**7, 2, 2):>14}" for value in money)
        )


@app.command("rebuild")
def rebuild(
    site: Site = None,
    config: Config = None,
    data: Data = None,
    redis_url: RedisUrl = None,
    database_url: DatabaseUrl = None,
    clock: Clock = None,
) -> None:
    """Add up again what reports read, from the posted rows: after `verify` told of a `report_sum`."""

    async def work(platform: Platform) -> str:
        named = await _site(platform, site)
        await platform.reports.rebuild(named)
        return named

    named = _run(settings_of(config, data=data, redis_url=redis_url, database_url=database_url, clock=clock), work)
    print(tell(f"{named}：报表汇总已重新计算", f"{named}: the sums of reports are made anew"))


@app.command("bill")
def bill(
    number: Annotated[str, typer.Argument(help="Id or number of the bill.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="File ending in .pdf or .xlsx.")],
    site: Site = None,
    config: Config = None,
    data: Data = None,
    redis_url: RedisUrl = None,
    database_url: DatabaseUrl = None,
    clock: Clock = None,
) -> None:
    """Write one bill as PDF or Excel."""
    form = output.suffix.removeprefix(".").lower()
    if form not in ("pdf", "xlsx"):
        raise WrongUsageError(f"--output {output}: end it in .pdf or .xlsx")

    async def work(platform: Platform) -> bytes:
        name = await _site(platform, site)
        found = await platform.bills.bill(name, number)
        if found is None:
            raise CommandError(f"site {name} has no bill {number!r}")
        return platform.documents.bill(found, cast("Literal['pdf', 'xlsx']", form))

    content = _run(settings_of(config, data=data, redis_url=redis_url, database_url=database_url, clock=clock), work)
    _to_file(output, content)
    print(tell(f"{output}：{len(content)} 字节", f"{output}: {len(content)} bytes"))


@app.command("bills")
def bills(
    month: Annotated[str, typer.Argument(help="Month, such as 2026-01.")],
    folder: Annotated[Path, typer.Option("-o", "--output", help="Folder for the files.", file_okay=False)],
    form: Annotated[str, typer.Option("--format", help="pdf or xlsx.")] = "pdf",
    site: Site = None,
    config: Config = None,
    data: Data = None,
    redis_url: RedisUrl = None,
    database_url: DatabaseUrl = None,
    clock: Clock = None,
) -> None:
    """Write all bills of a month, a file each."""
    from api.report_files import SpanError, month_of

    if form not in ("pdf", "xlsx"):
        raise WrongUsageError(f"--format {form!r}: write pdf or xlsx")
    try:
        wanted = month_of(month)
    except SpanError as error:
        raise WrongUsageError(str(error)) from None

    async def work(platform: Platform) -> int:
        folder.mkdir(parents=True, exist_ok=True)
        count = 0
        async for found in platform.bills.month(await _site(platform, site), wanted):
            name = f"{found.number or found.id}.{form}".replace("/", "_")
            _to_file(folder / name, platform.documents.bill(found, cast("Literal['pdf', 'xlsx']", form)))
            count += 1
        return count

    count = _run(settings_of(config, data=data, redis_url=redis_url, database_url=database_url, clock=clock), work)
    print(tell(f"{folder}：{count} 份账单", f"{folder}: {count} bills"))


def _run(settings: Settings, work: Callable[[Platform], Coroutine[Any, Any, Any]]) -> Any:
    from billing.tables import DocumentError

    set_up_logs("warning")
    try:
        return run_on_platform(settings, lambda platform, _: work(platform))
    except DocumentError as error:
        raise CommandError(str(error)) from None


async def _write(
    platform: Platform, site: str, name: str, form: str, wanted: dict[str, Any], output: Path | None
) -> int:
    """The bytes written. A file appears whole or not at all."""
    from api.report_files import SpanError, Wish, file_of, read_instant, read_time

    zone, now = await platform.reports.zone(site), platform.clock.now()
    try:
        time = read_time(zone, now, wanted["from"], wanted["to"])
        wish = Wish(name, time, wanted["by"], wanted["tenant"], read_instant(zone, now, wanted["at"]))
        pieces = file_of(
            platform.reports, platform.documents, site, wish, form, language() if form == "csv" else "both"
        )
        size = 0
        if output is None:
            async for piece in pieces:
                sys.stdout.buffer.write(piece)
                size += len(piece)
            sys.stdout.buffer.flush()
            return size
        part = output.with_name(f"{output.name}.part")
        with part.open("wb") as file:
            async for piece in pieces:
                size += file.write(piece)
        part.replace(output)
        return size
    except SpanError as error:
        raise WrongUsageError(f"--{error.field}: {error}") from None
    except OSError as error:
        raise CommandError(f"{output}: cannot be written: {error.strerror}") from None


def _to_file(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise CommandError(f"{path}: cannot be written: {error.strerror}") from None


async def _site(platform: Platform, wanted: str | None) -> str:
    known = await platform.registry.sites()
    if wanted is None and len(known) == 1:
        return known[0]
    if wanted not in known:
        raise CommandError(f"name the site with --site; known: {', '.join(known) or 'none'}")
    return wanted

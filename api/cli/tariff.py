"""`twinmeter tariff check|rate`: look over price files, and rate a register series with the code that charges live."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli import whatif
from api.cli.errors import CommandError, WrongUsageError
from api.cli.options import InputFile, InputFiles, Json, TimeZone

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from billing.rating import Slice
    from billing.tariff import Tariff

app = typer.Typer(help="Check price files and rate register series offline.", no_args_is_help=True)

app.command("whatif")(whatif.whatif)

CHINA = "Asia/Shanghai"
HEADER = ("from_ts", "to_ts", "from", "to", "quantity", "period", "tier", "price", "amount", "estimated")
WIDTHS = (25, 25, 12, 12, 10, 8, 4, 10, 18, 9)


@app.command()
def check(files: InputFiles, timezone: TimeZone = CHINA) -> None:
    """Check tariff files: schema, exact prices, calendars without holes, rising tiers."""
    from schemas.documents import DocumentError

    faults: list[str] = []
    for file in files:
        try:
            tariff = _load(file, timezone)
        except DocumentError as error:
            faults.append(str(error))
            continue
        count = len(tariff.versions)
        print(f"{file}: ok: tariff {tariff.name} ({tariff.utility}, {count} version{'s' if count > 1 else ''})")
    if faults:
        raise CommandError("\n".join(faults))


@app.command()
def rate(
    tariff: InputFile,
    readings: InputFile,
    timezone: TimeZone = CHINA,
    from_: Annotated[str | None, typer.Option("--from", help="Charge from this instant (ISO 8601 or Unix ms).")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Charge until this instant.")] = None,
    json: Json = False,
) -> None:
    """Rate a register series (CSV: ts and import_wh or volume_l) with a tariff; one line a charge, then the total.

    A tariff that takes its periods from the meter reads the columns sharp_wh, peak_wh, flat_wh, valley_wh and deep_wh;
    where they cannot be used, stderr says why and the calendar divides.
    """
    from api.cli.readings_csv import read_series
    from billing.money import MoneyError
    from billing.offline import rate_series
    from billing.points import Point
    from billing.tariff import TariffError

    compiled = _load(tariff, timezone)
    from_ts, to_ts = _instant("--from", from_), _instant("--to", to)
    if from_ts is not None and to_ts is not None and from_ts >= to_ts:
        raise WrongUsageError(f"--from {from_} is not before --to {to}")
    series = read_series(readings, compiled.utility)
    samples = [Point(reading.ts, reading.quantity, reading.rates) for reading in series]
    notes: list[tuple[int, str]] = []
    show = _JsonLines() if json else _TextLines(compiled.zone)
    total_nano = quantity = 0
    try:
        for charge in rate_series(compiled, samples, from_ts, to_ts, notes):
            show.charge(charge)
            total_nano += charge.amount_nano
            quantity += charge.quantity
    except (TariffError, MoneyError) as error:
        raise CommandError(f"{tariff}: {readings} cannot be rated: {error}") from None
    show.total(total_nano, quantity)
    lines = {reading.ts: reading.line for reading in series}
    for ts, reason in notes:
        print(f"{readings}:{lines[ts]}: {reason}; the calendar divides", file=sys.stderr)


def _load(file: Path, timezone: str) -> Tariff:
    """A compiled tariff; raises DocumentError with every problem at its place."""
    from billing.tariff import TariffError, compile_tariff
    from schemas.documents import DocumentError, load_checked
    from schemas.registry import Problem
    from twin.flows.read_site import locate_text

    document = load_checked(file, "tariff")
    try:
        return compile_tariff(document.data, timezone)
    except TariffError as error:
        problem = Problem(*locate_text(document, error.path), error.path, error.message)
        raise DocumentError(document.source, [problem]) from None


def _instant(option: str, text: str | None) -> int | None:
    from api.cli.readings_csv import read_instant

    try:
        return None if text is None else read_instant(text)
    except ValueError as error:
        raise WrongUsageError(f"{option}: {error}") from None


class _TextLines:
    """Charges as columns for people and for awk."""

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._print(HEADER)

    def charge(self, charge: Slice) -> None:
        """One line."""
        from billing.money import format_nano

        price = f"{charge.price_micro // 1_000_000}.{charge.price_micro % 1_000_000:06d}"
        self._print((
            self._local(charge.from_ts), self._local(charge.to_ts), str(charge.from_qty), str(charge.to_qty),
            str(charge.quantity), charge.period or "-", "-" if charge.tier is None else str(charge.tier), price,
            format_nano(charge.amount_nano), "true" if charge.estimated else "false",
        ))  # fmt: skip

    def total(self, total_nano: int, quantity: int) -> None:
        """The last line."""
        from billing.money import format_nano

        print(f"total {format_nano(total_nano)} quantity {quantity}")

    def _local(self, ts: int) -> str:
        from datetime import datetime

        moment = datetime.fromtimestamp(ts // 1000, self._zone)
        return moment.replace(microsecond=ts % 1000 * 1000).isoformat(
            timespec="milliseconds" if ts % 1000 else "seconds"
        )

    def _print(self, cells: tuple[str, ...]) -> None:
        left = 2
        columns = zip(cells, WIDTHS, strict=True)
        line = " ".join(
            cell.ljust(width) if index < left else cell.rjust(width) for index, (cell, width) in enumerate(columns)
        )
        sys.stdout.write(line.rstrip() + "\n")


class _JsonLines:
    """Charges as one JSON object a line; amounts are integers in nano-units."""

    def charge(self, charge: Slice) -> None:
        """One line."""
        self._print({
            "from_ts": charge.from_ts, "to_ts": charge.to_ts, "from": charge.from_qty, "to": charge.to_qty,
            "quantity": charge.quantity, "period": charge.period, "tier": charge.tier,
            "price_micro": charge.price_micro, "amount_nano": charge.amount_nano, "estimated": charge.estimated,
        })  # fmt: skip

    def total(self, total_nano: int, quantity: int) -> None:
        """The last line."""
        self._print({"total_nano": total_nano, "quantity": quantity})

    def _print(self, value: dict[str, object]) -> None:
        import json

        sys.stdout.write(json.dumps(value) + "\n")

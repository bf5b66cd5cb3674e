"""`twinmeter payments`: the channels that tell of payments, and their statements held against the ledger."""

from __future__ import annotations

import csv
import json as json_text
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from api.cli.errors import WrongUsageError
from api.cli.language import tell
from api.cli.on_site import Place, on_site, user

if TYPE_CHECKING:
    from api.bootstrap import Platform
    from twin.payments import StatementRow

app = typer.Typer(help="Payments that channels tell of, and their statements.", no_args_is_help=True)
COLUMNS = ("transaction", "tenant", "amount_fen")


@app.callback()
def payments() -> None:
    """Payments that channels tell of, and their statements."""


@app.command()
@on_site
def reconcile(
    place: Place,
    statement: Annotated[Path, typer.Argument(help="CSV with transaction,tenant,amount_fen.", dir_okay=False)],
    channel: Annotated[str, typer.Option("--channel", help="Name of the channel in the settings.")],
    credit: Annotated[bool, typer.Option("--credit", help="Credit what is missing.")] = False,
    since: Annotated[int | None, typer.Option("--since", help="Unix ms; with --until: what only we have.")] = None,
    until: Annotated[int | None, typer.Option("--until", help="Unix ms.")] = None,
) -> None:
    """Hold a channel's statement (对账单) against the ledger; exit 1 while they do not agree."""
    rows = read_statement(statement)

    async def near(platform: Platform, site: str) -> dict[str, Any]:
        return await _near(platform, site, channel, rows, credit, since, until)

    def far(remote: Any) -> dict[str, Any]:
        sent = {"rows": msgspec.to_builtins(rows), "credit": credit, "since": since, "until": until}
        return remote.post("payments", channel, "statement", body=sent, key="statement")  # type: ignore[no-any-return]

    found = place.ask(far, near)
    if place.json:
        print(json_text.dumps(found, ensure_ascii=False, indent=2))
    else:
        _tell(found)
    if found["only_ours"] or any(row["verdict"] not in ("credited", "added") for row in found["rows"]):
        raise typer.Exit(1)


def read_statement(file: Path) -> list[StatementRow]:
    """Rows of a statement. Raises WrongUsageError with the line where one is not as it should be."""
    from twin.payments import StatementRow

    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            if tuple(reader.fieldnames or ())[: len(COLUMNS)] != COLUMNS:
                raise WrongUsageError(f"{file}: the first line must be {','.join(COLUMNS)}")
            found = []
            for row in reader:
                if not (row["amount_fen"] or "").isdecimal():  # 50.00 would be taken for 50 fen
                    raise WrongUsageError(f"{file}, line {reader.line_num}: amount_fen is whole fen, such as 5000")
                try:
                    found.append(msgspec.convert({name: row[name] for name in COLUMNS}, StatementRow, strict=False))
                except msgspec.ValidationError as error:
                    raise WrongUsageError(f"{file}, line {reader.line_num}: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUsageError(f"cannot read {file}: {error}") from None
    return found


async def _near(
    platform: Platform,
    site: str,
    name: str,
    rows: list[StatementRow],
    credit: bool,
    since: int | None,
    until: int | None,
) -> dict[str, Any]:
    from api.http.acts import credit_act, deliver
    from api.http.payment_bodies import compared_body

    desk = platform.payments
    channel = desk.channels.get(name)
    if channel is None or channel.site != site:
        raise WrongUsageError(f"the settings name no payment channel {name!r} of site {site}")
    compared = await desk.compare(channel, rows, credit=credit, actor=user())
    for one in compared:
        if one.receipt is not None:
            await deliver(platform, credit_act(site, one.receipt))
    only_ours: list[str] = []
    if since is not None and until is not None:
        only_ours = await desk.only_ours(channel, rows, since=since, until=until)
    return {"rows": [msgspec.to_builtins(compared_body(one)) for one in compared], "only_ours": only_ours}


def _tell(found: dict[str, Any]) -> None:
    agreed = sum(row["verdict"] == "credited" for row in found["rows"])
    print(tell(f"{agreed} 笔一致", f"{agreed} payments agree"))
    words = {"missing": "未入账", "added": "已补入账", "differs": "不一致", "refused": "无法入账"}
    for row in found["rows"]:
        if row["verdict"] != "credited":
            verdict = tell(words[row["verdict"]], row["verdict"])
            print(f"{row['transaction']}  {verdict}  {row['payment']} {row['detail']}".rstrip())
    for payment in found["only_ours"]:
        print(f"{payment}  {tell('对账单中没有', 'not in the statement')}")

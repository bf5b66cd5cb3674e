"""`twinmeter ledger trial-balance|anchor|export`: the books for finance and auditors.

Without a subcommand `twinmeter ledger` runs the ledger service, as ever.
"""

from __future__ import annotations

import json as json_text
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.errors import FAILED, CommandError
from api.cli.language import tell
from api.cli.on_site import Place, on_site
from api.cli.single import SettingsWith, as_service, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from api.bootstrap import Platform

app = typer.Typer(help="The ledger: run its service, or ask for its balance, anchors and export.")


@app.callback(invoke_without_command=True)
@as_service
def ledger(settings: SettingsWith, context: typer.Context) -> None:
    """Effects of the twins into the SQL ledger; with a subcommand, ask the ledger."""
    if context.invoked_subcommand is None:
        serve("ledger", settings())


@app.command("trial-balance")
@on_site
def trial_balance(
    place: Place,
    until: Annotated[int | None, typer.Option("--until", help="Only journals before this instant, Unix ms.")] = None,
    detailed: Annotated[bool, typer.Option("--detailed", help="A line an account.")] = False,
) -> None:
    """Sums of all legs by control account; they come to zero, or the exit code is 1."""

    async def near(platform: Platform, site: str) -> Any:
        from billing.money import format_nano

        found = await platform.proofs.trial_balance(site, until=until, detailed=detailed)
        lines = [
            {"account": row.account, "accounts": row.accounts, "came": format_nano(row.came_nano)}
            | {"went": format_nano(row.went_nano), "net": format_nano(row.net_nano)}
            for row in found.rows
        ]
        return {"items": lines, "off": format_nano(found.off_nano)}

    wanted = {"until": until, "detailed": "true" if detailed else None}
    found = place.ask(lambda far: far.get("ledger", "trial-balance", **wanted), near)
    if place.json:
        print(json_text.dumps(found, ensure_ascii=False, indent=2))
    else:
        for row in found["items"]:
            print(f"{row['account']:<40} {row['accounts']:>7} {row['net']:>28}")
        print(f"{tell('合计', 'sum'):<40} {'':>7} {found['off']:>28}")
    if found["off"].strip("-0."):
        raise typer.Exit(FAILED)


@app.command()
@on_site
def anchor(
    place: Place,
    file: Annotated[
        Path | None, typer.Option("--file", help="Add the anchors that this file does not have yet.", dir_okay=False)
    ] = None,
) -> None:
    """Anchor the last day that has ended, and print it: a line to keep elsewhere, for `verify --anchor`."""

    async def near(platform: Platform, site: str) -> Any:
        await platform.proofs.take_anchor(site, platform.clock.now())
        return [platform.proofs.line(one) for one in await platform.proofs.anchors(site)]

    def far(remote: Any) -> Any:
        remote.post("ledger", "anchors", body={})
        return [item["line"] for item in remote.get("ledger", "anchors")["items"]]

    lines = place.ask(far, near)
    if file is None:
        print(lines[-1])
        return
    known = set(file.read_text().splitlines()) if file.exists() else set()
    fresh = [line for line in lines if line not in known]
    with file.open("a") as out:
        out.writelines(f"{line}\n" for line in fresh)
    print(tell(f"已写入 {len(fresh)} 条锚点", f"{len(fresh)} anchors added to {file}"))


@app.command()
@on_site
def export(
    place: Place,
    file: Annotated[Path | None, typer.Option("--file", help="Where to; stdout if absent.", dir_okay=False)] = None,
) -> None:
    """The whole ledger as lines of JSON; `twinmeter verify --export FILE` proves it without a database."""
    if place.url is not None:
        raise CommandError("with a running API, read /api/v1/sites/SITE/ledger/export")

    async def near(platform: Platform, site: str) -> int:
        out = sys.stdout.buffer if file is None else file.open("wb")
        count = 0
        try:
            async for line in platform.proofs.export(site, platform.clock.now()):
                out.write(line)
                count += 1
        finally:
            if file is not None:
                out.close()
        return count

    count = place.ask(lambda _far: 0, near)
    if file is not None:
        print(tell(f"已导出 {count} 行", f"{count} lines written to {file}"))


def prove_export(file: Path, kept: dict[int, str], say: Callable[[str], object]) -> Sequence[Any]:
    """Every fault of an exported ledger, read line by line; `kept` are hashes of anchors kept elsewhere."""
    from billing.ledger_proof import LedgerProof

    proof = LedgerProof(kept)
    faults = []
    with file.open("rb") as lines:
        for line in lines:
            faults += proof.line(line)
            if proof.lines % 100_000 == 0:
                say(f"{proof.lines:,} lines")
    faults += proof.close()
    say(f"{proof.lines:,} lines, {proof.seq:,} journals, {proof.payments:,} payments")
    return faults

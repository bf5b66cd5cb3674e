"""`twinmeter verify`: prove that every Wh was charged once and that twins and ledger agree; exit 1 on any breach."""

from __future__ import annotations

import asyncio
import contextlib
import json as json_text
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.errors import FAILED, CommandError, WrongUsageError
from api.cli.installation import Installation, quiet, run_on_platform, say, set_up_logs
from api.cli.language import tell
from api.cli.options import Config, Data, DatabaseUrl, Json, Language, RedisUrl, Site, settings_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from api.bootstrap import Platform
    from twin.flows.verify_site import Proof

SHOWN = 30


def verify(
    site: Site = None,
    json: Json = False,
    anchor: Annotated[
        Path | None,
        typer.Option("--anchor", help="Lines of `ledger anchor` kept elsewhere.", exists=True, dir_okay=False),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option("--export", help="Prove a file of `ledger export`; no database.", exists=True, dir_okay=False),
    ] = None,
    wait: Annotated[float, typer.Option("--wait", help="Seconds to wait for the ledger.", min=0.0)] = 30.0,
    deep: Annotated[
        str | None,
        typer.Option("--deep", help="Rate the whole past again from its samples: all, or a number of meters."),
    ] = None,
    config: Config = None,
    data: Data = None,
    redis_url: RedisUrl = None,
    database_url: DatabaseUrl = None,
    _lang: Language = None,
) -> None:
    """Check register tiling, ledger sums, hash chain, and Redis against SQL. Runs beside a running platform, too."""
    meters = _meters(deep)
    kept = [] if anchor is None else anchor.read_text().splitlines()
    if export is not None:
        _prove_file(export, kept, json)
        return
    settings = settings_of(config, data=data, redis_url=redis_url, database_url=database_url)
    set_up_logs("warning")
    proofs = run_on_platform(
        settings, lambda platform, found: _prove(platform, found, site, wait, quiet if json else say, meters, kept)
    )
    if json:
        print(json_text.dumps(as_json(proofs), ensure_ascii=False, indent=2))
    else:
        show(proofs)
    if not all(proof.ok for proof in proofs):
        raise typer.Exit(FAILED)


def _meters(deep: str | None) -> int | None:
    """How many meters to rate again: 0 for all, None for none."""
    if deep is None or deep == "all":
        return None if deep is None else 0
    if not deep.isdecimal() or int(deep) == 0:
        raise WrongUsageError(f"--deep {deep!r} is neither `all` nor a number of meters")
    return int(deep)


async def prove_all(
    platform: Platform,
    *,
    only: str | None = None,
    wait_s: float = 30.0,
    progress: Callable[[str], object] = quiet,
    deep: int | None = None,
) -> list[Proof]:
    """Prove every site, or one; raises CommandError for a site that is not there."""
    from twin.flows.verify_site import verify_site

    sites = await platform.registry.sites()
    if only is not None and only not in sites:
        raise CommandError(f"site {only!r} is not in the database; known: {', '.join(sites) or 'none'}")
    wanted = sites if only is None else [only]
    return [await verify_site(platform, name, within_s=wait_s, progress=progress, deep=deep) for name in wanted]


def show(proofs: list[Proof]) -> None:
    """A table of what was proved, then what was not."""
    from rich.console import Console
    from rich.table import Table

    from billing.money import format_nano

    console = Console(highlight=False)
    if not proofs:
        console.print(tell("还没有园区", "there is no site yet"))
        return
    table = Table(title=tell("账目核对", "What was proved"), title_justify="left")
    table.add_column("")
    for proof in proofs:
        table.add_column(proof.site, justify="right")
    rows: list[tuple[str, list[str]]] = [
        (tell("计量表", "meters"), [f"{proof.totals.meters:,}" for proof in proofs]),
        (tell("已计费电量 Wh", "charged Wh"), [f"{proof.totals.energy_wh:,}" for proof in proofs]),
        (tell("已计费水量 升", "charged litres"), [f"{proof.totals.water_l:,}" for proof in proofs]),
        (tell("计费区间", "charge rows"), [f"{proof.totals.rows:,}" for proof in proofs]),
        (tell("分录", "journals"), [f"{proof.totals.journals:,}" for proof in proofs]),
        (tell("入账合计", "credits"), [format_nano(proof.totals.credits_nano) for proof in proofs]),
        (tell("扣费合计", "charges"), [format_nano(proof.totals.charges_nano) for proof in proofs]),
        (tell("未过账扣费", "charged, not yet posted"), [format_nano(proof.open_nano) for proof in proofs]),
        (tell("与账本一致的孪生", "twins that agree"), [f"{_agreeing(proof):,}" for proof in proofs]),
        (tell("变动中", "in motion"), [f"{len(proof.in_motion):,}" for proof in proofs]),
        (tell("结果", "result"), [_verdict(proof) for proof in proofs]),
    ]
    for name, cells in rows:
        table.add_row(name, *cells)
    console.print(table)
    for proof in proofs:
        for finding in proof.findings[:SHOWN]:
            console.print(
                f"{proof.site}: {finding.severity} {finding.code} {finding.where}: {finding.detail}", markup=False
            )
        if len(proof.findings) > SHOWN:
            console.print(f"{proof.site}: ... {len(proof.findings) - SHOWN} more, see --json")


def as_json(proofs: list[Proof]) -> dict[str, Any]:
    """The same for machines; amounts are integers in nano-units."""
    import msgspec

    return {
        "ok": all(proof.ok for proof in proofs),
        "sites": [
            {**msgspec.to_builtins(proof), "ok": proof.ok, "twins_agreeing": _agreeing(proof)} for proof in proofs
        ],
    }


def _agreeing(proof: Proof) -> int:
    differing = {finding.where for finding in proof.findings if finding.code.startswith("twin")}
    return max(0, proof.groups - len(differing) - len(proof.in_motion))


def _verdict(proof: Proof) -> str:
    if not proof.ok:
        return f"[bold red]{tell('不一致', 'BREACH')}[/]"
    return f"[bold green]{tell('一致', 'ok')}[/]"


async def _prove(
    platform: Platform,
    found: Installation,
    only: str | None,
    wait_s: float,
    progress: Callable[[str], object],
    deep: int | None,
    kept: list[str],
) -> list[Proof]:
    async with settling(platform) if found.alone else contextlib.nullcontext():
        proofs = await prove_all(platform, only=only, wait_s=wait_s, progress=progress, deep=deep)
        for proof in proofs if kept else ():
            await _hold_against(platform, proof, kept)
        return proofs


async def _hold_against(platform: Platform, proof: Proof, kept: list[str]) -> None:
    """Add what contradicts anchors of this site that were kept elsewhere."""
    from twin.flows.verify_site import Finding

    try:
        own = [line for line in kept if line.strip() and json_text.loads(line).get("site") == proof.site]
        async for one in platform.proofs.against(proof.site, own):
            proof.findings.append(Finding(one.severity, one.code, one.where, one.detail))
    except (ValueError, AttributeError) as error:
        raise CommandError(f"the anchors kept elsewhere cannot be read: {error}") from None


def _prove_file(export: Path, kept: list[str], json: bool) -> None:
    """Prove an exported ledger; exit 1 on any fault."""
    from api.cli.books import prove_export
    from billing.ledger_proof import kept_hashes

    try:
        faults = prove_export(export, kept_hashes(kept), quiet if json else say)
    except ValueError as error:
        raise CommandError(str(error)) from None
    if json:
        found = [{"code": fault.code, "where": fault.where, "detail": fault.detail} for fault in faults]
        print(json_text.dumps({"ok": not faults, "findings": found}, ensure_ascii=False, indent=2))
    else:
        for fault in faults[:SHOWN]:
            print(f"{fault.code} {fault.where}: {fault.detail}")
        print(tell("不一致", "BREACH") if faults else tell("一致", "ok"))
    if faults:
        raise typer.Exit(FAILED)


@contextlib.asynccontextmanager
async def settling(platform: Platform) -> AsyncIterator[None]:
    """Where no service runs, take what is left in the stream into the ledger, and acts to their twins."""
    from twin.flows.rebuild_twins import why_rebuild

    stop = asyncio.Event()
    ledger = platform.consumers()["ledger"]
    sound = [
        site
        for site in await platform.registry.sites()
        if not await why_rebuild(platform.registry, platform.store, platform.stream, site)
    ]
    if sound and len(sound) == len(await platform.registry.sites()):
        await platform.delivery.sweep()
    tasks = [asyncio.create_task(ledger.run(site, stop)) for site in sound]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks, return_exceptions=True)

"""`twinmeter shards`: which process does what, where work is divided by leases."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from api.cli.errors import WrongUsageError
from api.cli.options import Config, Data, RedisUrl, settings_of

if TYPE_CHECKING:
    from twin.leases import Lease, LeaseView

Json = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]


def shards(config: Config = None, data: Data = None, redis_url: RedisUrl = None, as_json: Json = False) -> None:
    """Owners of the shards and of all other leased work; exit 1 while a piece of work has no owner."""
    from api.cli.running import find_running, with_running

    settings = settings_of(config, data=data, redis_url=redis_url)
    running = None if settings.redis_url else find_running(settings.data_dir)
    if running is not None:
        settings = with_running(settings, running)
    if not settings.redis_url:
        raise WrongUsageError("give --redis-url or TWINMETER_REDIS_URL, or --data of a running installation")
    views = asyncio.run(_views(settings.redis_url))
    if as_json:
        print(json.dumps({kind: _as_json(view) for kind, view in views.items()}, indent=2))
    elif not views:
        print("no work is divided here: TWINMETER_INGEST_SHARDS is not set in any process (docs/scaling.md)")
    else:
        _show(views)
    if any(not lease.owner for view in views.values() for lease in view.leases):
        raise typer.Exit(1)


async def _views(redis_url: str) -> dict[str, LeaseView]:
    from api.bootstrap import open_leases

    leases, close = open_leases(redis_url)
    try:
        return {kind: await leases.view(kind) for kind in await leases.kinds()}
    finally:
        await close()


def _as_json(view: LeaseView) -> dict[str, Any]:
    return {
        "processes": [{"owner": member.owner, "host": member.host, "age_ms": member.age_ms} for member in view.members],
        "leases": [
            {
                "name": lease.name, "owner": lease.owner or None, "token": lease.token, "left_ms": lease.left_ms,
                "held_ms": lease.held_ms, "changes": lease.changes,
            }
            for lease in view.leases
        ],
    }  # fmt: skip


def _show(views: dict[str, LeaseView]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("work", "piece", "owner", "for", "expires in", "changes", "token"):
        table.add_column(column, justify="right" if column in ("for", "expires in", "changes", "token") else "left")
    for kind, view in views.items():
        for lease in view.leases:
            table.add_row(kind, *_row(lease))
    console = Console()
    console.print(table)
    for kind, view in views.items():
        idle = sorted({member.owner for member in view.members} - set(view.holders().values()))
        if idle:
            console.print(f"{kind}: {', '.join(idle)} stand by")


def _row(lease: Lease) -> tuple[str, ...]:
    owner = lease.owner or "[red]nobody[/red]"
    left = f"{lease.left_ms / 1000:.1f} s" if lease.owner else "-"
    return lease.name, owner, f"{lease.held_ms // 1000} s", left, str(lease.changes), str(lease.token)

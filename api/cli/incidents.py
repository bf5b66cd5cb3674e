"""`twinmeter incidents ...`: what is wrong with devices, and closing what will not heal by itself."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.errors import CommandError
from api.cli.instants import minute
from api.cli.language import tell
from api.cli.on_site import Place, on_data, user

if TYPE_CHECKING:
    from api.bootstrap import Platform

app = typer.Typer(help="Incidents: what is wrong with devices, and closing what will not heal.", no_args_is_help=True)

MOST_SHOWN = 1_000
HEADS = (("编号", "id"), ("对象", "twin"), ("种类", "kind"), ("开始", "since"), ("次数", "count"), ("状态", "state"))


@app.command("list")
@on_data
def list_incidents(
    place: Place,
    open_only: Annotated[bool, typer.Option("--open", help="Only those that are not over.")] = False,
    device: Annotated[str | None, typer.Option("--device", help="Only those of one device.")] = None,
) -> None:
    """Incidents, newest first."""

    async def near(platform: Platform, name: str) -> list[Any]:
        page = await platform.queries.incidents(name, open_only=open_only, device=device, limit=MOST_SHOWN)
        return page.items

    _show(place.near(near), as_json=place.json)


@app.command()
@on_data
def close(
    place: Place,
    incident: Annotated[int, typer.Argument(help="Number of the incident, as `incidents list` shows it.", min=1)],
    reason: Annotated[str, typer.Option("--reason", help="Why it is over.")],
    who: Annotated[str | None, typer.Option("--who", help="Who does it; otherwise the user of this machine.")] = None,
    key: Annotated[
        str | None, typer.Option("--key", help="The same key does it once, however often it is repeated.")
    ] = None,
) -> None:
    """Say that an incident is over, and why; where its cause is still there, a new one opens."""
    from twin.ports import MoneyRefusedError

    async def near(platform: Platform, name: str) -> list[Any]:
        now = platform.clock.now()
        said: dict[str, Any] = {"who": who or user(), "why": reason, "ts": now, "key": key or str(uuid.uuid4())}
        try:
            pending = await platform.incidents.close(name, incident=incident, **said)
        except (LookupError, ValueError, MoneyRefusedError) as error:
            raise CommandError(str(error)) from None
        if not await platform.delivery.deliver([pending]):
            await platform.delivery.sweep()
        after = await platform.incidents.incident(name, incident)
        return [] if after is None else [after]

    _show(place.near(near), as_json=place.json)


def _show(incidents: list[Any], *, as_json: bool) -> None:
    if as_json:
        import msgspec

        print(msgspec.json.format(msgspec.json.encode(incidents), indent=2).decode())
        return
    from rich.console import Console
    from rich.table import Table

    if not incidents:
        print(tell("没有事件", "no incidents"))
        return
    table = Table(*(tell(zh, en) for zh, en in HEADS), box=None)
    for one in incidents:
        table.add_row(str(one.id), one.device, one.kind, minute(one.since), str(one.count), _state(one))
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    for one in incidents:
        if one.detail and one.resolved_ts is None:
            console.print(f"{one.id}: {one.detail}", markup=False)


def _state(incident: Any) -> str:
    if incident.resolved_ts is None:
        return tell("持续", "open")
    if incident.closed_by:
        return tell("关闭：", "closed by ") + f"{incident.closed_by}: {incident.closed_why}"
    return tell("已恢复 ", "healed ") + minute(incident.resolved_ts)

"""`twinmeter rerate`: bring what was charged to what samples, tenancies and prices say, now or on trial."""

from __future__ import annotations

import json as json_text
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.errors import FAILED, WrongUsageError
from api.cli.installation import run_on_platform, set_up_logs
from api.cli.language import tell
from api.cli.options import Clock, Config, Data, DatabaseUrl, Json, Language, RedisUrl, settings_of
from api.cli.which_site import which_site

if TYPE_CHECKING:
    from api.bootstrap import Platform
    from twin.rerated import Rerated


def rerate(
    site: Annotated[str | None, typer.Option("--site", help="The site; may be left out where there is one.")] = None,
    meter: Annotated[list[str] | None, typer.Option("--meter", help="Only this meter; may be repeated.")] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", help="Rate everything used since this instant again, marked or not (ISO 8601)."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be adjusted, change nothing.")] = False,
    json: Json = False,
    config: Config = None,
    data: Data = None,
    redis_url: RedisUrl = None,
    database_url: DatabaseUrl = None,
    clock: Clock = None,
    _lang: Language = None,
) -> None:
    """Rate meters again and post the differences as adjustments; twice adjusts nothing.

    Without --from the meters are those that wait for it because something about them changed.
    """
    from_ts = _instant(from_)
    settings = settings_of(config, data=data, redis_url=redis_url, database_url=database_url, clock=clock)
    set_up_logs("error")

    async def work(platform: Platform) -> list[Rerated]:
        from api.cli.on_site import user

        name = await which_site(platform, site)
        outcomes = platform.rerater.site(name, meters=meter or None, from_ts=from_ts, actor=user(), dry_run=dry_run)
        return [outcome async for outcome in outcomes]

    outcomes = run_on_platform(settings, lambda platform, _: work(platform))
    if json:
        print(json_text.dumps([as_json(outcome) for outcome in outcomes], ensure_ascii=False, indent=2))
    else:
        show(outcomes, dry_run=dry_run)
    if any(outcome.trouble for outcome in outcomes):
        raise typer.Exit(FAILED)


def as_json(outcome: Rerated) -> dict[str, Any]:
    """One meter for machines; amounts are integers in nano-units."""
    import msgspec

    told: dict[str, Any] = msgspec.to_builtins(outcome)
    del told["acts"]
    return told


def show(outcomes: list[Rerated], *, dry_run: bool) -> None:
    """One line a meter that changes or is in trouble, then the sum."""
    from billing.money import format_nano

    for outcome in outcomes:
        if outcome.trouble:
            print(f"{outcome.meter}: {tell('无法重新计费', 'cannot be rated again')}: {outcome.trouble}")
        elif outcome.adjustments:
            moved = ", ".join(f"{account} {format_nano(nano)}" for account, nano in outcome.moved.items()) or "0"
            kind = tell("条调整", "adjustments")
            print(f"{outcome.meter}: {outcome.adjustments} {kind}, {outcome.quantity} Wh/L: {moved}")
    adjusted = sum(outcome.adjustments for outcome in outcomes)
    what = tell("已过账", "posted") if adjusted else tell("无需调整", "nothing to adjust")
    what = tell("试算, 未作任何更改", "trial, nothing was changed") if dry_run else what
    meters = tell("块表", "meter" if len(outcomes) == 1 else "meters")
    adjustments = tell("条调整", "adjustment" if adjusted == 1 else "adjustments")
    print(f"{len(outcomes)} {meters}, {adjusted} {adjustments}: {what}")


def _instant(text: str | None) -> int | None:
    from api.cli.readings_csv import read_instant

    try:
        return None if text is None else read_instant(text)
    except ValueError as error:
        raise WrongUsageError(f"--from: {error}") from None

"""`twinmeter meters ...`: readings by people, doubtful ones, replacements, ratios, hand-overs.

Works beside a running platform, too: what is entered reaches the twins by the platform's own sweep."""

from __future__ import annotations

import json as json_module
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from api.cli.errors import CommandError, WrongUsageError
from api.cli.installation import run_on_platform, set_up_logs
from api.cli.language import tell
from api.cli.options import Clock, Config, Data, DatabaseUrl, Json, RedisUrl, Site, settings_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from api.bootstrap import Platform

app = typer.Typer(help="Meters: readings by people, reviews, replacements, hand-overs.", no_args_is_help=True)

MeterId = Annotated[str, typer.Argument(help="Id of the meter.")]
Reading = Annotated[int, typer.Argument(help="As the device shows it, Wh or litres.", min=0)]
At = Annotated[str | None, typer.Option("--at", help="ISO 8601 with offset, or Unix ms; now when left out.")]
Why = Annotated[str, typer.Option("--reason", help="Why.")]
Who = Annotated[str | None, typer.Option("--who", help="Who does it; otherwise the user of this machine.")]
Key = Annotated[str | None, typer.Option("--key", help="The same key does it once, however often it is repeated.")]
Photo = Annotated[str | None, typer.Option("--photo", help="URL or document number of the photo.")]
Sha = Annotated[str | None, typer.Option("--photo-sha256", help="SHA-256 of the photo.")]


class Given(msgspec.Struct):
    """What every command of this file takes."""

    settings: Any
    site: str | None
    who: str | None
    key: str | None


@app.command("read")
def read(
    meter: MeterId, reading: Reading, reason: Why, at: At = None, photo: Photo = None, photo_sha256: Sha = None,
    rolled: Annotated[bool, typer.Option("--rolled", help="The register went through zero.")] = False,
    who: Who = None, key: Key = None, site: Site = None, config: Config = None, data: Data = None,
    redis_url: RedisUrl = None, database_url: DatabaseUrl = None, clock: Clock = None,
) -> None:  # fmt: skip
    """Enter a reading that a person took; older than the newest one, it refines the past."""
    given = Given(_settings(config, data, redis_url, database_url, clock), site, who, key)
    body = {"meter": meter, "reading": reading, "photo": photo, "photo_sha256": photo_sha256}
    _act(given, "meter.rollover" if rolled else "meter.reading", body, reason, at)


@app.command("replace")
def replace(
    meter: MeterId, reason: Why,
    opening: Annotated[int, typer.Option("--opening", help="First reading of the new register.", min=0)],
    final: Annotated[int | None, typer.Option("--final", help="Last reading of the old one, if known.")] = None,
    estimated: Annotated[bool, typer.Option("--estimated", help="The last reading is an estimate.")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="The same meter, set to a value.")] = False,
    ratio: Annotated[int | None, typer.Option("--ratio", help="Transformer ratio of the new one.", min=1)] = None,
    device: Annotated[str | None, typer.Option("--device", help="Id of the new one on the wire, if another.")] = None,
    at: At = None, who: Who = None, key: Key = None, site: Site = None, config: Config = None, data: Data = None,
    redis_url: RedisUrl = None, database_url: DatabaseUrl = None, clock: Clock = None,
) -> None:  # fmt: skip
    """Another register at the same point. An unknown or estimated last reading needs a second person."""
    given = Given(_settings(config, data, redis_url, database_url, clock), site, who, key)
    body = {"meter": meter, "opening": opening, "final": final, "final_estimated": estimated, "ratio": ratio}
    body["device"] = device
    _act(given, "meter.reset" if reset else "meter.replace", body, reason, at)


@app.command("ratio")
def change_ratio(
    meter: MeterId, ratio: Annotated[int, typer.Argument(help="Current times voltage transformer.", min=1)],
    reason: Why, reading: Annotated[int | None, typer.Option("--reading", help="Reading at that instant.")] = None,
    at: At = None, who: Who = None, key: Key = None, site: Site = None, config: Config = None, data: Data = None,
    redis_url: RedisUrl = None, database_url: DatabaseUrl = None, clock: Clock = None,
) -> None:  # fmt: skip
    """Other transformers: a new epoch of the register."""
    given = Given(_settings(config, data, redis_url, database_url, clock), site, who, key)
    _act(given, "meter.ratio", {"meter": meter, "ratio": ratio, "reading": reading}, reason, at)


@app.command("review")
def review(
    meter: Annotated[str | None, typer.Option("--meter", help="Only of this meter.")] = None,
    decided: Annotated[bool, typer.Option("--decided", help="Also those that were decided.")] = False,
    json: Json = False, site: Site = None, config: Config = None, data: Data = None, redis_url: RedisUrl = None,
    database_url: DatabaseUrl = None, clock: Clock = None,
) -> None:  # fmt: skip
    """Readings that were not believed and wait for a decision."""
    settings = _settings(config, data, redis_url, database_url, clock)

    async def work(platform: Platform, name: str) -> list[Any]:
        return list(await platform.meters.review(name, meter=meter, decided=decided))

    _show(_run(settings, site, work), as_json=json)


@app.command("decide")
def decide(
    meter: MeterId,
    ts: Annotated[int, typer.Argument(help="Instant of the reading, Unix ms.")],
    sid: Annotated[str, typer.Argument(help="Its session.")],
    seq: Annotated[int, typer.Argument(help="Its number.")],
    decision: Annotated[str, typer.Argument(help="accept, reject or estimate.")],
    reason: Why,
    reading: Annotated[int | None, typer.Option("--reading", help="What an estimate puts in its place.")] = None,
    who: Who = None, key: Key = None, site: Site = None, config: Config = None, data: Data = None,
    redis_url: RedisUrl = None, database_url: DatabaseUrl = None, clock: Clock = None,
) -> None:  # fmt: skip
    """Decide on a doubtful reading, as `meters review` names it."""
    if decision not in ("accept", "reject", "estimate") or (decision == "estimate") != (reading is not None):
        raise WrongUsageError("decide: accept, reject, or estimate with --reading")
    given = Given(_settings(config, data, redis_url, database_url, clock), site, who, key)
    body = {"meter": meter, "sid": sid, "seq": seq, "decision": decision, "reading": reading}
    _act(given, "reading.decide", body, reason, str(ts))


@app.command("handover")
def handover(
    reason: Why,
    from_tenant: Annotated[str, typer.Option("--from", help="Who had the meters; left out: the landlord.")] = "",
    to_tenant: Annotated[str, typer.Option("--to", help="Who has them from then on; left out: the landlord.")] = "",
    meters: Annotated[list[str] | None, typer.Option("--meter", help="Only these; otherwise all.")] = None,
    reading: Annotated[list[str] | None, typer.Option("--reading", help="METER=READING at that instant.")] = None,
    tariff: Annotated[str | None, typer.Option("--tariff", help="Of the new supplies; the former one's.")] = None,
    at: At = None, who: Who = None, key: Key = None, site: Site = None, config: Config = None, data: Data = None,
    redis_url: RedisUrl = None, database_url: DatabaseUrl = None, clock: Clock = None,
) -> None:  # fmt: skip
    """Give meters to the next payer: a transfer, a move-out, a move-in."""
    if not from_tenant and not to_tenant:
        raise WrongUsageError("handover: give --from, --to, or both")
    given = Given(_settings(config, data, redis_url, database_url, clock), site, who, key)
    body: dict[str, Any] = {
        "from_tenant": from_tenant,
        "to_tenant": to_tenant,
        "meters": meters or [],
        "tariff": tariff,
    }
    body |= {"readings": _readings(reading or []), "tenant": from_tenant or to_tenant}
    _act(given, "meter.handover", body, reason, at, instant="at")


@app.command("events")
def events(
    meter: MeterId, json: Json = False, site: Site = None, config: Config = None, data: Data = None,
    redis_url: RedisUrl = None, database_url: DatabaseUrl = None, clock: Clock = None,
) -> None:  # fmt: skip
    """What people did to a meter, newest first."""
    settings = _settings(config, data, redis_url, database_url, clock)

    async def work(platform: Platform, name: str) -> list[Any]:
        return list(await platform.meters.events(name, meter))

    _show(_run(settings, site, work), as_json=json)


def _act(given: Given, kind: str, body: dict[str, Any], reason: str, at: str | None, instant: str = "ts") -> None:
    from api.cli.on_site import user
    from twin.ports import Caller

    async def work(platform: Platform, name: str) -> dict[str, Any]:
        now = platform.clock.now()
        wish = {**body, instant: now if at is None else _instant(at)}
        who = given.who or user()
        outcome = await platform.meters.act(name, kind, wish, Caller(who, reason, now, given.key or uuid.uuid4().hex))
        await platform.delivery.deliver(outcome.acts)
        return outcome.body

    answer = json_module.dumps(_run(given.settings, given.site, work), ensure_ascii=False)
    typer.echo(answer)


def _run(settings: Any, site: str | None, work: Callable[[Platform, str], Awaitable[Any]]) -> Any:
    from twin.ports import MoneyRefusedError

    async def on(platform: Platform, _found: object) -> Any:
        sites = await platform.registry.sites()
        name = site or (sites[0] if len(sites) == 1 else "")
        if name not in sites:
            raise WrongUsageError(f"name a site with --site; known: {', '.join(sites) or 'none'}")
        try:
            return await work(platform, name)
        except MoneyRefusedError as error:
            raise CommandError(f"{error.code}: {error.detail}") from None

    return run_on_platform(settings, on)


def _settings(config: Any, data: Any, redis_url: Any, database_url: Any, clock: Any) -> Any:
    set_up_logs("warning")
    return settings_of(config, data=data, redis_url=redis_url, database_url=database_url, clock=clock)


def _instant(text: str) -> int:
    if text.isdecimal():
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise WrongUsageError(f"--at {text!r}: write an ISO 8601 instant with its offset, or Unix ms")
    return int(moment.astimezone(UTC).timestamp() * 1000)


def _readings(told: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for item in told:
        meter, equals, value = item.partition("=")
        if not equals or not value.isdecimal():
            raise WrongUsageError(f"--reading {item!r}: write METER=READING")
        found[meter] = int(value)
    return found


def _show(rows: list[Any], *, as_json: bool) -> None:
    for row in rows:
        facts = msgspec.to_builtins(row)
        line = "  ".join(f"{name}={value}" for name, value in facts.items() if value is not None)
        text = json_module.dumps(facts, ensure_ascii=False) if as_json else line
        typer.echo(text)
    if not rows and not as_json:
        typer.echo(tell("没有记录", "nothing"))

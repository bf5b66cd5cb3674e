"""Options that several commands share, how a command comes by them, and the settings they make."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from api.cli.errors import WrongUsageError
from api.cli.language import choose, is_supported

if TYPE_CHECKING:
    from api.settings import Settings


def _language(value: str | None) -> str | None:
    if value is not None and not is_supported(value):
        raise typer.BadParameter(f"{value!r} is not a language of this program; write zh or en")
    choose(value)
    return value


Language = Annotated[str | None, typer.Option("--lang", help="zh or en; LANG decides otherwise.", callback=_language)]
Config = Annotated[
    Path | None, typer.Option("--config", help="TOML file with settings.", exists=True, dir_okay=False, readable=True)
]
Data = Annotated[str | None, typer.Option("--data", help="Folder for embedded servers and SQLite.")]
MqttUrl = Annotated[str | None, typer.Option("--mqtt-url", help="mqtt://host:port; empty: an embedded broker.")]
RedisUrl = Annotated[str | None, typer.Option("--redis-url", help="redis://host:port/0; empty: an embedded Redis.")]
DatabaseUrl = Annotated[
    str | None, typer.Option("--database-url", help="postgresql://... or sqlite:///path; empty: SQLite in --data.")
]
Http = Annotated[str | None, typer.Option("--http", help="HOST:PORT of the HTTP API.")]
Metrics = Annotated[str | None, typer.Option("--metrics", help="HOST:PORT of this service's own /metrics.")]
Clock = Annotated[str | None, typer.Option("--clock", help="real, telemetry, or scaled:START,RATE.")]
TariffFile = Annotated[
    Path, typer.Option("--tariff", help="The tariff file in question.", exists=True, dir_okay=False, readable=True)
]
InputFile = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)]
InputFiles = Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, readable=True)]
Site = Annotated[str | None, typer.Option("--site", help="Only this site.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]

Options = dict[str, tuple[Any, Any]]
"""Options by the name of their parameter: annotation and default."""


def sharing(
    command: Callable[..., None], options: Options, gather: Callable[[dict[str, Any]], Any]
) -> Callable[..., None]:
    """A command that has these options after its own, and gets what is gathered of them as its first argument."""
    hints = get_type_hints(command, include_extras=True)
    own = [
        parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in list(inspect.signature(command).parameters.items())[1:]
    ]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in options.items()
    ]

    @wraps(command)
    def whole(**given: Any) -> None:
        command(gather({name: given.pop(name) for name in options}), **given)

    parameters = [*own, *shared]
    whole.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    whole.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return whole


def settings_of(config: Path | None, **flags: Any) -> Settings:
    """Settings from flags, environment and file; raises WrongUsageError for what cannot be read."""
    from api.settings import SettingsError, load_settings
    from schemas.clock_spec import ClockSpecError, parse_clock_spec

    try:
        settings = load_settings(flags, None if config is None else str(config))
        parse_clock_spec(settings.clock)
        _ = settings.http_address, settings.metrics_address
    except (SettingsError, ClockSpecError) as error:
        raise WrongUsageError(str(error)) from None
    return settings


def zone_option(value: str) -> str:
    """Check a time zone name given on the command line."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError):
        raise typer.BadParameter(f"{value!r} is not a time zone; write one like Asia/Shanghai") from None
    return value


TimeZone = Annotated[str, typer.Option("--timezone", help="Zone that local times are meant in.", callback=zone_option)]

"""`twinmeter ingest|ledger|commands|scheduler|recorder|api`: one service a process, for production, on given URLs.

`ledger` stands in `api.cli.books`, with the questions to the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.errors import CommandError, WrongUsageError
from api.cli.installation import opened, say, set_up_logs
from api.cli.options import (
    Clock,
    Config,
    Data,
    DatabaseUrl,
    Http,
    Metrics,
    MqttUrl,
    Options,
    RedisUrl,
    settings_of,
    sharing,
)
from api.cli.up import run_loop, run_services, stop_on_signals

if TYPE_CHECKING:
    from socket import socket

    from api.settings import Settings

Shard = Annotated[int | None, typer.Option("--shard", help="Number of the ingest shard.", min=0, max=9999)]


SettingsWith = Callable[..., Any]
"""Makes the settings of a service from the options that all have, and those that only this one has."""

_SHARED: Options = {
    "config": (Config, None),
    "mqtt_url": (MqttUrl, None),
    "redis_url": (RedisUrl, None),
    "database_url": (DatabaseUrl, None),
    "data": (Data, None),
    "clock": (Clock, None),
    "metrics": (Metrics, None),
}


def as_service(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, whose first parameter is a `SettingsWith`, the options of every service."""

    def gather(given: dict[str, Any]) -> SettingsWith:
        return lambda **more: settings_of(**given, **more)

    return sharing(command, _SHARED, gather)


@as_service
def ingest(settings: SettingsWith, shard: Shard = None) -> None:
    """Telemetry from the broker into twins."""
    serve("ingest", settings(ingest_shard=shard))


@as_service
def commands(settings: SettingsWith) -> None:
    """Commands to devices, notices to people."""
    serve("commands", settings())


@as_service
def scheduler(settings: SettingsWith) -> None:
    """Timers of the twins, and acts that were not delivered yet."""
    serve("scheduler", settings())


@as_service
def recorder(settings: SettingsWith) -> None:
    """What devices send into the recorded history; rules in the shadow of the active ones."""
    wanted = settings()
    if not wanted.history_days and wanted.ingest_shards < 2:  # of a divided ingest it hears what no shard hears
        raise WrongUsageError("TWINMETER_HISTORY_DAYS is 0, so there is nothing to record; give a number of days")
    serve("recorder", wanted)


@as_service
def api(settings: SettingsWith, http: Http = None) -> None:
    """The HTTP API."""
    serve("api", settings(http=http))


def serve(name: str, settings: Settings) -> None:
    """Run one service until SIGINT or SIGTERM; raises WrongUsageError where a server is not named."""
    from api.settings import ENVIRONMENT

    missing = [field for field in ("mqtt_url", "redis_url", "database_url") if not getattr(settings, field)]
    if missing:
        words = ", ".join(f"--{field.replace('_', '-')} or {ENVIRONMENT[field]}" for field in missing)
        raise WrongUsageError(f"a single service shares its servers with others: give {words}")
    set_up_logs(settings.log_level, form=settings.log_format)
    run_loop(_serve(name, settings))


async def _serve(name: str, settings: Settings) -> None:
    from api.http.service_metrics import serve_metrics
    from api.services import Services

    listener = _metrics_listener(settings)
    platform = await opened(settings, say, remember=name == "ingest")
    services = Services(platform, (name,))
    scraped = None if listener is None else asyncio.create_task(serve_metrics(platform, listener, services.stop))
    stop_on_signals(services.stop)
    say(f"{name}: running; Ctrl-C stops")
    try:
        await run_services(services)
    finally:
        services.stop.set()
        if scraped is not None:
            await scraped
    say(f"{name}: stopped")


def _metrics_listener(settings: Settings) -> socket | None:
    """Where this process tells its own counters; None where the settings name no place."""
    from api.bootstrap import who_listens
    from api.http.serve import url_of
    from api.http.service_metrics import PATH, listen_for_metrics

    if settings.metrics_address is None:
        return None
    try:
        listener = listen_for_metrics(settings.metrics_address, who_listens)
    except OSError as error:
        raise CommandError(str(error.strerror)) from None
    say(f"metrics   {url_of(listener)}{PATH}")
    return listener

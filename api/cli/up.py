"""`twinmeter up`: every service of the platform in one process; embedded servers where no URL is given."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from api.cli.errors import CommandError
from api.cli.guard_servers import ServerGuard
from api.cli.installation import installation, opened, say, set_up_logs
from api.cli.options import Clock, Config, Data, DatabaseUrl, Http, MqttUrl, RedisUrl, settings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from api.bootstrap import Embedded, Platform
    from api.services import Services
    from api.settings import Settings
    from twin.flows.read_site import SiteFiles

URL_POLL_S = 0.1
LOOK_AGAIN_S = 1.0
"""How often the note of a running installation is compared with where its API listens."""


def up(
    config: Config = None,
    import_: Annotated[
        Path | None, typer.Option("--import", help="Site file to import first.", exists=True, dir_okay=False)
    ] = None,
    data: Data = None,
    mqtt_url: MqttUrl = None,
    redis_url: RedisUrl = None,
    database_url: DatabaseUrl = None,
    http: Http = None,
    clock: Clock = None,
) -> None:
    """Run all services in one process until SIGINT or SIGTERM; a second Ctrl-C does not wait."""
    from api.cli.running import find_running
    from api.cli.site import read

    settings = settings_of(
        config, data=data, mqtt_url=mqtt_url, redis_url=redis_url, database_url=database_url, http=http, clock=clock
    )
    files = None if import_ is None else read(import_)
    set_up_logs(settings.log_level, form=settings.log_format)
    there = None if settings.redis_url else find_running(settings.data_dir)
    if there is not None:
        raise CommandError(f"{settings.data} is in use by pid {there.pid} ({there.http_url}); stop it, or give --data")
    with installation(settings, broker=True) as found:
        run_loop(_serve(found.settings, files, found.embedded))


def run_loop(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end on uvloop where there is one."""
    if sys.platform == "win32":
        asyncio.run(work)
        return
    import uvloop

    uvloop.run(work)


async def _serve(settings: Settings, files: SiteFiles | None, embedded: Embedded | None) -> None:
    from api.cli.running import forget_running
    from api.cli.site import import_files, show_difference
    from api.services import Services

    platform = await opened(settings, say)
    if files is not None:
        imported = await import_files(platform, files)
        show_difference(imported.difference)
    services = Services(platform)
    stop_on_signals(services.stop)
    telling = asyncio.create_task(_tell_when_ready(services, settings))
    guard = ServerGuard(embedded.dead if embedded is not None else list, platform.recover, say)
    watching = asyncio.create_task(_stop_when_given_up(services, guard))
    try:
        await run_services(services)
    finally:
        telling.cancel()
        watching.cancel()
        forget_running(settings.data_dir)
    if guard.given_up:
        raise CommandError(f"stopped, because an embedded server was lost and did not come back; {guard.given_up}")
    say("stopped")


async def _stop_when_given_up(services: Services, guard: ServerGuard) -> None:
    """Without its servers nothing works: better to end, with the reason, than to look alive."""
    await guard.run()
    services.stop.set()


async def run_services(services: Services) -> None:
    """Run services, the HTTP API among them if it is wanted."""
    if "api" not in services.names:
        await services.run()
        return
    from api.http.serve import serve_http

    await services.run(serve_http)


async def _tell_when_ready(services: Services, settings: Settings) -> None:
    """Say where everything is, and leave a note of it for other commands."""
    from api.cli.running import Running, note_running

    platform = services.platform
    await services.ready.wait()
    shown = settings.shown()
    note = Running(os.getpid(), settings.redis_url, settings.mqtt_url, settings.database_url, clock_text(platform))
    note_running(settings.data_dir, note)
    url = await http_url(platform)
    note = msgspec.structs.replace(note, http_url=url)
    note_running(settings.data_dir, note)
    for site, reason in platform.rebuilt.items():
        say(f"twins of {site} were rebuilt from SQL: {reason}")
    sites = await platform.registry.sites()
    say(f"http      {url}  (OpenAPI at {url}/schema)")
    say(f"mqtt      {shown['mqtt_url']}")
    say(f"redis     {shown['redis_url']}")
    say(f"database  {shown['database_url']}")
    say(f"sites     {', '.join(sites) or 'none yet: twinmeter site import FILE'}")
    if not settings.admin_token and not await platform.tokens.tokens():
        say("no token exists yet, so nobody can use the API: set TWINMETER_ADMIN_TOKEN and start again")
    say("ready; Ctrl-C stops")
    while True:  # an API that failed may have found its port taken by somebody else
        await asyncio.sleep(LOOK_AGAIN_S)
        if platform.http_url and platform.http_url != note.http_url:
            note = msgspec.structs.replace(note, http_url=platform.http_url)
            note_running(settings.data_dir, note)
            say(f"http      {note.http_url}")


async def http_url(platform: Platform) -> str:
    """Where the HTTP API listens, once it does."""
    while not platform.http_url:  # noqa: ASYNC110 - it is an attribute
        await asyncio.sleep(URL_POLL_S)
    return platform.http_url


def clock_text(platform: Platform) -> str:
    """The clock in use as a setting, with its anchor, for processes that must agree with it."""
    from schemas.clock_spec import format_clock_spec

    spec = getattr(platform.clock, "spec", None)
    return platform.clock.kind if spec is None else format_clock_spec(spec)


def stop_on_signals(stop: asyncio.Event, told: Callable[[str], None] = say) -> None:
    """SIGINT and SIGTERM ask for a clean stop; the second one ends the process, and child servers go with it."""

    def asked() -> None:
        if stop.is_set():
            os._exit(130)
        told("stopping; once more to stop at once")
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, asked)

"""`twinmeter doctor`: looks at everything the platform stands on, and says what to do where something is wrong."""

from __future__ import annotations

import asyncio
import json as json_text
from contextlib import ExitStack
from typing import TYPE_CHECKING

import msgspec
import typer

from api.cli.check import Check
from api.cli.errors import FAILED, CommandError
from api.cli.language import tell
from api.cli.options import Config, Data, DatabaseUrl, Http, Json, Language, MqttUrl, RedisUrl, settings_of

if TYPE_CHECKING:
    from api.settings import Settings

MARKS = {"ok": "[green]ok[/]", "warning": "[yellow]! [/]", "failed": "[red]X [/]"}


def doctor(
    json: Json = False,
    config: Config = None,
    data: Data = None,
    mqtt_url: MqttUrl = None,
    redis_url: RedisUrl = None,
    database_url: DatabaseUrl = None,
    http: Http = None,
    _lang: Language = None,
) -> None:
    """Check configuration and every dependency; exit 1 when something must be mended first."""
    from api.cli.installation import set_up_logs

    settings = settings_of(
        config, data=data, mqtt_url=mqtt_url, redis_url=redis_url, database_url=database_url, http=http
    )
    set_up_logs("error")
    checks = examine(settings)
    if json:
        print(json_text.dumps([msgspec.to_builtins(check) for check in checks], ensure_ascii=False, indent=2))
    else:
        _show(checks)
    if any(check.state == "failed" for check in checks):
        raise typer.Exit(FAILED)


def examine(settings: Settings) -> list[Check]:
    """All checks, in the order in which things depend on each other."""
    from api.cli import machine_checks, server_checks
    from api.cli.running import find_running, with_running

    running = find_running(settings.data_dir)
    checks = [
        machine_checks.configuration(settings),
        machine_checks.python(),
        machine_checks.data_folder(settings.data_dir),
        machine_checks.printing(),
        machine_checks.disk_space(settings.data_dir),
        machine_checks.http_port(settings, running),
        machine_checks.profiles(),
    ]
    with ExitStack() as stack:
        if running is not None:
            settings = with_running(settings, running)
            checks.append(Check(tell("运行中", "running"), "ok", f"pid {running.pid}, {running.http_url}"))
        else:
            settings, started = _start_missing(settings, stack)
            checks += started
        if settings.redis_url:
            checks += asyncio.run(server_checks.redis(settings))
        if settings.mqtt_url:
            checks.append(asyncio.run(server_checks.broker(settings)))
        if settings.database_url:
            checks += asyncio.run(server_checks.database(settings))
        if settings.database_url and settings.redis_url and not any(check.state == "failed" for check in checks):
            checks.append(asyncio.run(server_checks.recorder(settings)))
    return checks


def _start_missing(settings: Settings, stack: ExitStack) -> tuple[Settings, list[Check]]:
    """Start the embedded servers that `up` would start, to see that they do."""
    from api.cli.installation import installation, quiet

    name = tell("内置服务", "embedded servers")
    if settings.redis_url and settings.mqtt_url and settings.database_url:
        return settings, []
    try:
        found = stack.enter_context(installation(settings, quiet, broker=True))
    except CommandError as error:
        remedy = tell(
            "安装 redis-server 与 mosquitto，或设置 TWINMETER_REDIS_URL、TWINMETER_MQTT_URL",
            "install redis-server and mosquitto, or set TWINMETER_REDIS_URL and TWINMETER_MQTT_URL",
        )
        return settings, [Check(name, "failed", str(error), remedy)]
    return found.settings, [Check(name, "ok", tell("可以启动", "they start"))]


def _show(checks: list[Check]) -> None:
    from rich.cells import cell_len
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False, soft_wrap=True)
    width = max(cell_len(check.name) for check in checks)
    for check in checks:
        pad = " " * (width - cell_len(check.name))
        console.print(f"{MARKS[check.state]} {check.name}{pad}  {escape(check.found)}")
        if check.remedy:
            console.print(f"   -> {escape(check.remedy)}")
    failed = sum(check.state == "failed" for check in checks)
    if failed:
        console.print(tell(f"{failed} 项需要处理", f"{failed} to mend"))
    else:
        console.print(tell("一切就绪", "all is well"))

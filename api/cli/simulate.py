"""`twinmeter simulate`: a device fleet against any broker, as a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.errors import WrongUsageError
from api.cli.options import Clock, Config, Data, InputFile, MqttUrl, settings_of

if TYPE_CHECKING:
    from collections.abc import Sequence

PR_SET_PDEATHSIG = 1
ROOT = Path(__file__).resolve().parents[2]


def simulate(
    file: InputFile,
    mqtt_url: MqttUrl = None,
    clock: Clock = None,
    seconds: Annotated[str | None, typer.Option("--for", help="Stop after so long: 90s, 15m.")] = None,
    api_url: Annotated[str | None, typer.Option("--api-url", help="Let simulated tenants recharge here.")] = None,
    api_token_file: Annotated[
        Path | None, typer.Option("--api-token-file", help="File with the bearer token.", exists=True, dir_okay=False)
    ] = None,
    config: Config = None,
    data: Data = None,
) -> None:
    """Run a fleet scenario until interrupted. A running `up` in the data folder is found by itself."""
    from api.cli.running import find_running, with_running
    from schemas.documents import load_checked

    load_checked(file, "fleet")
    settings = settings_of(config, mqtt_url=mqtt_url, clock=clock, data=data)
    running = find_running(settings.data_dir)
    if running is not None and not settings.mqtt_url:
        settings = with_running(settings, running)
        api_url = api_url or (running.http_url if api_token_file is not None else None)
    if not settings.mqtt_url:
        raise WrongUsageError(
            f"no broker: give --mqtt-url, or start `twinmeter up` with the data folder {settings.data}"
        )
    options = ["--mqtt-url", settings.mqtt_url, "--clock", settings.clock]
    if seconds is not None:
        options += ["--for", str(duration_s(seconds))]
    if api_url is not None:
        options += ["--api-url", api_url]
    if api_token_file is not None:
        options += ["--api-token-file", str(api_token_file.resolve())]
    raise typer.Exit(_run([str(file.resolve()), *options]))


def duration_s(text: str) -> float:
    """Seconds of a duration like `90s` or `15m`; raises WrongUsageError."""
    from schemas.durations import DurationError, parse_duration

    try:
        seconds = parse_duration(text) / 1000
    except DurationError as error:
        raise WrongUsageError(f"--for: {error}") from None
    if seconds <= 0:
        raise WrongUsageError("--for must be longer than nothing")
    return seconds


def fleet_command(options: Sequence[str]) -> list[str]:
    """The command line of a fleet; simulators are outsiders, so they run in a process of their own."""
    return [sys.executable, "-m", "simulators.run", *options]


def dies_with_us() -> None:
    """In a child before it starts: be stopped when this process ends, even when it is killed (Linux)."""
    import ctypes

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _run(options: Sequence[str]) -> int:
    """Run a fleet to its end; it has its own session, so that Ctrl-C reaches only us and it stops once."""
    child = subprocess.Popen(fleet_command(options), cwd=ROOT, start_new_session=True, preexec_fn=dies_with_us)  # noqa: PLW1509
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: child.terminate())
    return child.wait()

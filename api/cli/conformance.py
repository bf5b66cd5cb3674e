"""`twinmeter conformance device`: is a device right? The kit is an outsider and runs as a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).resolve().parents[2]

app = typer.Typer(help="Try devices against the contract.", no_args_is_help=True)


@app.command(
    "device", context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
)
def device(
    context: typer.Context,
    url: Annotated[str, typer.Argument(help="mqtt://[user:password@]broker[:port]/SITE/DEVICE, or --help")] = "--help",
) -> None:
    """Try every numbered clause on one device over MQTT; exit code 1 where one does not hold."""
    command = [sys.executable, "-m", "simulators.conformance", url, *context.args]
    raise typer.Exit(subprocess.run(command, cwd=ROOT, check=False).returncode)

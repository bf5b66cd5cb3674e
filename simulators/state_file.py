"""Registers and command memories of a fleet, kept in a JSON file between two runs of the simulator."""

from __future__ import annotations

import os
from pathlib import Path

import orjson

from simulators.fleet import Fleet


def load_state(fleet: Fleet, path: Path | None) -> None:
    """Take up what the last run saved; devices it did not know start as the scenario says. No file is a first run.

    Raises ValueError for a file that is not the state of such a fleet.
    """
    if path is None or not path.exists():
        return
    try:
        saved = orjson.loads(path.read_bytes())
        kept = saved["devices"] if saved["site"] == fleet.scenario.site else None
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a state file of this simulator ({error}); delete it to start over") from error
    if kept is None:
        raise ValueError(f"{path} belongs to site {saved['site']}, not to {fleet.scenario.site}; give another file")
    for device_id, snapshot in kept.items():
        if device_id in fleet.devices:
            fleet.devices[device_id].restore(snapshot)


def save_state(fleet: Fleet, path: Path | None) -> None:
    """Write the state whole or not at all."""
    if path is None:
        return
    devices = {device_id: device.snapshot() for device_id, device in fleet.devices.items()}
    partial = path.with_suffix(path.suffix + ".partial")
    partial.write_bytes(orjson.dumps({"site": fleet.scenario.site, "devices": devices}))
    os.replace(partial, path)

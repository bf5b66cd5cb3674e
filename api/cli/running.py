"""A running `up` leaves a note in its data folder, so that other commands find its servers and start no rivals."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

if TYPE_CHECKING:
    from api.settings import Settings

FILE = "running.json"


class Running(msgspec.Struct, frozen=True):
    """Where the embedded servers of a running installation are, and whose process they belong to."""

    pid: int
    redis_url: str
    mqtt_url: str
    database_url: str
    clock: str
    http_url: str = ""


def note_running(data_dir: Path, running: Running) -> None:
    """Leave or renew the note; readable by its owner alone."""
    fresh = data_dir / f"{FILE}.{os.getpid()}"
    fresh.touch(mode=0o600)
    fresh.write_bytes(msgspec.json.encode(running))
    fresh.replace(data_dir / FILE)


def forget_running(data_dir: Path) -> None:
    """Take our own note away."""
    note = _read(data_dir)
    if note is not None and note.pid == os.getpid():
        with contextlib.suppress(FileNotFoundError):
            (data_dir / FILE).unlink()


def find_running(data_dir: Path) -> Running | None:
    """The installation that runs in a data folder: its process lives and its Redis answers; None otherwise."""
    note = _read(data_dir)
    if note is None or not _lives(note.pid) or not answers(note.redis_url):
        return None
    return note


def with_running(settings: Settings, running: Running) -> Settings:
    """Settings that use the servers and the clock of a running installation where none are given."""
    return msgspec.structs.replace(
        settings,
        redis_url=settings.redis_url or running.redis_url,
        mqtt_url=settings.mqtt_url or running.mqtt_url,
        database_url=settings.database_url or running.database_url,
        clock=running.clock if settings.clock == "real" else settings.clock,
    )


def answers(url: str, within_s: float = 1.0) -> bool:
    """Whether somebody accepts connections where a URL points to."""
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 6379), within_s):
            return True
    except OSError:
        return False


def _read(data_dir: Path) -> Running | None:
    try:
        return msgspec.json.decode((data_dir / FILE).read_bytes(), type=Running)
    except (OSError, msgspec.MsgspecError):
        return None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

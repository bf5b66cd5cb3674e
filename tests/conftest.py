"""Servers and database templates that all tests of a worker share: one of each, started when first asked for.

Four more things hold for every test. Files of tests lie in memory where there is room: the product synchronises every
commit, and thousands of tests would wait for the disk most of their time. (Tests that take away the power mount disks
of their own.) Long files of tests come first, so that no worker is left alone with one at the end. Each test finds
logging as nobody has set it up, though a command line ran in the same process before. And no example of Hypothesis is
timed: what that measures is who else uses the machine.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.integration.servers import broker, mosquitto, postgres_server, redis_server
from tests.unit.adapters.store.engines import postgres_template, sqlite_template

__all__ = ["broker", "mosquitto", "postgres_server", "postgres_template", "redis_server", "sqlite_template"]

MEMORY = Path("/dev/shm")
ROOM_BYTES = 4 * 1024**3
LONG_FIRST = ("faults", "e2e", "simulation", "integration", "conformance")
"""Folders in the order of how long a file of theirs takes; the others come after them."""


settings.register_profile("any pace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any pace")

_configure_logs = structlog.configure


def pytest_configure(config: pytest.Config) -> None:
    """Choose where temporary folders of tests are made, unless somebody has; and let no logger remember its set-up."""
    structlog.configure = _configure_without_memory
    if not hasattr(config, "workerinput") and has_room(MEMORY):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def has_room(folder: Path) -> bool:
    """Whether a folder in memory can hold what tests write, and run what they put there."""
    if not os.access(folder, os.W_OK):
        return False
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize >= ROOM_BYTES and not found.f_flag & os.ST_NOEXEC


def pytest_runtest_setup() -> None:
    """Forget how an earlier test of this process set up logging: its level would hide what the next one captures."""
    structlog.reset_defaults()


def _configure_without_memory(**settings: Any) -> None:
    """A logger that remembers how it was set up at its first line cannot be captured by any later test."""
    _configure_logs(**{**settings, "cache_logger_on_first_use": False})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, each whole and its tests in their order."""
    items.sort(key=lambda item: _rank(item.path))


def _rank(path: Path) -> int:
    here = Path(__file__).parent
    room = path.relative_to(here).parts[0] if path.is_relative_to(here) else ""
    return LONG_FIRST.index(room) if room in LONG_FIRST else len(LONG_FIRST)

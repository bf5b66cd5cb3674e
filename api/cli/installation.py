"""Finding or starting the servers that a command works on.

Three cases: URLs are given and are used; an `up` runs in the same data folder and its servers are used; nobody is
there and embedded servers are started for as long as the command takes.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import msgspec

from api.cli.errors import CommandError, WrongUsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from api.bootstrap import Embedded, Platform
    from api.settings import Settings

Result = TypeVar("Result")
NOWHERE = "mqtt://127.0.0.1:1"
"""Broker URL of commands that publish nothing: nobody connects to it."""


class Installation(msgspec.Struct, frozen=True):
    """Settings in which every URL is set. `alone`: we started Redis, so no service of the platform runs."""

    settings: Settings
    alone: bool
    embedded: Embedded | None = None
    """The servers we started, where we did."""


def say(text: str) -> None:
    """A line of progress; stderr, because stdout belongs to results."""
    print(text, file=sys.stderr, flush=True)


def quiet(_text: str) -> None:
    """No progress."""


def set_up_logs(level: str, sink: TextIO | None = None, form: str = "text") -> None:
    """Logs go to stderr (or a sink) as one line an event, from this level on; `form` is `text` (logfmt) or `json`."""
    import structlog

    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise WrongUsageError(f"log_level {level!r} is not one of debug, info, warning, error")
    drawn: Any = structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"])
    if form == "json":
        drawn = structlog.processors.JSONRenderer(ensure_ascii=False)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            drawn,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sink or sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(
        level=number, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sink or sys.stderr
    )
    if form == "json":
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonLines())


class JsonLines(logging.Formatter):
    """Records of libraries as one JSON object a line, in the fields of our own lines."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line = {"timestamp": _utc(record.created), "level": record.levelname.lower(), "event": record.getMessage()}
        line["logger"] = record.name
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


@contextmanager
def installation(
    settings: Settings, progress: Callable[[str], None] = say, *, broker: bool = False
) -> Iterator[Installation]:
    """Settings with every URL set, servers included; ours are stopped at the end. `broker`: one is needed, too."""
    from api.bootstrap import EmbeddedServerError, start_embedded
    from api.cli.running import find_running, with_running

    running = None if settings.redis_url and settings.database_url else find_running(settings.data_dir)
    if running is not None:
        settings = with_running(settings, running)
    alone = not settings.redis_url
    if not broker and not settings.mqtt_url:
        settings = msgspec.structs.replace(settings, mqtt_url=NOWHERE)
    try:
        embedded = start_embedded(settings, progress)
    except EmbeddedServerError as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        raise CommandError(f"data folder {settings.data}: {error.strerror}; name another with --data") from None
    try:
        yield Installation(embedded.settings, alone, embedded)
    finally:
        embedded.stop()


async def opened(settings: Settings, progress: Callable[[str], None] = quiet, *, remember: bool = True) -> Platform:
    """The platform behind settings in which every URL is set; raises CommandError where something does not answer.

    `remember`: this process decides on readings, so it may keep twins in its memory.
    """
    from api.bootstrap import DatabaseURLError, MissingPackagesError, open_platform

    try:
        platform = await open_platform(settings, progress, remember=remember)
    except DatabaseURLError as error:
        raise WrongUsageError(str(error)) from None
    except MissingPackagesError as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        raise CommandError(f"the database at {settings.shown()['database_url']} does not answer: {error}") from None
    try:
        async with asyncio.timeout(10):
            await platform.redis.ping()
    except (OSError, TimeoutError, ConnectionError) as error:
        await platform.close()
        raise CommandError(f"Redis at {settings.shown()['redis_url']} does not answer: {error}") from None
    except Exception as error:
        await platform.close()
        raise CommandError(f"Redis at {settings.shown()['redis_url']} refuses us: {error}") from None
    return platform


def run_on_platform(
    settings: Settings, work: Callable[[Platform, Installation], Coroutine[Any, Any, Result]]
) -> Result:
    """Run one piece of work on the platform's data, whether or not it is running."""

    async def whole(found: Installation) -> Result:
        platform = await opened(found.settings, remember=False)
        try:
            return await work(platform, found)
        finally:
            await platform.close()

    with installation(settings) as found:
        return asyncio.run(whole(found))

"""Commands on one site of an installation, or of a running API: the options they share, and where they reach.

`on_site` gives a command the options `--site`, `--url`, `--json` and those of the installation, and hands it one value
that holds them. With `--url` a command goes through the API, by a token; without, it works on the data itself.
`on_data` is the same for a command that knows no `--url`.
"""

from __future__ import annotations

import getpass
import uuid
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
import typer

from api.cli.errors import CommandError
from api.cli.installation import run_on_platform, set_up_logs
from api.cli.options import (
    Clock,
    Config,
    Data,
    DatabaseUrl,
    Json,
    Language,
    Options,
    RedisUrl,
    Site,
    settings_of,
    sharing,
)
from api.cli.remote import Remote, Url
from api.cli.which_site import which_site
from twin.ports import Caller, MoneyRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from api.bootstrap import Platform

Key = Annotated[str | None, typer.Option("--key", help="Idempotency key; the same key acts once. Made up if absent.")]
Why = Annotated[str, typer.Option("--why", help="Why; kept in the audit.")]

Result = TypeVar("Result")

_SHARED: Options = {
    "site": (Site, None),
    "url": (Url, None),
    "json": (Json, False),
    "config": (Config, None),
    "data": (Data, None),
    "redis_url": (RedisUrl, None),
    "database_url": (DatabaseUrl, None),
    "clock": (Clock, None),
    "_lang": (Language, None),
}


class Place(msgspec.Struct, frozen=True):
    """Where a command reaches, and how it answers."""

    site: str | None
    url: str | None
    json: bool
    config: Path | None
    data: str | None
    redis_url: str | None
    database_url: str | None
    clock: str | None

    def ask(self, far: Callable[[Remote], Any], near: Callable[[Platform, str], Coroutine[Any, Any, Any]]) -> Any:
        """The API's answer, or that of the data; refusals become errors of the command line."""
        return self.near(near) if self.url is None else far(Remote(self.url, self.site))

    def near(self, ask: Callable[[Platform, str], Coroutine[Any, Any, Result]]) -> Result:
        """What the data of the installation answers; a refusal becomes an error of the command line."""
        set_up_logs("warning")
        settings = settings_of(
            self.config, data=self.data, redis_url=self.redis_url, database_url=self.database_url, clock=self.clock
        )

        async def work(platform: Platform, _found: object) -> Result:
            return await ask(platform, await which_site(platform, self.site))

        try:
            return run_on_platform(settings, work)
        except MoneyRefusedError as error:
            raise CommandError(f"{error.code}: {error.detail}") from None


def on_site(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, whose first parameter is a `Place`, the shared options."""
    return _placed(command, _SHARED)


def on_data(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, whose first parameter is a `Place`, the shared options without `--url`."""
    return _placed(command, {name: option for name, option in _SHARED.items() if name != "url"})


def _placed(command: Callable[..., None], options: Options) -> Callable[..., None]:
    def place(given: dict[str, Any]) -> Place:
        facts: dict[str, Any] = {name: given.get(name) for name in Place.__struct_fields__}
        return Place(**facts)

    return sharing(command, options, place)


def caller(why: str, key: str | None, ts: int) -> Caller:
    """Who acts from this command line: the user of this machine, so that nobody agrees to his own request."""
    return Caller(user(), why, ts, key or uuid.uuid4().hex)


def user() -> str:
    """The user of this machine, as it stands in the audit."""
    try:
        return f"cli:{getpass.getuser()}"
    except (OSError, KeyError):
        return "cli"

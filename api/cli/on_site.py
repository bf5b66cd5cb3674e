"""Commands on one site of an installation, or of a running API: the options they share, and where they reach.

`on_site` gives a command the options `--site`, `--url`, `--json` and those of the installation, and hands it one value
that holds them. With `--url` a command goes through the API, by a token; without, it works on the data itself.
"""

from __future__ import annotations

import getpass
import inspect
import uuid
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import msgspec
import typer

from api.cli.errors import CommandError, WrongUsageError
from api.cli.installation import run_on_platform, set_up_logs
from api.cli.options import Clock, Config, Data, DatabaseUrl, Json, Language, RedisUrl, Site, settings_of
from api.cli.remote import Remote, Url
from twin.ports import Caller, MoneyRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from api.bootstrap import Platform

Key = Annotated[str | None, typer.Option("--key", help="Idempotency key; the same key acts once. Made up if absent.")]
Why = Annotated[str, typer.Option("--why", help="Why; kept in the audit.")]

_SHARED: dict[str, tuple[Any, Any]] = {
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
        if self.url is not None:
            return far(Remote(self.url, self.site))
        set_up_logs("warning")
        settings = settings_of(
            self.config, data=self.data, redis_url=self.redis_url, database_url=self.database_url, clock=self.clock
        )

        async def work(platform: Platform, _found: object) -> Any:
            return await near(platform, await self._site_of(platform))

        try:
            return run_on_platform(settings, work)
        except MoneyRefusedError as error:
            raise CommandError(f"{error.code}: {error.detail}") from None

    async def _site_of(self, platform: Platform) -> str:
        sites = await platform.registry.sites()
        if self.site is not None:
            if self.site not in sites:
                raise CommandError(f"site {self.site!r} is not in the database; known: {', '.join(sites) or 'none'}")
            return self.site
        if len(sites) != 1:
            raise WrongUsageError(f"name a site with --site; known: {', '.join(sites) or 'none'}")
        return sites[0]


def on_site(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, whose first parameter is a `Place`, the shared options."""
    hints = get_type_hints(command, include_extras=True)
    own = list(inspect.signature(command).parameters.values())[1:]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in _SHARED.items()
    ]

    @wraps(command)
    def whole(**given: Any) -> None:
        place = Place(**{name: given.pop(name) for name in Place.__struct_fields__})
        given.pop("_lang")
        command(place, **given)

    resolved = [
        parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own
    ]
    parameters = [*resolved, *shared]
    whole.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    whole.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return whole


def caller(why: str, key: str | None, ts: int) -> Caller:
    """Who acts from this command line: the user of this machine, so that nobody agrees to his own request."""
    return Caller(user(), why, ts, key or uuid.uuid4().hex)


def user() -> str:
    """The user of this machine, as it stands in the audit."""
    try:
        return f"cli:{getpass.getuser()}"
    except (OSError, KeyError):
        return "cli"

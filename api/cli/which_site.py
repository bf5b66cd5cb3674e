"""The site that a command means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.cli.errors import CommandError, WrongUsageError

if TYPE_CHECKING:
    from api.bootstrap import Platform


async def which_site(platform: Platform, wanted: str | None) -> str:
    """The site named, or the only one there is. Raises WrongUsageError or CommandError with those there are."""
    sites = await platform.registry.sites()
    if wanted in sites and wanted is not None:
        return wanted
    if wanted is None and len(sites) == 1:
        return sites[0]
    known = ", ".join(sites) or "none"
    if wanted is None:
        raise WrongUsageError(f"there are {len(sites)} sites: name one with --site; known: {known}")
    raise CommandError(f"site {wanted!r} is not in the database; known: {known}")

"""Sites."""

from __future__ import annotations

from typing import Any

from litestar import get

from api.http.backend import Platform
from api.http.bodies import SiteBody, SitePage
from api.http.identity import Person
from api.http.params import Site
from api.http.problems import unknown_site
from api.http.specs import refusals

DEFAULT_INTERVAL = "15m"


@get("/sites", operation_id="listSites", summary="Sites", responses=refusals())
async def list_sites(backend: Platform, person: Person) -> SitePage:
    """All sites that the token reaches."""
    sites = [site for site in await backend.registry.sites() if person.knows_site(site)]
    return SitePage([await _site(backend, site) for site in sites])


@get("/sites/{site:str}", operation_id="getSite", summary="One site", responses=refusals(404))
async def get_site(backend: Platform, site: Site) -> SiteBody:
    """Name, time zone, currency and posting interval of a site."""
    try:
        return await _site(backend, site)
    except LookupError:
        raise unknown_site(site) from None


async def _site(backend: Platform, site: str) -> SiteBody:
    settings: dict[str, Any] = (await backend.registry.policy_sources(site)).site
    return SiteBody(
        id=site,
        name=_name(settings.get("name", site)),
        timezone=settings["timezone"],
        currency=settings.get("currency", "CNY"),
        interval=settings.get("interval", DEFAULT_INTERVAL),
    )


def _name(name: str | dict[str, str]) -> dict[str, str]:
    """A name by language; one that says no language stands under `und`, the tag for undetermined."""
    return name if isinstance(name, dict) else {"und": name}

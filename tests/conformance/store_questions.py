"""Questions that several suites ask a twin store."""

from __future__ import annotations

from typing import Any

from tests.conformance.backends import Backend
from tests.conformance.twin_values import stream_of
from twin.core.model import Group

NOW = 1_750_000_000_000


async def built(backend: Backend, site: str, *groups: Group, **options: Any) -> Any:
    """A store with these groups under generation 1."""
    store = backend.store(**options)
    assert await store.replace_site(site, 1, stream_of(groups), wake=NOW) == len(groups)
    return store


async def one(store: Any, site: str, name: str = "t-1") -> Group:
    """One group that must be there."""
    return (await store.load(site, [name]))[name]


async def charges(store: Any, site: str, name: str = "t-1") -> int:
    """Charges of one tenant."""
    tenant = (await one(store, site, name)).tenant
    assert tenant is not None
    return tenant.charges_nano

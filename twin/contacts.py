"""Whom to tell: tenants by their contact, the operator and other groups by the site's `contacts`.

Part of the ports; import these names from `twin.ports`.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

TENANT, OPERATOR = "tenant", "operator"


class Person(msgspec.Struct, frozen=True, omit_defaults=True):
    """Somebody who can be reached; empty texts where that is not known."""

    person: str = ""
    phone: str = ""
    email: str = ""
    language: str = ""


class Addressees(msgspec.Struct, frozen=True):
    """Who is to be told, and how. `to` is `tenant`, `operator` or a group of contacts.

    No `people`: nobody is named there, and the channel tells whoever it tells by itself. `channels`: the ways that the
    rule asks for; none: all there are.
    """

    to: str = TENANT
    people: tuple[Person, ...] = ()
    channels: tuple[str, ...] = ()


class Contacts(Protocol):
    """The people behind recipients."""

    async def people(self, site: str, tenant: str, to: str) -> tuple[Person, ...]:
        """Who is reached for a recipient; a group that the site does not name falls to the operator's people."""
        ...

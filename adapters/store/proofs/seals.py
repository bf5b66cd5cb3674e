"""Digests of tables whose rows are posted for good, continued from day to day.

Theory of operation. Rows of one site get rising ids, because whoever writes them holds the site's row; so the rows
after the last seal are those with a higher id. The digest of a table is a chain of SHA-256: the one before, then each
row's values as JSON, in the order of ids. Ids themselves are not part of it: a restored copy may count anew. Columns
that may change (the `active` of a price) are left out. Which columns a seal covers is written with it, so that a column
that comes with a later version disturbs no older seal.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from adapters.store import models
from adapters.store.engine.paging import site_of_pages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tortoise.models import Model

    from adapters.store.engine.database import Row, Transaction

MOVING: Final[dict[str, tuple[str, ...]]] = {
    "energy": (),
    "rating": ("active",),
    "adjustment": (),
    "fee_line": (),
    "payment": (),
    "correction": (),
    "debt_recovery": (),
    "account_state": (),
    "audit": (),
}
"""Sealed tables, and those of their columns that may change. Journals and legs have their own hash chain."""
PAGE: Final = 1_000
"""Rows that are digested at one go; commands of the same process wait meanwhile."""
EMPTY: Final = hashlib.sha256(b"twinmeter.seal/v1").digest()
_ENCODER = msgspec.json.Encoder()


class Seal(msgspec.Struct, frozen=True):
    """One table up to an id: the covered columns, how many rows since the seal before, and the digest so far."""

    subject: str
    columns: str
    to_id: int
    rows: int
    digest: bytes


def sealed_tables() -> dict[str, str]:
    """Table -> the columns a new seal covers, joined by blanks; tables that this version does not have are left out."""
    known: dict[str, type[Model]] = {model._meta.db_table: model for model in _models()}
    return {
        table: " ".join(name for name in known[table]._meta.fields_map if name not in ("id", "site", *moving))
        for table, moving in MOVING.items()
        if table in known
    }


async def newest_ids(tx: Transaction, site: str) -> dict[str, int]:
    """The newest id of each sealed table; the caller holds the site, so nothing older can still come."""
    newest, of_site = {}, f"{site_of_pages(tx.engine)} = ?"
    for table in sealed_tables():
        rows = await tx.fetch(f"SELECT id FROM {table} WHERE {of_site} ORDER BY id DESC LIMIT 1", site)  # noqa: S608
        newest[table] = rows[0][0] if rows else 0
    return newest


async def seal(tx: Transaction, site: str, table: str, columns: str, before: Seal | None, to_id: int) -> Seal:
    """Continue a table's digest up to an id. Streams in pages."""
    names = columns.split()
    if table not in MOVING or not set(names) <= set(_columns(table)):
        raise ValueError(f"{table} has no columns {columns!r} that can be sealed")
    digest, rows, after = (before.digest if before else EMPTY), 0, (before.to_id if before else 0)
    of_site = f"{site_of_pages(tx.engine)} = ?"
    sql = f"SELECT id, {', '.join(names)} FROM {table} WHERE {of_site} AND id > ? AND id <= ? ORDER BY id LIMIT {PAGE}"  # noqa: S608
    while page := await tx.fetch(sql, site, after, to_id):
        digest, rows, after = _fold(digest, page), rows + len(page), page[-1][0]
    return Seal(table, columns, to_id, rows, digest)


def _fold(digest: bytes, page: Sequence[Row]) -> bytes:
    """Row by row, so that the digest does not depend on the pages in which it is read."""
    for row in page:
        digest = hashlib.sha256(digest + _ENCODER.encode(_plain(row))).digest()
    return digest


def _plain(row: Row) -> list[Any]:
    """The values of a row without its id, alike on both engines: booleans are 0 and 1, bytes are base64."""
    return [int(value) if type(value) is bool else value for value in tuple(row)[1:]]


def _columns(table: str) -> list[str]:
    return sealed_tables().get(table, "").split()


def _models() -> list[type[Model]]:
    return [getattr(models, name) for name in models.__all__]

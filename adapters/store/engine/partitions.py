"""PostgreSQL: the large append-only tables divided into partitions, with every guard they had.

Theory of operation. A unique constraint of a partitioned table must contain the partition key, so the key has to be
part of every constraint that guards the ledger: `(site, meter)` for the chain and its prices, `(site)` for journals,
whose reference is unique within the site, and `(site, seq)` for their legs. A month is part of none of them: dividing
by time would let two rows of a chain begin at one register value in two months, so it is not offered.

Everything happens in one transaction under exclusive locks: rows are copied and compared, the old table goes, and every
constraint, index, trigger, grant and foreign key is made again from the database's own description of it. Triggers for
each statement are made on every partition besides, because a statement that names a partition fires only its own. What
cannot be carried over stops the whole and leaves all as it was.
"""

# ruff: noqa: S608 -- names come from the constants below and from the catalogue, quoted by the server
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adapters.store.engine.database import Database, Transaction

KEYS: Final = {
    "energy": ("site", "meter"),
    "rating": ("site", "meter"),
    "journal": ("site",),
    "leg": ("site", "seq"),
}
MOST_PARTS: Final = 256


class PartitionError(RuntimeError):
    """The tables cannot be divided; nothing was changed."""


class _Table(msgspec.Struct):
    """What the catalogue says of one table."""

    name: str
    owner: str
    uniques: list[tuple[str, str, str]]
    indexes: list[str]
    triggers: list[tuple[str, str, bool]]
    grants: list[tuple[str, str]]


async def partition_counts(database: Database) -> dict[str, int]:
    """Partitions of each of the large tables; 0 for one that is not divided."""
    if database.engine != "postgres":
        return dict.fromkeys(KEYS, 0)
    rows = await database.fetch(
        "SELECT p.relname::text, (SELECT count(*) FROM pg_inherits i WHERE i.inhparent = p.oid) FROM pg_class p"
        " WHERE p.relkind = 'p' AND p.relnamespace = current_schema()::regnamespace"
    )
    found = {row[0]: int(row[1]) for row in rows}
    return {table: found.get(table, 0) for table in KEYS}


async def partition_tables(database: Database, parts: int, say: Callable[[str], object]) -> list[str]:
    """Divide the tables that are not divided yet into so many partitions; returns their names.

    The platform may run meanwhile: its writers wait. Raises PartitionError, and then nothing was changed.
    """
    if database.engine != "postgres":
        raise PartitionError("SQLite has no partitions; a site that needs them needs PostgreSQL")
    if not 2 <= parts <= MOST_PARTS:
        raise PartitionError(f"{parts} partitions: give 2 to {MOST_PARTS}")
    counts = await partition_counts(database)
    tables = [table for table in KEYS if not counts[table]]
    if not tables:
        return []
    async with database.write() as tx:
        await tx.execute(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE")
        foreign = await _foreign_keys(tx, tables)
        described = [await _describe(tx, table) for table in tables]
        for child, key, _ in foreign:
            await tx.execute(f"ALTER TABLE {child} DROP CONSTRAINT {key}")
        for table in described:
            say(f"{table.name}: copying into {parts} partitions")
            await _divide(tx, table, parts)
        for child, key, definition in foreign:
            say(f"{child}: checking {definition}")
            await tx.execute(f"ALTER TABLE {child} ADD CONSTRAINT {key} {definition}")
        for name in tables:
            await tx.execute(f"ANALYZE {name}")
    return tables


async def _describe(tx: Transaction, table: str) -> _Table:
    where = f"'{table}'::regclass"
    views = await tx.fetch(
        "SELECT DISTINCT r.ev_class::regclass::text FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid"
        f" WHERE d.classid = 'pg_rewrite'::regclass AND d.refobjid = {where}"
    )
    if views:
        raise PartitionError(
            f"{table} is used by the view {views[0][0]}: drop it first, and create it again afterwards"
        )
    uniques = await tx.fetch(
        "SELECT quote_ident(c.conname), c.contype::text, pg_get_constraintdef(c.oid), ARRAY(SELECT a.attname::text"
        " FROM pg_attribute a WHERE a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey))"
        f" FROM pg_constraint c WHERE c.conrelid = {where} AND c.contype IN ('p', 'u') ORDER BY c.conname"
    )
    for name, kind, _, columns in uniques:
        if kind == "u" and not set(KEYS[table]) <= set(columns):
            raise PartitionError(f"{table}: {name} is unique without {KEYS[table]}, dividing would cost this guard")
    indexes = await tx.fetch(
        f"SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i WHERE i.indrelid = {where} AND NOT EXISTS"
        " (SELECT 1 FROM pg_constraint c WHERE c.conindid = i.indexrelid AND c.contype IN ('p', 'u'))"
    )
    triggers = await tx.fetch(
        "SELECT quote_ident(t.tgname), pg_get_triggerdef(t.oid), (t.tgtype & 1) = 0 FROM pg_trigger t"
        f" WHERE t.tgrelid = {where} AND NOT t.tgisinternal ORDER BY t.tgname"
    )
    rights = await tx.fetch(
        "SELECT CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END, g.privilege_type"
        f" FROM pg_class c, aclexplode(c.relacl) g WHERE c.oid = {where} AND g.grantee <> c.relowner"
    )
    owner = await tx.fetch(f"SELECT relowner::regrole::text FROM pg_class WHERE oid = {where}")
    return _Table(
        table,
        owner[0][0],
        [(row[0], row[1], row[2]) for row in uniques],
        [row[0] for row in indexes],
        [(row[0], row[1], row[2]) for row in triggers],
        [(row[0], row[1]) for row in rights],
    )


async def _foreign_keys(tx: Transaction, tables: Sequence[str]) -> list[tuple[str, str, str]]:
    """Foreign keys of these tables and to them: table, name, definition."""
    named = ", ".join(f"'{table}'::regclass" for table in tables)
    rows = await tx.fetch(
        "SELECT conrelid::regclass::text, quote_ident(conname), pg_get_constraintdef(oid) FROM pg_constraint"
        f" WHERE contype = 'f' AND conparentid = 0 AND (conrelid IN ({named}) OR confrelid IN ({named}))"
        " ORDER BY 1, 2"
    )
    return [(row[0], row[1], row[2]) for row in rows]


async def _divide(tx: Transaction, table: _Table, parts: int) -> None:
    name, fresh, key = table.name, f"{table.name}_divided", ", ".join(KEYS[table.name])
    like = "INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING IDENTITY INCLUDING STORAGE INCLUDING COMMENTS"
    await tx.execute(f"CREATE TABLE {fresh} (LIKE {name} {like}) PARTITION BY HASH ({key})")
    for part in range(parts):
        await tx.execute(
            f"CREATE TABLE {_part(name, part)} PARTITION OF {fresh} FOR VALUES WITH (MODULUS {parts}, REMAINDER {part})"
        )
    await tx.execute(f"INSERT INTO {fresh} OVERRIDING SYSTEM VALUE SELECT * FROM {name}")
    if await _digest(tx, name) != await _digest(tx, fresh):
        raise PartitionError(f"{name}: the copy differs from the original")
    next_id = (await tx.fetch(f"SELECT nextval(pg_get_serial_sequence('{name}', 'id'))"))[0][0]
    await tx.execute(f"DROP TABLE {name}")
    await tx.execute(f"ALTER TABLE {fresh} RENAME TO {name}")
    await tx.execute(f"ALTER TABLE {name} ALTER COLUMN id RESTART WITH {int(next_id)}")
    for unique, kind, definition in table.uniques:
        whole = f"PRIMARY KEY (id, {key})" if kind == "p" else definition
        await tx.execute(f"ALTER TABLE {name} ADD CONSTRAINT {unique} {whole}")
    for index in table.indexes:
        await tx.execute(index)
    for trigger in table.triggers:
        await _make_trigger(tx, name, trigger, parts)
    await tx.execute(f"ALTER TABLE {name} OWNER TO {table.owner}")
    for grantee, privilege in table.grants:
        await tx.execute(f"GRANT {privilege} ON {name} TO {grantee}")


async def _make_trigger(tx: Transaction, table: str, trigger: tuple[str, str, bool], parts: int) -> None:
    _, definition, for_statement = trigger
    await tx.execute(definition)
    for part in range(parts if for_statement else 0):
        place = _part(table, part)
        own = definition.replace(f".{table} ", f".{place} ", 1)
        if own == definition:
            raise PartitionError(f"{table}: cannot carry over the trigger {definition}")
        await tx.execute(own)


async def _digest(tx: Transaction, table: str) -> tuple[Any, ...]:
    """Count, and a sum over all rows that no difference leaves as it is, but one in 2**64."""
    rows = await tx.fetch(f"SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)), 0)::text FROM {table} t")
    return rows[0][0], rows[0][1]


def _part(table: str, part: int) -> str:
    return f"{table}_p{part:03d}"

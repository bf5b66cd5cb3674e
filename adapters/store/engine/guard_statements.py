"""Statements of triggers for migrations: tables whose rows are posted for good, and tables with a state that moves.

Tables of posted rows refuse every update and delete. Tables with a state (an approval, a refund) refuse deletes and
changes of what was asked for, and let only the columns of the decision move, once it is not yet final. SQLite's
triggers also stop `INSERT OR REPLACE`, which deletes without firing delete triggers.
"""

# ruff: noqa: S608 -- every name below is a constant of a migration
from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Keys = tuple[tuple[str, ...], ...]
_REFUSE = "RAISE EXCEPTION USING ERRCODE = 'integrity_constraint_violation', MESSAGE = "


def sqlite_trigger(name: str, when: str, condition: str, message: str) -> str:
    """A trigger that aborts the statement with a message where the condition holds."""
    return f"CREATE TRIGGER IF NOT EXISTS {name} {when} BEGIN SELECT RAISE(ABORT, '{message}') WHERE {condition}; END"


def sqlite_posted(table: str, keys: Keys) -> list[str]:
    """No delete, no replacement and no update of a table's rows."""
    message = f"{table} rows are posted for good"
    return [
        *_sqlite_kept(table, keys, message),
        sqlite_trigger(f"{table}_no_update", f"BEFORE UPDATE ON {table}", "1", message),
    ]


def postgres_posted(table: str) -> list[str]:
    """No update, no delete and no truncation of a table's rows; needs the function of migration 0006."""
    return [
        f"DROP TRIGGER IF EXISTS {table}_keep ON {table}",
        f"CREATE TRIGGER {table}_keep BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW"
        " EXECUTE FUNCTION twinmeter_keep()",
        *_postgres_whole(table),
    ]


def sqlite_moving(table: str, keys: Keys, fixed: Sequence[str], final: str) -> list[str]:
    """No delete; `fixed` columns stay; nothing moves any more once the condition `final` (on OLD) holds."""
    message = f"{table} rows are kept"
    same = " AND ".join(f"OLD.{column} IS NEW.{column}" for column in fixed)
    return [
        *_sqlite_kept(table, keys, message),
        sqlite_trigger(
            f"{table}_no_edit",
            f"BEFORE UPDATE ON {table}",
            f"NOT ({same}) OR ({final})",
            f"{message}: only an open one moves on",
        ),
    ]


def postgres_moving(table: str, moving: Sequence[str], final: str) -> list[str]:
    """No delete; only the `moving` columns change; nothing moves once the condition `final` (on OLD) holds."""
    strip = "".join(f" - '{column}'" for column in moving)
    body = (
        f"IF ({final}) OR to_jsonb(OLD){strip} <> to_jsonb(NEW){strip} THEN"
        f" {_REFUSE} '{table} rows are kept: only an open one moves on'; END IF; RETURN NEW;"
    )
    return [
        f"CREATE OR REPLACE FUNCTION twinmeter_{table}_moves() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN {body} END $$",
        f"DROP TRIGGER IF EXISTS {table}_moves ON {table}",
        f"CREATE TRIGGER {table}_moves BEFORE UPDATE ON {table} FOR EACH ROW"
        f" EXECUTE FUNCTION twinmeter_{table}_moves()",
        f"DROP TRIGGER IF EXISTS {table}_keep ON {table}",
        f"CREATE TRIGGER {table}_keep BEFORE DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION twinmeter_keep()",
        *_postgres_whole(table),
    ]


def _sqlite_kept(table: str, keys: Keys, message: str) -> list[str]:
    same = [" AND ".join(f"{column} = NEW.{column}" for column in key) for key in (("id",), *keys)]
    exists = " OR ".join(f"EXISTS (SELECT 1 FROM {table} WHERE {condition})" for condition in same)
    return [
        sqlite_trigger(f"{table}_no_delete", f"BEFORE DELETE ON {table}", "1", message),
        sqlite_trigger(f"{table}_no_replace", f"BEFORE INSERT ON {table}", exists, f"{message}: this one exists"),
    ]


def _postgres_whole(table: str) -> list[str]:
    return [
        f"DROP TRIGGER IF EXISTS {table}_keep_all ON {table}",
        f"CREATE TRIGGER {table}_keep_all BEFORE TRUNCATE ON {table} EXECUTE FUNCTION twinmeter_keep()",
    ]

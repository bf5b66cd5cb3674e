"""Conditions and joins over many keys, written once for both engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapters.store.engine.database import Transaction

_KINDS = {int: "bigint", str: "text"}


def in_list(tx: Transaction, column: str, values: Sequence[Any]) -> tuple[str, tuple[Any, ...]]:
    """A condition that a column has one of the values, and the values of its placeholders."""
    if tx.engine == "sqlite":
        texts = (msgspec.json.encode(list(values)).decode(),)
        return f"{column} IN (SELECT value FROM json_each(?))", texts  # noqa: S608 -- constants
    kind = _KINDS[type(values[0])] if values else "text"
    return f"{column} = ANY(?::{kind}[])", (list(values),)


def key_table(tx: Transaction, columns: str, keys: Sequence[Sequence[Any]]) -> tuple[str, tuple[Any, ...]]:
    """A table of keys for a FROM clause, without an alias, and the values of its placeholders.

    `columns` are names with `:bigint` behind those that are integers. On SQLite use it with CROSS JOIN, so that the
    keys stay in the outer loop.
    """
    named = [column.partition(":") for column in columns.split()]
    if tx.engine == "sqlite":
        parts = ", ".join(f"value ->> {index} AS {name}" for index, (name, _, _) in enumerate(named))
        return f"(SELECT {parts} FROM json_each(?))", (msgspec.json.encode([list(key) for key in keys]).decode(),)  # noqa: S608
    arrays = ", ".join(f"?::{kind or 'text'}[]" for _, _, kind in named)
    names = ", ".join(name for name, _, _ in named)
    values = [list(column) for column in zip(*keys, strict=True)] if keys else [[] for _ in named]
    return f"(SELECT * FROM unnest({arrays}) AS t({names}))", tuple(values)  # noqa: S608

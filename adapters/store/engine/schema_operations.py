"""Migration operations that write their own DDL, so that both engines get the constraints that money needs.

Tortoise's schema editor knows neither composite foreign keys nor STRICT tables, and SQLite cannot add a constraint to a
table later. `CreateTable` therefore keeps Tortoise's model state (so that its autodetector still sees every difference
between models and migrations) and writes the table itself: STRICT on SQLite, so that no float gets into an integer
column. Every statement can be repeated: a migration that was interrupted is simply applied again.
"""

# ruff: noqa: ARG002 -- the signatures are those of Tortoise's operations
from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from tortoise import fields
from tortoise.migrations.operations import AddField, CreateModel, TortoiseOperation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tortoise.fields.base import Field
    from tortoise.migrations.schema_editor.base import BaseSchemaEditor
    from tortoise.migrations.schema_generator.state import State

_TYPES: dict[str, dict[type[Field[Any]], str]] = {
    "sqlite": {
        fields.BigIntField: "INTEGER",
        fields.BooleanField: "INTEGER",
        fields.CharField: "TEXT",
        fields.TextField: "TEXT",
        fields.BinaryField: "BLOB",
    },
    "postgres": {
        fields.BigIntField: "BIGINT",
        fields.BooleanField: "BOOLEAN",
        fields.CharField: "TEXT",
        fields.TextField: "TEXT",
        fields.BinaryField: "BYTEA",
    },
}


class CreateTable(CreateModel):
    """Create a table with its constraints; `constraints` are raw table constraints, the same for both engines."""

    def __init__(
        self, name: str, columns: list[tuple[str, Any]], options: dict[str, Any], constraints: Sequence[str] = ()
    ) -> None:
        super().__init__(name, columns, options)
        self.constraints = tuple(constraints)

    async def database_forward(
        self, app_label: str, old_state: State, new_state: State, state_editor: BaseSchemaEditor | None = None
    ) -> None:
        """Run the table's DDL."""
        if state_editor is None:
            return
        for statement in self.statements(state_editor.client.capabilities.dialect):
            await run_statement(state_editor, statement)

    def statements(self, engine: str) -> list[str]:
        """CREATE TABLE and CREATE INDEX for one engine."""
        options = self.options or {}
        table = options["table"]
        parts = [_column(engine, name, field) for name, field in self.fields]
        parts += [f"UNIQUE ({', '.join(columns)})" for columns in options.get("unique_together", ())]
        parts += self.constraints
        strict = " STRICT" if engine == "sqlite" else ""
        body = ",\n  ".join(parts)
        statements = [f"CREATE TABLE IF NOT EXISTS {table} (\n  {body}\n){strict}"]
        for columns in options.get("indexes", ()):
            name = f"ix_{table}_{'_'.join(columns)}"
            statements.append(f"CREATE INDEX IF NOT EXISTS {name} ON {table} ({', '.join(columns)})")
        return statements


class AddColumn(AddField):
    """Add a column to a table that exists: one that may be null, or an integer or a plain text with a default."""

    def __init__(self, model_name: str, table: str, name: str, field: Any) -> None:
        super().__init__(model_name, name, field)
        self.table = table

    async def database_forward(
        self, app_label: str, old_state: State, new_state: State, state_editor: BaseSchemaEditor | None = None
    ) -> None:
        """Add the column unless it is there."""
        if state_editor is None:
            return
        engine = state_editor.client.capabilities.dialect
        if engine == "sqlite" and not state_editor.collect_sql:
            known = await state_editor.client.execute_query(
                "SELECT 1 FROM pragma_table_info(?) WHERE name = ?", [self.table, self.name]
            )
            if known[1]:
                return
        await run_statement(state_editor, self.statement(engine))

    def statement(self, engine: str) -> str:
        """ALTER TABLE for one engine."""
        field = cast("Any", self.field)
        column = _column(engine, self.name, field)
        if not field.null:
            text = isinstance(field.default, str)
            assert not text or "'" not in field.default
            column += f" DEFAULT '{field.default}'" if text else f" DEFAULT {int(field.default)}"
        unless = " IF NOT EXISTS" if engine == "postgres" else ""
        return f"ALTER TABLE {self.table} ADD COLUMN{unless} {column}"


class RunStatements(TortoiseOperation):
    """Run statements as they are: triggers, functions and partial indexes, by engine."""

    def __init__(self, *, sqlite: Sequence[str] = (), postgres: Sequence[str] = (), both: Sequence[str] = ()) -> None:
        self.by_engine = {"sqlite": (*both, *sqlite), "postgres": (*both, *postgres)}

    async def database_forward(
        self, app_label: str, old_state: State, new_state: State, state_editor: BaseSchemaEditor | None = None
    ) -> None:
        """Run the statements of the connected engine."""
        if state_editor is None:
            return
        for statement in self.by_engine[state_editor.client.capabilities.dialect]:
            await run_statement(state_editor, statement)


async def run_statement(state_editor: BaseSchemaEditor, statement: str) -> None:
    """Run one statement inside the migration's transaction (a script would commit it on SQLite)."""
    if state_editor.collect_sql:
        state_editor.collected_sql.append(statement)
    else:
        await state_editor.client.execute_query(statement, [])


def _column(engine: str, name: str, field: Any) -> str:
    kind = _TYPES[engine][type(field)]
    if field.pk:
        if kind == "TEXT":
            return f"{name} TEXT NOT NULL PRIMARY KEY"
        if engine == "sqlite":
            return f"{name} INTEGER PRIMARY KEY"
        return f"{name} BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY"
    check = f" CHECK ({name} IN (0, 1))" if engine == "sqlite" and isinstance(field, fields.BooleanField) else ""
    return f"{name} {kind}{'' if field.null else ' NOT NULL'}{check}"

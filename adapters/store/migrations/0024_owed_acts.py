# ruff: noqa: RUF012 -- Tortoise declares them so
"""Acts that twins made from SQL have to carry out, until what came of them is posted."""

from tortoise import fields
from tortoise.migrations.migration import Migration as BaseMigration

from adapters.store.engine.schema_operations import AddColumn, RunStatements


class Migration(BaseMigration):
    """A column of `act`. Acts from before it are owed to nobody."""

    dependencies = [("store", "0023_lock_acts")]
    operations = [
        AddColumn("Act", "act", "owed", fields.BigIntField(default=0)),
        RunStatements(both=["CREATE INDEX IF NOT EXISTS ix_act_owed ON act (site, group_id) WHERE owed = 1"]),
    ]

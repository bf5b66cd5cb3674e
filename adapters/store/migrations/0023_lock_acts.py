# ruff: noqa: RUF012 -- Tortoise declares them so
"""Standing locks tell which act of a person changed them last."""

from tortoise import fields
from tortoise.migrations.migration import Migration as BaseMigration

from adapters.store.engine.schema_operations import AddColumn


class Migration(BaseMigration):
    """Columns of `standing_lock`. Locks from before them go by their instants until a person acts on them again."""

    dependencies = [("store", "0022_device_config")]
    operations = [
        AddColumn("StandingLock", "standing_lock", "group_id", fields.CharField(max_length=72, default="")),
        AddColumn("StandingLock", "standing_lock", "act_seq", fields.BigIntField(default=0)),
    ]

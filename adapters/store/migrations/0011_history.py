# ruff: noqa: RUF012 -- Tortoise declares them so
"""Recorded history: what devices have sent, in compressed blocks."""

from tortoise import fields
from tortoise.migrations.migration import Migration as BaseMigration

from adapters.store.engine.schema_operations import CreateTable


class Migration(BaseMigration):
    """Recorded history."""

    dependencies = [("store", "0006_guards")]
    operations = [
        CreateTable(
            "HistoryBlock",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("device", fields.CharField(max_length=64)),
                ("seq", fields.BigIntField()),
                ("from_ts", fields.BigIntField()),
                ("to_ts", fields.BigIntField()),
                ("count", fields.BigIntField()),
                ("blob", fields.BinaryField()),
            ],
            {
                "table": "history_block",
                "unique_together": (("site", "seq", "device"),),
                "indexes": (("site", "device", "seq"), ("site", "to_ts")),
                "pk_attr": "id",
            },
        ),
    ]

# ruff: noqa: RUF012 -- Tortoise declares them so
"""A table that stays empty: after a write that failed, health tries here whether the database can write again."""

from tortoise import fields
from tortoise.migrations.migration import Migration as BaseMigration

from adapters.store.engine.schema_operations import CreateTable


class Migration(BaseMigration):
    """The probe of health."""

    dependencies = [("store", "0013_alarm_care")]
    operations = [
        CreateTable(
            "WriteProbe",
            [("id", fields.BigIntField(primary_key=True)), ("filler", fields.TextField())],
            {"table": "write_probe", "pk_attr": "id"},
        ),
    ]

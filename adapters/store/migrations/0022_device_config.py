# ruff: noqa: RUF012 -- Tortoise declares them so
"""Configurations that devices were told, version by version."""

from tortoise import fields
from tortoise.migrations.migration import Migration as BaseMigration

from adapters.store.engine.schema_operations import CreateTable


class Migration(BaseMigration):
    """Versions of the message `cfg`, so that a rebuild goes on above them."""

    dependencies = [("store", "0021_epoch_event")]
    operations = [
        CreateTable(
            "DeviceConfig",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("device", fields.CharField(max_length=64)),
                ("ver", fields.BigIntField()),
                ("settings", fields.TextField()),
                ("issued", fields.BigIntField()),
                ("taken_ts", fields.BigIntField(null=True)),
            ],
            {"table": "device_config", "unique_together": (("site", "device", "ver"),), "pk_attr": "id"},
        ),
    ]

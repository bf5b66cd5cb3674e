# ruff: noqa: RUF012 -- Tortoise declares them so
"""Epochs of registers tell which act of a person they follow."""

from tortoise import fields
from tortoise.migrations.migration import Migration as BaseMigration

from adapters.store.engine.schema_operations import AddColumn


class Migration(BaseMigration):
    """A column of `register_epoch`. Epochs from before it, and the acts that they followed, carry no number."""

    dependencies = [("store", "0008_adjustments"), ("store", "0020_incident_close")]
    operations = [AddColumn("RegisterEpoch", "register_epoch", "event", fields.BigIntField(default=0))]

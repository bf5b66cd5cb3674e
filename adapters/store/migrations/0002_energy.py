# ruff: noqa: RUF012 -- Tortoise declares them so
"""The energy chain, its prices and what was not believed."""

from tortoise import fields
from tortoise.migrations.migration import Migration as BaseMigration

from adapters.store.engine.schema_operations import CreateTable


class Migration(BaseMigration):
    """The energy chain, its prices and what was not believed."""

    dependencies = [("store", "0001_registry")]
    operations = [
        CreateTable(
            "RegisterEpoch",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("meter", fields.CharField(max_length=64)),
                ("epoch", fields.BigIntField()),
                ("opening", fields.BigIntField()),
                ("opened_ts", fields.BigIntField(null=True)),
                ("reason", fields.CharField(max_length=200)),
                ("head_qty", fields.BigIntField()),
                ("head_ts", fields.BigIntField(null=True)),
                ("month", fields.BigIntField(default=0)),
                ("month_use", fields.BigIntField(default=0)),
            ],
            {"table": "register_epoch", "unique_together": (("site", "meter", "epoch"),), "pk_attr": "id"},
            ("CHECK (epoch >= 1 AND opening >= 0 AND head_qty >= opening)",),
        ),
        CreateTable(
            "Energy",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("meter", fields.CharField(max_length=64)),
                ("epoch", fields.BigIntField()),
                ("from_qty", fields.BigIntField(null=True)),
                ("to_qty", fields.BigIntField()),
                ("from_ts", fields.BigIntField(null=True)),
                ("to_ts", fields.BigIntField(null=True)),
                ("tenant", fields.CharField(max_length=64)),
                ("estimated", fields.BooleanField()),
            ],
            {
                "table": "energy",
                "unique_together": (("site", "meter", "epoch", "from_qty"), ("site", "meter", "epoch", "to_qty")),
                "pk_attr": "id",
            },
            (
                "CHECK (from_qty IS NULL OR to_qty > from_qty)",
                "CHECK (epoch >= 1 AND to_qty >= 0)",
                "FOREIGN KEY (site, meter, epoch, from_qty) REFERENCES energy (site, meter, epoch, to_qty)",
            ),
        ),
        CreateTable(
            "Rating",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("meter", fields.CharField(max_length=64)),
                ("epoch", fields.BigIntField()),
                ("from_qty", fields.BigIntField()),
                ("to_qty", fields.BigIntField()),
                ("revision", fields.BigIntField()),
                ("active", fields.BooleanField()),
                ("account", fields.CharField(max_length=128)),
                ("utility", fields.CharField(max_length=16)),
                ("tariff", fields.CharField(max_length=64)),
                ("version", fields.BigIntField()),
                ("month", fields.BigIntField()),
                ("period", fields.CharField(max_length=64, null=True)),
                ("tier", fields.BigIntField(null=True)),
                ("price_micro", fields.BigIntField()),
                ("amount_nano", fields.BigIntField()),
                ("journal_seq", fields.BigIntField(null=True)),
            ],
            {
                "table": "rating",
                "unique_together": (("site", "meter", "epoch", "from_qty", "revision"),),
                "indexes": (("site", "journal_seq"),),
                "pk_attr": "id",
            },
            (
                "CHECK (to_qty > from_qty)",
                "CHECK (revision >= 1)",
                "CHECK (amount_nano = (to_qty - from_qty) * price_micro)",
                "FOREIGN KEY (site, meter, epoch, from_qty) REFERENCES energy (site, meter, epoch, from_qty)",
            ),
        ),
        CreateTable(
            "QuarantinedReading",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("meter", fields.CharField(max_length=64)),
                ("epoch", fields.BigIntField()),
                ("raw_qty", fields.BigIntField()),
                ("ts", fields.BigIntField()),
                ("sid", fields.CharField(max_length=64)),
                ("seq", fields.BigIntField()),
                ("reason", fields.CharField(max_length=200)),
                ("head_qty", fields.BigIntField()),
            ],
            {
                "table": "quarantined_reading",
                "unique_together": (("site", "meter", "ts", "sid", "seq"),),
                "pk_attr": "id",
            },
        ),
    ]

# ruff: noqa: RUF012 -- Tortoise declares them so
"""Journals and their legs, projections, payments and the outbox of acts."""

from tortoise import fields
from tortoise.migrations.migration import Migration as BaseMigration

from adapters.store.engine.schema_operations import CreateTable


class Migration(BaseMigration):
    """Journals and their legs, projections, payments and the outbox of acts."""

    dependencies = [("store", "0002_energy")]
    operations = [
        CreateTable(
            "Journal",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("seq", fields.BigIntField()),
                ("kind", fields.CharField(max_length=32)),
                ("ts", fields.BigIntField()),
                ("reference", fields.CharField(max_length=255)),
                ("actor", fields.CharField(max_length=200)),
                ("memo", fields.TextField()),
                ("prev_hash", fields.BinaryField()),
                ("hash", fields.BinaryField()),
            ],
            {"table": "journal", "unique_together": (("site", "seq"), ("reference", "site")), "pk_attr": "id"},
            (
                "CHECK (seq >= 1)",
                "CHECK (length(hash) = 32 AND length(prev_hash) = 32)",
            ),
        ),
        CreateTable(
            "Leg",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("seq", fields.BigIntField()),
                ("place", fields.BigIntField()),
                ("account", fields.CharField(max_length=128)),
                ("amount_nano", fields.BigIntField()),
            ],
            {
                "table": "leg",
                "unique_together": (("site", "seq", "place"),),
                "indexes": (("account", "site", "seq"),),
                "pk_attr": "id",
            },
            (
                "CHECK (amount_nano <> 0)",
                "FOREIGN KEY (site, seq) REFERENCES journal (site, seq) DEFERRABLE INITIALLY DEFERRED",
            ),
        ),
        CreateTable(
            "Account",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("account", fields.CharField(max_length=128)),
                ("tenant", fields.CharField(max_length=64)),
                ("credits_nano", fields.BigIntField()),
                ("credits_seq", fields.BigIntField()),
                ("charges_nano", fields.BigIntField()),
                ("version", fields.BigIntField()),
            ],
            {"table": "account", "unique_together": (("site", "account"),), "pk_attr": "id"},
            ("CHECK (version >= 1)",),
        ),
        CreateTable(
            "Payment",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("payment", fields.CharField(max_length=64)),
                ("tenant", fields.CharField(max_length=64)),
                ("amount_nano", fields.BigIntField()),
                ("channel", fields.CharField(max_length=64)),
                ("reference", fields.CharField(max_length=200)),
                ("key", fields.CharField(max_length=200)),
                ("input_hash", fields.CharField(max_length=64)),
                ("actor", fields.CharField(max_length=200)),
                ("ts", fields.BigIntField()),
                ("journal_seq", fields.BigIntField()),
                ("act_seq", fields.BigIntField()),
                ("credits_nano", fields.BigIntField()),
            ],
            {
                "table": "payment",
                "unique_together": (("site", "payment"), ("site", "tenant", "key"), ("site", "journal_seq")),
                "pk_attr": "id",
            },
            (
                "CHECK (amount_nano > 0)",
                "FOREIGN KEY (site, journal_seq) REFERENCES journal (site, seq)",
            ),
        ),
        CreateTable(
            "Act",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("group_id", fields.CharField(max_length=72)),
                ("seq", fields.BigIntField()),
                ("body", fields.TextField()),
                ("ts", fields.BigIntField()),
                ("delivered", fields.BooleanField()),
            ],
            {"table": "act", "unique_together": (("site", "group_id", "seq"),), "pk_attr": "id"},
        ),
        CreateTable(
            "ActHead",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("group_id", fields.CharField(max_length=72)),
                ("seq", fields.BigIntField()),
            ],
            {"table": "act_head", "unique_together": (("site", "group_id"),), "pk_attr": "id"},
        ),
        CreateTable(
            "IdempotentAnswer",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("scope", fields.CharField(max_length=200)),
                ("key", fields.CharField(max_length=200)),
                ("input_hash", fields.CharField(max_length=64)),
                ("answer", fields.TextField()),
                ("ts", fields.BigIntField()),
            ],
            {"table": "idempotent_answer", "unique_together": (("site", "scope", "key"),), "pk_attr": "id"},
        ),
    ]

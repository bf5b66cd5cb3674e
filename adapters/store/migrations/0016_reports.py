# ruff: noqa: RUF012 -- Tortoise declares them so
"""Sums for reports, and indexes by time for what is read by time.

Posted rows come nearly in the order of time, so on PostgreSQL a block range index finds them and costs next to nothing
to keep. SQLite has none; there the usual kind does it. None of them begins with the site, because a plan made while a
table is empty could prefer one that narrows no further.
"""

from tortoise import fields
from tortoise.migrations.migration import Migration as BaseMigration

from adapters.store.engine.schema_operations import CreateTable, RunStatements

SQLITE = [
    "CREATE INDEX IF NOT EXISTS ix_journal_time ON journal (ts, site)",
    "CREATE INDEX IF NOT EXISTS ix_energy_time ON energy (to_ts, from_ts, site)",
    "CREATE INDEX IF NOT EXISTS ix_adjustment_time ON adjustment (to_ts, from_ts, site)",
]
POSTGRES = [
    "CREATE INDEX IF NOT EXISTS ix_journal_time ON journal USING brin (ts) WITH (pages_per_range = 32)",
    "CREATE INDEX IF NOT EXISTS ix_energy_time ON energy USING brin (from_ts, to_ts) WITH (pages_per_range = 32)",
    "CREATE INDEX IF NOT EXISTS ix_adjustment_time ON adjustment (to_ts, from_ts, site)",
]


class Migration(BaseMigration):
    """Tables `report_month` and `report_cut`; indexes by time."""

    dependencies = [("store", "0007_meter_life"), ("store", "0008_adjustments"), ("store", "0009_settlement")]
    operations = [
        CreateTable(
            "ReportMonth",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("month", fields.BigIntField()),
                ("tenant", fields.CharField(max_length=64)),
                ("meter", fields.CharField(max_length=64)),
                ("utility", fields.CharField(max_length=16)),
                ("tariff", fields.CharField(max_length=64)),
                ("period", fields.CharField(max_length=64)),
                ("source", fields.CharField(max_length=32)),
                ("quantity", fields.BigIntField()),
                ("amount_nano", fields.BigIntField()),
            ],
            {
                "table": "report_month",
                "unique_together": (("site", "month", "tenant", "meter", "utility", "tariff", "period", "source"),),
                "pk_attr": "id",
            },
        ),
        CreateTable(
            "ReportCut",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("rating", fields.BigIntField()),
                ("adjustment", fields.BigIntField()),
                ("fee_line", fields.BigIntField()),
            ],
            {"table": "report_cut", "unique_together": (("site",),), "pk_attr": "id"},
        ),
        RunStatements(sqlite=SQLITE, postgres=POSTGRES),
    ]

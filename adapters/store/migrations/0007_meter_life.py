# ruff: noqa: RUF012 -- Tortoise declares them so
"""Samples beside the rows they were charged by; late and manual readings, reviews, acts on meters, hand-overs."""

from tortoise import fields
from tortoise.migrations.migration import Migration as BaseMigration

from adapters.store.engine.guard_statements import postgres_moving, postgres_posted, sqlite_moving, sqlite_posted
from adapters.store.engine.schema_operations import AddColumn, CreateTable, RunStatements

READING = ("site", "meter", "ts", "sid", "seq")
POSTED = {"late_reading": (READING,), "reading_decision": (READING,), "meter_event": ()}
HANDOVER = ("id", "site", "handover", "meter", "breaker", "from_group", "to_group", "at", "who", "why", "ts")
SQLITE = [
    *(trigger for table, keys in POSTED.items() for trigger in sqlite_posted(table, keys)),
    *sqlite_moving("handover", (("site", "handover", "meter"),), HANDOVER, "OLD.state = 'done'"),
]
POSTGRES = [
    *(statement for table in POSTED for statement in postgres_posted(table)),
    *postgres_moving("handover", ("state", "changed_ts"), "OLD.state = 'done'"),
]
INDEXES = [
    "CREATE INDEX IF NOT EXISTS ix_handover_open ON handover (site, meter) WHERE state <> 'done'",
    "CREATE INDEX IF NOT EXISTS ix_late_reading_ts ON late_reading (site, ts)",
]


class Migration(BaseMigration):
    """Column `energy.points`, ratios of registers, and the tables of a meter's life."""

    dependencies = [("store", "0006_guards")]
    operations = [
        AddColumn("Energy", "energy", "points", fields.BinaryField(null=True)),
        AddColumn("RegisterEpoch", "register_epoch", "ratio", fields.BigIntField(default=1)),
        AddColumn("RegisterEpoch", "register_epoch", "carried_month", fields.BigIntField(default=0)),
        AddColumn("RegisterEpoch", "register_epoch", "carried_use", fields.BigIntField(default=0)),
        CreateTable(
            "LateReading",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("meter", fields.CharField(max_length=64)),
                ("epoch", fields.BigIntField()),
                ("raw_qty", fields.BigIntField()),
                ("qty", fields.BigIntField()),
                ("ts", fields.BigIntField()),
                ("sid", fields.CharField(max_length=64)),
                ("seq", fields.BigIntField()),
                ("rates", fields.TextField(null=True)),
                ("source", fields.CharField(max_length=16)),
            ],
            {"table": "late_reading", "unique_together": (READING,), "pk_attr": "id"},
            ("CHECK (epoch >= 1 AND qty >= 0)",),
        ),
        CreateTable(
            "ReadingDecision",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("meter", fields.CharField(max_length=64)),
                ("ts", fields.BigIntField()),
                ("sid", fields.CharField(max_length=64)),
                ("seq", fields.BigIntField()),
                ("decision", fields.CharField(max_length=16)),
                ("raw_qty", fields.BigIntField(null=True)),
                ("overtaken", fields.BooleanField()),
                ("who", fields.CharField(max_length=200)),
                ("why", fields.TextField()),
                ("decided_ts", fields.BigIntField()),
            ],
            {"table": "reading_decision", "unique_together": (READING,), "pk_attr": "id"},
            ("CHECK (decision IN ('accept', 'reject', 'estimate'))",),
        ),
        CreateTable(
            "MeterEvent",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("meter", fields.CharField(max_length=64)),
                ("kind", fields.CharField(max_length=16)),
                ("ts", fields.BigIntField()),
                ("body", fields.TextField()),
                ("who", fields.CharField(max_length=200)),
                ("why", fields.TextField()),
                ("made_ts", fields.BigIntField()),
            ],
            {"table": "meter_event", "indexes": (("site", "meter"),), "pk_attr": "id"},
        ),
        CreateTable(
            "Handover",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("handover", fields.CharField(max_length=64)),
                ("meter", fields.CharField(max_length=64)),
                ("breaker", fields.CharField(max_length=64, null=True)),
                ("from_group", fields.CharField(max_length=72)),
                ("to_group", fields.CharField(max_length=72)),
                ("at", fields.BigIntField()),
                ("who", fields.CharField(max_length=200)),
                ("why", fields.TextField()),
                ("ts", fields.BigIntField()),
                ("state", fields.CharField(max_length=16)),
                ("changed_ts", fields.BigIntField()),
            ],
            {"table": "handover", "unique_together": (("site", "handover", "meter"),), "pk_attr": "id"},
            ("CHECK (state IN ('releasing', 'taking', 'done'))",),
        ),
        RunStatements(both=INDEXES, sqlite=SQLITE, postgres=POSTGRES),
    ]

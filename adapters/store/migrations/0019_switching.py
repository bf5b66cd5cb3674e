# ruff: noqa: RUF012 -- Tortoise declares them so
"""Bulk switching: jobs and their steps."""

from tortoise import fields
from tortoise.migrations.migration import Migration as BaseMigration

from adapters.store.engine.guard_statements import postgres_moving, sqlite_moving
from adapters.store.engine.schema_operations import CreateTable, RunStatements

JOB = ("id", "site", "job", "operation", "lock", "undo_of", "selection", "pace", "include", "until_ts", "who", "why")
STEP = ("id", "site", "job", "device", "tenant", "group_id")
JOB_ENDED = "OLD.state IN ('done', 'cancelled', 'refused')"
STEP_PROVED = "OLD.state IN ('verified', 'skipped', 'left')"
SQLITE = [
    *sqlite_moving("switch_job", (("site", "job"),), (*JOB, "asked_ts", "approval"), JOB_ENDED),
    *sqlite_moving("switch_step", (("site", "job", "device"),), STEP, STEP_PROVED),
]
POSTGRES = [
    *postgres_moving(
        "switch_job",
        (
            *("state", "reason", "changed_by", "changed_why", "changed_ts"),
            *("started_ts", "ended_ts", "bad_before", "settled_before"),
        ),
        JOB_ENDED,
    ),
    *postgres_moving(
        "switch_step",
        ("state", "reason", "detail", "command", "act_seq", "sent_ts", "settled_ts", "late"),
        STEP_PROVED,
    ),
]


class Migration(BaseMigration):
    """Jobs of bulk switching and their steps."""

    dependencies = [("store", "0017_notices")]
    operations = [
        CreateTable(
            "SwitchJob",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("job", fields.CharField(max_length=32)),
                ("operation", fields.CharField(max_length=8)),
                ("lock", fields.CharField(max_length=16)),
                ("undo_of", fields.CharField(max_length=32)),
                ("selection", fields.TextField()),
                ("pace", fields.TextField()),
                ("include", fields.TextField()),
                ("until_ts", fields.BigIntField(null=True)),
                ("who", fields.CharField(max_length=200)),
                ("why", fields.TextField()),
                ("asked_ts", fields.BigIntField()),
                ("approval", fields.CharField(max_length=32)),
                ("state", fields.CharField(max_length=16)),
                ("reason", fields.CharField(max_length=64)),
                ("changed_by", fields.CharField(max_length=200)),
                ("changed_why", fields.TextField()),
                ("changed_ts", fields.BigIntField()),
                ("started_ts", fields.BigIntField(null=True)),
                ("ended_ts", fields.BigIntField(null=True)),
                ("bad_before", fields.BigIntField()),
                ("settled_before", fields.BigIntField()),
            ],
            {
                "table": "switch_job",
                "unique_together": (("site", "job"),),
                "indexes": (("site", "state"),),
                "pk_attr": "id",
            },
            (
                "CHECK (operation IN ('open', 'close', 'undo'))",
                "CHECK (state IN ('asked', 'running', 'stopped', 'halted', 'done', 'cancelled', 'refused'))",
                "CHECK (operation <> 'undo' OR undo_of <> '')",
            ),
        ),
        CreateTable(
            "SwitchStep",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("job", fields.CharField(max_length=32)),
                ("device", fields.CharField(max_length=64)),
                ("tenant", fields.CharField(max_length=64)),
                ("group_id", fields.CharField(max_length=72)),
                ("state", fields.CharField(max_length=16)),
                ("reason", fields.CharField(max_length=64)),
                ("detail", fields.TextField()),
                ("command", fields.CharField(max_length=64)),
                ("act_seq", fields.BigIntField(null=True)),
                ("sent_ts", fields.BigIntField(null=True)),
                ("settled_ts", fields.BigIntField(null=True)),
                ("late", fields.BigIntField()),
            ],
            {
                "table": "switch_step",
                "unique_together": (("site", "job", "device"),),
                "indexes": (("site", "job", "state"),),
                "pk_attr": "id",
            },
            (
                "CHECK (state IN ('waiting', 'sent', 'verified', 'failed', 'silent', 'skipped', 'left'))",
                "CHECK (state IN ('waiting', 'skipped', 'left') OR (act_seq IS NOT NULL AND sent_ts IS NOT NULL))",
                "CHECK (late IN (0, 1))",
                "FOREIGN KEY (site, job) REFERENCES switch_job (site, job)",
            ),
        ),
        RunStatements(sqlite=SQLITE, postgres=POSTGRES),
    ]

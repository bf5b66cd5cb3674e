# ruff: noqa: RUF012 -- Tortoise declares them so
"""What proves an alarm: the samples before and after a step of power, posted for good."""

from tortoise import fields
from tortoise.migrations.migration import Migration as BaseMigration

from adapters.store.engine.guard_statements import postgres_posted, sqlite_posted
from adapters.store.engine.schema_operations import CreateTable, RunStatements

KEY = ("site", "rule", "twin", "since", "ts")


class Migration(BaseMigration):
    """Evidence of alarms."""

    dependencies = [("store", "0017_notices")]
    operations = [
        CreateTable(
            "AlarmEvidence",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("rule", fields.CharField(max_length=128)),
                ("twin", fields.CharField(max_length=72)),
                ("since", fields.BigIntField()),
                ("ts", fields.BigIntField()),
                ("evidence", fields.TextField()),
            ],
            {"table": "alarm_evidence", "unique_together": (KEY,), "pk_attr": "id"},
        ),
        RunStatements(sqlite=sqlite_posted("alarm_evidence", ()), postgres=postgres_posted("alarm_evidence")),
    ]

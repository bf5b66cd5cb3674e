# ruff: noqa: RUF012, S608 -- Tortoise declares them so; every name below is a constant
"""What people make of alarms: acknowledgement and assignee, shelves, and the history of all of it."""

from tortoise import fields
from tortoise.migrations.migration import Migration as BaseMigration

from adapters.store.engine.schema_operations import CreateTable, RunStatements

_MESSAGE = "alarm_note rows are posted for good"
SQLITE = [
    "CREATE TRIGGER IF NOT EXISTS alarm_note_no_delete BEFORE DELETE ON alarm_note"
    f" BEGIN SELECT RAISE(ABORT, '{_MESSAGE}'); END",
    "CREATE TRIGGER IF NOT EXISTS alarm_note_no_update BEFORE UPDATE ON alarm_note"
    f" BEGIN SELECT RAISE(ABORT, '{_MESSAGE}'); END",
    "CREATE TRIGGER IF NOT EXISTS alarm_note_no_replace BEFORE INSERT ON alarm_note"
    " WHEN EXISTS (SELECT 1 FROM alarm_note WHERE id = NEW.id)"
    f" BEGIN SELECT RAISE(ABORT, '{_MESSAGE}: this one exists'); END",
]
POSTGRES = [
    "DROP TRIGGER IF EXISTS alarm_note_keep ON alarm_note",
    "CREATE TRIGGER alarm_note_keep BEFORE UPDATE OR DELETE ON alarm_note"
    " FOR EACH ROW EXECUTE FUNCTION twinmeter_keep()",
    "DROP TRIGGER IF EXISTS alarm_note_keep_all ON alarm_note",
    "CREATE TRIGGER alarm_note_keep_all BEFORE TRUNCATE ON alarm_note EXECUTE FUNCTION twinmeter_keep()",
]


class Migration(BaseMigration):
    """Care of alarms."""

    dependencies = [("store", "0006_guards")]
    operations = [
        CreateTable(
            "AlarmCare",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("rule", fields.CharField(max_length=128)),
                ("twin", fields.CharField(max_length=72)),
                ("since", fields.BigIntField()),
                ("acknowledged", fields.BooleanField()),
                ("ack_severity", fields.CharField(max_length=16)),
                ("ack_by", fields.CharField(max_length=200)),
                ("ack_ts", fields.BigIntField(null=True)),
                ("assignee", fields.CharField(max_length=200)),
            ],
            {
                "table": "alarm_care",
                "unique_together": (("site", "rule", "twin", "since"),),
                "indexes": (("site", "assignee"),),
                "pk_attr": "id",
            },
        ),
        CreateTable(
            "AlarmShelf",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("rule", fields.CharField(max_length=128)),
                ("twin", fields.CharField(max_length=72)),
                ("severity", fields.CharField(max_length=16)),
                ("until_ts", fields.BigIntField()),
                ("who", fields.CharField(max_length=200)),
                ("reason", fields.TextField()),
                ("ts", fields.BigIntField()),
                ("ended_ts", fields.BigIntField(null=True)),
            ],
            {"table": "alarm_shelf", "unique_together": (("site", "rule", "twin"),), "pk_attr": "id"},
        ),
        CreateTable(
            "AlarmNote",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("rule", fields.CharField(max_length=128)),
                ("twin", fields.CharField(max_length=72)),
                ("since", fields.BigIntField()),
                ("ts", fields.BigIntField()),
                ("who", fields.CharField(max_length=200)),
                ("what", fields.CharField(max_length=32)),
                ("text", fields.TextField()),
                ("data", fields.TextField()),
            ],
            {"table": "alarm_note", "indexes": (("site", "rule", "twin", "since"),), "pk_attr": "id"},
        ),
        CreateTable(
            "NoticeGroup",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("together", fields.TextField()),
                ("tenant", fields.CharField(max_length=64)),
                ("template", fields.CharField(max_length=64)),
                ("ts", fields.BigIntField()),
            ],
            {"table": "notice_group", "unique_together": (("site", "together"),), "pk_attr": "id"},
        ),
        RunStatements(sqlite=SQLITE, postgres=POSTGRES),
    ]

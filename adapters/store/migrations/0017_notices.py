# ruff: noqa: RUF012 -- Tortoise declares them so
"""A notice is told by twin and recipient: two meters of one tenant at one instant are two notices, and so are the one
to the tenant and the one to the operator. SQLite cannot change a constraint, so the table is written anew there."""

from tortoise import fields
from tortoise.migrations.migration import Migration as BaseMigration
from tortoise.migrations.operations import AlterModelOptions

from adapters.store.engine.schema_operations import AddColumn, RunStatements

_KEY = ("site", "tenant", "template", "ts", "twin", "recipient")
_COLUMNS = "id, site, tenant, template, ts, data, state, attempts, proof, settled_ts, twin, recipient, channels"
SQLITE = [
    "CREATE TABLE IF NOT EXISTS notification_by_twin (id INTEGER PRIMARY KEY, site TEXT NOT NULL, tenant TEXT NOT NULL,"
    " template TEXT NOT NULL, ts INTEGER NOT NULL, data TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL,"
    " proof TEXT NOT NULL, settled_ts INTEGER, twin TEXT NOT NULL DEFAULT '', recipient TEXT NOT NULL DEFAULT '',"
    f" channels TEXT NOT NULL DEFAULT '', UNIQUE ({', '.join(_KEY)})) STRICT",
    f"INSERT INTO notification_by_twin ({_COLUMNS}) SELECT {_COLUMNS} FROM notification",  # noqa: S608 -- constants
    "DROP TABLE notification",
    "ALTER TABLE notification_by_twin RENAME TO notification",
    "CREATE INDEX IF NOT EXISTS ix_notification_site_state ON notification (site, state)",
]
POSTGRES = [
    "ALTER TABLE notification DROP CONSTRAINT IF EXISTS notification_site_tenant_template_ts_key",
    f"CREATE UNIQUE INDEX IF NOT EXISTS ux_notification_identity ON notification ({', '.join(_KEY)})",
]


class Migration(BaseMigration):
    """Columns of `notification` and `notice_group`, and the wider identity."""

    dependencies = [("store", "0013_alarm_care"), ("store", "0016_reports")]
    operations = [
        AddColumn("Notification", "notification", "twin", fields.CharField(max_length=72, default="")),
        AddColumn("Notification", "notification", "recipient", fields.CharField(max_length=64, default="")),
        AddColumn("Notification", "notification", "channels", fields.TextField(default="")),
        AlterModelOptions(
            "Notification",
            {"table": "notification", "unique_together": (_KEY,), "indexes": (("site", "state"),), "pk_attr": "id"},
        ),
        RunStatements(
            sqlite=SQLITE, postgres=POSTGRES, both=["UPDATE notification SET recipient = 'tenant' WHERE recipient = ''"]
        ),
        AddColumn("NoticeGroup", "notice_group", "twin", fields.CharField(max_length=72, default="")),
        AddColumn("NoticeGroup", "notice_group", "recipient", fields.CharField(max_length=64, default="")),
    ]

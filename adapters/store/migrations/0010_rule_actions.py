# ruff: noqa: RUF012 -- Tortoise declares them so
"""What rules do beyond the twins: parameters they have set, and calls of outside systems with their retries."""

from tortoise import fields
from tortoise.migrations.migration import Migration as BaseMigration

from adapters.store.engine.schema_operations import AddColumn, CreateTable, RunStatements


class Migration(BaseMigration):
    """Parameters that rules have set; when a call is tried next, what was answered, and when it was settled."""

    dependencies = [("store", "0006_guards")]
    operations = [
        CreateTable(
            "RuleParam",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("scope", fields.CharField(max_length=16)),
                ("twin", fields.CharField(max_length=72)),
                ("name", fields.CharField(max_length=64)),
                ("value", fields.TextField(null=True)),
                ("ts", fields.BigIntField()),
                ("rule", fields.CharField(max_length=128)),
                ("rule_version", fields.BigIntField()),
            ],
            {"table": "rule_param", "unique_together": (("site", "scope", "twin", "name"),), "pk_attr": "id"},
        ),
        AddColumn("WebhookCall", "webhook_call", "next_ts", fields.BigIntField(null=True)),
        AddColumn("WebhookCall", "webhook_call", "settled_ts", fields.BigIntField(null=True)),
        AddColumn("WebhookCall", "webhook_call", "answer", fields.TextField(null=True)),
        RunStatements(
            both=(
                "CREATE INDEX IF NOT EXISTS ix_webhook_call_wanted ON webhook_call (next_ts, id)"
                " WHERE state = 'wanted'",
            )
        ),
    ]

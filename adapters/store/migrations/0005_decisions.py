# ruff: noqa: RUF012 -- Tortoise declares them so
"""Rule decisions, notices, refused effects, audit and tokens."""

from tortoise import fields
from tortoise.migrations.migration import Migration as BaseMigration

from adapters.store.engine.schema_operations import CreateTable


class Migration(BaseMigration):
    """Rule decisions, notices, refused effects, audit and tokens."""

    dependencies = [("store", "0004_operations")]
    operations = [
        CreateTable(
            "RuleChange",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("rule", fields.CharField(max_length=128)),
                ("rule_version", fields.BigIntField()),
                ("twin", fields.CharField(max_length=72)),
                ("ts", fields.BigIntField()),
                ("state", fields.CharField(max_length=32)),
                ("transition", fields.CharField(max_length=64)),
                ("record", fields.TextField()),
            ],
            {
                "table": "rule_change",
                "unique_together": (("site", "rule", "twin", "ts", "transition"),),
                "pk_attr": "id",
            },
        ),
        CreateTable(
            "Notification",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("tenant", fields.CharField(max_length=64)),
                ("template", fields.CharField(max_length=64)),
                ("ts", fields.BigIntField()),
                ("data", fields.TextField()),
                ("state", fields.CharField(max_length=16)),
                ("attempts", fields.BigIntField()),
                ("proof", fields.TextField()),
                ("settled_ts", fields.BigIntField(null=True)),
            ],
            {
                "table": "notification",
                "unique_together": (("site", "tenant", "template", "ts"),),
                "indexes": (("site", "state"),),
                "pk_attr": "id",
            },
        ),
        CreateTable(
            "WebhookCall",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("rule", fields.CharField(max_length=128)),
                ("twin", fields.CharField(max_length=72)),
                ("ts", fields.BigIntField()),
                ("name", fields.CharField(max_length=128)),
                ("data", fields.TextField()),
                ("state", fields.CharField(max_length=16)),
                ("attempts", fields.BigIntField()),
            ],
            {"table": "webhook_call", "unique_together": (("site", "rule", "twin", "ts", "name"),), "pk_attr": "id"},
        ),
        CreateTable(
            "RefusedEffect",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("entry", fields.CharField(max_length=64)),
                ("place", fields.BigIntField()),
                ("group_id", fields.CharField(max_length=72)),
                ("body", fields.TextField()),
                ("reason", fields.TextField()),
            ],
            {"table": "refused_effect", "unique_together": (("site", "entry", "place"),), "pk_attr": "id"},
        ),
        CreateTable(
            "Audit",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("site", fields.CharField(max_length=64)),
                ("ts", fields.BigIntField()),
                ("who", fields.CharField(max_length=200)),
                ("what", fields.CharField(max_length=64)),
                ("subject", fields.CharField(max_length=200)),
                ("state_before", fields.TextField(null=True)),
                ("state_after", fields.TextField(null=True)),
            ],
            {"table": "audit", "indexes": (("site", "id"),), "pk_attr": "id"},
        ),
        CreateTable(
            "Token",
            [
                ("id", fields.BigIntField(primary_key=True)),
                ("name", fields.CharField(max_length=128)),
                ("role", fields.CharField(max_length=32)),
                ("digest", fields.CharField(max_length=64)),
                ("site", fields.CharField(max_length=64, null=True)),
                ("tenant", fields.CharField(max_length=64, null=True)),
                ("created_ts", fields.BigIntField()),
                ("created_by", fields.CharField(max_length=200)),
                ("revoked_ts", fields.BigIntField(null=True)),
                ("revoked_by", fields.CharField(max_length=200, null=True)),
            ],
            {"table": "token", "unique_together": (("digest",),), "pk_attr": "id"},
        ),
    ]
